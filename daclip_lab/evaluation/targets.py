"""What the lab's weights should reach, and what they reach: one line for each target."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daclip_lab.degradations.registry import CLEAN
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.formatting import format_interval

if TYPE_CHECKING:
    import pandas as pd

Interval = tuple[float, float, float]
"""A value with the two ends of its 95 % interval over photos."""


class Target(NamedTuple):
    """One line: a measure, its value, and the value that it should reach."""

    measure: str
    interval: Interval
    clip: float = np.nan
    """The same measure of CLIP without its controller; NaN where there is none."""
    at_least: float = np.nan
    """The target, where more is better; NaN where there is none."""
    at_most: float = np.nan
    """The target, where less is better."""
    note: str = ""
    """The degradation that the value is of, where it is the worst."""

    def row(self) -> dict:
        """The line as a row of `target_table`."""
        value, low, high = self.interval
        target, met = "", None
        if not np.isnan(self.at_least):
            target, met = f"at least {self.at_least:g}", bool(value >= self.at_least)
        if not np.isnan(self.at_most):
            target, met = f"at most {self.at_most:g}", bool(value <= self.at_most)
        return {"measure": self.measure, "target": target, "value": value, "low": low, "high": high,
                "clip": self.clip, "met": met, "note": self.note}  # fmt: skip


def target_table(
    rows: "pd.DataFrame", mixtures: "pd.DataFrame", *, whole: bool, steps: int
) -> "pd.DataFrame":
    """The targets of an evaluation: a row for each measure, with its unit in the name.

    Args:
        rows, mixtures: those of `Evaluation.measures` and `Evaluation.mixtures`.
        whole: whether whole photos were evaluated. The targets of classification differ between crops and whole photos;
            those of retrieval are for crops, those of restoration for whole photos in at most 5 steps.
        steps: of the restoration.

    Columns: `target` ("" where there is none), `value`, `low` and `high` (95 % interval over photos), `clip` (CLIP
    alone), `met` (None without a target), `note` (which degradation is the worst).
    """
    import pandas as pd

    degraded, clean = rows[rows.degradation != CLEAN], rows[rows.degradation == CLEAN]
    found = [
        *_classification(degraded, clean, *((99.2, 97) if whole else (96, 90))),
        *_mixtures(mixtures),
        *_content(degraded, np.nan if whole else 85),
    ]
    if "psnr" in rows:
        found += _restoration(degraded, clean, has_target=whole and steps <= 5)
    return pd.DataFrame([target.row() for target in found]).set_index("measure")


def target_cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """A `target_table` as text."""
    shown = table[["target"]].copy()
    digits = [3 if name.startswith("cosine") or "SSIM" in name else 1 for name in table.index]
    lines = list(zip(table.itertuples(), digits, strict=True))
    shown["reached"] = [
        format_interval(line.value, line.low, line.high, n)
        + (f", {line.note}" if line.note else "")
        for line, n in lines
    ]
    shown["met"] = ["" if line.met is None else "yes" if line.met else "no" for line, _ in lines]
    shown["CLIP alone"] = [format_interval(line.clip, np.nan, np.nan, n) for line, n in lines]
    return shown


def _classification(
    degraded: "pd.DataFrame", clean: "pd.DataFrame", overall: float, each: float
) -> list[Target]:
    worst, accuracy = _worst(degraded, "accuracy")
    alarms = clean.assign(false=1 - clean.accuracy, clip_false=1 - clean.clip_accuracy)
    of_clip = 100 * degraded.groupby("degradation").clip_accuracy.mean()
    return [
        Target("ten-way accuracy (%)", _percent(_mean(degraded, "accuracy")),
               100 * degraded.clip_accuracy.mean(), at_least=overall),
        Target("ten-way accuracy, worst of the ten (%)", _percent(accuracy), of_clip[worst],
               at_least=each, note=worst),
        Target("ten-way accuracy, words held out (%)",
               _percent(_mean(degraded, "held_out_accuracy"))),
        Target("false alarms on clean photos (%)", _percent(_mean(alarms, "false")),
               100 * alarms.clip_false.mean(), at_most=5),
    ]  # fmt: skip


def _mixtures(mixtures: "pd.DataFrame") -> list[Target]:
    if not len(mixtures):
        return []
    pairs = [{*pair} for pair in zip(mixtures["first"], mixtures["second"], strict=True)]
    both = {
        column: [pair == {*top} for pair, top in zip(pairs, mixtures[column], strict=True)]
        for column in ("top", "clip_top")
    }
    rows = mixtures.assign(**both)
    found = [
        Target("both of two degradations in the top two (%)", _percent(_mean(rows, "top")),
               100 * rows.clip_top.mean(), at_least=80)
    ]  # fmt: skip
    if "psnr" in rows:
        gain = rows.psnr - rows.psnr_input
        rows = rows.assign(gain=gain, above=gain > 0)
        found += [
            Target("gain on two degradations (dB)", _mean(rows, "gain"), at_least=0),
            Target("share of these restored above their input (%)", _percent(_mean(rows, "above"))),
        ]
    return found


def _content(degraded: "pd.DataFrame", retrieval: float) -> list[Target]:
    photos, reference = degraded.photo.to_numpy(), degraded.clean_retrieved.to_numpy(float)
    # The mean gap with the controller, as a share of the mean gap without it.
    left, low, high = bootstrap_interval(
        1 - degraded.cosine, photos, denominators=1 - degraded.clip_cosine
    )
    return [
        Target("cosine to the clean image's embedding", _mean(degraded, "cosine"),
               degraded.clip_cosine.mean()),
        Target("gap of that cosine to 1 that is closed (%)",
               _percent((1 - left, 1 - high, 1 - low)), 0.0, at_least=75),
        Target("caption retrieval, R@1 (%)", _percent(_mean(degraded, "retrieval")),
               100 * degraded.clip_retrieval.mean()),
        Target("of the R@1 of CLIP on clean images (%)",
               _percent(bootstrap_interval(degraded.retrieval, photos, denominators=reference)),
               100 * bootstrap_interval(degraded.clip_retrieval, photos, denominators=reference)[0],
               at_least=retrieval),
    ]  # fmt: skip


def _restoration(
    degraded: "pd.DataFrame", clean: "pd.DataFrame", *, has_target: bool
) -> list[Target]:
    def least(value: float) -> float:
        return value if has_target else np.nan

    found = [Target("gain in PSNR (dB)", _mean(degraded, "psnr_gain"), at_least=least(8))]
    for measure, title in (
        ("psnr_gain", "PSNR, worst of the ten (dB)"),
        ("ssim_gain", "SSIM, worst of the ten"),
    ):
        worst, gain = _worst(degraded, measure)
        found.append(Target(f"gain in {title}", gain, at_least=least(0), note=worst))
    title = "a clean photo restored, PSNR to itself (dB)"
    return [*found, Target(title, _mean(clean, "psnr"), at_least=least(35))]


def _worst(degraded: "pd.DataFrame", measure: str) -> tuple[str, Interval]:
    """The degradation with the lowest mean, and this mean."""
    worst = degraded.groupby("degradation", sort=False)[measure].mean().idxmin()
    return worst, _mean(degraded[degraded.degradation == worst], measure)


def _mean(rows: "pd.DataFrame", measure: str) -> Interval:
    return bootstrap_interval(rows[measure].to_numpy(float), rows.photo.to_numpy())


def _percent(interval: Interval) -> Interval:
    return tuple(100 * value for value in interval)
