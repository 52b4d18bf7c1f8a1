"""Figures of a table of embeddings: maps with what they are worth, and how sure answers are. None computes a result."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.figures.style import (
    COLORS,
    GAP,
    INK,
    MARKERS,
    MUTED,
    PALE,
    WIDTH,
    area,
    canvas,
    percent,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from daclip_lab.embeddings.projection import EmbeddingMap

TITLES = {"umap": "UMAP", "pca": "PCA", "tsne": "t-SNE"}
OWN_COLOURS = ("#0b7a4b", "#c2570c", "#6a3d9a", "#a6761d", "#1f78b4", "#b2306f")
OWN_MARKERS = ("o", "s", "^", "D", "v", "P")
UNKNOWN = "unknown"


def looks(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each label: the course's own for its eleven, others for words that a person brings."""
    own = sorted({label for label in labels if label not in COLORS and label != UNKNOWN})
    found = {name: (COLORS[name], MARKERS[name]) for name in COLORS if name in set(labels)}
    for k, name in enumerate(own):
        found[name] = (
            OWN_COLOURS[k % len(OWN_COLOURS)],
            OWN_MARKERS[k // len(OWN_COLOURS) % len(OWN_MARKERS)],
        )
    if UNKNOWN in set(labels):
        found[UNKNOWN] = (PALE, "o")
    return found


def map_panels(
    maps: Mapping[str, "EmbeddingMap"],
    labels: Sequence[str | None],
    *,
    new: Mapping[str, np.ndarray] | None = None,
) -> "Figure":
    """The same embeddings on several maps, a colour and a marker for each label; below each what the map is worth.

    `maps` are maps by method; `labels` name each row, None where nobody knows. `new` gives for some methods the places
    (m, 2) of images that were put on the map later: they are drawn as white stars.
    """
    labels = np.array([UNKNOWN if label is None else str(label) for label in labels])
    styles = looks(labels)
    side = (WIDTH - 3 * GAP) // max(2, len(maps)) - 12
    legend_rows = -(-(len(styles) + bool(new)) // 6)
    caption = (
        "Each mark is one image. Axes have no unit: look at who is near whom. Trustworthiness: how many neighbours on "
        "the map are real (1 all, 0.5 as on a random map). Preserved: share of the 15 nearest neighbours that it keeps."
    )
    width = max(GAP + len(maps) * (side + 2 * GAP), 420)
    with canvas(width, side + 88 + 22 * legend_rows, caption) as figure:
        for index, (method, made) in enumerate(maps.items()):
            axes = area(figure, GAP + index * (side + 2 * GAP), 30, side, side)
            for name, (color, marker) in styles.items():
                at = labels == name
                axes.scatter(*made.coordinates[at].T, s=30 if len(labels) < 600 else 16, c=color,
                             marker=marker, edgecolors=INK, linewidths=0.4, alpha=0.85,
                             label=name)  # fmt: skip
            if new and method in new:
                axes.scatter(*new[method].T, s=150, c="white", marker="*", edgecolors=INK,
                             linewidths=1.2, label="new")  # fmt: skip
            axes.set(title=TITLES.get(method, method), xticks=(), yticks=())
            axes.set_xlabel(
                f"trustworthiness {made.trustworthiness:.2f}, preserved {made.preservation:.0%}",
                fontsize=9, color=MUTED, labelpad=3,
            )  # fmt: skip
            axes.margins(0.04)
            axes.spines[:].set(visible=True, color=PALE)
        handles, names = axes.get_legend_handles_labels()
        below = axes.get_position().y0 - 22 / (figure.get_size_inches()[1] * 100)
        key = figure.legend(handles, names, ncols=6, loc="upper center", columnspacing=1.4,
                            handletextpad=0.3, bbox_to_anchor=(0.5, below))  # fmt: skip
        for handle in key.legend_handles:
            handle.set_sizes([48])
    return figure


def reliability(curves: Mapping[str, "pd.DataFrame"]) -> "Figure":
    """How sure answers are against how often they are right, a curve for each name.

    The tables are those of `analysis.zero_shot.Answers.calibration`; a larger mark stands for more answers.
    """
    inks = ("#1f4e8c", "#c2570c", MUTED, "#8a6fb0")
    caption = (
        "On the dotted line, answers given with 80 % are right in 8 of 10 cases; below it, they are surer than they "
        "should be. The area of a mark is its share of the answers."
    )
    with canvas(470, 448, caption) as figure:
        axes = area(figure, 80, 20, 340, 340)
        axes.plot((0, 1), (0, 1), color=MUTED, linestyle=":", linewidth=1.4)
        for (name, curve), ink in zip(curves.items(), inks, strict=False):
            axes.plot(curve.probability, curve.right, color=ink, linewidth=1.4, label=name)
            axes.scatter(curve.probability, curve.right, s=12 + 400 * curve.n / curve.n.sum(),
                         color=ink, edgecolors=INK, linewidths=0.6, alpha=0.85,
                         clip_on=False, zorder=3)  # fmt: skip
        axes.set(xlim=(0, 1.02), ylim=(0, 1.06), xlabel="how sure", ylabel="how often right")
        for axis in (axes.xaxis, axes.yaxis):
            percent(axis)
        axes.grid()
        axes.legend(loc="lower right")
    return figure
