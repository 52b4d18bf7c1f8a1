"""Figures of a space of embeddings: linked maps, measures side by side, severities read off. None computes a result."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.degradations.rules import NAMES
from daclip_lab.figures.embedding_maps import looks
from daclip_lab.figures.style import COLORS, GAP, INK, MARKERS, MUTED, PALE, WIDTH, area, canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from daclip_lab.embeddings.projection import EmbeddingMap

SPACES = {
    "plain": ("white", "s", "CLIP alone"),
    "content": ("#1f4e8c", "o", "content embedding"),
    "degradation": ("#c2570c", "D", "degradation embedding"),
}
COLUMNS = 5


def linked_maps(
    maps: Mapping[str, "EmbeddingMap"],
    shown: Sequence,
    *,
    picked: int,
    near: Mapping[str, Sequence[int]],
    name: str,
    caption: str = "",
) -> "Figure":
    """The same images on two maps, with one of them picked and joined to its neighbours in the original space.

    Args:
        maps: two maps of the same n images, under their titles.
        shown: what the colour tells: n labels, or n numbers in 0..1.
        picked: the row of an image, drawn as a star.
        near: for each title the rows of its nearest neighbours before anything was mapped.
        name: what `shown` is.
    """
    values = np.asarray(shown)
    numbers = values.dtype.kind == "f"
    styles = {} if numbers else looks(values)
    side = (WIDTH - 3 * GAP) // 2 - 12
    foot = 92 if numbers else 44 + 22 * -(-len(styles) // 6)
    with canvas(WIDTH, side + 64 + foot, caption) as figure:
        for index, (title, made) in enumerate(maps.items()):
            axes = area(figure, GAP + index * (side + 2 * GAP), 30, side, side)
            look = {"edgecolors": INK, "linewidths": 0.3, "alpha": 0.8,
                    "s": 30 if len(values) < 600 else 16}  # fmt: skip
            if numbers:
                marks = axes.scatter(
                    *made.coordinates.T, c=values, cmap="viridis", vmin=0, vmax=1, **look
                )
            for label, (color, marker) in styles.items():
                at = values == label
                axes.scatter(*made.coordinates[at].T, c=color, marker=marker, label=label, **look)
            start, ends = made.coordinates[picked], made.coordinates[list(near[title])]
            for end in ends:
                axes.plot(*np.stack([start, end]).T, color=INK, linewidth=1.1)
            axes.scatter(*ends.T, s=60, facecolors="none", edgecolors=INK, linewidths=1.4, zorder=3)
            axes.scatter(*start, s=240, c="white", marker="*", edgecolors=INK, linewidths=1.3,
                         zorder=4)  # fmt: skip
            axes.set(title=title, xticks=(), yticks=())
            axes.set_xlabel(
                f"trustworthiness {made.trustworthiness:.2f}, preserved {made.preservation:.0%}",
                fontsize=9, color=MUTED, labelpad=3,
            )  # fmt: skip
            axes.margins(0.04)
            axes.spines[:].set(visible=True, color=PALE)
        if numbers:
            bar = area(figure, WIDTH // 2 - 150, side + 62, 300, 12)
            figure.colorbar(marks, cax=bar, orientation="horizontal", label=name)
        else:
            below = axes.get_position().y0 - 22 / (figure.get_size_inches()[1] * 100)
            key = figure.legend(*axes.get_legend_handles_labels(), title=name, ncols=6,
                                loc="upper center", columnspacing=1.4, handletextpad=0.3,
                                bbox_to_anchor=(0.5, below))  # fmt: skip
            for handle in key.legend_handles:
                handle.set_sizes([48])
    return figure


def measures_by_space(table: "pd.DataFrame", caption: str = "") -> "Figure":
    """Measures that share the scale 0..1 (a little below 0 at worst): a mark and a 95 % interval for each space.

    `table` has the columns measure, space, value, low, high and chance (NaN where there is none); a grey tick stands
    where embeddings that know nothing would be.
    """
    measures = list(dict.fromkeys(table.measure))
    step = 46
    with canvas(WIDTH, step * len(measures) + 102, caption) as figure:
        axes = area(figure, 262, 44, WIDTH - 282, step * len(measures))
        for number, (space, (color, marker, words)) in enumerate(SPACES.items()):
            part = table[table.space == space].set_index("measure").reindex(measures)
            y = np.arange(len(measures)) + 0.24 * (number - 1)
            axes.hlines(y, part.low, part.high, color=INK, linewidth=1.4)
            axes.scatter(part.value, y, s=46, c=color, marker=marker, edgecolors=INK, zorder=3,
                         label=words)  # fmt: skip
            axes.vlines(part.chance, y - 0.11, y + 0.11, color=MUTED, linewidth=2.5,
                        label="knows nothing" if number == 2 else None)  # fmt: skip
        for edge in range(1, len(measures)):
            axes.axhline(edge - 0.5, color=PALE, linewidth=1)
        axes.axvline(0, color=MUTED, linestyle=":", linewidth=1.2)
        axes.set(xlim=(min(-0.12, table.low.min() - 0.03), 1.03), ylim=(len(measures) - 0.5, -0.5))
        axes.set_yticks(range(len(measures)), measures)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        figure.legend(*axes.get_legend_handles_labels(), ncols=4, loc="upper center",
                      bbox_to_anchor=(0.5, 1.0))  # fmt: skip
    return figure


def severity_read(
    table: "pd.DataFrame", seen: tuple[float, float], *, caption: str = ""
) -> "Figure":
    """The severity that was read off embeddings, over the true one: a panel per degradation, with 95 % intervals.

    `table` has the columns degradation, severity (0..1), mean, low and high. The grey band marks the severities that
    the reader was fitted on; on the dotted line it would be right.
    """
    names = [name for name in NAMES if name in set(table.degradation)]
    rows = -(-len(names) // COLUMNS)
    left, wide, high = 56, (WIDTH - 56 - 6 - 12 * (COLUMNS - 1)) // COLUMNS, 138
    low, top = min(-0.05, table.low.min() - 0.03), max(1.05, table.high.max() + 0.03)
    with canvas(WIDTH, 26 + rows * (high + 30) + 42, caption) as figure:
        middle = 26 + (rows * (high + 30) - 30) / 2
        tall = figure.get_size_inches()[1] * 100
        figure.text(4 / WIDTH, 1 - middle / tall, "severity read", rotation=90, va="center")
        for index, name in enumerate(names):
            row, column = divmod(index, COLUMNS)
            axes = area(figure, left + column * (wide + 12), 26 + row * (high + 30), wide, high)
            part = table[table.degradation == name]
            axes.axvspan(*seen, color=PALE, alpha=0.7, lw=0)
            axes.plot((0, 1), (0, 1), color=MUTED, linestyle=":", linewidth=1.4)
            axes.fill_between(
                part.severity, part.low, part.high, color=COLORS[name], alpha=0.3, lw=0
            )
            axes.plot(part.severity, part["mean"], color=INK, linewidth=1.2, marker=MARKERS[name],
                      markersize=6, markerfacecolor=COLORS[name], markeredgecolor=INK)  # fmt: skip
            axes.set(xlim=(-0.03, 1.03), ylim=(low, top))
            axes.set_title(name, fontsize=10, pad=3)
            axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
            if column:
                axes.tick_params(axis="y", labelleft=False)
            if index + COLUMNS < len(names):
                axes.tick_params(axis="x", labelbottom=False)
            else:
                axes.set_xlabel("true severity", labelpad=1)
    return figure
