"""The same photos under several settings: what more steps, another view or other windows win and lose."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daclip_lab.degradations.registry import CLEAN
from daclip_lab.errors import InputError
from daclip_lab.evaluation import formatting
from daclip_lab.metrics.bootstrap import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

    from daclip_lab.evaluation.evaluation import Evaluation

COMPARED = ("accuracy", "cosine", "retrieval", "psnr", "ssim", "ms_ssim", "gms", "lpips")


def compare(results: Mapping[str, "Evaluation"]) -> "pd.DataFrame":
    """Means over the ten degradations, a row for each setting, and how far each is from the first one.

    Columns of a measure m are `m` with `m_low` and `m_high`, and `m_gain` with `m_gain_low` and `m_gain_high`: the
    mean difference to the first setting on the same images, with its 95 % interval over photos. Since every image is
    compared with itself, differences between photos do not blur that one.

    Raises InputError where the settings were not measured on the same images.
    """
    import pandas as pd

    key = ["photo", "crop", "degradation"]
    tables = {name: result.measured() for name, result in results.items()}
    first = next(iter(tables.values()))
    lines = {}
    for name, rows in tables.items():
        if not rows[[*key, "severity"]].equals(first[[*key, "severity"]]):
            raise InputError(f"{name} was measured on other images than {next(iter(tables))}")
        ten = rows.degradation != CLEAN
        photos = rows.photo[ten].to_numpy()
        lines[name] = {}
        for m in (m for m in COMPARED if m in rows):
            differences = (rows[m] - first[m])[ten].to_numpy()
            for column, values in ((m, rows[m][ten].to_numpy()), (f"{m}_gain", differences)):
                mean, low, high = bootstrap_interval(values, photos)
                lines[name] |= {column: mean, f"{column}_low": low, f"{column}_high": high}
    return pd.DataFrame(lines).T


def text(table: "pd.DataFrame", *, markdown: bool = False) -> str:
    """A comparison as a person reads it: each mean, and below it the difference to the first setting."""
    import pandas as pd

    lines, names = [], []
    for name, line in table.iterrows():
        names.append(name)
        lines.append(_cells(line, ""))
        if len(names) > 1:
            names.append(f"against {table.index[0]}")
            lines.append(_cells(line, "_gain"))
    shown = pd.DataFrame(lines, index=names)
    return formatting.as_markdown(shown) if markdown else shown.to_string()


def _cells(line: "pd.Series", end: str) -> dict[str, str]:
    found = {}
    for measure in (m for m in COMPARED if m in line):
        title, factor, digits = formatting.MEASURES[measure]
        values = (factor * line[f"{measure}{end}{bound}"] for bound in ("", "_low", "_high"))
        found[title] = formatting.measured(*values, digits)
    return found
