"""Measures of rows as tables: means with intervals, and these as text."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from daclip_lab.metrics.bootstrap import bootstrap_interval
from daclip_lab.metrics.formatting import format_interval


class Column(NamedTuple):
    """How a measure is printed."""

    title: str
    factor: float = 1
    digits: int = 3


MEASURES = {
    "clip_accuracy": Column("CLIP alone (%)", 100, 1),
    "accuracy": Column("DA-CLIP (%)", 100, 1),
    "held_out_accuracy": Column("held-out words (%)", 100, 1),
    "false_clean": Column("classified clean (%)", 100, 1),
    "clip_cosine": Column("cosine, CLIP alone"),
    "cosine": Column("cosine, DA-CLIP"),
    "clip_retrieval": Column("R@1, CLIP alone (%)", 100, 1),
    "retrieval": Column("R@1, DA-CLIP (%)", 100, 1),
    "psnr_input": Column("PSNR before (dB)", 1, 2),
    "psnr": Column("restored (dB)", 1, 2),
    "psnr_gain": Column("gain (dB)", 1, 2),
    "ssim_input": Column("SSIM before"),
    "ssim": Column("SSIM"),
    "ms_ssim_input": Column("MS-SSIM before"),
    "ms_ssim": Column("MS-SSIM"),
    "gms_input": Column("gradients before"),
    "gms": Column("gradients"),
    "lpips_input": Column("LPIPS before"),
    "lpips": Column("LPIPS"),
    "fid": Column("FID", 1, 1),
}
"""Every measure of `Evaluation.table`, in the order of its columns; all but FID are means over images."""
CLASSIFICATION = ("clip_accuracy", "accuracy", "held_out_accuracy", "clip_cosine", "cosine", "clip_retrieval",
                  "retrieval")  # fmt: skip
RESTORATION = tuple(m for m in MEASURES if m.startswith(("psnr", "ssim")))
SIMILARITY = tuple(m for m in MEASURES if m.startswith(("ms_ssim", "gms", "lpips", "fid")))


def interval_columns(
    rows: "pd.DataFrame", measures: Iterable[str], photos: str = "photo", suffix: str = ""
) -> dict[str, float]:
    """Mean and 95 % interval of some columns of rows, as `m`, `m_low` and `m_high`, each m with the suffix.

    Resamples draw the groups of rows that are equal in the column `photos`. Measures that the rows lack are left out.
    """
    found: dict[str, float] = {}
    for m in (m for m in measures if m in rows):
        mean, low, high = bootstrap_interval(rows[m].to_numpy(float), rows[photos].to_numpy())
        found |= {m + suffix: mean, f"{m}{suffix}_low": low, f"{m}{suffix}_high": high}
    return found


def cells(table: "pd.DataFrame", columns: Mapping[str, Column], suffix: str = "") -> "pd.DataFrame":
    """Those columns that a table has as text: means, with their 95 % intervals in brackets."""
    shown = table[[]].copy()
    for measure in (m for m in columns if m + suffix in table):
        title, factor, digits = columns[measure]
        names = [f"{measure}{suffix}{end}" for end in ("", "_low", "_high")]
        values = factor * table.reindex(columns=names).to_numpy(float)
        shown[title] = [format_interval(value, low, high, digits) for value, low, high in values]
    return shown
