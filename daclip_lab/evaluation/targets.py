"""The targets of the lab's weights, and the values that an evaluation reached: one row for each."""

from functools import partial

import numpy as np
import pandas as pd

from daclip_lab.degradations.registry import CLEAN
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.formatting import format_interval

NONE = (np.nan,) * 3
"""No targets."""
Interval = tuple[float, float, float]
"""A value with the two ends of its 95 % interval over photos."""


def target_table(
    rows: "pd.DataFrame", mixtures: "pd.DataFrame", *, whole: bool, steps: int | None
) -> "pd.DataFrame":
    """The targets of an evaluation: a row for each measure, with its unit in the name.

    Args:
        rows, mixtures: those of `Evaluation.measures` and `Evaluation.mixtures`.
        whole: whether whole photos were evaluated. The targets of classification differ between crops and whole photos;
            that of the content is for crops, those of "clean", mixtures and restoration (in at most 5 steps) for
            whole photos.
        steps: of the restoration.

    Columns: `target` ("" where there is none), `value`, `low` and `high` (95 % interval over photos), `clip` (CLIP
    alone), `met` (None without a target), `note` (the degradation with the lowest mean).
    """
    degraded, clean = rows[rows.degradation != CLEAN], rows[rows.degradation == CLEAN]
    found = _classification(degraded, clean, *((99.2, 96, 95, 3) if whole else (95, 85, *NONE[:2])))
    if len(mixtures):
        found += _mixtures(mixtures, 80 if whole else np.nan)
    found += _content(degraded, np.nan if whole else 78)
    if "psnr" in rows:
        few_steps = whole and steps is not None and steps <= 5
        found += _restoration(degraded, clean, *((7.5, 1, 35) if few_steps else NONE))
    return pd.DataFrame(found).set_index("measure")


def target_cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """A `target_table` as text."""
    shown = table[["target"]].copy()
    digits = [3 if name.startswith("cosine") or "SSIM" in name else 1 for name in table.index]
    lines = list(zip(table.itertuples(), digits, strict=True))
    shown["reached"] = [
        format_interval(line.value, line.low, line.high, n) + (line.note and f", {line.note}")
        for line, n in lines
    ]
    shown["met"] = table.met.map({True: "yes", False: "no", None: ""})
    shown["CLIP alone"] = [format_interval(line.clip, np.nan, np.nan, n) for line, n in lines]
    return shown


def _line(
    measure: str,
    interval: Interval,
    clip: float = np.nan,
    *,
    least: float = np.nan,
    most: float = np.nan,
    note: str = "",
    scale: float = 1,
) -> dict:
    """A row of `target_table`; value, interval and `clip` are multiplied by `scale`."""
    value, low, high = (scale * number for number in interval)
    target, met = "", None
    if not np.isnan(least):
        target, met = f"at least {least:g}", bool(value >= least)
    if not np.isnan(most):
        target, met = f"at most {most:g}", bool(value <= most)
    return {"measure": measure, "target": target, "value": value, "low": low, "high": high,
            "clip": scale * clip, "met": met, "note": note}  # fmt: skip


_percent = partial(_line, scale=100)


def _classification(
    degraded: "pd.DataFrame",
    clean: "pd.DataFrame",
    overall: float,
    each: float,
    called_clean: float,
    misses: float,
) -> list[dict]:
    worst, own = _worst(degraded, "accuracy")
    mean, clip = _mean(degraded, "accuracy"), degraded.clip_accuracy.mean()
    of_worst, clip_of_worst = _mean(own, "accuracy"), own.clip_accuracy.mean()
    held_out = _mean(degraded, "held_out_accuracy")
    right, clip_right = _mean(clean, "accuracy"), clean.clip_accuracy.mean()
    missed = _mean(degraded, "false_clean")
    title = "ten-way accuracy, worst of the ten (%)"
    return [
        _percent("ten-way accuracy (%)", mean, clip, least=overall),
        _percent(title, of_worst, clip_of_worst, least=each, note=worst),
        _percent("ten-way accuracy, words held out (%)", held_out),
        _percent("clean called clean (%)", right, clip_right, least=called_clean),
        _percent("misses: degraded called clean (%)", missed, most=misses),
    ]


def _mixtures(mixtures: "pd.DataFrame", both_first: float) -> list[dict]:
    both = mixtures[["first", "second"]].apply(set, axis=1)
    rows = mixtures.assign(
        top=both == mixtures.top.map(set), clip_top=both == mixtures.clip_top.map(set)
    )
    title = "both of two degradations in the top two (%)"
    found = [_percent(title, _mean(rows, "top"), rows.clip_top.mean(), least=both_first)]
    if "psnr" in rows:
        gain = rows.psnr - rows.psnr_input
        rows = rows.assign(gain=gain, above=gain > 0)
        title = "share of these restored above their input (%)"
        found.append(_line("gain on two degradations (dB)", _mean(rows, "gain")))
        found.append(_percent(title, _mean(rows, "above")))
    return found


def _content(degraded: "pd.DataFrame", gap: float) -> list[dict]:
    over = partial(bootstrap_interval, photos=degraded.photo)
    # The mean gap with the controller, as a share of the mean gap without it.
    left, low, high = over(1 - degraded.cosine, denominators=1 - degraded.clip_cosine)
    closed = 1 - left, 1 - high, 1 - low
    cosine, clip_cosine = _mean(degraded, "cosine"), degraded.clip_cosine.mean()
    recall, clip_recall = _mean(degraded, "retrieval"), degraded.clip_retrieval.mean()
    relative = over(degraded.retrieval, denominators=degraded.clean_retrieved)
    clip_relative, *_ = over(degraded.clip_retrieval, denominators=degraded.clean_retrieved)
    title = "of the R@1 of CLIP on clean images (%)"
    return [
        _line("cosine to the clean image's embedding", cosine, clip_cosine),
        _percent("gap of that cosine to 1 that is closed (%)", closed, 0.0, least=gap),
        _percent("caption retrieval, R@1 (%)", recall, clip_recall),
        _percent(title, relative, clip_relative),
    ]


def _restoration(
    degraded: "pd.DataFrame", clean: "pd.DataFrame", gain: float, each: float, itself: float
) -> list[dict]:
    found = [_line("gain in PSNR (dB)", _mean(degraded, "psnr_gain"), least=gain)]
    for measure, title, least in (
        ("psnr_gain", "gain in PSNR, worst of the ten (dB)", each),
        ("ssim_gain", "gain in SSIM, worst of the ten", np.nan),
    ):
        worst, own = _worst(degraded, measure)
        found.append(_line(title, _mean(own, measure), least=least, note=worst))
    title = "a clean photo restored, PSNR to itself (dB)"
    return [*found, _line(title, _mean(clean, "psnr"), least=itself)]


def _worst(degraded: "pd.DataFrame", measure: str) -> tuple[str, "pd.DataFrame"]:
    """The degradation with the lowest mean, and its rows."""
    worst = degraded.groupby("degradation", sort=False)[measure].mean().idxmin()
    return worst, degraded[degraded.degradation == worst]


def _mean(rows: "pd.DataFrame", measure: str) -> Interval:
    return bootstrap_interval(rows[measure], rows.photo)
