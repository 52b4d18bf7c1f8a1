"""95 % bootstrap intervals over photos: crops of one photo are alike, so whole photos are drawn again."""

from functools import lru_cache

import numpy as np


def interval(
    values: np.ndarray, photos: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval (mean, low, high) of values (n,) that come from photos (n,).

    NaN does not count; without any value all three are NaN.
    """
    return ratio_interval(values, np.ones(len(values)), photos, resamples=resamples, seed=seed)


def ratio_interval(
    above: np.ndarray,
    below: np.ndarray,
    photos: np.ndarray,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The mean of `above` as a share of the mean of `below`, with its 95 % bootstrap interval (value, low, high).

    All are (n,), and each draw of photos counts both of its values. Rows with a NaN do not count; without any row, or
    where `below` is 0 throughout, all three are NaN.
    """
    keep = ~(np.isnan(above) | np.isnan(below))
    above, below, photos = above[keep], below[keep], photos[keep]
    if not below.any():
        return (float("nan"),) * 3
    _, group = np.unique(photos, return_inverse=True)
    sums, counts = np.bincount(group, above), np.bincount(group, below)
    drawn = _draws(len(sums), resamples, seed)
    # A draw in which nothing lies below has no value.
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (drawn @ sums) / (drawn @ counts)
    low, high = np.nanquantile(ratios, [0.025, 0.975])
    return float(above.sum() / below.sum()), float(low), float(high)


@lru_cache(maxsize=8)
def _draws(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of n photos is drawn in each resample: (resamples, n)."""
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n))
    counts = np.zeros((resamples, n))
    np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1.0)
    return counts
