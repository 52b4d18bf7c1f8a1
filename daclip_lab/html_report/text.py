"""What a report says in words and in tables of text. Nothing is measured here."""

from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.embeddings.summary import Findings
from daclip_lab.html_report.parts import bracketed

if TYPE_CHECKING:
    import pandas as pd

FEW_PHOTOS = 10
"""Photos below which intervals over photos are too narrow to be taken at their word."""
TOWERS = ("CLIP alone", "DA-CLIP")


def in_short(found: Findings, names: tuple[str, str]) -> list[str]:
    """The few sentences that a reader should take away, for these weights and others (`names`)."""
    told = []
    if found.accuracy is not None and "overall" in found.accuracy.index:
        right = found.accuracy.loc["overall"]
        line = f"DA-CLIP names {_share(right['DA-CLIP'])} of the images right"
        if "CLIP alone" in right:
            line += f", CLIP alone {_share(right['CLIP alone'])}"
        chance = right["DA-CLIP"].chance
        told.append(line + ("." if np.isnan(chance) else f"; guessing would {chance:.0%}."))
    if found.confusion is not None:
        off = found.confusion.stack()
        off = off[[done != predicted for done, predicted in off.index]]
        if len(off) and off.max() > 0:
            done, predicted = off.idxmax()
            told.append(
                f"The commonest mistake: {off.max():.0%} of '{done}' is called '{predicted}'."
            )
    if found.drift_of_each is not None:
        line = found.drift_of_each.loc["overall"]
        told.append(
            f"The content embedding of a degraded image has a cosine of {line['DA-CLIP'].value:.3f} to CLIP's of the "
            f"clean one; without the controller it is {line['CLIP alone'].value:.3f} "
            f"({_verdict(line['difference'].low, line['difference'].high, 'CLIP alone', 'DA-CLIP')})."
        )
    if found.weights is not None:
        verdicts = [
            _verdict(line.low, line.high, names[1], names[0]) for line in found.weights.itertuples()
        ]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        told.append(f"{names[0]} against {names[1]}, of {len(verdicts)} measures: {counts}.")
    photos = found.table.rows.photo.nunique()
    if photos < FEW_PHOTOS:
        told.append(
            f"All of it rests on {photos} photo{'s' * (photos > 1)}: too few to say much of others, and intervals over "
            "so few are too narrow."
        )
    return told


def named(accuracy: "pd.DataFrame") -> "pd.DataFrame":
    """How often each degradation is named right."""
    shown = accuracy.map(_share)
    one = accuracy["DA-CLIP"]
    return shown.assign(images=one.map(lambda e: e.n), photos=one.map(lambda e: e.photos))


def measured(measures: "pd.DataFrame") -> "pd.DataFrame":
    """The measures in each space, and what embeddings that know nothing would get."""
    nothing = []
    for estimates in measures.to_numpy():
        levels = [f"{e.chance:.3f}" for e in estimates]
        one = levels[0] if len(set(levels)) == 1 else " / ".join(levels)
        nothing.append("" if one == "nan" else one)
    return measures.map(str).assign(**{"knowing nothing": nothing})


def severities(severity: "pd.DataFrame") -> "pd.DataFrame":
    """How well the severity is read off, within each degradation."""
    return _lines(severity, {"R²": "value"}).assign(
        **{"typical error": [f"{value:.2f}" for value in severity.rmse]},
        images=severity.n,
        photos=severity.photos,
    )


def distances(centres: "pd.DataFrame", most: int = 8) -> "pd.DataFrame":
    """The pairs of classes whose centres lie nearest to each other."""
    near = centres.head(most)
    near = near.set_index(near["first"] + " and " + near["second"])
    return _lines(near, {"cosine distance": "value"})


def drifts(drift: "pd.DataFrame") -> "pd.DataFrame":
    """The cosine to the clean image of each degradation, without and with the controller."""
    images = drift["difference"].map(lambda e: e.n)
    better = [_verdict(e.low, e.high, *TOWERS) for e in drift["difference"]]
    shown = drift.map(lambda e: bracketed(e.value, e.low, e.high))
    return shown.assign(verdict=better, images=images)


def compared(table: "pd.DataFrame", first: str, second: str) -> "pd.DataFrame":
    """Two sides on the same images, and which is better: every measure here is better when it is higher."""
    shown = _lines(table, {"difference": "difference"})
    shown.insert(0, second, [f"{value:.3f}" for value in table["second"]])
    shown.insert(0, first, [f"{value:.3f}" for value in table["first"]])
    better = [_verdict(line.low, line.high, first, second) for line in table.itertuples()]
    return shown.assign(verdict=better, images=table.n, photos=table.photos)


def _lines(table: "pd.DataFrame", columns: dict[str, str]) -> "pd.DataFrame":
    """The index of a table, with a value and its interval in one column."""
    return table[[]].assign(
        **{
            title: [bracketed(*line) for line in table[[value, "low", "high"]].to_numpy(float)]
            for title, value in columns.items()
        }
    )


def _share(estimate) -> str:
    return bracketed(estimate.value, estimate.low, estimate.high, shares=True)


def _verdict(low: float, high: float, first: str, second: str) -> str:
    """Which side a paired difference (second less first) speaks for, by its interval."""
    return f"{second} better" if low > 0 else f"{first} better" if high < 0 else "undecided"
