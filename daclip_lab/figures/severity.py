"""What happens as a degradation grows: sheets and strips of pictures, curves over severity, neighbours in a space.

Each function takes data and returns a matplotlib Figure; none computes a result. A colour always means the same
degradation (see `style`); CLIP alone is a hollow square on a dashed line, DA-CLIP a disk on a solid one.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.degradations.rules import NAMES
from daclip_lab.figures.style import (
    COLORS,
    DPI,
    GAP,
    INK,
    MARKERS,
    MUTED,
    WIDTH,
    area,
    canvas,
    caption_lines,
    percent,
    picture,
    pixels_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SPACES = {"CLIP alone": ("s", (0, (3, 1.5)), True), "DA-CLIP": ("o", "-", False)}
NEIGHBOURS = {
    "same crop": "#1f4e8c",
    "same degradation": "#e08a2e",
    "same photo": "#9dbbe0",
    "another photo": "#d9d9d9",
}
COLUMNS = 5
SEVERITIES = (0, 0.15, 0.3, 0.5, 0.75, 1)
"""The columns of a sheet."""


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
        ylabel: what is measured, with its unit.
        level: a value and its name, drawn as a dotted line in every panel: chance, or what a stranger reaches.
        shares: the values are shares 0..1, written in percent.
        caption: what to see; it goes below the panels.
    """
    names = [name for name in (*NAMES, "overall") if name in set(table.degradation)]
    spaces = [space for space in SPACES if space in set(table.space)]
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    left, wide, high = 72, (WIDTH - 72 - 6 - 12 * (columns - 1)) // columns, 120
    foot = 92 if len(spaces) > 1 or level else 74
    bottom = min(0.0, table.low.min())
    top = 1.06 if shares else max(1.0, table.high.max()) * 1.06
    with canvas(WIDTH, 26 + rows * (high + 30) + foot, caption) as figure:
        tall = figure.get_size_inches()[1] * DPI
        middle = 26 + (rows * (high + 30) - 30) / 2
        figure.text(4 / WIDTH, 1 - middle / tall, ylabel, rotation=90, va="center")
        for index, name in enumerate(names):
            row, column = divmod(index, columns)
            axes = area(figure, left + column * (wide + 12), 26 + row * (high + 30), wide, high)
            for space in spaces:
                marker, line, hollow = SPACES[space]
                part = table[(table.degradation == name) & (table.space == space)]
                color = COLORS.get(name, INK)
                axes.fill_between(part.severity, part.low, part.high, color=color, alpha=0.22, lw=0)
                axes.plot(part.severity, part["mean"], color=INK, linestyle=line, linewidth=1.2,
                          marker=marker, markersize=5.5, markeredgecolor=INK, markeredgewidth=0.8,
                          markerfacecolor="white" if hollow else color)  # fmt: skip
            if level:
                axes.axhline(level[0], color=MUTED, linestyle=":", linewidth=1.4)
            axes.set(xlim=(-0.04, 1.04), ylim=(bottom - 0.03, top))
            axes.set_title(name, fontsize=10, pad=3)
            axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
            axes.grid(axis="y")
            if shares:
                percent(axes.yaxis)
            if column:
                axes.tick_params(axis="y", labelleft=False)
            if index + columns < len(names):
                axes.tick_params(axis="x", labelbottom=False)
            else:
                axes.set_xlabel("severity", labelpad=1)
        handles = [
            figure.axes[0].plot([], [], color=INK, linestyle=line, marker=marker, markersize=6,
                                markerfacecolor="white" if hollow else MUTED, label=space)[0]
            for space, (marker, line, hollow) in SPACES.items() if space in spaces
        ]  # fmt: skip
        if level:
            dots = figure.axes[0].plot([], [], color=MUTED, linestyle=":", label=level[1])
            handles += dots
        if foot > 74:
            above = 8 + 16 * max(1, len(caption_lines(caption, WIDTH)))
            figure.legend(handles=handles, ncols=3, loc="lower center", columnspacing=2.5,
                          bbox_to_anchor=(0.5, above / tall))  # fmt: skip
    return figure


def decibels_over_severity(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """What each degradation costs: PSNR (dB) to the clean image over severity, a line for each, on one panel.

    `table` has the severities as its index and a column for each degradation.
    """
    with canvas(WIDTH, 366, caption) as figure:
        axes = area(figure, 64, 16, WIDTH - 264, 280)
        at_the_end = table.iloc[-1].sort_values(ascending=False).index
        for name in at_the_end:
            axes.plot(table.index, table[name], color=COLORS[name], marker=MARKERS[name], markersize=7,
                      markeredgecolor=INK, markeredgewidth=0.6, label=name)  # fmt: skip
        axes.set(xlabel="severity", ylabel="PSNR to the clean image (dB)", xlim=(0, 1.03))
        axes.grid(axis="y")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), title="best to worst at the end",
                    alignment="left", labelspacing=0.7)  # fmt: skip
    return figure


def neighbour_bars(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """Who is nearest to a degraded image: a panel per space, a bar per severity, shares stacked to 100 %.

    `table` has the columns space, severity and one for each of `NEIGHBOURS`, with shares that sum to 1.
    """
    spaces = list(dict.fromkeys(table.space))
    wide = (WIDTH - 60 - 20 * len(spaces)) // max(2, len(spaces))
    whole = max(60 + len(spaces) * (wide + 20), 620)  # room for the legend
    with canvas(whole, 318, caption) as figure:
        for index, space in enumerate(spaces):
            part = table[table.space == space]
            axes = area(figure, 60 + index * (wide + 20), 56, wide, 180)
            below = np.zeros(len(part))
            for kind, color in NEIGHBOURS.items():
                axes.bar(np.arange(len(part)), part[kind], 0.72, bottom=below, color=color,
                         edgecolor="white", linewidth=0.8, label=kind)  # fmt: skip
                below += part[kind].to_numpy()
            axes.set_xticks(range(len(part)), [f"{value:g}" for value in part.severity])
            axes.set(ylim=(0, 1), xlabel="severity")
            axes.set_title(space, fontsize=10)
            percent(axes.yaxis)
            if index:
                axes.tick_params(axis="y", labelleft=False)
            else:
                axes.set_ylabel("nearest neighbours")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), ncols=4, loc="upper left",
                      bbox_to_anchor=(50 / whole, 1.0))  # fmt: skip
    return figure


def strip(
    images: Sequence, titles: Sequence[str], *, zoom: int = 1, first: int = 0, caption: str = ""
) -> "Figure":
    """Pictures of one size in rows at their own pixels, a title of a line or two above each.

    After the first `first` pictures of a row comes a wider gap: they are what the others are compared with. `zoom` is a
    whole number.
    """
    height, width = (side * zoom for side in pixels_of(images[0]).shape[:2])
    apart = 2 * GAP if first else 0
    columns = max(1, min(len(images), (WIDTH - GAP - apart) // (width + GAP)))
    rows = -(-len(images) // columns)
    lines = max(title.count("\n") + 1 for title in titles)
    tall = height + 14 * lines + 14
    whole = (GAP + columns * (width + GAP) + apart, rows * tall + 30)
    with canvas(*whole, caption) as figure:
        for index, (image, title) in enumerate(zip(images, titles, strict=True)):
            row, column = divmod(index, columns)
            x = GAP + column * (width + GAP) + (apart if column >= first else 0)
            axes = picture(figure, image, x, row * tall + 14 * lines + 6, zoom)
            axes.set_title(title, fontsize=9, pad=4, linespacing=1.15)
    return figure


def sheet(
    rows: Mapping[str, Sequence], severities: Sequence[float] = SEVERITIES, *, caption: str = ""
) -> "Figure":
    """One image, degraded: a row for each degradation or seed, a column for each severity, every pixel as it is.

    `rows` gives the images of a row, one for each severity and all of one size, under the title of the row.
    """
    height, width = pixels_of(next(iter(rows.values()))[0]).shape[:2]
    left, top = 16 + 7 * max(map(len, (*rows, "severity"))), 24
    across, down = max(width, 32) + 4, height + 4  # room for the title of a column
    with canvas(left + len(severities) * across, top + len(rows) * down + 30, caption) as figure:
        for row, (title, images) in enumerate(rows.items()):
            for column, (severity, image) in enumerate(zip(severities, images, strict=True)):
                axes = picture(figure, image, left + column * across, top + row * down)
                if row == 0:
                    axes.set_title(f"{severity:g}", fontsize=9, pad=4)
                if column == 0:
                    beside = {"xycoords": "axes fraction", "textcoords": "offset pixels",
                              "ha": "right", "fontsize": 9}  # fmt: skip
                    axes.annotate(title, (0, 0.5), (-8, 0), va="center", **beside)
                    if row == 0:
                        axes.annotate("severity", (0, 1), (-8, 4), va="bottom", **beside)
    return figure
