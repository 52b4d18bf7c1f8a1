"""How well classes are separated in an embedding space: silhouette, and distances between class centroids."""

import numpy as np
import pandas as pd

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings.probes import labelled_rows
from daclip_lab.errors import InsufficientDataError, extra
from daclip_lab.metrics.bootstrap import Estimate, bootstrap_statistic, estimate_mean


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

    rows, labels = labelled_rows(table, target)
    if len(set(labels)) >= len(labels):
        raise InsufficientDataError(f"{len(rows)} classes among {len(rows)} rows: fewer needed")
    values = np.full(len(table), np.nan)
    values[rows] = silhouette_samples(table.embedding(space)[rows], labels, metric="cosine")
    return values


def centroid_distances(
    table: EmbeddingTable, space: str, target: str = "degradation"
) -> "pd.DataFrame":
    """The cosine distance (0..2) between the centroids (mean embeddings) of every two classes.

    Returns a row for each pair, the nearest first: `first`, `second`, and the columns of `Estimate`. Raises
    InsufficientDataError for fewer than 10 rows, 2 classes, or 2 photos of a class.
    """
    labelled, labels = labelled_rows(table, target)
    vectors, photos = table.embedding(space)[labelled], table.rows.photo.to_numpy()[labelled]
    names, number = np.unique(labels, return_inverse=True)
    for name in names:
        if len(set(photos[labels == name])) < 2:
            raise InsufficientDataError(f"the class '{name}' has one photo: at least 2 needed")
    member = (number == np.arange(len(names))[:, None]).astype(float)
    first, second = np.triu_indices(len(names), 1)

    def distances(rows: np.ndarray) -> np.ndarray:
        centroids = member[:, rows] @ vectors[rows]
        # A resample may leave out a rare class, which then has no centroid.
        with np.errstate(invalid="ignore"):
            centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        return 1 - (centroids @ centroids.T)[first, second]

    value, low, high = bootstrap_statistic(distances, photos, recentre=True)
    columns = {
        "first": names[first],
        "second": names[second],
        "value": value,
        "low": low,
        "high": high,
    }
    table_of_pairs = pd.DataFrame(columns).assign(
        chance=float("nan"), n=len(photos), photos=len(set(photos))
    )
    return table_of_pairs.sort_values("value", ignore_index=True)
