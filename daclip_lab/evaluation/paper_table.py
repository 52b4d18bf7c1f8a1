"""The results of the paper's protocol as a table: one row per degradation, and their average."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from daclip_lab.degradations.registry import in_order
from daclip_lab.evaluation.tables import Column, cells, interval_columns
from daclip_lab.metrics.formatting import json_rows

ON_LUMA = ("rainy",)  # the paper's numbers for Rain100H are PSNR_Y and SSIM_Y
REPORTED = {
    "clip_accuracy": Column("CLIP"),
    "accuracy": Column("DA-CLIP"),
    "psnr_reported": Column("PSNR*", digits=2),
    "ssim_reported": Column("SSIM*"),
    "lpips": Column("LPIPS"),
    "fid": Column("FID", digits=2),
}
DETAILS = {
    "psnr_input": Column("PSNR before", digits=2),
    "psnr": Column("PSNR RGB", digits=2),
    "ssim": Column("SSIM RGB"),
    "psnr_y": Column("PSNR Y", digits=2),
    "ssim_y": Column("SSIM Y"),
}
AVERAGE = "average"


@dataclass(frozen=True)
class PaperTable:
    """The results of `paper_protocol.measure`."""

    provenance: dict
    """The protocol, the fingerprint of the weights, and the folder of the data."""
    images: list[dict]
    """One for each image: `image`, `degradation`, `content` (the SHA-256 of both files); `predicted_degradation` and
    `clip_predicted_degradation`; `psnr_input`; `psnr`, `ssim` in RGB and `psnr_y`, `ssim_y` on the luma; `lpips`. What
    was not measured is missing."""
    fid: dict[str, float]
    """Of each degradation with two images or more; empty where its network is missing."""
    notes: list[str]
    """What was not measured, and why."""

    def table(self) -> "pd.DataFrame":
        """One row per degradation, and `average`, their mean: n, and each measure m with its interval.

        The columns `m`, `m_low` and `m_high` are mean and 95 % bootstrap interval over images; FID and the average have
        none. `psnr_reported` and `ssim_reported` are those the paper prints: on the luma for rain, else in RGB.
        """
        rows = pd.DataFrame(self.images)
        for prefix in ("", "clip_"):
            if (predicted := f"{prefix}predicted_degradation") in rows:
                right = (rows[predicted] == rows.degradation).astype(float)
                rows[f"{prefix}accuracy"] = right.where(rows[predicted].notna())
        if "psnr" in rows:
            luma = rows.degradation.isin(ON_LUMA)
            for measure in ("psnr", "ssim"):
                rows[f"{measure}_reported"] = rows[f"{measure}_y"].where(luma, rows[measure])
        lines = {}
        for name in in_order(rows.degradation):
            group = rows[rows.degradation == name]
            lines[name] = {"n": len(group), **interval_columns(group, REPORTED | DETAILS, "image")}
            if self.fid:
                lines[name]["fid"] = self.fid.get(name, np.nan)
        table = pd.DataFrame(lines).T
        means = table[[m for m in REPORTED | DETAILS if m in table]].mean()
        table.loc[AVERAGE] = means.reindex(table.columns)
        table.loc[AVERAGE, "n"] = len(rows)
        return table.astype({"n": int})

    def to_dict(self) -> dict:
        """The table with its provenance, ready for JSON; what has no value is None."""
        return {**self.provenance, "degradations": json_rows(self.table()), "notes": self.notes}

    def __str__(self) -> str:
        table, protocol = self.table(), self.provenance["protocol"]
        parts = [cells(table, columns) for columns in (REPORTED, DETAILS)]
        for part in parts:
            part.insert(0, "n", table.n)
        legend = (
            "in brackets 95 % intervals over images; average: the mean of the degradations",
            "* as the paper prints it: rain on the luma (Y), the others in RGB; a border of 4 pixels does not count",
            f"steps {protocol['steps']}, sampler {protocol['sampler']}, seed {protocol['seed']}, "
            f"weights {self.provenance['weights']}",
        )
        shown = (part.to_string() for part in parts if len(part.columns) > 1)
        return "\n".join([*shown, *legend, *self.notes])
