"""Alignment with the clean image: cosine, retrieval and CKA between embeddings of degraded images and clean partners.

DA-CLIP's content embedding of a degraded image is trained to match what CLIP outputs for the clean one (2310.01018,
section 3.1). So each measure is computed in two spaces: "clip", CLIP without the controller, and "content".
"""

import numpy as np
import pandas as pd

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN, in_order
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.bootstrap import (
    MIN_ROWS,
    Estimate,
    bootstrap_interval,
    check_sample,
    estimate_mean,
    estimate_statistic,
)

SEVERITY_BINS = 5


def clean_partners(table: EmbeddingTable) -> np.ndarray:
    """CLIP's embeddings (n, d) of the clean partners. Raises InsufficientDataError where the table has none."""
    if table.clean is None:
        raise InsufficientDataError(
            "the table has no embeddings of clean partners: embed pairs, or give `clean`"
        )
    return table.clean


def clean_cosines(table: EmbeddingTable, space: str) -> np.ndarray:
    """The cosine (n,) of each row to CLIP's embedding of its clean partner; NaN for rows labelled clean."""
    clean = clean_partners(table).astype(float)
    vectors = table.embedding(space).astype(float)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(clean, axis=1)
    return _degraded_only(table, (vectors * clean).sum(1) / np.maximum(norms, 1e-12))


def clean_cosine(table: EmbeddingTable, space: str) -> Estimate:
    """The mean cosine of degraded images to their clean partners; chance is `unrelated_cosine`.

    Raises InsufficientDataError for a table without clean partners, fewer than 10 rows, or rows of a single photo.
    """
    chance = unrelated_cosine(table, space)
    return estimate_mean(clean_cosines(table, space), table.rows.photo, chance)


def unrelated_cosine(table: EmbeddingTable, space: str) -> float:
    """The mean cosine of the rows to the clean partners of *other* photos."""
    check_sample(table.rows.photo.to_numpy())
    photos = table.rows.photo.to_numpy() == table.rows.photo.unique()[:, None]
    # Sums over each photo: the mean over all pairs without those of one photo needs no pairs.
    clean, vectors = (photos @ x for x in (clean_partners(table), table.embedding(space)))
    total = vectors.sum(0) @ clean.sum(0) - (vectors * clean).sum()
    return float(total / (len(table) ** 2 - (photos.sum(1) ** 2).sum()))


def cosine_by_degradation(table: EmbeddingTable) -> "pd.DataFrame":
    """The mean cosine to the clean partner for each degradation and `overall` (rows), as `Estimate`s.

    Columns: "CLIP alone", "DA-CLIP" (its content embedding), and their paired "difference". Degradations of fewer than
    10 rows, or of a single photo, count in `overall` only. Raises InsufficientDataError, see `clean_cosine`.
    """
    rows = _with_cosines(table)
    rows["difference"] = rows["DA-CLIP"] - rows["CLIP alone"]
    groups = {name: part for name, part in rows.groupby("degradation") if _large_enough(part)}
    groups = {name: groups[name] for name in in_order(groups)} | {"overall": rows}
    columns = ("CLIP alone", "DA-CLIP", "difference")
    estimates = {
        name: {column: estimate_mean(part[column], part.photo) for column in columns}
        for name, part in groups.items()
    }
    return pd.DataFrame.from_dict(estimates, orient="index")


def content_drift(table: EmbeddingTable) -> "pd.DataFrame":
    """The mean cosine to the clean partner in five equal bins of severity, without and with the controller.

    Returns a row for each degradation and `overall`, bin and space: degradation, severity (mean in the bin), space
    ("CLIP alone" or "DA-CLIP"), mean, low, high, n. Bins of fewer than 10 rows, or of a single photo, are left out.
    `figures.severity.over_severity` draws it.

    Raises InsufficientDataError for a table without clean partners or severities, or where no bin is large enough.
    """
    rows = _with_cosines(table).dropna(subset="severity")
    if rows.empty:
        raise InsufficientDataError("no degraded image of the table has a severity")
    rows["bin"] = (rows.severity * SEVERITY_BINS).astype(int).clip(upper=SEVERITY_BINS - 1)
    both = pd.concat([rows, rows.assign(degradation="overall")])
    found = [
        (name, part.severity.mean(), space, *bootstrap_interval(part[space], part.photo), len(part))
        for (name, _), part in both.groupby(["degradation", "bin"])
        if _large_enough(part)
        for space in ("CLIP alone", "DA-CLIP")
    ]
    if not found:
        raise InsufficientDataError(f"no bin of severity has {MIN_ROWS} rows of 2 photos")
    columns = ["degradation", "severity", "space", "mean", "low", "high", "n"]
    return pd.DataFrame(found, columns=columns)


def partner_ranks(table: EmbeddingTable, space: str) -> np.ndarray:
    """The rank (n,) of the own clean partner among all of the table, by cosine; 1 is the nearest. NaN for clean rows.

    Ties count against the query, so that a collapsed space, where all embeddings are equal, has the worst rank.
    """
    clean, vectors = clean_partners(table), table.embedding(space)
    names = table.rows.partner
    if names.isna().any():
        raise InsufficientDataError(f"row {int(names.isna().argmax())} has no `partner`")
    _, first, own = np.unique(names.to_numpy().astype(str), return_index=True, return_inverse=True)
    if len(first) < 2:
        raise InsufficientDataError("all rows have the same clean partner: at least 2 needed")
    partners = clean[first] / np.linalg.norm(clean[first], axis=1, keepdims=True)
    similarities = vectors @ partners.T
    to_own = similarities[np.arange(len(table)), own]
    return _degraded_only(table, (similarities >= to_own[:, None] - 1e-6).sum(1).astype(float))


def retrieval(table: EmbeddingTable, space: str) -> "pd.DataFrame":
    """Retrieval of the clean partner of each degraded image among all clean partners of the table.

    Returns the rows `R@1`, `R@5` (share of images with the partner among the nearest one or five) and `median rank`,
    with the columns of `Estimate`. Raises InsufficientDataError, see `clean_cosine`.
    """
    ranks, photos = partner_ranks(table, space), table.rows.photo.to_numpy()
    degraded = np.isfinite(ranks)
    ranks, photos, partners = ranks[degraded], photos[degraded], table.rows.partner.nunique()
    estimates = [
        estimate_mean(ranks <= 1, photos, chance=1 / partners),
        estimate_mean(ranks <= 5, photos, chance=min(5 / partners, 1.0)),
        estimate_statistic(
            lambda rows: float(np.median(ranks[rows])), photos, chance=(partners + 1) / 2
        ),
    ]
    return pd.DataFrame(estimates, index=["R@1", "R@5", "median rank"])


def clean_cka(table: EmbeddingTable, space: str) -> Estimate:
    """Linear CKA between embeddings of degraded images and CLIP's of their clean partners: 0..1, see `linear_cka`.

    With few rows CKA is far above 0 even for unrelated spaces: `chance` is its mean with shuffled partners.
    Rows labelled clean are left out. Raises InsufficientDataError, see `clean_cosine`.
    """
    table = table.select((table.rows.degradation != CLEAN).to_numpy())
    vectors, clean = table.embedding(space), clean_partners(table)
    photos = table.rows.photo.to_numpy()
    check_sample(photos)
    rng = np.random.default_rng(0)
    _, first, group = np.unique(photos.astype(str), return_index=True, return_inverse=True)
    shuffled = [first[rng.permutation(len(first))][group] for _ in range(20)]
    chance = float(np.mean([linear_cka(vectors, clean[rows]) for rows in shuffled]))

    def statistic(rows: np.ndarray) -> float:
        # A resample of a single photo has no variance.
        return linear_cka(vectors[rows], clean[rows]) if np.ptp(group[rows]) else float("nan")

    return estimate_statistic(statistic, photos, chance=chance, recentre=True, resamples=200)


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    r"""Linear centred kernel alignment of X (n, d) and Y (n, e), vectors of the same n items (1905.00414, equation 1).

    $\|Y^T X\|_F^2 / (\|X^T X\|_F \|Y^T Y\|_F)$ after centring, in 0..1; 1 for spaces that are equal up to rotation and
    scale. Raises InputError for different numbers of rows, InsufficientDataError where all vectors of one are equal.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} vectors: expected equal numbers")
    x, y = (vectors - vectors.mean(0) for vectors in (np.asarray(first), np.asarray(second)))
    norms = [np.linalg.norm(vectors.T @ vectors) for vectors in (x, y)]
    if min(norms) < 1e-10 * len(x):
        raise InsufficientDataError("all vectors of one space are equal: no similarity is defined")
    return float(np.linalg.norm(x.T @ y) ** 2 / (norms[0] * norms[1]))


def _degraded_only(table: EmbeddingTable, values: np.ndarray) -> np.ndarray:
    """The values, NaN for rows labelled clean."""
    return np.where(table.rows.degradation.to_numpy() == CLEAN, np.nan, values)


def _with_cosines(table: EmbeddingTable) -> "pd.DataFrame":
    """The rows that are not labelled clean, with their `clean_cosines` without and with the controller."""
    rows = table.rows[["degradation", "severity", "photo"]].assign(
        **{"CLIP alone": clean_cosines(table, "clip"), "DA-CLIP": clean_cosines(table, "content")}
    )
    return rows[rows.degradation != CLEAN].copy()


def _large_enough(rows: "pd.DataFrame") -> bool:
    return len(rows) >= MIN_ROWS and rows.photo.nunique() > 1
