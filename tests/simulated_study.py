"""Results of a study whose truth is known: a table drawn from variance components, in the columns of the engine."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

METRIC = "gain at 64 px"
DEGRADATIONS = ("rainy", "noisy", "hazy")


def study_table(
    truth,
    *,
    seeds=5,
    photos=30,
    of_seeds=0.1,
    of_photos=0.3,
    of_rest=0.3,
    of_images=0.2,
    metric=METRIC,
    rng=0,
):
    """Values truth[variant] + effects of seeds, photos and images of that variant, and of the images for all.

    `of_*` are standard deviations; a photo has an image in each of the three degradations.
    """
    rng = np.random.default_rng(rng)
    names, levels = list(truth), np.array(list(truth.values()), float)
    m, n, d = len(names), photos, len(DEGRADATIONS)
    values = levels[:, None, None, None] + 3 * rng.normal(size=(1, 1, n, d))
    values = values + of_seeds * rng.normal(size=(m, seeds, 1, 1))
    values = values + of_photos * rng.normal(size=(m, 1, n, 1))
    values = values + of_rest * rng.normal(size=(m, seeds, n, 1))
    values = values + of_images * rng.normal(size=(m, seeds, n, d))
    return frame(tuple(names), seeds, n, metric).assign(value=values.ravel())


@lru_cache
def frame(names, seeds, photos, metric):
    """All columns but the values: made once, since tests draw hundreds of studies."""
    index = pd.MultiIndex.from_product(
        [names, range(seeds), [f"photo {p}" for p in range(photos)], DEGRADATIONS],
        names=["variant", "seed", "photo", "degradation"],
    )
    table = index.to_frame(index=False)
    image = table.photo + " " + table.degradation + " 64 px"
    return table.assign(study="simulated", image=image, metric=metric)


@dataclass
class SimulatedResults:
    """What findings, figures and the page need of `StudyResults`."""

    table: pd.DataFrame
    info: dict


def simulated(truth, *, name="simulated", comparisons=(), unit="dB", table=None, **options):
    """Results whose first variant is the baseline; `options` go to `study_table`. Text is in categories, as read."""
    table = study_table(truth, **options) if table is None else table
    text = ("study", "variant", "image", "photo", "degradation", "metric")
    table = table.assign(**{c: pd.Categorical(table[c], table[c].unique()) for c in text})
    names = list(truth)
    info = {
        "name": name,
        "question": "Does conditioning help, and whose?",
        "baseline": names[0],
        "metric": options.get("metric", METRIC),
        "unit": unit,
        "comparisons": [list(pair) for pair in comparisons],
        "variants": [{"name": n, "about": f"about {n}", "change": {}} for n in names],
    }
    return SimulatedResults(table, info)
