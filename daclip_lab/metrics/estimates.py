"""Numbers with intervals: what a table of embeddings says, and how far other photos might say otherwise.

Rows of one photo are alike: a hundred crops of four photos are four observations, not a hundred. So every interval here
draws whole *photos* again (the bootstrap over clusters), and every probe is asked about photos that it never saw.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.errors import InputError
from daclip_lab.metrics.bootstrap import interval

FEWEST = 10
"""Rows below which no measure is given."""


class Estimate(NamedTuple):
    """A measure with its 95 % interval over photos."""

    value: float
    low: float
    high: float
    chance: float
    """What embeddings that know nothing would get; NaN where there is no such level."""
    n: int
    """Rows that it rests on."""
    photos: int
    """Photos that these rows come from."""

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean(values: np.ndarray, photos: np.ndarray, chance: float = float("nan")) -> Estimate:
    """The mean of one value per row (n,); rows with NaN, of which the measure says nothing, are left out.

    Raises InputError where fewer than 10 rows, or rows of a single photo, are left.
    """
    values, photos = np.asarray(values, float), np.asarray(photos, dtype=object)
    if values.shape != photos.shape:
        raise InputError(f"{len(values)} values for {len(photos)} rows: wanted one for each")
    keep = ~np.isnan(values)
    values, photos = values[keep], photos[keep].astype(str)
    enough(photos)
    return Estimate(*interval(values, photos), chance, len(values), len(set(photos)))


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    photos: np.ndarray,
    *,
    chance: float = float("nan"),
    recentred: bool = False,
    resamples: int = 300,
    seed: int = 0,
) -> Estimate:
    """Any statistic of row numbers, with the interval that it takes on when photos are drawn again: see `resampled`."""
    value, low, high = resampled(
        statistic, photos, recentred=recentred, resamples=resamples, seed=seed
    )
    return Estimate(float(value), float(low), float(high), chance, len(photos), len(set(photos)))


def resampled(
    statistic: Callable[[np.ndarray], np.ndarray],
    photos: np.ndarray,
    *,
    recentred: bool = False,
    resamples: int = 300,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic of row numbers, of any shape, and the two ends of its 95 % interval over photos.

    A resample repeats photos, which pushes some statistics (a similarity of spaces, say) up or down on the whole:
    `recentred` moves the interval so that the resamples' mean is the estimate. NaN stands for a resample in which the
    statistic does not exist.
    """
    photos = np.asarray(photos, dtype=object).astype(str)
    enough(photos)
    _, group = np.unique(photos, return_inverse=True)
    members = [np.flatnonzero(group == k) for k in range(group.max() + 1)]
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(resamples):
        picked = rng.integers(len(members), size=len(members))
        drawn.append(statistic(np.concatenate([members[k] for k in picked])))
    value = statistic(np.arange(len(photos)))
    shift = value - np.nanmean(drawn, axis=0) if recentred else 0.0
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0) + shift
    return value, low, high


def enough(photos: np.ndarray, what: str = "rows") -> None:
    """Refuse fewer than 10 rows, or rows of one photo: there would be nothing to draw again."""
    if len(photos) < FEWEST:
        raise InputError(f"{len(photos)} {what} are too few: wanted at least {FEWEST}")
    if len(set(photos)) < 2:
        raise InputError(f"all {what} come from the photo '{photos[0]}': wanted at least 2 photos")


def photos_of(table: EmbeddingTable) -> np.ndarray:
    """The photo (n,) that each row comes from."""
    return table.rows.photo.to_numpy()


def labels_of(table: EmbeddingTable, target: str = "degradation") -> np.ndarray:
    """One label per row (n,) from a column of the table, None where it is unknown.

    Raises InputError where there is no such column, or fewer than two labels among the rows.
    """
    if target not in table.rows:
        raise InputError(f"the table has no column {target!r}: it has {', '.join(table.rows)}")
    column = table.rows[target]
    labels = np.where(column.notna(), column.astype(str), None)
    known = sorted(set(labels) - {None})
    if len(known) < 2:
        found = f"every row is {known[0]!r}" if known else "no row has a label"
        raise InputError(f"{found} in the column {target!r}: wanted at least 2 classes")
    return labels


def with_partners(table: EmbeddingTable) -> np.ndarray:
    """CLIP's embeddings (n, d) of the clean partners; an InputError where the table has none."""
    if table.clean is None:
        raise InputError(
            "this measure compares with clean partners, and the table has none: embed pairs, or give `clean`"
        )
    return table.clean
