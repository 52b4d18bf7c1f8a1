"""Building blocks of the figures: image grids, dots with intervals, heatmaps, curves, maps, legends and PNG files."""

import io
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daclip_lab.figures.palette import BLUE, INK, MUTED, PALE, looks
from daclip_lab.figures.style import GAP, WIDTH, area, canvas, picture, pixels_of, size_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_COLUMNS = 5
"""Panels in a row of `panel_grid`."""


def figure_png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG file, at the figure's own resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return buffer.getvalue()


# ---- images ----


def image_grid(
    rows: Sequence[Sequence],
    *,
    titles: Sequence[Sequence[str]] = (),
    notes: Sequence[Sequence[str]] = (),
    row_titles: Sequence[str] = (),
    corner: str = "",
    zoom: int = 1,
    gap: int = GAP,
    apart: Collection[int] = (),
    caption: str = "",
) -> "Figure":
    """Images in rows and columns, each pixel `zoom` screen pixels wide; images are never resampled.

    Args:
        rows: the images of each row, anything that `read_image` takes. Smaller images are centred in their column.
        titles: the text above each image, with line breaks; an empty row, or a missing one, has none.
        notes: the text below each image.
        row_titles: the text to the left of each row.
        corner: the text above the row titles.
        zoom: a whole number.
        gap: pixels between two columns and two rows.
        apart: the columns before which the gap is wider by 24 pixels.
    """
    images = [[pixels_of(image) for image in row] for row in rows]
    width = zoom * max(image.shape[1] for row in images for image in row)
    step = max(width, text_width([text for row in (*titles, *notes) for text in row])) + gap
    columns = max(map(len, images))
    left = 18 + 7 * max(map(len, (*row_titles, corner))) if row_titles else GAP
    x = [left + column * step + 24 * sum(k <= column for k in apart) for column in range(columns)]
    lines = [max((text.count("\n") + 1 for text in row), default=0) for row in titles]
    lines += [0] * (len(images) - len(lines))
    y, tops, heights = 8, [], [zoom * max(image.shape[0] for image in row) for row in images]
    for height, count in zip(heights, lines, strict=True):
        tops.append(y + (14 * count + 2 if count else 0))
        y = tops[-1] + height + (18 if notes else 0) + gap
    with canvas(x[-1] + step - gap + GAP, y - gap + 36, caption) as figure:
        for k, row in enumerate(images):
            for column, image in enumerate(row):
                inset = (width - zoom * image.shape[1]) // 2
                axes = picture(figure, image, x[column] + inset, tops[k], zoom)
                if k < len(titles) and titles[k]:
                    axes.set_title(titles[k][column], fontsize=9, pad=4, linespacing=1.15)
                beside = {"xycoords": "axes fraction", "textcoords": "offset pixels"}
                if notes:
                    axes.annotate(notes[k][column], (0, 0), (0, -4), va="top", fontsize=9,
                                  color=MUTED, **beside)  # fmt: skip
                if row_titles and column == 0:
                    look = {"ha": "right", "fontsize": 9, **beside}
                    axes.annotate(row_titles[k], (0, 0.5), (-8, 0), va="center", **look)
                    if k == 0:
                        axes.annotate(corner, (0, 1), (-8, 4), va="bottom", **look)
    return figure


def strip(
    images: Sequence, titles: Sequence[str], *, zoom: int = 1, first: int = 0, caption: str = ""
) -> "Figure":
    """Images of one size with a title each, in as many rows as the width of a page needs.

    A wider gap follows the first `first` images of a row: those that the others are compared with.
    """
    step = max(zoom * pixels_of(images[0]).shape[1], text_width(titles)) + GAP
    columns = max(1, min(len(images), (WIDTH - GAP - (24 if first else 0)) // step))
    starts = range(0, len(images), columns)
    return image_grid([images[k : k + columns] for k in starts],
                      titles=[titles[k : k + columns] for k in starts],
                      zoom=zoom, apart=[first] if first else [], caption=caption)  # fmt: skip


def text_width(texts: Sequence[str]) -> int:
    """About how many pixels the longest line of some small texts takes."""
    return max((7 * len(line) for text in texts for line in text.split("\n")), default=0)


# ---- dots with intervals ----


class Dots(NamedTuple):
    """A series of `dot_intervals`: values with intervals, and how they are drawn."""

    table: "pd.DataFrame"
    """Index: names of rows; columns value, low and high."""
    label: str | None = None
    color: str | Sequence[str] = BLUE
    """One colour, or one for each row of the table."""
    marker: str = "o"
    line: str = INK


def dot_intervals(
    axes: "Axes", names: Sequence[str], series: Sequence[Dots], *, spread: float = 0.74
) -> None:
    """A row for each name, from the top; in it a dot and its interval for each series that has a row of that name.

    `spread` is the share of a row's height over which the series lie side by side.
    """
    places = {name: y for y, name in enumerate(names)}
    for number, dots in enumerate(series):
        y = np.array([places[name] for name in dots.table.index], float)
        y += spread * ((number + 0.5) / len(series) - 0.5)
        axes.hlines(y, dots.table.low, dots.table.high, color=dots.line, linewidth=1.4, zorder=2)
        axes.scatter(dots.table.value, y, s=90 if dots.marker == "*" else 46, c=dots.color,
                     marker=dots.marker, edgecolors=INK, linewidths=0.8, zorder=3,
                     label=dots.label)  # fmt: skip
    if len(series) > 1 and spread:
        for edge in range(1, len(names)):
            axes.axhline(edge - 0.5, color=PALE, linewidth=1)
    name_rows(axes, names)


def name_rows(axes: "Axes", names: Sequence[str]) -> None:
    """Names along the left edge, from the top; row k lies at y = k."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


# ---- lines ----


def curve(
    axes: "Axes", x, y, low=None, high=None, *, color: str, marker: str = "", hollow: bool = False,
    ink: str | None = None, **line,
) -> None:  # fmt: skip
    """A line with outlined markers and, where `low` and `high` are given, a band between them.

    `ink` is the colour of the line where it differs from that of the markers and the band; `line` goes to `Axes.plot`.
    """
    if low is not None:
        axes.fill_between(x, low, high, color=color, alpha=0.22, lw=0)
    line = {"linewidth": 1.5, "markersize": 6} | line
    axes.plot(x, y, color=ink or color, marker=marker, markeredgecolor=INK, markeredgewidth=0.7,
              markerfacecolor="white" if hollow else color, **line)  # fmt: skip


def reference_line(
    axes: "Axes", value: float, text: str = "", *, vertical: bool = False, label: str | None = None
) -> None:
    """A dotted line at a value of the vertical axis (or of the horizontal one), with a text at its right end."""
    draw = axes.axvline if vertical else axes.axhline
    draw(value, color=MUTED, linestyle=":", linewidth=1.4, zorder=1, label=label)
    if text:
        axes.annotate(text, (1, value), (-2, 3), xycoords=axes.get_yaxis_transform(), fontsize=9,
                      textcoords="offset points", ha="right", va="bottom", color=MUTED)  # fmt: skip


def panel_grid(
    figure: "Figure", names: Sequence[str], *, left: int, height: int, xlabel: str, ylabel: str
) -> dict[str, "Axes"]:
    """Small axes over 0..1, one for each name and up to five in a row, below a margin of 26 pixels.

    A row of panels is `height` + 30 pixels high; the axis labels below the last one take 42.
    """
    columns = min(PANEL_COLUMNS, len(names))
    wide = (WIDTH - left - 6 - 12 * (columns - 1)) // columns
    rows = -(-len(names) // columns)
    middle = 26 + (rows * (height + 30) - 30) / 2
    figure.text(4 / WIDTH, 1 - middle / size_of(figure)[1], ylabel, rotation=90, va="center")
    panels = {}
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        axes = area(figure, left + column * (wide + 12), 26 + row * (height + 30), wide, height)
        axes.set_title(name, fontsize=10, pad=3)
        axes.set_xlim(-0.04, 1.04)
        axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        axes.tick_params(axis="y", labelleft=column == 0)
        if index + columns < len(names):
            axes.tick_params(axis="x", labelbottom=False)
        else:
            axes.set_xlabel(xlabel, labelpad=1)
        panels[name] = axes
    return panels


# ---- maps and tables ----


def scatter_map(
    axes: "Axes", places: np.ndarray, labels: np.ndarray, *, title: str, size=None
) -> None:
    """Points (n, 2) of a map without units, with the colour and marker of their labels (n strings).

    `size` is the area of each mark in square points, (n,).
    """
    if size is None:
        size = np.full(len(labels), 30 if len(labels) < 600 else 16)
    for label, (color, marker) in looks(labels).items():
        at = labels == label
        axes.scatter(*places[at].T, s=size[at], c=color, marker=marker, edgecolors=INK,
                     linewidths=0.4, alpha=0.85, label=label)  # fmt: skip
    frame_map(axes, title)


def frame_map(axes: "Axes", title: str) -> None:
    """Axes of a map: a pale frame and no ticks, since distances on it have no unit."""
    axes.set(title=title, xticks=(), yticks=())
    axes.margins(0.04)
    axes.spines[:].set(visible=True, color=PALE)


def heatmap(
    axes: "Axes", table: "pd.DataFrame", *, texts=None, fmt="", cmap=None, **options
) -> None:
    """A table of numbers as coloured cells with the numbers in them, or with `texts` of the same shape.

    `options` go to `seaborn.heatmap`; colours run from white at `vmin` to blue unless `cmap` is given.
    """
    import seaborn as sns

    cmap = sns.light_palette(BLUE, as_cmap=True) if cmap is None else cmap
    look = {"annot_kws": {"fontsize": 10}, "linewidths": 1, "linecolor": "white", "cbar": False}
    texts = True if texts is None else texts
    sns.heatmap(table, ax=axes, annot=texts, fmt=fmt, cmap=cmap, **look | options)
    axes.set(xlabel="", ylabel="")
    axes.set_yticks(axes.get_yticks(), list(table.index), rotation=0)
    axes.tick_params(length=0)


# ---- legends ----


def legend_below(figure: "Figure", *, top: int, columns: int, title: str | None = None) -> None:
    """A centred legend of the last axes, whose upper edge lies `top` pixels below that of the figure."""
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    legend = figure.legend(handles, labels, title=title, ncols=columns, loc="upper center",
                           bbox_to_anchor=(0.5, 1 - top / size_of(figure)[1]),
                           columnspacing=1.4, handletextpad=0.4)  # fmt: skip
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):  # marks of scatter plots differ in size
            handle.set_sizes([48])
