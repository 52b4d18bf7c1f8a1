"""The curves of trainings: thinned for drawing, and a figure of them."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.palette import BLUE, COLORS, INK, ORANGE, VIOLET
from daclip_lab.figures.primitives import reference_line
from daclip_lab.figures.style import GAP, WIDTH, area, canvas, picture, pixels_of, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 500
"""So many points of a curve are drawn at most."""
SPAN = 20
"""Steps that the running mean of a curve looks back, as pandas counts them (`ewm(span=SPAN)`)."""
INKS = (COLORS["raindrop"], ORANGE, BLUE, VIOLET)
"""Of the ways, in turn."""


class Curve:
    """A number over the steps and its running mean."""

    def __init__(self):
        self.steps, self.values, self.means = array("q"), array("d"), array("d")
        self._sum = self._weight = 0.0

    def add(self, step: int, value: float) -> None:
        """The value of a step; one that is not finite is kept, but not drawn, and left out of the mean."""
        if math.isfinite(value):
            keep = 1 - 2 / (SPAN + 1)
            self._sum, self._weight = keep * self._sum + value, keep * self._weight + 1
        self.steps.append(step)
        self.values.append(value)
        self.means.append(self._sum / self._weight if self._weight else math.nan)

    def thinned(self, most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
        """Points (step, value) and (step, running mean), each at most `most` of them, (n, 2) and (m, 2).

        Of the values the lowest and the highest of each stretch of steps are kept, so that no peak is lost.
        """
        table = np.array([self.steps, self.values, self.means]).T
        table = table[np.isfinite(table[:, 1])]
        if (count := len(table)) <= most:
            return table[:, :2], table[:, ::2]
        stretch = math.ceil(2 * count / most)
        padded = np.pad(table[:, 1], (0, -count % stretch), mode="edge").reshape(-1, stretch)
        starts = stretch * np.arange(len(padded))
        ends = np.concatenate([starts + padded.argmin(1), starts + padded.argmax(1)])
        places = np.unique(ends.clip(max=count - 1))
        even = np.linspace(0, count - 1, most).round().astype(int)
        return table[places, :2], table[even, ::2]


@dataclass(frozen=True)
class Panel:
    """What is drawn in one pair of axes."""

    title: str
    levels: Mapping[str, float]
    curves: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]
    """Of each way its name and points (n, 2): the values, their running mean, and what was measured."""


def learning_curves(
    panels: Sequence[Panel],
    *,
    total: int | None = None,
    stages: Sequence[int] = (),
    samples: Sequence[tuple] = (),
    caption: str = "",
) -> "Figure":
    """The curves of trainings, up to three panels in a row, and sample images below.

    Args:
        panels: each with its values (thin), their running mean (thick), and what was measured (dots).
        total: steps in all, which fixes the axes.
        stages: the steps after which another stage began, drawn as dashed lines.
        samples: (image, title) of each sample.
        caption: what comes before the explanation of the lines.
    """
    columns = min(3, max(1, len(panels)))
    left, wide = 58, WIDTH // columns - 70
    ends = [
        points[-1, 0]
        for panel in panels
        for _, *kinds in panel.curves
        for points in kinds
        if len(points)
    ]
    end = max(total or 1, *ends, 1)
    names = [name for name, *_ in panels[0].curves] if panels else []
    about = [f"{caption.rstrip('.')}.", "Training batches:"] if caption else ["Training batches:"]
    about += ["each step (thin) and" if len(names) < 2 else "", "a running mean (thick)."]
    if any(len(measured) for panel in panels for *_, measured in panel.curves):
        about += ["Dots: measured."]
    if stages:
        about += ["Dashed upright: the next stage."]
    legend = 26 if len(names) > 1 else 0
    rows = -(-len(panels) // columns)
    y = 304 * rows + legend
    places, height = _rows([pixels_of(image).shape[:2] for image, _ in samples], y)
    with canvas(WIDTH, height + 34, " ".join(filter(None, about))) as figure:
        for index, panel in enumerate(panels):
            row, column = divmod(index, columns)
            axes = area(figure, left + column * (WIDTH // columns), 36 + 304 * row, wide, 212)
            _panel(axes, panel)
            axes.set(xlim=(-0.02 * end, 1.02 * end), xlabel="training step")
            axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
            for stage in stages:
                axes.axvline(stage, color=INK, linestyle="--", linewidth=0.9)
        if legend:
            for x, (name, ink) in enumerate(zip(names, _inks(names), strict=True)):
                write(figure, left + 200 * x, 304 * rows, f"\u25cf {name}", color=ink, fontsize=10)
        for (image, title), (x, top) in zip(samples, places, strict=True):
            picture(figure, image, x, top).set_title(title, fontsize=9, pad=4)
    return figure


def _inks(names: Sequence[str]) -> list[str]:
    return [INKS[k % len(INKS)] for k in range(len(names))]


def _panel(axes: "Axes", panel: Panel) -> None:
    lines = sum(len(means) > 0 for _, _, means, _ in panel.curves)
    inks = _inks([name for name, *_ in panel.curves])
    for ink, (_, values, means, measured) in zip(inks, panel.curves, strict=True):
        if lines == 1:  # of several ways they would hide each other
            axes.plot(*values.T, color=ink, alpha=0.3, linewidth=1)
        axes.plot(*means.T, color=ink)
        axes.plot(*measured.T, "o-" if not len(means) else "o", color=ink, markersize=5,
                  markeredgecolor=INK, markeredgewidth=0.7)  # fmt: skip
    axes.set_title(panel.title)
    axes.grid(axis="y")
    axes.margins(y=0.08)
    for name, value in panel.levels.items():
        reference_line(axes, value, f"{name}, {value:.3g}")


def _rows(sizes: Sequence[tuple[int, int]], y: int) -> tuple[list[tuple[int, int]], int]:
    """The corners (x, y) of pictures (height, width) with a title each, row by row, and where the last row ends."""
    places, x, high = [], GAP, 0
    for height, width in sizes:
        step = max(width, 60) + GAP
        if x + step > WIDTH and x > GAP:
            x, y, high = GAP, y + high, 0
        places.append((x, y + 22))
        x, high = x + step, max(high, height + 22 + GAP)
    return places, y + high
