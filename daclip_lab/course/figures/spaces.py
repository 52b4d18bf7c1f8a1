"""Embeddings: maps with one image picked out, measures side by side, severities predicted, nearest neighbours."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.degradations.registry import in_order
from daclip_lab.figures.palette import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    PALE,
    PALE_BLUE,
    color_of,
    marker_of,
)
from daclip_lab.figures.primitives import (
    Dots,
    curve,
    dot_intervals,
    legend_below,
    panel_grid,
    reference_line,
    scatter_map,
)
from daclip_lab.figures.style import GAP, WIDTH, area, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


SPACES = {
    "clip": ("white", "s", "CLIP alone"),
    "content": (BLUE, "o", "content embedding"),
    "degradation": (ORANGE, "D", "degradation embedding"),
}
NEIGHBOURS = {
    "same crop": BLUE,
    "same degradation": "#e08a2e",
    "same photo": PALE_BLUE,
    "another photo": "#d9d9d9",
}


def embedding_scatter(
    maps: Mapping[str, np.ndarray],
    labels: Sequence[str],
    severity: Sequence[float] | None = None,
) -> "Figure":
    """The same n embeddings on one or more maps, side by side, a colour and a marker per degradation.

    `maps` gives coordinates (n, 2) under a title, such as {"UMAP": ..., "PCA": ...}; with `severity` (0..1) a stronger
    degradation is drawn larger.
    """
    labels = np.asarray(labels)
    size = np.full(len(labels), 34.0) if severity is None else 12 + 48 * np.nan_to_num(severity)
    side = (WIDTH - 3 * GAP) // max(2, len(maps)) - 12
    caption = "Each mark is one image. Axes of a map have no unit: look at who is near whom."
    caption += "" if severity is None else " Larger: more severe."
    with canvas(GAP + len(maps) * (side + 2 * GAP), side + 134, caption) as figure:
        for index, (title, places) in enumerate(maps.items()):
            axes = area(figure, GAP + index * (side + 2 * GAP), 30, side, side)
            scatter_map(axes, places, labels, title=title, size=size)
        legend_below(figure, top=side + 36, columns=6)
    return figure


def measures_by_space(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """Measures that share the scale 0..1 (a little below 0 at worst): a mark and a 95 % interval for each space.

    `table` has the columns measure, space, value, low, high and chance (NaN where there is none); a grey tick marks the
    value of random embeddings.
    """
    measures, step = list(dict.fromkeys(table.measure)), 46
    with canvas(WIDTH, step * len(measures) + 102, caption) as figure:
        axes = area(figure, 262, 44, WIDTH - 282, step * len(measures))
        parts = {space: table[table.space == space].set_index("measure") for space in SPACES}
        dot_intervals(axes, measures, [
            Dots(parts[space], label, color, marker)
            for space, (color, marker, label) in SPACES.items()
        ], spread=0.72)  # fmt: skip
        for number, part in enumerate(parts.values()):
            y = part.index.map(measures.index).to_numpy() + 0.24 * (number - 1)
            axes.vlines(part.chance, y - 0.11, y + 0.11, color=MUTED, linewidth=2.5,
                        label="random" if number == 2 else None)  # fmt: skip
        reference_line(axes, 0, vertical=True)
        axes.set_xlim(min(-0.12, table.low.min() - 0.03), 1.03)
        legend_below(figure, top=0, columns=4)
    return figure


def severity_read(
    table: "pd.DataFrame", seen: tuple[float, float], *, caption: str = ""
) -> "Figure":
    """The severity that a probe predicts over the true one: a panel per degradation, with 95 % intervals.

    `table` has the columns degradation, severity (0..1), mean, low and high. The grey band marks the severities that
    the probe was fitted on; a perfect probe would lie on the dotted line.
    """
    names = in_order(table.degradation)
    low, top = min(-0.05, table.low.min() - 0.03), max(1.05, table.high.max() + 0.03)
    with canvas(WIDTH, 68 + 168 * -(-len(names) // 5), caption) as figure:
        panels = panel_grid(figure, names, left=56, height=138, xlabel="true severity",
                            ylabel="predicted severity")  # fmt: skip
        for name, axes in panels.items():
            part = table[table.degradation == name]
            axes.axvspan(*seen, color=PALE, alpha=0.7, lw=0)
            axes.plot((0, 1), (0, 1), color=MUTED, linestyle=":", linewidth=1.4)
            curve(axes, part.severity, part["mean"], part.low, part.high, color=color_of(name),
                  ink=INK, marker=marker_of(name), linewidth=1.2)  # fmt: skip
            axes.set_ylim(low, top)
    return figure


def neighbour_bars(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """The kind of the nearest neighbour of a degraded image: a panel per space, a bar per severity.

    `table` has the columns space, severity and one for each of `NEIGHBOURS`, with shares that sum to 1.
    """
    spaces = list(dict.fromkeys(table.space))
    wide = (WIDTH - 72 - 20 * len(spaces)) // max(2, len(spaces))
    whole = max(72 + len(spaces) * (wide + 20), 620)  # wide enough for the legend
    with canvas(whole, 318, caption) as figure:
        for index, space in enumerate(spaces):
            part = table[table.space == space]
            axes = area(figure, 72 + index * (wide + 20), 56, wide, 180)
            below = np.zeros(len(part))
            for kind, color in NEIGHBOURS.items():
                axes.bar(np.arange(len(part)), part[kind], 0.72, bottom=below, color=color,
                         edgecolor="white", linewidth=0.8, label=kind)  # fmt: skip
                below += part[kind].to_numpy()
            axes.set_xticks(range(len(part)), [f"{value:g}" for value in part.severity])
            axes.set(ylim=(0, 1), xlabel="severity", ylabel="" if index else "nearest neighbours")
            axes.set_title(space, fontsize=10)
            percent(axes.yaxis)
            axes.tick_params(axis="y", labelleft=not index)
        legend_below(figure, top=0, columns=4)
    return figure
