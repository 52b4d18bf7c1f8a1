"""The results of the paper's protocol as a table: one row per degradation, and their average."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.data.pairs import in_order
from daclip_lab.metrics.bootstrap import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

ON_LUMA = ("rainy",)  # the paper's numbers for Rain100H are PSNR_Y and SSIM_Y
REPORTED = {
    "clip_accuracy": "CLIP",
    "accuracy": "DA-CLIP",
    "psnr_reported": "PSNR*",
    "ssim_reported": "SSIM*",
    "lpips": "LPIPS",
    "fid": "FID",
}
DETAILS = {
    "psnr_input": "PSNR before",
    "psnr": "PSNR RGB",
    "ssim": "SSIM RGB",
    "psnr_y": "PSNR Y",
    "ssim_y": "SSIM Y",
}
AVERAGE = "average"


@dataclass(frozen=True)
class PaperTable:
    """What `paper_protocol.measure` found."""

    provenance: dict
    """The protocol, the fingerprint of the weights, and the folder of the data."""
    images: list[dict]
    """One for each image: `image` and `degradation`; `named` and `clip_named` of the ten; `psnr_input`; `psnr`, `ssim`
    in RGB and `psnr_y`, `ssim_y` on the luma; `lpips`. What was not measured is absent."""
    fid: dict[str, float]
    """Of each degradation with two images or more; empty where the network for it is absent."""
    notes: list[str]
    """What was not measured, and why."""

    def table(self) -> "pd.DataFrame":
        """One row per degradation, and `average`, their mean: n, and each measure m with its interval.

        The columns `m`, `m_low` and `m_high` are mean and 95 % bootstrap interval over images; FID and the average have
        none. `psnr_reported` and `ssim_reported` are those the paper prints: on the luma for rain, else in RGB.
        """
        import pandas as pd

        rows = pd.DataFrame(self.images)
        for given, measure in (("named", "accuracy"), ("clip_named", "clip_accuracy")):
            if given in rows:
                right = (rows[given] == rows.degradation).astype(float)
                rows[measure] = right.where(rows[given].notna())
        if "psnr" in rows:
            for measure in ("psnr", "ssim"):
                luma = rows.degradation.isin(ON_LUMA)
                rows[f"{measure}_reported"] = rows[f"{measure}_y"].where(luma, rows[measure])
        measures = [m for m in REPORTED | DETAILS if m in rows]
        lines = {}
        for name in in_order(rows.degradation):
            group = rows[rows.degradation == name]
            lines[name] = {"n": len(group)}
            for m in measures:
                mean, low, high = bootstrap_interval(group[m].to_numpy(), group.image.to_numpy())
                lines[name] |= {m: mean, f"{m}_low": low, f"{m}_high": high}
            if self.fid:
                lines[name]["fid"] = self.fid.get(name, np.nan)
        table = pd.DataFrame(lines).T
        average = {m: table[m].mean() for m in [*measures, *(["fid"] if self.fid else [])]}
        table.loc[AVERAGE] = pd.Series({"n": len(rows)} | average)
        return table.astype({"n": int})

    def to_dict(self) -> dict:
        """The table and what it rests on, ready for JSON; what has no value is None."""
        table = self.table().to_dict("index")
        degradations = {
            name: {m: None if np.isnan(value) else value for m, value in line.items()}
            for name, line in table.items()
        }
        return {**self.provenance, "degradations": degradations, "notes": self.notes}

    def __str__(self) -> str:
        table = self.table()
        protocol = self.provenance["protocol"]
        parts = [_shown(table, names) for names in (REPORTED, DETAILS) if {*names} & {*table}]
        legend = (
            "in brackets 95 % intervals over images; average: the mean of the degradations",
            "* as the paper prints it: rain on the luma (Y), the others in RGB; a border of 4 pixels does not count",
            f"steps {protocol['steps']}, sampler {protocol['sampler']}, seed {protocol['seed']}, "
            f"weights {self.provenance['weights']}",
        )
        return "\n".join([*(part.to_string() for part in parts), *legend, *self.notes])


def _shown(table: "pd.DataFrame", names: dict[str, str]) -> "pd.DataFrame":
    """Some measures as a person reads them, with their intervals."""
    import pandas as pd

    shown = pd.DataFrame({"n": table.n})
    for measure, title in names.items():
        if measure in table:
            digits = 2 if measure.startswith(("psnr", "fid")) else 3
            shown[title] = [_cell(line, measure, digits) for _, line in table.iterrows()]
    return shown


def _cell(line: "pd.Series", measure: str, digits: int) -> str:
    mean, low, high = (line.get(measure + end, np.nan) for end in ("", "_low", "_high"))
    if np.isnan(mean):
        return ""
    return f"{mean:.{digits}f}" + (
        "" if np.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    )
