"""The same photos under several settings: the effect of more steps, another view or other windows."""

from collections.abc import Mapping

import pandas as pd

from daclip_lab.degradations.registry import CLEAN
from daclip_lab.errors import InputError
from daclip_lab.evaluation.evaluation import Evaluation
from daclip_lab.evaluation.tables import MEASURES, cells, interval_columns
from daclip_lab.metrics.formatting import markdown_table

COMPARED = ("accuracy", "cosine", "retrieval", "psnr", "ssim", "ms_ssim", "gms", "lpips")


def compare(results: Mapping[str, Evaluation]) -> "pd.DataFrame":
    """Means over all degradations, a row for each setting, and its differences to the first one.

    Columns of a measure m are `m` with `m_low` and `m_high`, and `m_gain` with `m_gain_low` and `m_gain_high`: the
    mean difference to the first setting on the same images, with its 95 % interval over photos. Since every image is
    compared with itself, differences between photos do not widen that interval.

    Raises InputError where the settings were not measured on the same images.
    """
    key = ["photo", "crop", "degradation", "severity"]
    tables = {name: result.measures() for name, result in results.items()}
    first = next(iter(tables.values()))
    lines = {}
    for name, rows in tables.items():
        if not rows[key].equals(first[key]):
            raise InputError(f"{name} was measured on other images than {next(iter(tables))}")
        degraded = rows.degradation != CLEAN
        shared = [m for m in COMPARED if m in rows and m in first]
        gains = rows.assign(**{m: rows[m] - first[m] for m in shared})
        lines[name] = interval_columns(rows[degraded], COMPARED)
        lines[name] |= interval_columns(gains[degraded], shared, suffix="_gain")
    return pd.DataFrame(lines).T


def text(table: "pd.DataFrame", *, markdown: bool = False) -> str:
    """A comparison as text: the means of each setting, and below them the differences to the first."""
    columns = {name: MEASURES[name] for name in COMPARED}
    means, gains = cells(table, columns), cells(table, columns, "_gain")
    gains.index = [f"{name} against {table.index[0]}" for name in gains.index]
    both = [part.iloc[[k]] for k in range(len(table)) for part in (means, gains)]
    shown = pd.concat([both[0], *both[2:]])
    return markdown_table(shown) if markdown else shown.to_string()
