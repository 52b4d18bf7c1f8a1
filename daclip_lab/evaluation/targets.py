"""What the lab's weights should reach, and what they reach: one line for each target."""

from functools import partial

import numpy as np
import pandas as pd

from daclip_lab.degradations.registry import CLEAN
from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.formatting import format_interval

Interval = tuple[float, float, float]
"""A value with the two ends of its 95 % interval over photos."""


def target_table(
    rows: "pd.DataFrame", mixtures: "pd.DataFrame", *, whole: bool, steps: int | None
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
    degraded, clean = rows[rows.degradation != CLEAN], rows[rows.degradation == CLEAN]
    found = [
        *_classification(degraded, clean, *((99.2, 97) if whole else (96, 90))),
        *_mixtures(mixtures),
        *_content(degraded, np.nan if whole else 85),
    ]
    if "psnr" in rows:
        found += _restoration(
            degraded, clean, has_target=whole and steps is not None and steps <= 5
        )
    return pd.DataFrame(found).set_index("measure")


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
    degraded: "pd.DataFrame", clean: "pd.DataFrame", overall: float, each: float
) -> list[dict]:
    worst, own = _worst(degraded, "accuracy")
    alarms = clean.assign(false=1 - clean.accuracy)
    return [
        _percent("ten-way accuracy (%)", _mean(degraded, "accuracy"),
                 degraded.clip_accuracy.mean(), least=overall),
        _percent("ten-way accuracy, worst of the ten (%)", _mean(own, "accuracy"),
                 own.clip_accuracy.mean(), least=each, note=worst),
        _percent("ten-way accuracy, words held out (%)", _mean(degraded, "held_out_accuracy")),
        _percent("false alarms on clean photos (%)", _mean(alarms, "false"),
                 1 - clean.clip_accuracy.mean(), most=5),
    ]  # fmt: skip


def _mixtures(mixtures: "pd.DataFrame") -> list[dict]:
    if not len(mixtures):
        return []
    pairs = [{*pair} for pair in zip(mixtures["first"], mixtures["second"], strict=True)]
    both = {
        column: [pair == {*top} for pair, top in zip(pairs, mixtures[column], strict=True)]
        for column in ("top", "clip_top")
    }
    rows = mixtures.assign(**both)
    title = "both of two degradations in the top two (%)"
    found = [_percent(title, _mean(rows, "top"), rows.clip_top.mean(), least=80)]
    if "psnr" in rows:
        gain = rows.psnr - rows.psnr_input
        rows = rows.assign(gain=gain, above=gain > 0)
        found += [
            _line("gain on two degradations (dB)", _mean(rows, "gain"), least=0),
            _percent("share of these restored above their input (%)", _mean(rows, "above")),
        ]
    return found


def _content(degraded: "pd.DataFrame", retrieval: float) -> list[dict]:
    over = partial(bootstrap_interval, photos=degraded.photo)
    # The mean gap with the controller, as a share of the mean gap without it.
    left, low, high = over(1 - degraded.cosine, denominators=1 - degraded.clip_cosine)
    clean = degraded.clean_retrieved
    return [
        _line("cosine to the clean image's embedding", _mean(degraded, "cosine"),
              degraded.clip_cosine.mean()),
        _percent("gap of that cosine to 1 that is closed (%)", (1 - left, 1 - high, 1 - low), 0.0,
                 least=75),
        _percent("caption retrieval, R@1 (%)", _mean(degraded, "retrieval"),
                 degraded.clip_retrieval.mean()),
        _percent("of the R@1 of CLIP on clean images (%)",
                 over(degraded.retrieval, denominators=clean),
                 over(degraded.clip_retrieval, denominators=clean)[0], least=retrieval),
    ]  # fmt: skip


def _restoration(
    degraded: "pd.DataFrame", clean: "pd.DataFrame", *, has_target: bool
) -> list[dict]:
    gain, none, itself = (8, 0, 35) if has_target else (np.nan,) * 3
    found = [_line("gain in PSNR (dB)", _mean(degraded, "psnr_gain"), least=gain)]
    for measure, title in (
        ("psnr_gain", "gain in PSNR, worst of the ten (dB)"),
        ("ssim_gain", "gain in SSIM, worst of the ten"),
    ):
        worst, own = _worst(degraded, measure)
        found.append(_line(title, _mean(own, measure), least=none, note=worst))
    title = "a clean photo restored, PSNR to itself (dB)"
    return [*found, _line(title, _mean(clean, "psnr"), least=itself)]


def _worst(degraded: "pd.DataFrame", measure: str) -> tuple[str, "pd.DataFrame"]:
    """The degradation with the lowest mean, and its rows."""
    worst = degraded.groupby("degradation", sort=False)[measure].mean().idxmin()
    return worst, degraded[degraded.degradation == worst]


def _mean(rows: "pd.DataFrame", measure: str) -> Interval:
    return bootstrap_interval(rows[measure], rows.photo)
