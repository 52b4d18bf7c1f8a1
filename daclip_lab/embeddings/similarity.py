"""The shape of a space: how far classes lie apart, and how alike two spaces are."""

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.table_columns import labels_of, photos_of, with_partners
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import (
    Estimate,
    bootstrap_statistic,
    check_sample,
    estimate_mean,
    estimate_statistic,
)

if TYPE_CHECKING:
    import pandas as pd


def class_silhouette(table: EmbeddingTable, space: str, target: str = "degradation") -> Estimate:
    """How well classes are separated, by cosine distance: -1..1 (Rousseeuw, 1987), the mean over rows.

    1: each class is a tight cluster of its own; 0: classes overlap; below 0: most rows are nearer to another class.
    Rows without a label are left out. Raises InputError for one class only, or a class for each row.
    """
    return estimate_mean(silhouettes(table, space, target), photos_of(table), chance=0.0)


def silhouettes(table: EmbeddingTable, space: str, target: str = "degradation") -> np.ndarray:
    """The silhouette of each row (n,), NaN for rows without a label."""
    from sklearn.metrics import silhouette_samples

    labels = labels_of(table, target)
    known = np.array([label is not None for label in labels])
    classes = len(set(labels[known]))
    if classes >= known.sum():
        raise InputError(f"{classes} classes among {known.sum()} rows: wanted fewer classes")
    values = np.full(len(table), np.nan)
    names = labels[known].astype(str)
    values[known] = silhouette_samples(table.embedding(space)[known], names, metric="cosine")
    return values


def centre_distances(
    table: EmbeddingTable, space: str, target: str = "degradation"
) -> "pd.DataFrame":
    """The cosine distance (0..2) between the centres of every two classes.

    A centre is the mean of a class's embeddings. Returns a row for each pair, the nearest first: `first`, `second`, and
    the columns of `Estimate`.
    """
    import pandas as pd

    vectors, labels, photos = table.embedding(space), labels_of(table, target), photos_of(table)
    known = np.array([label is not None for label in labels])
    vectors, labels, photos = vectors[known], labels[known].astype(str), photos[known]
    names, place = np.unique(labels, return_inverse=True)
    for name in names:
        if len(set(photos[labels == name])) < 2:
            raise InputError(f"the class '{name}' has one photo: wanted at least 2 of each")
    member = (place == np.arange(len(names))[:, None]).astype(float)
    pairs = list(combinations(range(len(names)), 2))

    def distances(rows: np.ndarray) -> np.ndarray:
        centres = member[:, rows] @ vectors[rows]
        lengths = np.linalg.norm(centres, axis=1, keepdims=True)
        # A resample may leave a rare class out: it has no centre then.
        centres = np.divide(centres, lengths, where=lengths > 0, out=np.full_like(centres, np.nan))
        cosines = centres @ centres.T
        return np.array([1 - cosines[pair] for pair in pairs])

    ends = zip(*bootstrap_statistic(distances, photos, recentre=True), strict=True)
    n, count = len(photos), len(set(photos))
    rows = [
        {"first": names[i], "second": names[j]}
        | Estimate(*map(float, found), float("nan"), n, count)._asdict()
        for (i, j), found in zip(pairs, ends, strict=True)
    ]
    return pd.DataFrame(rows).sort_values("value", ignore_index=True)


def clean_cka(table: EmbeddingTable, space: str) -> Estimate:
    """Linear CKA between the embeddings of degraded images and CLIP's of their clean partners: 0..1.

    1: the two spaces are one up to rotation and scale (Kornblith et al., 1905.00414). With few rows it is far above 0
    even for spaces that have nothing in common; `chance` is what partners drawn at random among the photos give. Rows
    that are labelled clean, which show the partner itself, are left out.
    """
    table = table.select((table.rows.degradation != CLEAN).to_numpy())
    vectors, clean, photos = table.embedding(space), with_partners(table), photos_of(table)
    check_sample(photos)
    rng = np.random.default_rng(0)
    _, first, group = np.unique(photos.astype(str), return_index=True, return_inverse=True)
    strangers = [first[rng.permutation(len(first))][group] for _ in range(20)]
    chance = float(np.mean([linear_cka(vectors, clean[other]) for other in strangers]))

    def of(rows: np.ndarray) -> float:
        # A resample may hold one photo only.
        return linear_cka(vectors[rows], clean[rows]) if np.ptp(group[rows]) else float("nan")

    return estimate_statistic(of, photos, chance=chance, recentre=True, resamples=200)


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment of two sets of vectors (n, d) and (n, e) for the same n things."""
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} vectors: wanted as many")
    a, b = (x - x.mean(0) for x in (np.asarray(first), np.asarray(second)))
    own = [np.linalg.norm(x.T @ x) for x in (a, b)]
    if min(own) < 1e-10 * len(a):
        raise InputError("all vectors of one side are equal: there is nothing to compare")
    return float(np.linalg.norm(a.T @ b) ** 2 / (own[0] * own[1]))
