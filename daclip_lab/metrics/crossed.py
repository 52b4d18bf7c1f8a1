r"""The mean of values of every seed on every photo, and its interval over both.

Seeds and photos are both samples, and crossed. With the value $d_{sp}$ of seed s (of k) on photo p (of n), the variance
of the mean is estimated without bias by

$$ \widehat V = \frac{s_\text{seeds}^2}{k} + \frac{s_\text{photos}^2}{n} - \frac{s_\text{rest}^2}{k n} $$

with the variances of the means of seeds, of the means of photos, and of what is left. It is the variance of a bootstrap
that draws seeds and photos (Owen 2007) without its two errors: drawing 5 seeds with replacement understates their
spread by $\sqrt{4/5}$, and drawing both counts the rest three times.

The reach of an interval takes the factor of Student's t for each part by itself (Howe 1974; Graybill and Wang 1980):
its square is the sum above, each term times the square of its own t. So it is 2.8 standard errors where five seeds
decide and 2.0 where a hundred photos do; a bootstrap's own quantiles of five seeds are far too narrow.

Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007 (https://arxiv.org/abs/0712.1111). Howe,
Approximate confidence limits on the mean of X + Y, JASA 69, 1974. Graybill and Wang, Confidence intervals on
nonnegative linear combinations of variances, JASA 75, 1980.
"""

from typing import NamedTuple

import numpy as np

from daclip_lab.errors import extra

LEVEL = 0.05
"""The share of intervals that may miss the truth."""


class Components(NamedTuple):
    """The mean of values by seed and photo, and the three parts of its variance."""

    mean: float
    seeds: int
    photos: int
    of_seeds: float
    """Variance of the mean that the seeds' means show; NaN for a single seed."""
    of_photos: float
    """Variance of the mean that the photos' means show; NaN for a single photo."""
    of_rest: float
    """Variance of the mean by what is left; it is part of both others. 0 where one of them is NaN."""

    def reach(self, level: float = LEVEL) -> float:
        """Half the width of the interval that misses the mean with probability `level`; NaN for one seed and photo."""
        return float(reaches(*self[1:], level))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The ends of that interval."""
        return self.mean - self.reach(level), self.mean + self.reach(level)


def components(values: np.ndarray) -> Components:
    """Mean and variance components of values (photos, seeds), none of them missing."""
    values = np.asarray(values, float)
    n, k = values.shape
    mean = values.mean()
    seeds, photos = values.mean(0), values.mean(1)
    rest = values - seeds - photos[:, None] + mean
    crossed = k > 1 and n > 1
    return Components(
        mean=float(mean),
        seeds=k,
        photos=n,
        of_seeds=float(seeds.var(ddof=1) / k) if k > 1 else np.nan,
        of_photos=float(photos.var(ddof=1) / n) if n > 1 else np.nan,
        of_rest=float((rest**2).sum() / ((k - 1) * (n - 1) * k * n)) if crossed else 0.0,
    )


@extra("analysis")
def reaches(seeds, photos, of_seeds, of_photos, of_rest, level=LEVEL) -> np.ndarray:
    """`Components.reach` of many means at once: numbers or arrays (m,) of their parts and levels."""
    from scipy.stats import t

    def squared(variance, freedom):
        return np.asarray(variance, float) * t.isf(np.divide(level, 2), freedom) ** 2

    with np.errstate(invalid="ignore"):  # no degrees of freedom: NaN
        k, n = np.subtract(seeds, 1), np.subtract(photos, 1)
        by_seeds, by_photos = squared(of_seeds, k), squared(of_photos, n)
        # Both hold the rest: it is taken off once, but the photos' own spread stays.
        both = by_seeds + by_photos - np.where(k * n > 0, squared(of_rest, k * n), 0)
        alone = np.where(n > 0, by_photos, by_seeds)
        return np.sqrt(np.fmax(alone, both))
