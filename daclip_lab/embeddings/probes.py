r"""Probes: simple models that predict a label, a severity or the content from frozen embeddings.

Every probe is cross-validated in up to five folds that are disjoint in photos: no photo is both trained and tested on,
since crops of one photo are alike. A probe shows what can be predicted by a model of its kind; what it cannot predict
may still be in the embedding (Alain and Bengio, 1610.01644).
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.alignment import clean_partners
from daclip_lab.errors import InputError, InsufficientDataError, extra
from daclip_lab.metrics.bootstrap import Estimate, check_sample, estimate_mean, estimate_statistic

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
PROBES = ("linear", "knn")
ALPHAS = np.logspace(-2, 4, 13)
"""Regularisation strengths of ridge regression, chosen by cross-validation on the training rows."""


def class_labels(table: EmbeddingTable, target: str = "degradation") -> np.ndarray:
    """One label per row (n,) from a column of the table, None where it is unknown.

    Raises InputError where there is no such column, and InsufficientDataError for fewer than two classes.
    """
    if target not in table.rows:
        raise InputError(f"the table has no column {target!r}: it has {', '.join(table.rows)}")
    column = table.rows[target]
    labels = np.array(column.astype(str), dtype=object)
    labels[column.isna()] = None
    classes = sorted(set(labels) - {None})
    if len(classes) < 2:
        found = f"every row is {classes[0]!r}" if classes else "no row has a label"
        raise InsufficientDataError(f"{found} in the column {target!r}: at least 2 classes needed")
    return labels


def probe_accuracy(
    table: EmbeddingTable, space: str, target: str = "degradation", *, probe: str = "linear"
) -> Estimate:
    """The share of rows whose label a probe predicts from an embedding; chance is the share of the most frequent label.

    Args:
        space: one of `table.spaces`.
        target: the column of labels; rows without one are left out.
        probe: `"linear"` (logistic regression on standardised values) or `"knn"` (10 nearest by cosine).

    Raises InputError for an unknown space, target or probe, and InsufficientDataError for fewer than 10 rows, 2
    classes, or 2 photos of each class.
    """
    correct = probe_correct(table, space, target, probe=probe)
    _, counts = np.unique(table.rows[target].dropna().astype(str), return_counts=True)
    return estimate_mean(correct, table.rows.photo, chance=counts.max() / counts.sum())


def probe_correct(
    table: EmbeddingTable, space: str, target: str = "degradation", *, probe: str = "linear"
) -> np.ndarray:
    """Whether a probe predicts the label of each row: (n,) of 0 and 1, NaN for rows without a label."""
    vectors, labels = table.embedding(space), class_labels(table, target)
    labelled = np.array([label is not None for label in labels])
    photos = table.rows.photo.to_numpy()[labelled]
    correct = np.full(len(table), np.nan)
    predicted = predict_labels(vectors[labelled], labels[labelled], photos, probe=probe)
    correct[labelled] = predicted == labels[labelled]
    return correct


@extra("analysis")
def predict_labels(
    vectors: np.ndarray, labels: np.ndarray, photos: np.ndarray, *, probe: str = "linear"
) -> np.ndarray:
    """The label (n,) that a probe trained on other photos predicts from each vector (n, d); see `probe_accuracy`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if probe not in PROBES:
        raise InputError(f"probe {probe!r} is unknown: use one of {', '.join(PROBES)}")
    labels, photos = (np.asarray(x, dtype=object).astype(str) for x in (labels, photos))
    folds = StratifiedGroupKFold(
        min(FOLDS, _photos_of_rarest(labels, photos)), shuffle=True, random_state=0
    )
    splits = list(folds.split(vectors, labels, photos))
    if any(len(set(labels[train])) < 2 for train, _ in splits):
        raise InsufficientDataError(
            "a split by photo leaves one class to train on: more photos needed"
        )
    if probe == "linear":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    else:
        smallest = min(len(train) for train, _ in splits)
        model = KNeighborsClassifier(max(1, min(10, smallest // 2)), metric="cosine")
    return cross_val_predict(model, vectors, labels, cv=splits)


def _photos_of_rarest(labels: np.ndarray, photos: np.ndarray) -> int:
    """The number of photos of the class that has the fewest."""
    check_sample(photos)
    counts = {label: len(set(photos[labels == label])) for label in np.unique(labels)}
    if len(counts) < 2:
        raise InsufficientDataError(f"every row is '{labels[0]}': at least 2 classes needed")
    rarest = min(counts, key=counts.__getitem__)
    if counts[rarest] < 2:
        raise InsufficientDataError(
            f"the class '{rarest}' has one photo: a split by photo needs at least 2 of each"
        )
    return counts[rarest]


class RegressionErrors(NamedTuple):
    """Squared errors (n,) of cross-validated predictions, and of the mean of the training rows as a baseline."""

    model: np.ndarray
    baseline: np.ndarray

    def r2(self, rows: np.ndarray) -> float:
        r"""$R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y_{train})^2$ over some rows (their numbers)."""
        return 1 - self.model[rows].sum() / self.baseline[rows].sum()


@extra("analysis")
def ridge_errors(vectors: np.ndarray, values: np.ndarray, photos: np.ndarray) -> RegressionErrors:
    """Predict values (n, k) from vectors (n, d) by ridge regression on other photos (n,); errors are summed over k.

    The strength is chosen by an inner cross-validation that is disjoint in photos, too.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    photos = photos.astype(str)
    check_sample(photos)
    model, baseline = np.empty(len(values)), np.empty(len(values))
    for train, test in _photo_folds(photos):
        inner = _photo_folds(photos[train]) if len(set(photos[train])) > 1 else None
        ridge = RidgeCV(ALPHAS, cv=inner, scoring="neg_mean_squared_error")
        fitted = make_pipeline(StandardScaler(), ridge).fit(vectors[train], values[train])
        predicted = fitted.predict(vectors[test]).reshape(len(test), -1)
        model[test] = ((predicted - values[test]) ** 2).sum(1)
        baseline[test] = ((values[train].mean(0) - values[test]) ** 2).sum(1)
    if not baseline.any():
        raise InsufficientDataError("all rows have the same value: there is nothing to predict")
    return RegressionErrors(model, baseline)


def _photo_folds(photos: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train on and rows to test on, without a photo in both; every row is tested once."""
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(min(FOLDS, len(set(photos)))).split(photos, groups=photos))


def severity_regression(table: EmbeddingTable, space: str = "degradation") -> "pd.DataFrame":
    """How well ridge regression predicts the severity within each degradation from an embedding.

    Returns a row for each degradation with several severities, and `overall`: `value` is R² (1: exact; 0: as the mean
    of the training rows), with `low`, `high`, `chance` (0), `rmse` (in units of severity), `n` and `photos`.

    Raises InsufficientDataError where no degradation has several severities, or one has fewer than 10 rows.
    """
    import pandas as pd

    labels = table.rows.degradation.fillna("unknown").to_numpy()
    severity, photos = table.rows.severity.to_numpy(), table.rows.photo.to_numpy()
    vectors, parts = table.embedding(space), {}
    for label in dict.fromkeys(labels):
        rows = np.flatnonzero((labels == label) & np.isfinite(severity))
        if len(rows) and np.ptp(severity[rows]) > 1e-6:
            check_sample(photos[rows], f"rows of '{label}'")
            errors = ridge_errors(vectors[rows], severity[rows, None], photos[rows])
            parts[label] = errors, photos[rows]
    if not parts:
        raise InsufficientDataError("no degradation of this table comes in several severities")
    errors, members = zip(*parts.values(), strict=True)
    whole = RegressionErrors(*(np.concatenate(part) for part in zip(*errors, strict=True)))
    parts["overall"] = whole, np.concatenate(members)
    rows = {
        label: estimate_statistic(errors.r2, photos, chance=0.0)._asdict()
        | {"rmse": float(np.sqrt(errors.model.mean()))}
        for label, (errors, photos) in parts.items()
    }
    return pd.DataFrame(rows).T.astype({"n": int, "photos": int})


def content_r2(table: EmbeddingTable, space: str) -> Estimate:
    """How well ridge regression predicts CLIP's embedding of the clean partner from that of the degraded image: R².

    Chance is 0. Rows labelled clean, which show the partner itself, are left out. Raises InsufficientDataError for a
    table without clean partners, fewer than 10 rows, or rows of a single photo.
    """
    clean, photos = clean_partners(table), table.rows.photo.to_numpy()
    rows = (table.rows.degradation != CLEAN).to_numpy()
    errors = ridge_errors(table.embedding(space)[rows], clean[rows], photos[rows])
    return estimate_statistic(errors.r2, photos[rows], chance=0.0)
