r"""Differences between the variants of a study, with intervals over seeds and photos, alone and for all at once.

Every variant has the same seeds and the same images, so a difference is formed image by image and seed by seed. Seeds
and photos are both samples, and crossed: every seed restores every photo. Images of one photo are alike, so a photo
counts once. With $d_{sp}$, the mean difference for seed s (of k) and photo p (of n), the variance of the mean is
estimated without bias by

$$ \widehat V = \frac{s_\text{seeds}^2}{k} + \frac{s_\text{photos}^2}{n} - \frac{s_\text{rest}^2}{k n} $$

with the variances of the means of seeds, of the means of photos, and of what is left. It is the variance of a bootstrap
that draws seeds and photos (Owen 2007; Owen and Eckles 2012) without its two errors: drawing 5 seeds with replacement
understates their spread by $\sqrt{4/5}$, and drawing both counts the rest three times.

The reach of an interval is that of Student's t with Satterthwaite's degrees of freedom (1946): 2.8 standard errors
where five seeds decide, 2.0 where a hundred photos do. A bootstrap's own quantiles of five seeds are far too narrow.

For all comparisons at once, the multiplier bootstrap (Chernozhukov, Chetverikov and Kato 2013) draws a normal weight
for each seed and each photo, the same for all comparisons, and so keeps their correlation. The intervals are then taken
at the level at which all of them hold in 95 % of the resamples, which is never stricter than Bonferroni's. With a single seed, intervals are over photos alone and say nothing about other seeds.

- A. B. Owen, The pigeonhole bootstrap. Annals of Applied Statistics 1, 2007. https://arxiv.org/abs/0712.1111
- A. B. Owen and D. Eckles, Bootstrapping data arrays of arbitrary order. Annals of Applied Statistics 6, 2012.
- F. E. Satterthwaite, An approximate distribution of estimates of variance components. Biometrics Bulletin 2, 1946.
- V. Chernozhukov, D. Chetverikov and K. Kato, Gaussian approximations and multiplier bootstrap for maxima of sums of
  high-dimensional random vectors. Annals of Statistics 41, 2013.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daclip_lab.ablation.study import Study
from daclip_lab.errors import InputError, extra

LEVEL = 0.05
"""The share of intervals, or of whole studies, that may miss the truth."""
LOWER_IS_BETTER = ("distance", "loss", "error")
"""A metric whose name starts with one of these is better when it is lower; all others when they are higher."""
Pairs = Sequence[tuple[str, str]]
"""Pairs (variant, against)."""


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

    @property
    def variance(self) -> float:
        """Estimated variance of the mean; NaN for a single seed and photo."""
        largest = np.fmax(self.of_seeds, self.of_photos)
        both = np.nansum([self.of_seeds, self.of_photos])
        return float(np.fmax(largest, both - self.of_rest))

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of that variance."""
        k, n = self.seeds - 1, self.photos - 1
        parts = [(self.of_seeds, k), (self.of_photos, n), (self.of_rest, k * n)]
        below = sum(part**2 / free for part, free in parts if free and part > 0)
        most = max(k, n, 1) if not k or not n else k + n
        return float(np.clip(self.variance**2 / below if below else most, 1, most))


def pairs_of(study: Study | Mapping[str, Any] | Pairs) -> list[tuple[str, str]]:
    """The pairs (variant, against) that a study compares: each variant with the baseline, then its own comparisons.

    `study` is a `Study`, the `info` of its results, or already such pairs.
    """
    if isinstance(study, Study):
        names, baseline = [variant.name for variant in study.variants], study.baseline
        more: Sequence = study.comparisons
    elif isinstance(study, Mapping):
        names = [variant["name"] for variant in study["variants"]]
        baseline, more = study["baseline"], study.get("comparisons", ())
    else:
        names, baseline, more = [], "", study
    pairs = [(name, baseline) for name in names if name != baseline]
    return list(dict.fromkeys([*pairs, *((str(one), str(other)) for one, other in more)]))


def compare(
    table: pd.DataFrame,
    study: Study | Mapping[str, Any] | Pairs,
    metric: str,
    *,
    resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every comparison of a study: mean difference in a metric, paired by image and seed, with 95 % intervals.

    Args:
        table: the columns `ablation.results.COLUMNS`.
        study: a `Study`, the `info` of results, or pairs (variant, against); pairs without results are left out.
        metric: one of the table's; an InputError lists them.
        resamples, seed: of the bootstrap behind `low_all` and `high_all`.

    Returns a row for each pair, with the columns variant, against, mean, mean_against, difference, low, high (the
    interval of this comparison alone), low_all, high_all (all hold at once in 95 % of studies), photos, seeds, and
    decided: "better", "worse" or "not decided", by the interval for all.
    """
    values = _wide(table, metric)
    return _compared(values, [(pair, None) for pair in pairs_of(study)], metric, resamples, seed)


def compare_by_degradation(
    table: pd.DataFrame,
    study: Study | Mapping[str, Any] | Pairs,
    metric: str,
    *,
    resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """As `compare`, for each pair and degradation: a column degradation more; `low_all` counts all of these rows."""
    values = _wide(table, metric)
    names = values.index.unique("degradation")
    cells = [(pair, name) for pair in pairs_of(study) for name in names]
    return _compared(values, cells, metric, resamples, seed)


def means(table: pd.DataFrame, metric: str, by: str | None = None) -> pd.DataFrame:
    """The mean of a metric for each variant, with its own 95 % interval over seeds and photos.

    `by` is a further column, such as "degradation". Returns a row for each variant (and value of `by`), with the
    columns variant, (`by`,) mean, low, high, seeds and photos. Intervals of two variants may overlap where their
    difference is decided: what photos share cancels in a difference.
    """
    rows = []
    values = _wide(table, metric)
    for name in values.columns.unique("variant"):
        groups = (
            [(None, values[name])] if by is None else values[name].groupby(level=by, sort=False)
        )
        for key, part in groups:
            if (by_seed := _complete(part)).empty:
                continue
            found = components(_by_photo(by_seed))
            low, high = _interval(found, LEVEL)
            head = {"variant": name} if by is None else {"variant": name, by: key}
            rows.append({**head, "mean": found.mean, "low": low, "high": high,
                         "seeds": found.seeds, "photos": found.photos})  # fmt: skip
    return pd.DataFrame(rows)


def seed_means(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The mean of a metric over all images for each run: a row for each variant, a column for each seed."""
    return _wide(table, metric).mean().unstack("seed")


def paired(table: pd.DataFrame, pair: tuple[str, str], metric: str) -> pd.DataFrame:
    """Differences of a pair by photo (rows) and seed (columns), on the images and seeds that both have.

    A photo's value counts its images: the mean over photos is the mean over images.
    """
    return _by_photo(_difference(_wide(table, metric), pair))


def components(by_photo: pd.DataFrame) -> Components:
    """Mean and variance components of values by photo (rows) and seed (columns), none of them missing."""
    values = by_photo.to_numpy()
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


def better(difference: float, metric: str) -> bool:
    """Whether a difference in that metric is an improvement."""
    return (difference < 0) == metric.startswith(LOWER_IS_BETTER) and difference != 0


def _compared(
    values: pd.DataFrame, cells: Sequence, metric: str, resamples: int, seed: int
) -> pd.DataFrame:
    rows, parts = [], []
    for pair, degradation in cells:
        if not set(pair) <= set(values.columns.unique("variant")):
            continue
        part = values
        if degradation is not None:
            part = values[values.index.get_level_values("degradation") == degradation]
        difference = _difference(part, pair)
        if difference.empty:
            continue
        by_photo = _by_photo(difference)
        of = part.loc[difference.index]
        head = {} if degradation is None else {"degradation": degradation}
        first, second = (of[name][difference.columns].to_numpy().mean() for name in pair)
        rows.append({"variant": pair[0], "against": pair[1], **head,
                     "mean": first, "mean_against": second})  # fmt: skip
        parts.append(by_photo)
    found = [components(part) for part in parts]
    level = simultaneous_level(parts, resamples=resamples, seed=seed) if parts else LEVEL
    for row, part in zip(rows, found, strict=True):
        row["difference"] = part.mean
        row["low"], row["high"] = _interval(part, LEVEL)
        row["low_all"], row["high_all"] = low, high = _interval(part, level)
        row["photos"], row["seeds"] = part.photos, part.seeds
        sign = "better" if better(part.mean, metric) else "worse"
        row["decided"] = sign if low > 0 or high < 0 else "not decided"
    columns = ["variant", "against", "mean", "mean_against", "difference", "low", "high", "low_all",
               "high_all", "photos", "seeds", "decided"]  # fmt: skip
    return pd.DataFrame(rows, columns=None if rows else columns)


@extra("analysis")
def simultaneous_level(
    parts: Sequence[pd.DataFrame], *, resamples: int = 4000, seed: int = 0
) -> float:
    """The level at which intervals of several comparisons must be taken, so that all hold in 95 % of the resamples.

    Each part holds the values of one comparison by photo (rows) and seed (columns). Between `LEVEL` / comparisons
    (Bonferroni's, for independent ones) and `LEVEL`.
    """
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(parts)))
    for axis in (0, 1):
        effects = pd.concat([part.mean(axis=1 - axis) for part in parts], axis=1)
        if len(effects) < 2:
            continue
        effects -= effects.mean()
        counts = effects.notna().sum().to_numpy()
        scaled = effects.fillna(0).to_numpy() / np.sqrt(counts * np.maximum(counts - 1, 1))
        drawn += rng.standard_normal((resamples, len(effects))) @ scaled
    spread = np.sqrt((drawn**2).mean(0))
    varies = spread > 1e-12 * max(spread.max(), 1e-12)
    if not varies.any():
        return LEVEL
    largest = np.abs(drawn[:, varies] / spread[varies]).max(1)
    level = 2 * norm.sf(np.quantile(largest, 1 - LEVEL))
    return float(np.clip(level, LEVEL / len(parts), LEVEL))


@extra("analysis")
def _interval(found: Components, level: float) -> tuple[float, float]:
    from scipy.stats import t

    if not found.variance >= 0:
        return np.nan, np.nan
    reach = t.isf(level / 2, found.freedom) * np.sqrt(found.variance)
    return float(found.mean - reach), float(found.mean + reach)


def _wide(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric by image (rows: degradation, photo, image) and run (columns: variant, seed)."""
    part = table[table.metric == metric]
    if part.empty:
        known = ", ".join(map(str, dict.fromkeys(table.metric)))
        raise InputError(f"no values of the metric {metric!r}: use one of {known or 'none'}")
    keys = ["degradation", "photo", "image"]
    part = part.astype({"variant": str, **dict.fromkeys(keys, str)})
    runs = part[["variant", "seed"]].drop_duplicates().itertuples(index=False)
    wide = part.set_index([*keys, "variant", "seed"]).value.astype(float)
    if wide.index.has_duplicates:
        raise InputError(f"an image has two values of {metric!r} in one run: wanted one")
    return wide.unstack(["variant", "seed"], sort=False)[[tuple(run) for run in runs]]


def _difference(values: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    """Differences by image and seed, where both variants have values."""
    return _complete(values[pair[0]] - values[pair[1]])


def _complete(by_image: pd.DataFrame) -> pd.DataFrame:
    """The seeds (columns) that have any value, and of them the images (rows) that all have."""
    return by_image.dropna(axis=1, how="all").dropna()


def _by_photo(by_image: pd.DataFrame) -> pd.DataFrame:
    """A value for each photo and seed, whose mean over photos is the mean over images, also where photos have more."""
    level = by_image.mean()
    rest = (by_image - level).groupby(level="photo").sum()
    return level + rest * (len(rest) / len(by_image))
