"""Figures over severity: degraded images in rows, and curves in a small panel for each degradation.

CLIP alone is a hollow square on a dashed line, DA-CLIP a filled disk on a solid one.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from daclip_lab.degradations.registry import in_order
from daclip_lab.figures.palette import INK, MUTED, color_of
from daclip_lab.figures.primitives import (
    curve,
    image_grid,
    legend_below,
    panel_grid,
    reference_line,
)
from daclip_lab.figures.style import WIDTH, above_caption, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SPACES: dict[str, dict] = {
    "CLIP alone": {"marker": "s", "linestyle": (0, (3, 1.5)), "hollow": True},
    "DA-CLIP": {"marker": "o", "linestyle": "-", "hollow": False},
}
SEVERITIES = (0, 0.15, 0.3, 0.5, 0.75, 1)
"""The columns of a sheet."""


def sheet(
    rows: Mapping[str, Sequence], severities: Sequence[float] = SEVERITIES, *, caption: str = ""
) -> "Figure":
    """One image, degraded: a row for each degradation or seed, a column for each severity, at its own pixels.

    `rows` gives the images of a row, one for each severity and all of one size, under the title of the row.
    """
    titles = [f"{severity:g}" for severity in severities]
    if any(len(images) != len(titles) for images in rows.values()):
        raise ValueError(f"wanted {len(titles)} images in each row, one for each severity")
    return image_grid(list(rows.values()), titles=[titles], row_titles=list(rows),
                      corner="severity", gap=4, caption=caption)  # fmt: skip


def over_severity(
    table: "pd.DataFrame",
    *,
    ylabel: str,
    level: tuple[float, str] | None = None,
    shares: bool = False,
    caption: str = "",
) -> "Figure":
    """A measure over severity, a small panel for each degradation, with 95 % intervals.

    Args:
        table: columns degradation, severity (0..1), space ("CLIP alone" or "DA-CLIP"), mean, low, high.
        ylabel: the measure, with its unit.
        level: a value and its name, drawn as a dotted line in every panel, such as chance.
        shares: the values are shares 0..1, written in percent.
    """
    present = set(table.degradation)
    names = [*in_order(present - {"overall"}), *({"overall"} & present)]
    spaces = [space for space in SPACES if space in set(table.space)]
    legend = len(spaces) > 1 or level is not None
    bottom = min(0.0, table.low.min())
    top = 1.06 if shares else max(1.0, table.high.max()) * 1.06
    rows = -(-len(names) // 5)
    with canvas(WIDTH, 26 + rows * 150 + (92 if legend else 74), caption) as figure:
        panels = panel_grid(figure, names, left=72, height=120, xlabel="severity", ylabel=ylabel)
        for name, axes in panels.items():
            for space in spaces:
                part = table[(table.degradation == name) & (table.space == space)]
                curve(axes, part.severity, part["mean"], part.low, part.high, color=color_of(name),
                      ink=INK, linewidth=1.2, **SPACES[space])  # fmt: skip
            if level:
                reference_line(axes, level[0])
            axes.set_ylim(bottom - 0.03, top)
            axes.grid(axis="y")
            if shares:
                percent(axes.yaxis)
        if legend:
            for space in spaces:
                curve(axes, [], [], color=MUTED, ink=INK, label=space, **SPACES[space])
            if level:
                axes.plot([], [], color=MUTED, linestyle=":", label=level[1])
            legend_below(figure, top=above_caption(figure, caption), columns=3)
    return figure
