"""Probes: what can be read off an embedding, by somebody who never saw the photo.

Every probe is trained on some photos and asked about the others, in up to five folds. What it reads there is in the
embedding; what it does not read may still be there in a form that the probe is too simple for.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.table_columns import labels_of, photos_of, with_partners
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import Estimate, check_sample, estimate_mean, estimate_statistic

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
PROBES = ("linear", "knn")
ALPHAS = np.logspace(-2, 4, 13)
"""Strengths of ridge regression, of which the training rows choose one."""


def probe_accuracy(
    table: EmbeddingTable, space: str, target: str = "degradation", *, probe: str = "linear"
) -> Estimate:
    """How often a probe reads the label of a row right; chance is to always say the most frequent one.

    Args:
        space: which embeddings, one of `table.spaces`.
        target: the column of labels; rows without one are left out.
        probe: `"linear"` (logistic regression on standardised values), or `"knn"` (the majority of the 10 nearest by
            cosine).

    Raises InputError for fewer than 10 rows, 2 classes, or 2 photos of each class.
    """
    right = probed_right(table, space, target, probe=probe)
    labels = labels_of(table, target)
    known = labels[labels != None].astype(str)  # noqa: E711 - element by element
    _, counts = np.unique(known, return_counts=True)
    return estimate_mean(right, photos_of(table), chance=counts.max() / counts.sum())


def probed_right(
    table: EmbeddingTable, space: str, target: str = "degradation", *, probe: str = "linear"
) -> np.ndarray:
    """Whether a probe reads each row right: (n,) of 0 and 1, NaN for rows without a label."""
    vectors, labels, photos = table.embedding(space), labels_of(table, target), photos_of(table)
    known = np.array([label is not None for label in labels])
    right = np.full(len(table), np.nan)
    answers = read_labels(vectors[known], labels[known], photos[known], probe=probe)
    right[known] = answers == labels[known]
    return right


def read_labels(
    vectors: np.ndarray, labels: np.ndarray, photos: np.ndarray, *, probe: str = "linear"
) -> np.ndarray:
    """What a probe that never saw a photo takes each of its rows for: (n,), from vectors (n, d)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if probe not in PROBES:
        raise InputError(f"probe {probe!r} is unknown: use one of {', '.join(PROBES)}")
    labels, photos = (np.asarray(x, dtype=object).astype(str) for x in (labels, photos))
    folds = min(FOLDS, _fewest_photos(labels, photos))
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    splits = list(cut.split(vectors, labels, photos))
    if any(len(set(labels[train])) < 2 for train, _ in splits):
        raise InputError("a split by photo leaves one class to learn from: wanted more photos")
    if probe == "linear":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    else:
        least = min(len(train) for train, _ in splits) // 2
        model = KNeighborsClassifier(max(1, min(10, least)), metric="cosine")
    return cross_val_predict(model, vectors, labels, cv=splits)


def _fewest_photos(labels: np.ndarray, photos: np.ndarray) -> int:
    """The number of photos of the class that has the fewest."""
    check_sample(photos)
    counts = {label: len(set(photos[labels == label])) for label in np.unique(labels)}
    if len(counts) < 2:
        raise InputError(f"every row is '{labels[0]}': wanted at least 2 classes")
    rarest = min(counts, key=counts.get)
    if counts[rarest] < 2:
        raise InputError(
            f"the class '{rarest}' has one photo: a split by photo wants at least 2 of each"
        )
    return counts[rarest]


class Fit(NamedTuple):
    """How far predictions are off, row by row, and how far the mean of the training rows is."""

    error: np.ndarray
    spread: np.ndarray

    def r2(self, rows: np.ndarray) -> float:
        """The share of the variance that the predictions explain."""
        return 1 - self.error[rows].sum() / self.spread[rows].sum()


def _regress(vectors: np.ndarray, values: np.ndarray, photos: np.ndarray) -> Fit:
    """Ridge regression of values (n, k) on vectors (n, d), each photo predicted by others.

    The strength, too, is chosen by how well it predicts other photos of the training rows.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    photos = photos.astype(str)
    check_sample(photos)
    error, spread = np.empty(len(values)), np.empty(len(values))
    for train, test in _folds(photos):
        inner = _folds(photos[train]) if len(set(photos[train])) > 1 else None
        ridge = RidgeCV(ALPHAS, cv=inner, scoring="neg_mean_squared_error")
        model = make_pipeline(StandardScaler(), ridge).fit(vectors[train], values[train])
        predicted = model.predict(vectors[test]).reshape(len(test), -1)
        error[test] = ((predicted - values[test]) ** 2).sum(1)
        spread[test] = ((values[train].mean(0) - values[test]) ** 2).sum(1)
    if not spread.any():
        raise InputError("all rows have the same value: there is nothing to read")
    return Fit(error, spread)


def _folds(photos: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train on and rows to predict, no photo in both; every row is predicted once."""
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(min(FOLDS, len(set(photos)))).split(photos, groups=photos))


def severity_regression(table: EmbeddingTable, space: str = "degradation") -> "pd.DataFrame":
    """How well a ridge regression reads the severity of each degradation.

    Returns a row for each degradation that comes in several severities, and `overall`: `value` is R² (the share of the
    variance of the severity within a degradation; 0 for embeddings that know nothing, below 0 for worse), with `low`,
    `high`, `rmse` (root of the mean squared error, in units of severity), `n` and `photos`.

    Raises InputError where no degradation comes in several severities, or one has fewer than 10 rows.
    """
    import pandas as pd

    fits = severity_fits(
        table.embedding(space),
        labels_or_one(table),
        table.rows.severity.to_numpy(),
        photos_of(table),
    )
    return pd.DataFrame(
        {
            label: estimate_statistic(fit.r2, photos, chance=0.0)._asdict()
            | {"rmse": float(np.sqrt(fit.error.mean()))}
            for label, (fit, photos) in fits.items()
        }
    ).T.astype({"n": int, "photos": int})


def severity_fits(
    vectors: np.ndarray, labels: np.ndarray, severity: np.ndarray, photos: np.ndarray
) -> dict[str, tuple[Fit, np.ndarray]]:
    """For each label that comes in several severities, and `overall`: how severity (n,) is read off vectors (n, d).

    Each fit comes with the photos of its rows; rows whose severity is NaN are left out.
    """
    found = {}
    for label in dict.fromkeys(labels):
        rows = np.flatnonzero((labels == label) & np.isfinite(severity))
        if len(rows) and np.ptp(severity[rows]) > 1e-6:
            check_sample(photos[rows], f"rows of '{label}'")
            found[label] = (
                _regress(vectors[rows], severity[rows, None], photos[rows]),
                photos[rows],
            )
    if not found:
        raise InputError("no degradation of this table comes in several severities")
    fits, members = zip(*found.values(), strict=True)
    whole = Fit(*(np.concatenate(parts) for parts in zip(*fits, strict=True)))
    return found | {"overall": (whole, np.concatenate(members))}


def labels_or_one(table: EmbeddingTable) -> np.ndarray:
    """The degradation of each row; "unknown" where nothing is known."""
    return table.rows.degradation.fillna("unknown").to_numpy()


def content_read(table: EmbeddingTable, space: str) -> Estimate:
    """How much of what the clean image shows can be read off the embeddings of the degraded one.

    R²: the share of the variance of CLIP's embedding of the clean partner that ridge regression explains on photos that
    it never saw. Chance is 0. Rows that are labelled clean, which show the partner itself, are left out.
    """
    clean, photos = with_partners(table), photos_of(table)
    degraded = (table.rows.degradation != CLEAN).to_numpy()
    fit = _regress(table.embedding(space)[degraded], clean[degraded], photos[degraded])
    return estimate_statistic(fit.r2, photos[degraded], chance=0.0)


def disentanglement(table: EmbeddingTable) -> "pd.DataFrame":
    """What each embedding tells about the degradation, and what about the content; a row for each of the two and space.

    `what` is "degradation" (accuracy of `probe_accuracy`) or "content" (R² of `content_read`). A perfect split reads
    the degradation off the degradation embedding alone, and the content off the content embedding alone. The space
    "plain" is CLIP without its controller. The other columns are those of `Estimate`.
    """
    import pandas as pd

    measures = {"degradation": probe_accuracy, "content": content_read}
    rows = [
        {"what": what, "space": space, **measure(table, space)._asdict()}
        for what, measure in measures.items()
        for space in table.spaces
        if space != "clean"
    ]
    return pd.DataFrame(rows)
