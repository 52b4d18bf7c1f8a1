r"""The power of a study, before it is run: the smallest difference that it would show.

A comparison of k seeds and n photos has the variance
$V = \sigma_\text{seeds}^2/k + \sigma_\text{photos}^2/n + \sigma_\text{rest}^2/(kn)$ (`Spread`, from a pilot), and
counts as decided where its interval, at the level of Bonferroni's correction, leaves out 0. A true difference $\delta$
is then seen with the probability of a noncentral t at $\delta/\sqrt V$. `statistics.compare` corrects a little less,
so these are differences on the safe side.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import Protocol

import pandas as pd

from daclip_lab.ablation.results import PUBLISHED, StudyResults
from daclip_lab.ablation.statistics import compare, paired, pairs_of
from daclip_lab.ablation.study import Spread, Study
from daclip_lab.errors import InputError, InsufficientDataError, extra
from daclip_lab.metrics.crossed import LEVEL, Components, components

POWER = 0.8
"""The probability with which a difference is to be seen."""
MOST_SEEDS = 1000


class Results(Protocol):
    """What is needed of `ablation.results.StudyResults`."""

    @property
    def table(self) -> pd.DataFrame: ...
    @property
    def info(self) -> dict: ...


def spread_of(table: pd.DataFrame, metric: str, pair: tuple[str, str]) -> Spread:
    """The spread of a difference (variant, against) in a table of results, for `Study.spread`.

    Of a single seed, all of the spread counts as that between photos. Raises InsufficientDataError for a single photo
    or a pair without results.
    """
    by_photo = paired(table, pair, metric)
    if len(by_photo) < 2:
        raise InsufficientDataError(f"{len(by_photo)} photos with both of {pair}: wanted 2 or more")
    found = components(by_photo.to_numpy())
    k, n = found.seeds, found.photos
    of_seeds = 0.0 if k < 2 else found.of_seeds
    return Spread(
        seeds=math.sqrt(k * max(0.0, of_seeds - found.of_rest)),
        photos=math.sqrt(n * max(0.0, found.of_photos - found.of_rest)),
        rest=math.sqrt(k * n * found.of_rest),
    )


def typical_spread(table: pd.DataFrame, metric: str, pairs: Sequence[tuple[str, str]]) -> Spread:
    """The median spread of several comparisons, for studies of the same kind that have no pilot of their own."""
    spreads = [spread_of(table, metric, pair) for pair in pairs]
    parts = ("seeds", "photos", "rest")
    return Spread(**{part: median(getattr(one, part) for one in spreads) for part in parts})


@extra("analysis")
def detectable(
    spread: Spread, seeds: int, photos: int, comparisons: int, power: float = POWER
) -> float:
    """The smallest difference that a study of that size shows with probability `power`, in the unit of `spread`.

    With one seed, the spread between seeds does not count: the difference is then that of these runs alone. Raises
    InputError for no seed, fewer than two photos, or no comparison.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct

    if seeds < 1 or photos < 2 or comparisons < 1:
        raise InputError(
            f"{seeds} seeds, {photos} photos, {comparisons} comparisons: wanted at least 1, 2 and 1"
        )
    if not 0.05 <= power < 1:
        raise InputError(f"power {power:g}: wanted a probability from 0.05 to below 1")
    expected = _expected(spread, seeds, photos)
    variance = expected.of_photos + (spread.seeds**2 / seeds if seeds > 1 else 0.0)
    if not variance:
        return 0.0
    reach = expected.reach(LEVEL / comparisons) / math.sqrt(variance)
    # Degrees of freedom of a sum of variances (Satterthwaite 1946).
    parts = [(expected.of_seeds, seeds - 1), (expected.of_photos, photos - 1)]
    freedom = variance**2 / sum(part**2 / free for part, free in parts if free)

    def missed(standard_errors: float) -> float:
        return float(nct.cdf(reach, freedom, standard_errors)) - (1 - power)

    return float(brentq(missed, 0, 4 * reach + 10, xtol=1e-6) * math.sqrt(variance))


def seeds_needed(
    spread: Spread, difference: float, photos: int, comparisons: int, power: float = POWER
) -> int:
    """The fewest seeds, from 2 on, that show a difference with probability `power`.

    Raises InsufficientDataError where no number of seeds does, since the photos are too few.
    """
    low, high = 1, 2
    while detectable(spread, high, photos, comparisons, power) > difference:
        if high > MOST_SEEDS:
            raise InsufficientDataError(
                f"no number of seeds shows a difference of {difference:g} on {photos} photos:"
                " wanted more photos or a larger difference"
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if detectable(spread, middle, photos, comparisons, power) > difference:
            low = middle
        else:
            high = middle
    return high


def pilot(study: Study, results: Sequence[Results]) -> Spread | None:
    """The spread that a study can expect: its own, else that of results of the study itself or of a similar one.

    Similar are results in the same metric, or in that before a comma ("gain at 64 px" for "gain at 64 px, 20 steps");
    results of one seed are no pilot for several.
    """
    if study.spread is not None:
        return study.spread
    for one in sorted(results, key=lambda one: one.info["name"] != study.name):
        known = set(one.table.metric.unique())
        for metric in (study.metric, study.metric.split(",")[0]):
            compared = compare(one.table, one.info, metric) if metric in known else pd.DataFrame()
            if (
                len(compared)
                and compared.photos.min() > 1
                and compared.seeds.min() >= min(2, study.seeds)
            ):
                pairs = list(zip(compared.variant, compared.against, strict=True))
                return typical_spread(one.table, metric, pairs)
    return None


def power_sentence(
    study: Study, seeds: int, photos: int, results: Sequence[Results] | None = None
) -> str:
    """What a run of a study with so many seeds and test photos would show, in one sentence.

    `results` (default: all published ones) serve as a pilot where the study has no `spread`.
    """
    number = len(pairs_of(study))
    budget = f"{count(seeds, 'seed')} and {count(photos, 'photo')}"
    spread = pilot(study, published() if results is None else results)
    if spread is None or photos < 2 or not number:
        why = (
            "too little to compare"
            if photos < 2 or not number
            else "there is no pilot of this study"
        )
        return f"The smallest difference that {budget} show is not known: {why}."
    smallest = detectable(spread, seeds, photos, number)
    alone = "" if seeds > 1 else ", between these runs alone: one seed says nothing about others"
    return (
        f"With this budget, {budget}, you can see differences above {smallest:.2g} {study.unit}"
        f" ({100 * POWER:.0f} % power, corrected for {count(number, 'comparison')}){alone}."
    )


def published() -> list[StudyResults]:
    """All results that come with the package."""
    folders = sorted(file.parent.name for file in PUBLISHED.glob("*/study.json"))
    return [StudyResults.published(name) for name in folders]


def count(number: int, thing: str) -> str:
    """A number and a noun, in the plural where that is right: "1 seed", "5 seeds"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _expected(spread: Spread, seeds: int, photos: int) -> Components:
    """The components that a study of that size has on average."""
    rest = spread.rest**2 / (seeds * photos)
    of_seeds = spread.seeds**2 / seeds + rest if seeds > 1 else math.nan
    of_photos = spread.photos**2 / photos + rest
    return Components(0.0, seeds, photos, of_seeds, of_photos, rest if seeds > 1 else 0.0)
