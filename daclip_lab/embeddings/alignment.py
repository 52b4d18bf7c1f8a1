"""Drift: how far an embedding moves away from that of the clean image, and whether it can still be found there.

What DA-CLIP promises (2310.01018, section 3.1) is that its content embedding of a degraded image is what CLIP would
have said of the clean one. So each measure here is taken twice: in the space "plain", without the controller, and in
"content", with it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.embeddings.table_columns import photos_of, with_partners
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import (
    MIN_ROWS,
    Estimate,
    bootstrap_interval,
    check_sample,
    estimate_mean,
    estimate_statistic,
)

if TYPE_CHECKING:
    import pandas as pd

EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SPACES = {"plain": "CLIP alone", "content": "DA-CLIP"}


def clean_cosines(table: EmbeddingTable, space: str) -> np.ndarray:
    """The cosine (n,) of each row to CLIP's embedding of its clean partner."""
    clean = with_partners(table).astype(float)
    vectors = table.embedding(space).astype(float)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(clean, axis=1)
    return (vectors * clean).sum(1) / np.maximum(norms, 1e-12)


def clean_cosine(table: EmbeddingTable, space: str) -> Estimate:
    """The mean cosine of degraded images to their clean partners; chance is that of a partner of another photo."""
    return estimate_mean(
        _of_degraded(table, clean_cosines(table, space)), photos_of(table), stranger(table, space)
    )


def stranger(table: EmbeddingTable, space: str) -> float:
    """The mean cosine between an image and the clean partners of other photos: what no drift should fall below."""
    clean, vectors = with_partners(table), table.embedding(space)
    photos = photos_of(table).astype(str)
    check_sample(photos)
    # A mean over all pairs is a product of sums, without those of one photo.
    whole, count = vectors.sum(0) @ clean.sum(0), len(table) ** 2
    for photo in np.unique(photos):
        own = photos == photo
        whole -= vectors[own].sum(0) @ clean[own].sum(0)
        count -= own.sum() ** 2
    return float(whole / count)


def content_drift(table: EmbeddingTable, edges: Sequence[float] = EDGES) -> "pd.DataFrame":
    """The cosine to the clean partner over severity, without and with the controller.

    Args:
        edges: of the bins of severity, ascending; a bin of fewer than 10 rows, or of one photo, is left out.

    Returns a row for each degradation and `overall`, bin and space, as `viz.severity_figures.over_severity` draws them:
    degradation, severity (the mean in the bin), space ("CLIP alone", "DA-CLIP"), mean, low, high, n.

    Raises InputError for a table without clean partners, or without severities.
    """
    import pandas as pd

    severity, photos = table.rows.severity.to_numpy(), photos_of(table)
    degraded = (table.rows.degradation != CLEAN).to_numpy() & np.isfinite(severity)
    if not degraded.any():
        raise InputError("the table tells no severity of a degraded image")
    cosines = {name: clean_cosines(table, space) for space, name in SPACES.items()}
    bins = np.clip(np.digitize(severity, edges) - 1, 0, len(edges) - 2)
    names = table.rows.degradation.to_numpy()
    rows = []
    for name in (*dict.fromkeys(filter(None, names[degraded])), "overall"):
        own = degraded & (np.ones(len(table), bool) if name == "overall" else names == name)
        for k in range(len(edges) - 1):
            which = own & (bins == k)
            if which.sum() < MIN_ROWS or len(set(photos[which])) < 2:
                continue
            for space, values in cosines.items():
                middle, low, high = bootstrap_interval(values[which], photos[which].astype(str))
                rows.append(
                    {
                        "degradation": name,
                        "severity": severity[which].mean(),
                        "space": space,
                        "mean": middle,
                        "low": low,
                        "high": high,
                        "n": int(which.sum()),
                    }
                )
    if not rows:
        raise InputError(
            "no bin of severity holds 10 rows of two photos: wanted more rows, or wider bins"
        )
    return pd.DataFrame(rows)


def partner_ranks(table: EmbeddingTable, space: str) -> np.ndarray:
    """The place (n,) of the own clean partner among all of them, by cosine; 1 is the nearest. NaN for clean rows.

    Partners that are as near count as nearer, so that a space where everything is one place gets no credit.
    """
    clean, vectors = with_partners(table), table.embedding(space)
    names = table.rows.partner
    if names.isna().any():
        raise InputError(
            f"row {int(names.isna().argmax())} has no `partner`: wanted a name of each"
        )
    _, first, own = np.unique(names.to_numpy().astype(str), return_index=True, return_inverse=True)
    if len(first) < 2:
        raise InputError("all rows have the same clean partner: wanted at least 2")
    partners = clean[first] / np.linalg.norm(clean[first], axis=1, keepdims=True)
    similar = vectors @ partners.T
    mine = similar[np.arange(len(table)), own]
    return _of_degraded(table, (similar >= mine[:, None] - 1e-6).sum(1).astype(float))


def retrieval(table: EmbeddingTable, space: str) -> "pd.DataFrame":
    """Finding the clean partner of a degraded image among all clean partners of the table.

    Returns the rows `R@1`, `R@5` (shares of images whose partner is the nearest, or among the nearest five) and
    `median rank`, with the columns of `Estimate`.
    """
    import pandas as pd

    ranks, photos = partner_ranks(table, space), photos_of(table)
    keep = np.isfinite(ranks)
    ranks, photos = ranks[keep], photos[keep]
    among = table.rows.partner.nunique()
    found = {
        f"R@{k}": estimate_mean((ranks <= k).astype(float), photos, chance=min(k / among, 1.0))
        for k in (1, 5)
    }
    found["median rank"] = estimate_statistic(
        lambda rows: float(np.median(ranks[rows])), photos, chance=(among + 1) / 2
    )
    return pd.DataFrame({name: one._asdict() for name, one in found.items()}).T


def _of_degraded(table: EmbeddingTable, values: np.ndarray) -> np.ndarray:
    """The values, NaN for rows that are labelled clean: they have nothing to drift from."""
    return np.where(table.rows.degradation.to_numpy() == CLEAN, np.nan, values)
