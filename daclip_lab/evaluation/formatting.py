"""An evaluation as a person reads it: the same tables in plain text and in Markdown."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daclip_lab.evaluation.protocol import VERSION

if TYPE_CHECKING:
    import pandas as pd

    from daclip_lab.evaluation.evaluation import Evaluation


class Column(NamedTuple):
    """How a measure is printed."""

    title: str
    factor: float
    digits: int


MEASURES = {
    "clip_accuracy": Column("CLIP alone (%)", 100, 1),
    "accuracy": Column("DA-CLIP (%)", 100, 1),
    "held_out_accuracy": Column("held-out words (%)", 100, 1),
    "false_clean": Column("called clean (%)", 100, 1),
    "clip_cosine": Column("cosine, CLIP alone", 1, 3),
    "cosine": Column("cosine, DA-CLIP", 1, 3),
    "clip_retrieval": Column("R@1, CLIP alone (%)", 100, 1),
    "retrieval": Column("R@1, DA-CLIP (%)", 100, 1),
    "psnr_input": Column("PSNR before (dB)", 1, 2),
    "psnr": Column("restored (dB)", 1, 2),
    "psnr_gain": Column("gain (dB)", 1, 2),
    "ssim_input": Column("SSIM before", 1, 3),
    "ssim": Column("SSIM", 1, 3),
    "ms_ssim_input": Column("MS-SSIM before", 1, 3),
    "ms_ssim": Column("MS-SSIM", 1, 3),
    "gms_input": Column("gradients before", 1, 3),
    "gms": Column("gradients", 1, 3),
    "lpips_input": Column("LPIPS before", 1, 3),
    "lpips": Column("LPIPS", 1, 3),
    "fid": Column("FID", 1, 1),
}
"""Every measure of a table, in the order of its columns; all but FID are means over images."""
NAMING = ("clip_accuracy", "accuracy", "held_out_accuracy", "clip_cosine", "cosine", "clip_retrieval",
          "retrieval")  # fmt: skip
RESTORATION = tuple(m for m in MEASURES if m.partition("_")[0] in ("psnr", "ssim"))
SIMILARITY = tuple(m for m in MEASURES if m.startswith(("ms_ssim", "gms", "lpips", "fid")))


def text(result: "Evaluation") -> str:
    """The tables in plain text."""
    parts = [_aims(result)]
    table = result.table()
    for measures in (NAMING, RESTORATION, SIMILARITY):
        if not set(measures).isdisjoint(table):
            parts.append(cells(table, measures))
    shown = "\n\n".join(part.to_string() for part in parts)
    return "\n".join([shown, "", *_legend(result), *result.notes])


def markdown(result: "Evaluation") -> str:
    """The tables in Markdown: the aims, then naming and restoration of each degradation."""
    table = result.table()
    parts = [_aims(result)]
    for measures in (NAMING, (*RESTORATION, *SIMILARITY)):
        parts.append(cells(table, measures))
    return "\n\n".join([*map(as_markdown, parts), *_legend(result)]) + "\n"


def cells(table: "pd.DataFrame", measures) -> "pd.DataFrame":
    """Those measures that a table has as text: means, with their 95 % intervals in brackets."""
    shown = table[[]].copy()
    shown.index.name = "degradation"
    for measure in (m for m in measures if m in table):
        title, factor, digits = MEASURES[measure]
        columns = [f"{measure}{bound}" for bound in ("", "_low", "_high")]
        values = factor * table.reindex(columns=columns).to_numpy(float)
        shown[title] = [measured(*line, digits) for line in values]
    return shown


def measured(value: float, low: float, high: float, digits: int) -> str:
    """A value with its interval where it has one; "" where there is no value."""
    if np.isnan(value):
        return ""
    if np.isnan(low):
        return f"{value:.{digits}f}"
    # Adding zero to what is rounded leaves no "-0.0".
    value, low, high = (round(v, digits) + 0.0 for v in (value, low, high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _aims(result: "Evaluation") -> "pd.DataFrame":
    aims = result.summary()
    shown = aims[["aim"]].copy()
    digits = [3 if name.startswith("cosine") or "SSIM" in name else 1 for name in aims.index]
    lines = list(zip(aims.itertuples(), digits, strict=True))
    shown["reached"] = [
        measured(line.value, line.low, line.high, n) + (f", {line.note}" if line.note else "")
        for line, n in lines
    ]
    shown["met"] = ["" if line.met is None else "yes" if line.met else "no" for line, _ in lines]
    shown["CLIP alone"] = ["" if np.isnan(line.clip) else f"{line.clip:.{n}f}" for line, n in lines]
    return shown


def _legend(result: "Evaluation") -> list[str]:
    protocol, rows = result.protocol, result.rows
    size = "whole photos" if protocol.crop is None else f"crops of {protocol.crop} px"
    low, high = protocol.severity
    steps = f"{protocol.steps} step{'s' * (protocol.steps > 1)} of {protocol.sampler}"
    over = f" (channel means over {protocol.window} px)" if protocol.window else ""
    restored = f"restored in {steps}{over}; " if "psnr" in rows else ""
    return [
        f"protocol {protocol.hash} (version {VERSION}): {len(rows)} images and {len(result.mixtures)} mixtures from "
        f"{rows.photo.nunique()} photos, {size}, severity {low:g} to {high:g}, seed {protocol.seed}, "
        f"view {protocol.view}; {restored}in brackets 95 % intervals over photos; "
        f"expected calibration error {result.calibration_error():.3f} "
        f"({result.calibration_error(calibrated=False):.3f} without the temperature)."
    ]


def as_markdown(shown: "pd.DataFrame") -> str:
    """A table of texts in Markdown."""
    head = [shown.index.name or "", *shown.columns]
    lines = [head, ["---"] * len(head)]
    for name, values in zip(shown.index, shown.to_numpy(), strict=True):
        lines.append([f"**{name}**" if name == "overall" else name, *values])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
