"""Maps of the same images side by side in the colours of any column, as a figure and as a plain picture."""

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from daclip_lab.figures.palette import COLORS, INK, MUTED, PALE, RED, UNKNOWN, looks
from daclip_lab.figures.primitives import frame_map, legend_below
from daclip_lab.figures.style import GAP, WIDTH, area, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEW = "new photo"
"""The label of images that were placed on a map later."""
LEGEND = 24
"""Names that a legend holds at most."""
# Viridis, from low to high: its lightness alone orders the values.
SCALE = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")


class Coloring(NamedTuple):
    """A category for each of n rows, and how it is drawn."""

    codes: np.ndarray
    """(n,) whole numbers: places in the lists below."""
    names: list[str]
    colors: list[str]
    """Such as "#1f4e8c"."""
    markers: list[str]
    """Of matplotlib."""

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Names and colours, at most `LEGEND` of them; the last one then says how many more there are."""
        both = list(zip(self.names, self.colors, strict=True))
        more = len(both) - LEGEND
        return both if more <= 0 else [*both[:LEGEND], (f"and {more} more", PALE)]


def coloring(values: ArrayLike, new: int = 0) -> Coloring:
    """Categories of a column: numbers in up to eight equal steps from low to high, texts each for itself.

    Degradations have their own colours. A missing value is `UNKNOWN`; the last `new` rows are `NEW`.
    """
    series = pd.Series(np.asarray(values)).reset_index(drop=True)
    series = series[: len(series) - new].infer_objects()
    numbers = pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)
    texts, names, shades = _steps(series) if numbers else _texts(series)
    for name, shade, needed in ((UNKNOWN, (PALE, "o"), texts.isna().any()), (NEW, (RED, "*"), new)):
        if needed:
            names, shades = [*names, name], [*shades, shade]
    texts = pd.concat([texts.fillna(UNKNOWN), pd.Series([NEW] * new, dtype=object)])
    codes = texts.map({name: code for code, name in enumerate(names)}).to_numpy(dtype=int)
    return Coloring(codes, names, [color for color, _ in shades], [mark for _, mark in shades])


def words(facts: pd.Series) -> str:
    """A row in a few words."""
    severity = "" if pd.isna(facts.severity) or not facts.severity else f" {facts.severity:.2g}"
    return f"{facts.photo}, {facts.degradation or UNKNOWN}{severity}"


def _steps(series: pd.Series) -> tuple[pd.Series, list[str], list]:
    """Numbers as the names of steps: of each value where there are few, else of eight equal ranges."""
    values = np.sort(series.dropna().unique())
    if len(values) <= len(SCALE):
        names = [f"{value:g}" for value in values]
        places = np.searchsorted(values, series.fillna(0))
    else:
        edges = np.linspace(values[0], values[-1], len(SCALE) + 1)
        names = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(edges)]
        places = np.digitize(series.fillna(values[0]), edges[1:-1])
    shades = [
        SCALE[round(k * (len(SCALE) - 1) / max(1, len(names) - 1))] for k in range(len(names))
    ]
    texts = pd.Series(np.array([*names, ""], object)[np.clip(places, 0, len(names))])
    return texts.where(series.notna()), names, [(shade, "o") for shade in shades]


def _texts(series: pd.Series) -> tuple[pd.Series, list[str], list]:
    """Texts, and a look for each."""
    texts = series.map(lambda value: None if pd.isna(value) else str(value))
    found = texts.dropna()
    if set(found) & set(COLORS):
        known = looks(found)
        return texts, list(known), list(known.values())
    names = sorted(found.unique())
    hues = [_hue(k / max(1, len(names)), k) for k in range(len(names))]
    return texts, names, [(hue, "o") for hue in hues]


def _hue(turn: float, k: int) -> str:
    """A colour of the circle of hues; neighbours also differ in lightness."""
    lightness, spread = (0.35, 0.55, 0.45)[k % 3], 0.3
    channels = np.cos(2 * np.pi * (turn - np.array([0, 1, 2]) / 3)) * spread + lightness
    return "#" + "".join(f"{round(255 * value):02x}" for value in channels.clip(0, 1))


def linked_maps(
    places: dict[str, np.ndarray],
    colors: Coloring,
    *,
    title: str = "",
    selected: ArrayLike = (),
    notes: Sequence[str] = (),
) -> "Figure":
    """Maps side by side, with the colours, and the markers, of a column.

    Args:
        places: coordinates (n, 2) by title.
        colors: of the n rows.
        title: of the legend: the name of the column.
        selected: rows that are drawn in front of the others, which are pale then.
        notes: a text below each map.
    """
    side = (WIDTH - 3 * GAP) // max(2, len(places)) - 12
    columns = max(1, min(6, (WIDTH - 40) // (40 + 7 * max(map(len, colors.names)))))
    lines = -(-len(colors.legend) // columns) + 1
    caption = "Each mark is an image. Axes have no unit: only neighbourhoods matter."
    faint = np.full(len(colors.codes), 0.85)
    chosen = np.asarray(selected, int)
    if len(chosen):
        faint[:] = 0.15
        faint[chosen] = 1
    width = max(GAP + len(places) * (side + 2 * GAP), 420)
    with canvas(width, side + 78 + 22 * lines, caption) as figure:
        for index, (name, points) in enumerate(places.items()):
            axes = area(figure, GAP + index * (side + 2 * GAP), 30, side, side)
            for code, (label, color) in enumerate(colors.legend):
                at = colors.codes == code if code < LEGEND else colors.codes >= LEGEND
                if not at.any():
                    continue
                size = 120 if label == NEW else 30 if len(points) < 600 else 14
                mark = colors.markers[min(code, len(colors.markers) - 1)]
                axes.scatter(*points[at].T, s=size, c=color, marker=mark, edgecolors=INK,
                             linewidths=0.4, alpha=faint[at], label=label)  # fmt: skip
            frame_map(axes, name)
            if notes:
                axes.set_xlabel(notes[index], fontsize=9, color=MUTED, labelpad=3)
        legend_below(figure, top=side + 48, columns=columns, title=title)
    return figure


def plain_maps(places: dict[str, np.ndarray], colors: Coloring, *, side: int = 400) -> bytes:
    """Maps side by side with a legend as a WebP file, drawn without matplotlib, so that any thread may do it.

    `places` are coordinates (n, 2) in [-1, 1] by title; each map is `side` pixels wide.
    """
    zoom = 2  # drawn at twice the size and shrunk: the circles of PIL have no smooth edges
    columns = max(1, len(places) * side // (40 + 8 * max(map(len, colors.names))))
    lines = -(-len(colors.legend) // columns)
    width, height = len(places) * (side + GAP) + GAP, side + 40 + 20 * lines
    page = Image.new("RGB", (zoom * width, zoom * height), "white")
    draw = ImageDraw.Draw(page)
    radius = zoom * (3.6 if len(colors.codes) < 600 else 2.2)
    for number, (title, points) in enumerate(places.items()):
        left, top = zoom * (GAP + number * (side + GAP)), zoom * 26
        draw.text((left, zoom * 6), title, INK, font_size=13 * zoom)
        draw.rectangle([left, top, left + zoom * side, top + zoom * side], outline=PALE, width=2)
        at = (np.asarray(points) * (0.94, -0.94) + 1) / 2 * side * zoom + (left, top)
        for (x, y), code in zip(at, colors.codes, strict=True):
            dot = [x - radius, y - radius, x + radius, y + radius]
            draw.ellipse(dot, fill=colors.colors[code], outline=INK)
    step = (width - 2 * GAP) / columns
    for number, (name, color) in enumerate(colors.legend):
        line, column = divmod(number, columns)
        x, y = zoom * (GAP + 4 + step * column), zoom * (side + 42 + 20 * line)
        draw.ellipse([x, y - 5 * zoom, x + 10 * zoom, y + 5 * zoom], fill=color, outline=MUTED)
        draw.text((x + 15 * zoom, y), name, INK, font_size=12 * zoom, anchor="lm")
    buffer = io.BytesIO()
    page.resize((width, height), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=85)
    return buffer.getvalue()
