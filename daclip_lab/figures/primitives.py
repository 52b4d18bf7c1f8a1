"""Building blocks of the figures: image grids, dots with intervals, heatmaps, curves, maps, legends and PNG files."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG file, at the figure's own resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return buffer.getvalue()
