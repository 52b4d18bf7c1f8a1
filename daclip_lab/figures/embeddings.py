"""Figures of embeddings: maps of the same images side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.palette import INK, MUTED, UNKNOWN
from daclip_lab.figures.primitives import legend_below, scatter_map
from daclip_lab.figures.style import GAP, WIDTH, area, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from daclip_lab.embeddings.projection import EmbeddingMap

TITLES = {"umap": "UMAP", "pca": "PCA", "tsne": "t-SNE"}


def map_panels(
    maps: Mapping[str, "EmbeddingMap"],
    labels: Sequence[str | None],
    *,
    new: Mapping[str, np.ndarray] | None = None,
) -> "Figure":
    """The same n embeddings on several maps, a colour and a marker for each label; below each map how good it is.

    `maps` are maps by method; `labels` holds the label of each row, or None. `new` gives for some methods the places
    (m, 2) of images that were projected onto the map later: they are drawn as white stars.
    """
    labels = np.array([UNKNOWN if label is None else str(label) for label in labels])
    side = (WIDTH - 3 * GAP) // max(2, len(maps)) - 12
    legend_rows = -(-(len(set(labels)) + bool(new)) // 6)
    caption = (
        "Each mark is an image. Axes have no unit: only neighbourhoods matter. Trustworthiness: how many neighbours on "
        "the map are real (1 all, 0.5 as on a random map). Preserved: share of the 15 nearest neighbours that it keeps."
    )
    width = max(GAP + len(maps) * (side + 2 * GAP), 420)
    with canvas(width, side + 88 + 22 * legend_rows, caption) as figure:
        for index, (method, made) in enumerate(maps.items()):
            axes = area(figure, GAP + index * (side + 2 * GAP), 30, side, side)
            scatter_map(axes, made.coordinates, labels, title=TITLES.get(method, method))
            if new and method in new:
                axes.scatter(*new[method].T, s=150, c="white", marker="*", edgecolors=INK,
                             linewidths=1.2, label="new")  # fmt: skip
            quality(axes, made)
        legend_below(figure, top=side + 52, columns=6)
    return figure


def quality(axes: "Axes", made: "EmbeddingMap") -> None:
    """Write below a map how well it keeps the neighbours of the embeddings."""
    text = f"trustworthiness {made.trustworthiness:.2f}, preserved {made.preservation:.0%}"
    axes.set_xlabel(text, fontsize=9, color=MUTED, labelpad=3)
