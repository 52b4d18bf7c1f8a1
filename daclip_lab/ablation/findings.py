"""What a study found, in plain sentences made of its numbers, and whether the claims it tests held."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from daclip_lab.ablation.claims import CLAIMS, NOT_SAID, NOT_SAID_OF_OTHERS, Claim
from daclip_lab.ablation.power import POWER, Results, count, detectable, spread_of
from daclip_lab.ablation.statistics import better, compare, pairs_of

GUIDANCE = re.compile(r"^(?P<metric>.+), w = (?P<w>[\d.]+)$")
"""Metrics that a trial measures under guidance, such as "gain at 64 px, w = 1.5"."""
NAMED = 4
"""Variants that a sentence names with their numbers; more are counted."""


SAID = {
    "held": "This held",
    "opposite": "The opposite was found",
    "not decided": "This is not decided",
}


class Outcome(NamedTuple):
    """A claim and what a study says to it."""

    claim: Claim
    decided: str
    """"held", "opposite" or "not decided"."""
    numbers: str
    """The difference with the interval for all comparisons."""

    @property
    def sentence(self) -> str:
        """The claim and its outcome, in two sentences."""
        return f"{self.claim.by} {self.claim.text}. {SAID[self.decided]}: {self.numbers}."


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
        found=_found(compared, info["baseline"], metric, unit) + _found_of_guidance(table, info),
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
        return Outcome(claim, decided, numbers)
    return None


def guidance(table: pd.DataFrame) -> pd.DataFrame:
    """What guidance of strength w changes against w = 1, which is without, for all metrics named "... , w = 1.5".

    The same metric without w counts as w = 1. Returns a row for each metric, variant and strength, with the columns of
    `statistics.compare`, whose variant is the strength as text, and name (of the variant) and w; w = 1 has difference
    and interval 0. The intervals of one variant hold at once.
    """
    matches = {metric: GUIDANCE.match(metric) for metric in dict.fromkeys(table.metric)}
    guided = dict.fromkeys(match["metric"] for match in matches.values() if match)
    strengths = {metric: (match["metric"], f"{float(match['w']):g}") if match else (metric, "1")
                 for metric, match in matches.items()}  # fmt: skip
    parts = []
    for metric in guided:
        named = {m: w for m, (base, w) in strengths.items() if base == metric}
        if f"{metric}, w = 1" in named:
            named.pop(metric, None)  # measured both ways: once is enough
        for name, rows in table[table.metric.isin(named)].groupby(
            "variant", sort=False, observed=True
        ):
            runs = rows.assign(variant=rows.metric.astype(str).map(named), metric=metric)
            pairs = [(w, "1") for w in runs.variant.unique() if w != "1"]
            if (made := compare(runs, pairs, metric)).empty:
                continue
            zero = {"variant": "1", "difference": 0.0, "low_all": 0.0, "high_all": 0.0}
            made = pd.concat([made, pd.DataFrame([zero])]).assign(metric=metric, name=str(name))
            parts.append(made.assign(w=made.variant.astype(float)).sort_values("w"))
    return pd.concat(parts) if parts else pd.DataFrame()


def unit_of(metric: str, info: dict) -> str:
    """The unit of a metric: the study's for that which decides; decibels for gains, per cent for accuracies."""
    if metric == info["metric"]:
        return info["unit"]
    return "dB" if metric.startswith("gain") else "%" if metric.startswith("accuracy") else ""


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
    return f"{amount(value, unit, sign=sign)} {between(low, high, unit, sign=sign)}"


def between(low: float, high: float, unit: str, *, sign: bool = True) -> str:
    """An interval without its unit, such as "[−0.03, +0.27]"."""
    return f"[{', '.join(amount(end, unit, sign=sign).split()[0] for end in (low, high))}]"


def listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _found(compared: pd.DataFrame, baseline: str, metric: str, unit: str) -> str:
    """The first sentence, on the baseline, and another on further comparisons."""
    if compared.empty:
        return "Nothing yet: fewer than two variants have results."
    against = compared.against == baseline
    sentences = (
        [_found_to_baseline(compared[against], baseline, metric, unit)] if any(against) else []
    )
    parts, undecided = [], []
    for row in compared[~against].itertuples():
        numbers = with_interval(row.difference, row.low_all, row.high_all, unit)
        one, other = quoted(row.variant), quoted(row.against)
        if row.decided == "not decided":
            undecided.append(f"{one} and {other} ({numbers})")
        else:
            parts.append(f"{one} is {row.decided} than {other} ({numbers})")
    if undecided:
        parts.append(f"nothing is decided between {listed(undecided)}")
    if parts:
        sentences.append(f"Compared directly, {'; '.join(parts)}.")
    return " ".join(sentences)


def _found_to_baseline(compared: pd.DataFrame, baseline: str, metric: str, unit: str) -> str:
    order = compared.difference.abs().sort_values(ascending=False, kind="stable").index
    ranked = compared.loc[order]
    decided = ranked[ranked.decided != "not decided"]
    first = (decided if len(decided) else ranked).iloc[0]
    numbers = with_interval(first.difference, first.low_all, first.high_all, unit)
    if decided.empty:
        if len(ranked) == 1:
            return (f"In {metric}, it is not decided whether {quoted(first.variant)} or"
                    f" {quoted(baseline)} is better ({numbers}).")  # fmt: skip
        return (f"In {metric}, none of {len(ranked)} variants differs from {quoted(baseline)} by an"
                f" amount that is decided; {quoted(first.variant)} is furthest from it ({numbers}).")  # fmt: skip
    parts = []
    for outcome in ("better", "worse"):
        rows = ranked[ranked.decided == outcome]
        if len(rows):
            verb = "is" if len(rows) == 1 else "are"
            parts.append(f"{_names(rows, unit)} {verb} {outcome}")
    sentence = f"In {metric} and compared with {quoted(baseline)}, {'; '.join(parts)}"
    undecided = ranked[ranked.decided == "not decided"].variant.map(quoted).tolist()
    if undecided:
        sentence += f"; {listed(undecided)} {'is' if len(undecided) == 1 else 'are'} not decided"
    return f"{sentence}."


def _found_of_guidance(table: pd.DataFrame, info: dict) -> str:
    """A sentence for each variant and metric that were measured under guidance."""
    found, sentences = guidance(table), []
    if found.empty:
        return ""
    for (name, metric), rows in found[found.w != 1].groupby(["name", "metric"], sort=False):
        unit = unit_of(metric, info)
        parts = []
        for decided, verb in (
            ("better", "wins"),
            ("worse", "loses"),
            ("not decided", "is not decided"),
        ):
            those = [
                f"w = {row.variant} ({with_interval(row.difference, row.low_all, row.high_all, unit)})"
                for row in rows[rows.decided == decided].itertuples()
            ]
            if those:
                plural = {"wins": "win", "loses": "lose", "is not decided": "are not decided"}
                parts.append(f"{listed(those)} {verb if len(those) == 1 else plural[verb]}")
        sentences.append(
            f" Guidance of {quoted(name)}, against none in {metric}: {'; '.join(parts)}."
        )
    return "".join(sentences)


def _sure(table: pd.DataFrame, compared: pd.DataFrame, info: dict) -> str:
    """The second sentence: confidence, sample and power; another where a second metric decides otherwise."""
    if compared.empty:
        return "Nothing can be said."
    number, seeds, photos = len(compared), int(compared.seeds.min()), int(compared.photos.min())
    sample = f"{count(seeds, 'seed')} and {count(photos, 'photo')}"
    if compared.low_all.isna().any():
        return f"Not at all: {sample} give no interval."
    all_of = {
        1: "the interval of this comparison holds",
        2: "the intervals of both comparisons hold",
    }
    sentence = (
        f"With {sample}, {all_of.get(number, f'the intervals of all {number} comparisons hold')}"
    )
    sentence += f"{' together' if number > 1 else ''} with 95 % confidence"
    if photos > 1:
        pairs = zip(compared.variant, compared.against, strict=True)
        spreads = [spread_of(table, info["metric"], pair) for pair in pairs]
        smallest = np.median([detectable(one, seeds, photos, number) for one in spreads])
        seen = amount(float(smallest), info["unit"]).lstrip("+")
        sentence += f"; a difference of {seen} is seen with {100 * POWER:.0f} % probability"
        if (compared.decided == "not decided").all():
            sentence += ", so that a much larger one is unlikely and a smaller one possible"
    for few, thing in ((seeds, "seed"), (photos, "photo")):
        if few == 1:
            sentence += f"; how far another {thing} would change this is not known"
    return f"{sentence}.{_otherwise(table, compared, info)}"


def _otherwise(table: pd.DataFrame, compared: pd.DataFrame, info: dict) -> str:
    """A sentence on the comparisons that another metric decides the other way, or nothing."""
    decided = compared.set_index(["variant", "against"]).decided
    found = []
    for metric in table.metric.unique():
        if metric == info["metric"] or GUIDANCE.match(metric):
            continue
        for row in compare(table, pairs_of(info), metric).itertuples():
            if {row.decided, decided.get((row.variant, row.against))} == {"better", "worse"}:
                found.append(
                    f"{quoted(row.variant)} is {row.decided} than {quoted(row.against)} in {metric}"
                )
    return f" But {listed(found)}." if found else ""


def _names(rows: pd.DataFrame, unit: str) -> str:
    """Some variants with their differences, the first with its interval; those after the first few are counted."""
    first, *others = rows.head(NAMED).itertuples()
    numbers = with_interval(first.difference, first.low_all, first.high_all, unit)
    parts = [f"{quoted(first.variant)} ({numbers})"]
    parts += [f"{quoted(row.variant)} ({amount(row.difference, unit)})" for row in others]
    return listed([*parts, *([f"{len(rows) - NAMED} more"] if len(rows) > NAMED else [])])


def quoted(name: str) -> str:
    """A variant's name in a sentence."""
    return f"“{name}”"
