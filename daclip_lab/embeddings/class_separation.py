"""How well classes are separated in an embedding space: silhouette, and distances between class centroids."""

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.probes import class_labels
from daclip_lab.errors import InsufficientDataError, extra
from daclip_lab.metrics.bootstrap import Estimate, bootstrap_statistic, estimate_mean

if TYPE_CHECKING:
    import pandas as pd


def silhouette(table: EmbeddingTable, space: str, target: str = "degradation") -> Estimate:
    """The mean silhouette of the classes by cosine distance, in -1..1, see `silhouette_values`.

    Rows without a label are left out. Raises InsufficientDataError for one class only, or a class for each row.
    """
    return estimate_mean(silhouette_values(table, space, target), table.rows.photo, chance=0.0)


@extra("analysis")
def silhouette_values(table: EmbeddingTable, space: str, target: str = "degradation") -> np.ndarray:
    r"""The silhouette of each row (n,) by cosine distance, NaN for rows without a label.

    $(b - a) / \max(a, b)$ with a, b the mean distances to the own and to the nearest other class (Rousseeuw, 1987).
    1: tight, separate classes; 0: overlapping ones; below 0: nearer to another class.
    """
    from sklearn.metrics import silhouette_samples

    labels = class_labels(table, target)
    labelled = np.array([label is not None for label in labels])
    names = labels[labelled].astype(str)
    if len(set(names)) >= len(names):
        raise InsufficientDataError(
            f"{len(set(names))} classes among {len(names)} rows: fewer classes needed"
        )
    values = np.full(len(table), np.nan)
    values[labelled] = silhouette_samples(table.embedding(space)[labelled], names, metric="cosine")
    return values


def centroid_distances(
    table: EmbeddingTable, space: str, target: str = "degradation"
) -> "pd.DataFrame":
    """The cosine distance (0..2) between the centroids (mean embeddings) of every two classes.

    Returns a row for each pair, the nearest first: `first`, `second`, and the columns of `Estimate`. Raises
    InsufficientDataError for fewer than 10 rows, 2 classes, or 2 photos of a class.
    """
    import pandas as pd

    labels = class_labels(table, target)
    labelled = np.array([label is not None for label in labels])
    vectors, labels = table.embedding(space)[labelled], labels[labelled].astype(str)
    photos = table.rows.photo.to_numpy()[labelled]
    names, place = np.unique(labels, return_inverse=True)
    for name in names:
        if len(set(photos[labels == name])) < 2:
            raise InsufficientDataError(
                f"the class '{name}' has one photo: at least 2 of each needed"
            )
    member = (place == np.arange(len(names))[:, None]).astype(float)
    pairs = list(combinations(range(len(names)), 2))

    def distances(rows: np.ndarray) -> np.ndarray:
        centroids = member[:, rows] @ vectors[rows]
        norms = np.linalg.norm(centroids, axis=1, keepdims=True)
        # A resample may leave out a rare class, which then has no centroid.
        centroids = np.divide(
            centroids, norms, where=norms > 0, out=np.full_like(centroids, np.nan)
        )
        cosines = centroids @ centroids.T
        return np.array([1 - cosines[pair] for pair in pairs])

    bounds = zip(*bootstrap_statistic(distances, photos, recentre=True), strict=True)
    n, count = len(photos), len(set(photos))
    rows = [
        {"first": names[i], "second": names[j]}
        | Estimate(float(value), float(low), float(high), float("nan"), n, count)._asdict()
        for (i, j), (value, low, high) in zip(pairs, bounds, strict=True)
    ]
    return pd.DataFrame(rows).sort_values("value", ignore_index=True)
