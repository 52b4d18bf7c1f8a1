"""One look for all figures: matplotlib's settings, and a canvas measured in pixels."""

import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daclip_lab.data.image_io import read_image
from daclip_lab.errors import extra
from daclip_lab.figures.palette import INK, MUTED, PALE

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
GAP = 12
"""Pixels between pictures."""
WIDTH = 880
"""Width of a figure in pixels: that of a column of text on a web page."""

STYLE = {
    "figure.dpi": DPI,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
}

DRAWING = threading.RLock()
"""Held while a figure is drawn: matplotlib's style is that of all threads."""


@contextmanager
def canvas(width: int, height: int, caption: str = "") -> Iterator["Figure"]:
    """A white figure of width x height pixels in this style, with a caption along its lower edge.

    Each line of the caption after the first makes the figure 16 pixels higher. The figure is closed at once, so that a
    notebook shows it once: as the value of its cell, and not below a cell that ends in another thread.
    """
    with extra("analysis"):
        from matplotlib import pyplot as plt
        from matplotlib.patches import Rectangle

    lines = caption_lines(caption, width)
    height += 16 * max(0, len(lines) - 1)
    with DRAWING, plt.style.context(["default", STYLE]):  # whatever the user has set
        figure = plt.figure(figsize=(width / DPI, height / DPI))
        plt.close(figure)
        # A notebook trims a figure to what is drawn. This keeps it whole, so that pixels stay on the pixel grid.
        figure.add_artist(
            Rectangle((0, 0), 1, 1, transform=figure.transFigure, color="white", zorder=-10)
        )
        figure.text(6 / width, 6 / height, "\n".join(lines), fontsize=9, color=MUTED, va="bottom")
        yield figure


def caption_lines(caption: str, width: int) -> list[str]:
    """The lines of a caption below a figure of that width in pixels."""
    return textwrap.wrap(caption, int(width / 6.9))


def size_of(figure: "Figure") -> tuple[int, int]:
    """Width and height of a figure in pixels."""
    width, height = (figure.get_size_inches() * DPI).round().astype(int)
    return int(width), int(height)


def above_caption(figure: "Figure", caption: str, rows: int = 1) -> int:
    """Where the upper edge of a legend of some rows lies that ends above the caption, in pixels from the top."""
    width, height = size_of(figure)
    return height - 14 - 16 * len(caption_lines(caption, width)) - 22 * rows


def area(figure: "Figure", left: int, top: int, width: float, height: float) -> "Axes":
    """Axes at a place given in pixels from the upper left corner of the figure."""
    wide, high = size_of(figure)
    return figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))


def write(figure: "Figure", x: int, y: int, text: str, **look) -> None:
    """A text whose upper left corner is at (x, y) pixels from that of the figure."""
    width, height = size_of(figure)
    look = {"fontsize": 9, "va": "top", "ha": "left"} | look
    figure.text(x / width, 1 - y / height, text, **look)


def picture(figure: "Figure", image, left: int, top: int, zoom: int = 1) -> "Axes":
    """Show an image at its own pixels, each `zoom` screen pixels wide, with its upper left corner at (left, top)."""
    pixels = pixels_of(image).repeat(zoom, 0).repeat(zoom, 1)
    height, width = pixels.shape[:2]
    # A hair smaller: matplotlib before 3.11 rounds the size up, and a rounding error would cost a pixel.
    axes = area(figure, left, top, width - 1e-6, height - 1e-6)
    axes.imshow(pixels, interpolation="nearest", aspect="auto", vmin=0, vmax=1)
    axes.set_axis_off()
    return axes


def pixels_of(image) -> "np.ndarray":
    """Anything that `read_image` takes, as an array (h, w, 3) in [0, 1]."""
    return read_image(image).permute(1, 2, 0).numpy()


def percent(axis) -> None:
    """Write the shares 0..1 of an axis as percentages."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1, decimals=0))
