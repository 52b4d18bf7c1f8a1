"""One look for all figures: colours, a colour and a marker for each degradation, and a canvas measured in pixels."""

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daclip_lab.data.image_io import read_image
from daclip_lab.degradations.registry import DEGRADATIONS, degradation_names, in_order

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Found by a search for eleven colours that stay apart for every kind of colour vision (CIEDE2000 of at least 16 under
# simulated protanopia, deuteranopia and tritanopia), then matched to what they name. Yellow and cyan are too pale for
# text, so names are always written in INK.
COLORS = {
    "motion-blurry": "#624ed8",
    "hazy": "#b3b3b3",
    "jpeg-compressed": "#9d6200",
    "low-light": "#621462",
    "noisy": "#ebd814",
    "raindrop": "#007662",
    "rainy": "#4e9dff",
    "shadowed": "#761400",
    "snowy": "#00ebff",
    "uncompleted": "#eb8976",
    "clean": "#1a1a1a",
}
MARKERS = dict(zip(COLORS, ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h"), strict=True))
EXTRA_COLORS = ("#0b7a4b", "#c2570c", "#6a3d9a", "#a6761d", "#1f78b4", "#b2306f")
EXTRA_MARKERS = ("o", "s", "^", "D", "v", "P")
"""Of labels besides those eleven: registered degradations and the words of a user."""
UNKNOWN = "unknown"
"""Written for images without a label."""

INK = "#222222"
MUTED = "#767676"
GREY = "#c9c9c9"
PALE = "#e3e3e3"
BLUE = "#1f4e8c"
PALE_BLUE = "#9dbbe0"
ORANGE = "#c2570c"
PALE_ORANGE = "#f0b36b"
VIOLET = "#8a6fb0"
SALMON = "#eb8976"
RED = "#b3001b"

DPI = 100
GAP = 12
"""Pixels between pictures."""
WIDTH = 880
"""Width of a figure in pixels: that of a column of text on a web page."""

STYLE = {
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": False,
    "font.size": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "text.color": INK,
    "axes.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
}


def looks(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each label: fixed ones for the ten and "clean", pale for `UNKNOWN`.

    Other labels take `EXTRA_COLORS` in turn: registered degradations in the order of registration, then others by the
    alphabet.
    """
    present = in_order(labels)
    others = [*degradation_names()[len(DEGRADATIONS) :]]
    others += [label for label in present if label not in {*COLORS, *others, UNKNOWN}]
    found = {}
    for label in sorted(present, key=UNKNOWN.__eq__):
        if label in COLORS:
            found[label] = COLORS[label], MARKERS[label]
        elif label == UNKNOWN:
            found[label] = PALE, "o"
        else:
            turn, place = divmod(others.index(label), len(EXTRA_COLORS))
            found[label] = EXTRA_COLORS[place], EXTRA_MARKERS[turn % len(EXTRA_MARKERS)]
    return found


def color_of(label: str) -> str:
    """The colour of one label as in `looks`; `INK` for what is no degradation, such as "overall"."""
    return looks([label])[label][0] if label in {*COLORS, *degradation_names()} else INK


def marker_of(label: str) -> str:
    """The marker of one label, as in `looks`."""
    return looks([label])[label][1]


@contextmanager
def canvas(width: int, height: int, caption: str = "") -> Iterator["Figure"]:
    """A white figure of width x height pixels in this style, with a caption along its lower edge.

    Each line of the caption after the first makes the figure 16 pixels higher. The figure is closed on leaving, so that
    a notebook shows it once: as the value of its cell.
    """
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    lines = caption_lines(caption, width)
    height += 16 * max(0, len(lines) - 1)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width / DPI, height / DPI))
        # A notebook trims a figure to what is drawn. This keeps it whole, so that pixels stay on the pixel grid.
        figure.add_artist(
            Rectangle((0, 0), 1, 1, transform=figure.transFigure, color="white", zorder=-10)
        )
        figure.text(6 / width, 6 / height, "\n".join(lines), fontsize=9, color=MUTED, va="bottom")
        try:
            yield figure
        finally:
            plt.close(figure)


def caption_lines(caption: str, width: int) -> list[str]:
    """The lines of a caption below a figure of that width in pixels."""
    return textwrap.wrap(caption, int(width / 6.9))


def size_of(figure: "Figure") -> tuple[int, int]:
    """Width and height of a figure in pixels."""
    width, height = (figure.get_size_inches() * DPI).round().astype(int)
    return int(width), int(height)


def area(figure: "Figure", left: int, top: int, width: int, height: int) -> "Axes":
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
    axes = area(figure, left, top, width, height)
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
