r"""Probes: simple models that predict a label, a severity or the content from frozen embeddings.

Every probe is cross-validated in up to five folds that are disjoint in photos: no photo is both trained and tested on,
since crops of one photo are alike. A probe shows what can be predicted by a model of its kind; what it cannot predict
may still be in the embedding (Alain and Bengio, 1610.01644).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.alignment import clean_partners
from daclip_lab.errors import InputError, InsufficientDataError, extra
from daclip_lab.metrics.bootstrap import Estimate, check_sample, estimate_mean, estimate_statistic

FOLDS = 5
PROBES = ("linear", "knn")
ALPHAS = np.logspace(-2, 4, 13)
"""Regularisation strengths of ridge regression, chosen by cross-validation on the training rows."""


def labelled_rows(
    table: EmbeddingTable, target: str = "degradation"
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers (m,) of the rows with a label in a column of the table, and these labels (m,) as strings.

    Raises InputError where there is no such column, and InsufficientDataError for fewer than two classes.
    """
    if target not in table.rows:
        raise InputError(f"the table has no column {target!r}: it has {', '.join(table.rows)}")
    known = np.flatnonzero(table.rows[target].notna())
    labels = table.rows[target].to_numpy()[known].astype(str)
    if len(set(labels)) < 2:
        found = f"every row is '{labels[0]}'" if len(labels) else "no row has a label"
        raise InsufficientDataError(f"{found} in the column {target!r}: at least 2 classes needed")
    return known, labels


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
    chance = table.rows[target].value_counts(normalize=True).max()
    return estimate_mean(correct, table.rows.photo, chance)


def probe_correct(
    table: EmbeddingTable, space: str, target: str = "degradation", *, probe: str = "linear"
) -> np.ndarray:
    """Whether a probe predicts the label of each row: (n,) of 0 and 1, NaN for rows without a label."""
    vectors, (rows, labels) = table.embedding(space), labelled_rows(table, target)
    photos = table.rows.photo.to_numpy()[rows]
    correct = np.full(len(table), np.nan)
    correct[rows] = predict_labels(vectors[rows], labels, photos, probe=probe) == labels
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
    check_sample(photos)
    counts = pd.Series(photos).groupby(labels).nunique()
    if len(counts) < 2:
        raise InsufficientDataError(f"every row is '{labels[0]}': at least 2 classes needed")
    if counts.min() < 2:
        raise InsufficientDataError(
            f"the class '{counts.idxmin()}' has one photo: a split by photo needs at least 2 of each"
        )
    splitter = StratifiedGroupKFold(min(FOLDS, counts.min()), shuffle=True, random_state=0)
    splits = list(splitter.split(vectors, labels, photos))
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


class RegressionErrors(NamedTuple):
    """Squared errors (n,) of cross-validated predictions."""

    model: np.ndarray
    baseline: np.ndarray
    """Errors of the mean of the training rows."""
    photos: np.ndarray
    """(n,), the photo of each row."""

    def r2(self, rows: np.ndarray) -> float:
        r"""$R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y_{train})^2$ over some rows (their numbers)."""
        return 1 - self.model[rows].sum() / self.baseline[rows].sum()

    def estimate(self) -> Estimate:
        """R² over all rows with its interval; chance is 0."""
        return estimate_statistic(self.r2, self.photos, chance=0.0)


@extra("analysis")
def ridge_errors(vectors: np.ndarray, values: np.ndarray, photos: np.ndarray) -> RegressionErrors:
    """Predict values (n, k) from vectors (n, d) by ridge regression on other photos (n,); errors are summed over k.

    The strength is chosen by an inner cross-validation that is disjoint in photos, too. Raises InsufficientDataError
    for fewer than 10 rows, rows of a single photo, or equal values.
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
        raise InsufficientDataError("all rows have the same value: R² is undefined")
    return RegressionErrors(model, baseline, photos)


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
    rows, vectors, parts = table.rows[table.rows.severity.notna()], table.embedding(space), {}
    for label, part in rows.groupby(rows.degradation.fillna("unknown"), sort=False):
        severity, photos = part.severity.to_numpy(), part.photo.to_numpy()
        if np.ptp(severity) > 1e-6:
            check_sample(photos, f"rows of '{label}'")
            parts[label] = ridge_errors(vectors[part.index], severity[:, None], photos)
    if not parts:
        raise InsufficientDataError("no degradation of this table comes in several severities")
    parts["overall"] = RegressionErrors(*map(np.concatenate, zip(*parts.values(), strict=True)))
    estimates = {
        label: {**errors.estimate()._asdict(), "rmse": np.sqrt(errors.model.mean())}
        for label, errors in parts.items()
    }
    return pd.DataFrame.from_dict(estimates, orient="index")


def content_r2(table: EmbeddingTable, space: str) -> Estimate:
    """How well ridge regression predicts CLIP's embedding of the clean partner from that of the degraded image: R².

    Chance is 0. Rows labelled clean, which show the partner itself, are left out. Raises InsufficientDataError for a
    table without clean partners, fewer than 10 rows, or rows of a single photo.
    """
    clean = clean_partners(table)
    rows = (table.rows.degradation != CLEAN).to_numpy()
    photos = table.rows.photo.to_numpy()[rows]
    return ridge_errors(table.embedding(space)[rows], clean[rows], photos).estimate()
