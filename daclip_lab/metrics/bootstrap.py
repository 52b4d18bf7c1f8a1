r"""95 % bootstrap intervals over photos (the cluster bootstrap).

Rows of one photo are alike: a hundred crops of four photos are four observations, not a hundred. So a resample draws
whole *photos* with replacement, with all of their rows, and an interval is the range from the 2.5 % to the 97.5 %
quantile of the statistic over the resamples (the percentile method). With fewer than about ten photos it is too narrow.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.formatting import format_interval

RESAMPLES = 2000
MIN_ROWS = 10
"""Rows below which `Estimate`s are refused."""


class Estimate(NamedTuple):
    """A measure with its 95 % interval over photos."""

    value: float
    low: float
    high: float
    chance: float
    """The value of uninformative embeddings; NaN where there is no such level."""
    n: int
    """Rows that the value is computed from."""
    photos: int
    """Photos that these rows come from."""

    def __str__(self) -> str:
        return format_interval(self.value, self.low, self.high)


def bootstrap_interval(
    values: np.ndarray,
    photos: np.ndarray,
    *,
    denominators: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The mean of values (n,) with its interval over photos (n,): (value, low, high).

    With `denominators` (n,), the value is the mean of `values` divided by the mean of these, both of the same resample.
    Rows with NaN are left out. Without any row, or with denominators of 0 only, all three are NaN.
    """
    values = np.asarray(values, float)
    below = np.ones(len(values)) if denominators is None else np.asarray(denominators, float)
    keep = ~(np.isnan(values) | np.isnan(below))
    values, below = values[keep], below[keep]
    if not below.any():
        return (float("nan"),) * 3
    _, group = np.unique(_text(photos)[keep], return_inverse=True)
    drawn = _draws(group.max() + 1, resamples, seed)
    # A resample whose denominators are all 0 has no value.
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (drawn @ np.bincount(group, values)) / (drawn @ np.bincount(group, below))
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return float(values.sum() / below.sum()), float(low), float(high)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], np.ndarray | float],
    photos: np.ndarray,
    *,
    recentre: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Any statistic with its interval over photos (n,): (value, low, high), each of the statistic's own shape.

    Args:
        statistic: a function of row numbers (m,), which may repeat; NaN where it does not exist.
        recentre: shift the interval so that the mean of the resamples is the value. Repeated photos push some
            statistics up or down as a whole, such as a similarity of two spaces.

    Raises InsufficientDataError, see `check_sample`.
    """
    photos = _text(photos)
    check_sample(photos)
    rows = np.arange(len(photos))
    _, group = np.unique(photos, return_inverse=True)
    counts = _draws(group.max() + 1, resamples, seed)[:, group].astype(int)
    drawn = np.array([statistic(np.repeat(rows, count)) for count in counts])
    value = np.asarray(statistic(rows))
    shift = value - np.nanmean(drawn, axis=0) if recentre else 0.0
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0) + shift
    return value, low, high


def estimate_mean(values: np.ndarray, photos: np.ndarray, chance: float = float("nan")) -> Estimate:
    """The mean of values (n,) as an `Estimate`, see `bootstrap_interval`; InsufficientDataError as `check_sample`."""
    values, photos = np.asarray(values, float), _text(photos)
    if values.shape != photos.shape:
        raise InputError(f"{len(values)} values for {len(photos)} rows: wanted one for each")
    keep = ~np.isnan(values)
    values, photos = values[keep], photos[keep]
    check_sample(photos)
    return Estimate(*bootstrap_interval(values, photos), chance, len(values), len(set(photos)))


def estimate_statistic(
    statistic: Callable[[np.ndarray], float],
    photos: np.ndarray,
    *,
    chance: float = float("nan"),
    recentre: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A single number as an `Estimate`, see `bootstrap_statistic`."""
    ends = bootstrap_statistic(statistic, photos, recentre=recentre, resamples=resamples, seed=seed)
    value, low, high = map(float, ends)
    return Estimate(value, low, high, chance, len(photos), len(set(photos)))


def check_sample(photos: np.ndarray, what: str = "rows") -> None:
    """Raise InsufficientDataError for fewer than 10 rows, or rows of a single photo: nothing could be resampled."""
    if len(photos) < MIN_ROWS:
        raise InsufficientDataError(f"{len(photos)} {what} are too few: wanted at least {MIN_ROWS}")
    if len(set(photos)) < 2:
        raise InsufficientDataError(
            f"all {what} come from the photo '{photos[0]}': wanted at least 2 photos"
        )


@lru_cache(maxsize=8)
def _draws(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of n photos is drawn in each resample: (resamples, n), rows that sum to n."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return drawn.astype(float)


def _text(photos: np.ndarray) -> np.ndarray:
    return np.asarray(photos, dtype=object).astype(str)
