"""Differences between the variants of a study, with intervals over seeds and photos, alone and for all at once.

Every variant has the same seeds and the same images, so a difference is formed image by image and seed by seed. Images
of one photo are alike, so a photo counts once. Intervals are those of `metrics.crossed`.

For all comparisons at once, the multiplier bootstrap (Chernozhukov, Chetverikov and Kato, Gaussian approximations and
multiplier bootstrap for maxima of sums of high-dimensional random vectors, Annals of Statistics 41, 2013) draws a
normal weight for each photo, the same for all comparisons, and so keeps their correlation. A handful of seeds shows no
correlations: there, those of independent variants are taken, 1/2 for two comparisons with one baseline (Dunnett, A
multiple comparison procedure for comparing several treatments with a control, JASA 50, 1955). All intervals are then
taken at the level at which they hold together in 95 % of the resamples, never stricter than Bonferroni's. With a single
seed, intervals are over photos alone and say nothing about other seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from daclip_lab.ablation.study import Study
from daclip_lab.errors import InputError, extra
from daclip_lab.metrics.crossed import LEVEL, components

LOWER_IS_BETTER = ("distance", "loss", "error")
"""A metric whose name starts with one of these is better when it is lower; all others when they are higher."""
FEW = 20
"""Seeds or photos below which their correlations are not estimated."""
Pairs = Sequence[tuple[str, str]]
"""Pairs (variant, against)."""
Cell = tuple[str, str, str | None]
"""A pair (variant, against), and a degradation or None for all."""
COMPARED = (
    "variant", "against", "mean", "mean_against", "difference", "low", "high", "low_all", "high_all",
    "photos", "seeds", "decided",
)  # fmt: skip
"""Columns of `compare`."""


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
    cells = [(*pair, None) for pair in pairs_of(study)]
    return _compared(values, cells, metric, resamples, seed)


def compare_by_degradation(
    table: pd.DataFrame, study: Study | Mapping[str, Any] | Pairs, metric: str, **options: int
) -> pd.DataFrame:
    """As `compare`, for each pair and degradation: a column degradation more; `low_all` counts all of these rows."""
    values = _wide(table, metric)
    names = values.index.unique("degradation")
    cells = [(*pair, name) for pair in pairs_of(study) for name in names]
    return _compared(values, cells, metric, **options)


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
            found = components(_by_photo(by_seed).to_numpy())
            low, high = found.interval()
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
    values = _wide(table[table.variant.isin(pair)], metric)
    if not set(pair) <= set(values.columns.unique("variant")):
        raise InputError(f"no values of {metric!r} for both of {pair}")
    return _by_photo(_difference(values, *pair))


def better(difference: float, metric: str) -> bool:
    """Whether a difference in that metric is an improvement."""
    return (difference < 0) == metric.startswith(LOWER_IS_BETTER) and difference != 0


def _compared(
    values: pd.DataFrame, cells: Sequence[Cell], metric: str, resamples: int = 4000, seed: int = 0
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    parts: dict[Cell, pd.DataFrame] = {}
    present = set(values.columns.unique("variant"))
    for variant, against, degradation in cells:
        part = values
        if degradation is not None:
            part = values[values.index.get_level_values("degradation") == degradation]
        if (
            not {variant, against} <= present
            or (by_image := _difference(part, variant, against)).empty
        ):
            continue
        both = part.loc[by_image.index]
        mean, other = (
            both[name][by_image.columns].to_numpy().mean() for name in (variant, against)
        )
        head = {} if degradation is None else {"degradation": degradation}
        rows.append(
            {"variant": variant, "against": against, **head, "mean": mean, "mean_against": other}
        )
        parts[variant, against, degradation] = _by_photo(by_image)
    level = simultaneous_level(parts, resamples=resamples, seed=seed) if parts else LEVEL
    for row, by_photo in zip(rows, parts.values(), strict=True):
        found = components(by_photo.to_numpy())
        low, high = found.interval()
        low_all, high_all = found.interval(level)
        sign = "better" if better(found.mean, metric) else "worse"
        decided = sign if low_all > 0 or high_all < 0 else "not decided"
        row |= {"difference": found.mean, "low": low, "high": high, "low_all": low_all,
                "high_all": high_all, "photos": found.photos, "seeds": found.seeds,
                "decided": decided}  # fmt: skip
    return pd.DataFrame(rows, columns=None if rows else list(COMPARED))


@extra("analysis")
def simultaneous_level(
    parts: Mapping[Cell, pd.DataFrame], *, resamples: int = 4000, seed: int = 0
) -> float:
    """The level at which intervals of several comparisons must be taken, so that all hold in 95 % of the resamples.

    `parts` are the values of each comparison by photo (rows) and seed (columns). Never below Bonferroni's.
    """
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(parts)))
    for axis in (0, 1):
        means = {cell: part.mean(axis=1 - axis) for cell, part in parts.items()}
        effects = pd.DataFrame({k: mean - mean.mean() for k, mean in enumerate(means.values())})
        counts = effects.count().to_numpy()
        scaled = effects.fillna(0).to_numpy() / np.sqrt(counts * np.maximum(counts - 1, 1))
        if len(effects) >= FEW:
            drawn += rng.standard_normal((resamples, len(effects))) @ scaled
        else:
            drawn += _independent(list(parts), resamples, rng) * np.sqrt((scaled**2).sum(0))
    spread = np.sqrt((drawn**2).mean(0))
    varies = spread > 1e-9 * spread.max()
    if not varies.any():
        return LEVEL
    largest = np.abs(drawn[:, varies] / spread[varies]).max(1)
    level = 2 * norm.sf(np.quantile(largest, 1 - LEVEL))
    return float(np.clip(level, LEVEL / len(parts), LEVEL))


def _independent(cells: Sequence[Cell], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Differences (resamples, cells) of variance 1 between variants that vary independently and alike."""
    drawn: dict[tuple, np.ndarray] = {}
    for variant, against, degradation in cells:
        for key in ((variant, degradation), (against, degradation)):
            if key not in drawn:
                drawn[key] = rng.standard_normal(resamples) / np.sqrt(2)
    return np.stack([drawn[one, part] - drawn[other, part] for one, other, part in cells], axis=1)


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


def _difference(values: pd.DataFrame, variant: str, against: str) -> pd.DataFrame:
    """Differences by image and seed, where both variants have values."""
    return _complete(values[variant] - values[against])


def _complete(by_image: pd.DataFrame) -> pd.DataFrame:
    """The seeds (columns) that have any value, and of them the images (rows) that all have."""
    return by_image.dropna(axis=1, how="all").dropna()


def _by_photo(by_image: pd.DataFrame) -> pd.DataFrame:
    """A value for each photo and seed, whose mean over photos is the mean over images, also where photos have more."""
    level = by_image.mean()
    rest = (by_image - level).groupby(level="photo").sum()
    return level + rest * (len(rest) / len(by_image))
