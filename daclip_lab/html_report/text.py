"""The sentences and the text tables of a report; everything is computed before, by `embeddings.summary`."""

from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.embeddings.summary import TableSummary
from daclip_lab.metrics.bootstrap import Estimate
from daclip_lab.metrics.formatting import format_interval

if TYPE_CHECKING:
    import pandas as pd

FEW_PHOTOS = 10
"""Number of photos below which intervals over photos are too narrow."""
MODELS = ("CLIP alone", "DA-CLIP")


def key_results(summary: TableSummary, names: tuple[str, str]) -> list[str]:
    """A few sentences with the main results; `names` are those of the weights and of the weights to compare with."""
    lines = []
    if summary.accuracy is not None:
        overall = summary.accuracy.loc["overall"]
        line = f"DA-CLIP classifies {_percent(overall['DA-CLIP'])} of the images correctly"
        if "CLIP alone" in overall:
            line += f", CLIP alone {_percent(overall['CLIP alone'])}"
        chance = overall["DA-CLIP"].chance
        lines.append(line + ("." if np.isnan(chance) else f"; chance is {chance:.0%}."))
    if summary.confusion is not None:
        wrong = summary.confusion.stack()
        wrong = wrong[[truth != predicted for truth, predicted in wrong.index]]
        if len(wrong) and wrong.max() > 0:
            truth, predicted = wrong.idxmax()
            lines.append(
                f"Most frequent error: {wrong.max():.0%} of '{truth}' is classified as '{predicted}'."
            )
    if summary.clean_cosine is not None:
        row = summary.clean_cosine.loc["overall"]
        lines.append(
            f"The content embedding of a degraded image has a mean cosine of {row['DA-CLIP'].value:.3f} to CLIP's "
            f"embedding of the clean image, and {row['CLIP alone'].value:.3f} without the controller "
            f"({_verdict(row['difference'].low, row['difference'].high, *MODELS)})."
        )
    if summary.weights is not None:
        verdicts = [
            _verdict(row.low, row.high, names[1], names[0]) for row in summary.weights.itertuples()
        ]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        lines.append(f"{names[0]} against {names[1]}, in {len(verdicts)} measures: {counts}.")
    photos = summary.table.rows.photo.nunique()
    if photos < FEW_PHOTOS:
        lines.append(
            f"All results are from {photos} photo{'s' * (photos > 1)}: too few to generalise, and the intervals over "
            "photos are too narrow."
        )
    return lines


def accuracy_table(accuracy: "pd.DataFrame") -> "pd.DataFrame":
    """The accuracy of each model for each degradation."""
    one = accuracy["DA-CLIP"]
    shown = accuracy.map(_percent)
    return shown.assign(images=one.map(lambda e: e.n), photos=one.map(lambda e: e.photos))


def measure_table(measures: "pd.DataFrame") -> "pd.DataFrame":
    """The measures in each space, and their chance level."""
    levels = []
    for estimates in measures.to_numpy():
        distinct = list(dict.fromkeys(f"{e.chance:.3f}" for e in estimates))
        one = (
            distinct[0] if len(distinct) == 1 else " / ".join(f"{e.chance:.3f}" for e in estimates)
        )
        levels.append("" if one == "nan" else one)
    return measures.map(str).assign(**{"chance level": levels})


def severity_table(severity: "pd.DataFrame") -> "pd.DataFrame":
    """R² and error of the severity regression within each degradation."""
    return _with_intervals(severity, "R²", "value").assign(
        RMSE=[f"{value:.2f}" for value in severity.rmse],
        images=severity.n,
        photos=severity.photos,
    )


def centroid_table(distances: "pd.DataFrame", most: int = 8) -> "pd.DataFrame":
    """The pairs of classes with the nearest centroids."""
    near = distances.head(most)
    near = near.set_index(near["first"] + " and " + near["second"])
    return _with_intervals(near, "cosine distance", "value")


def cosine_table(cosines: "pd.DataFrame") -> "pd.DataFrame":
    """The cosine to the clean image for each degradation, without and with the controller."""
    verdicts = [_verdict(e.low, e.high, *MODELS) for e in cosines["difference"]]
    images = cosines["difference"].map(lambda e: e.n)
    return cosines.map(str).assign(verdict=verdicts, images=images)


def paired_table(table: "pd.DataFrame", first: str, second: str) -> "pd.DataFrame":
    """Two sides on the same images, and which one is better; higher is better for every measure."""
    shown = _with_intervals(table, "difference", "difference")
    shown.insert(0, second, [f"{value:.3f}" for value in table["second"]])
    shown.insert(0, first, [f"{value:.3f}" for value in table["first"]])
    verdicts = [_verdict(row.low, row.high, first, second) for row in table.itertuples()]
    return shown.assign(verdict=verdicts, images=table.n, photos=table.photos)


def _with_intervals(table: "pd.DataFrame", title: str, value: str) -> "pd.DataFrame":
    """The index of a table, and one column with a value and its interval."""
    cells = table[[value, "low", "high"]].to_numpy(float)
    return table[[]].assign(**{title: [format_interval(*cell) for cell in cells]})


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.0%} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def _verdict(low: float, high: float, first: str, second: str) -> str:
    """Which side is better, by the interval of the paired difference (second minus first)."""
    return f"{second} better" if low > 0 else f"{first} better" if high < 0 else "undecided"
