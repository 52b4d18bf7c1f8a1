"""What a study found, in plain sentences made of its numbers, and whether the claims it tests held."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from daclip_lab.ablation.claims import CLAIMS, NOT_SAID, NOT_SAID_OF_OTHERS, Claim
from daclip_lab.ablation.power import POWER, count, detectable, spread_of
from daclip_lab.ablation.statistics import better, compare, pairs_of

NAMED = 3
"""Variants that a sentence names with their numbers; more are counted."""


SAID = {
    "held": "This held",
    "opposite": "The opposite was found",
    "not decided": "This is not decided",
}


class Results(Protocol):
    """What is needed of `ablation.results.StudyResults`."""

    @property
    def table(self) -> pd.DataFrame: ...
    @property
    def info(self) -> dict: ...


class Outcome(NamedTuple):
    """A claim and what a study says to it."""

    claim: Claim
    decided: str
    """"held", "opposite" or "not decided"."""
    sentence: str


class Findings(NamedTuple):
    """The three sentences of a study, and what it says to the claims it tests."""

    found: str
    """What was found."""
    sure: str
    """How sure that is."""
    not_said: str
    """What it does not say."""
    outcomes: list[Outcome]


def findings(results: Results) -> Findings:
    """The findings of a study from its results, finished or not; true whatever was found."""
    info, table = results.info, results.table
    metric, unit = info["metric"], info["unit"]
    compared = compare(table, info, metric)
    outcomes = [
        outcome
        for claim in CLAIMS.get(info["name"], ())
        if (outcome := check(claim, compared, metric, unit))
    ]
    return Findings(
        found=_found(compared, info["baseline"], metric, unit),
        sure=_sure(table, compared, info),
        not_said=NOT_SAID.get(info["name"], NOT_SAID_OF_OTHERS),
        outcomes=outcomes,
    )


def check(claim: Claim, compared: pd.DataFrame, metric: str, unit: str) -> Outcome | None:
    """What comparisons, as of `statistics.compare`, say to a claim; None where none is of its two variants."""
    for sign, one, other in ((1, "variant", "against"), (-1, "against", "variant")):
        rows = compared[(compared[one] == claim.variant) & (compared[other] == claim.against)]
        if not len(rows):
            continue
        row = rows.iloc[0]
        decided = row.decided
        if decided != "not decided":
            decided = "held" if better(sign * row.difference, metric) else "opposite"
        low, high = sorted((sign * row.low_all, sign * row.high_all))
        numbers = with_interval(sign * row.difference, low, high, unit)
        return Outcome(claim, decided, f"{claim.by} {claim.text}. {SAID[decided]}: {numbers}.")
    return None


def amount(value: float, unit: str, *, sign: bool = True) -> str:
    """A difference with its unit, such as "+0.12 dB"; three digits where there is no unit, one for per cents."""
    digits = {"%": 1, "dB": 2}.get(unit, 3)
    if np.isnan(value):
        return "not known"
    text = f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return f"{text} {'points' if unit == '%' and sign else unit}".strip()


def with_interval(value: float, low: float, high: float, unit: str, *, sign: bool = True) -> str:
    """A difference with its interval, such as "+0.12 dB [−0.03, +0.27]"."""
    if np.isnan(low):
        return f"{amount(value, unit, sign=sign)}, without an interval"
    words = amount(0, unit, sign=sign).split(" ", 1)[1:]
    ends = (amount(end, unit, sign=sign).removesuffix(f" {words[0]}" if words else "")
            for end in (low, high))  # fmt: skip
    return f"{amount(value, unit, sign=sign)} [{', '.join(ends)}]"


def listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _found(compared: pd.DataFrame, baseline: str, metric: str, unit: str) -> str:
    """The first sentence, and a second for comparisons other than those with the baseline."""
    if compared.empty:
        return "Nothing yet: fewer than two variants have results."
    to_baseline = compared[compared.against == baseline]
    sentences = []
    if len(to_baseline):
        groups = {key: _ranked(to_baseline, key) for key in ("better", "worse", "not decided")}
        undecided = groups["not decided"]
        if len(undecided) == len(to_baseline):
            sentences.append(
                f"In {metric}, no difference to {quoted(baseline)} is decided; the largest is that"
                f" of {_names(undecided, unit, 1)}."
            )
        else:
            parts = [
                f"{_names(rows, unit)} {'is' if len(rows) == 1 else 'are'} {key} than {quoted(baseline)}"
                for key, rows in groups.items()
                if key != "not decided" and len(rows)
            ]
            sentence = f"In {metric}, {'; '.join(parts)}"
            if len(undecided):
                verb = "is" if len(undecided) == 1 else "are"
                sentence += f"; {_names(undecided, unit, 2)} {verb} not decided"
            sentences.append(f"{sentence}.")
    others = compared[compared.against != baseline]
    parts = []
    for row in others.itertuples():
        numbers = with_interval(row.difference, row.low_all, row.high_all, unit)
        word = "not decided" if row.decided == "not decided" else row.decided
        parts.append(f"{quoted(row.variant)} against {quoted(row.against)}: {word}, {numbers}")
    if parts:
        sentences.append(f"Of the other comparisons, {'; '.join(parts)}.")
    return " ".join(sentences)


def _sure(table: pd.DataFrame, compared: pd.DataFrame, info: dict) -> str:
    """The second sentence: confidence, sample and power; another where a second metric decides otherwise."""
    if compared.empty:
        return "Nothing can be said."
    unit, number = info["unit"], len(compared)
    seeds, photos = int(compared.seeds.min()), int(compared.photos.min())
    sample = f"{count(seeds, 'seed')} and {count(photos, 'photo')}"
    if compared.low_all.isna().any():
        return f"Not sure at all: {sample} give no interval."
    which = "it holds" if number == 1 else f"all {number} comparisons hold together"
    sentence = f"By {sample}, {which} with 95 % confidence"
    rows = compared[["variant", "against"]].itertuples(index=False)
    smallest = np.median([
        detectable(spread_of(table, info["metric"], (row.variant, row.against)), seeds, photos, number)
        for row in rows
    ])  # fmt: skip
    if smallest:
        sentence += (f"; a difference of {amount(float(smallest), unit, sign=False)} would be seen"
                     f" with {100 * POWER:.0f} % probability, a smaller one may be missed")  # fmt: skip
    if seeds == 1:
        sentence += "; what another seed would change is not known"
    return f"{sentence}.{_otherwise(table, compared, info)}"


def _otherwise(table: pd.DataFrame, compared: pd.DataFrame, info: dict) -> str:
    """A sentence on the comparisons that another metric decides the other way, or nothing."""
    decided = compared.set_index(["variant", "against"]).decided
    found = []
    for metric in dict.fromkeys(table.metric):
        if metric == info["metric"]:
            continue
        for row in compare(table, pairs_of(info), metric).itertuples():
            if {row.decided, decided.get((row.variant, row.against))} == {"better", "worse"}:
                found.append(
                    f"{quoted(row.variant)} is {row.decided} than {quoted(row.against)} in {metric}"
                )
    return f" But {listed(found)}." if found else ""


def _ranked(compared: pd.DataFrame, decided: str) -> pd.DataFrame:
    rows = compared[compared.decided == decided]
    return rows.loc[rows.difference.abs().sort_values(ascending=False, kind="stable").index]


def _names(rows: pd.DataFrame, unit: str, most: int = NAMED) -> str:
    """The first variants of some comparisons with their numbers; the others are counted."""
    parts = [
        f"{quoted(row.variant)} ({with_interval(row.difference, row.low_all, row.high_all, unit)})"
        for row in rows.head(most).itertuples()
    ]
    if len(rows) > most and most > 1:
        parts.append(f"{len(rows) - most} more")
    return listed(parts)


def quoted(name: str) -> str:
    """A variant's name in a sentence."""
    return f"“{name}”"
