"""A controller and its training: its connections, its losses, and what it reaches."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daclip_lab.figures.classification import CHANCE
from daclip_lab.figures.palette import (
    BLUE,
    COLORS,
    INK,
    MUTED,
    PALE_BLUE,
    PALE_ORANGE,
)
from daclip_lab.figures.primitives import Dots, dot_intervals, reference_line
from daclip_lab.figures.style import WIDTH, area, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STAGES = {"CLIP": ("s", "white"), "yours": ("D", PALE_ORANGE), "shipped": ("o", BLUE)}
CONTROL = "#8c5a14"
TEAL = COLORS["raindrop"]


def wiring(layers: int) -> "Figure":
    """Which block of the controller corrects which block of the frozen tower, for a tower of `layers` blocks."""
    caption = (
        "Follow a line: the control of the controller's last block enters after the first block of CLIP, that of its "
        "first block after the last. Each passes through a linear layer (0) that starts at zero."
    )
    step, wide = 50, 170
    height = (layers + 2) * step + 20
    with canvas(760, height + 64, caption) as figure:
        axes = area(figure, 0, 10, 760, height)
        axes.set(xlim=(0, 760), ylim=(0, height))
        axes.set_axis_off()
        columns = {"controller": (110, PALE_ORANGE, "degradation\nembedding"),
                   "CLIP": (470, PALE_BLUE, "content\nembedding")}  # fmt: skip
        for name, (x, color, embedding) in columns.items():
            middle, highest = x + wide / 2, (layers + 1.3) * step
            axes.plot([middle, middle], [0.7 * step, highest], color=MUTED, linewidth=1.5, zorder=0)
            axes.text(middle, 0.4 * step, "degraded image", ha="center", va="center")
            axes.text(middle, highest + 6, embedding, ha="center", va="bottom", linespacing=1.1)
            for k in range(layers):
                y = (k + 1) * step + 14
                box = axes.barh(y, wide, 28, left=x, color=color, edgecolor=INK, linewidth=0.8)
                axes.bar_label(box, [f"{name}, block {k + 1}"], label_type="center", fontsize=9)
        right, left = 110 + wide, 470 + wide / 2
        for k in range(layers):
            start, end = (k + 1) * step + 34, (layers - k) * step + 34
            axes.plot([110 + wide / 2, right + 14], [start, start], color=CONTROL, linewidth=1.2)
            axes.text(right + 24, start, "0", ha="center", va="center", fontsize=9, color=CONTROL,
                      bbox={"boxstyle": "circle,pad=0.2", "fc": "white", "ec": CONTROL})  # fmt: skip
            axes.plot([right + 34, 452], [start, end], color=CONTROL, linewidth=1.2)
            axes.annotate("", (left, end), (452, end),
                          arrowprops={"arrowstyle": "->", "color": CONTROL, "lw": 1.2})  # fmt: skip
    return figure


def losses_over_certainty(
    table: "pd.DataFrame", levels: Mapping[str, tuple[float, float]], *, xlabel: str
) -> "Figure":
    """Losses of correct embeddings that become more and more certain, each with its chance level and its floor.

    `table` has a column for each loss (nats), over the certainty (index); `levels` holds its (chance, floor).
    """
    caption = (
        "Every image lies at its own word. The further right, the higher its probability. A loss reads as progress "
        "only between its own two lines."
    )
    end, top = table.index.max(), max(chance for chance, _ in levels.values())
    with canvas(WIDTH, 336, caption) as figure:
        for index, name in enumerate(table.columns):
            axes = area(figure, 64 + 444 * index, 36, 340, 200)
            axes.plot(table.index, table[name], color=BLUE)
            for text, value in zip(("chance", "floor"), levels[name], strict=True):
                reference_line(axes, value, f"{text}, {value:.2f}")
            axes.set(title=name, xlim=(0, end), ylim=(-0.25, 1.12 * top), xlabel=xlabel)
            axes.set_ylabel("" if index else "loss (nats)")
            axes.grid(axis="y")
    return figure


def stages(accuracy: "pd.DataFrame", cosine: "pd.DataFrame", caption: str = "") -> "Figure":
    """CLIP, a controller just trained and the shipped one, for each degradation.

    Both tables have a row per degradation, and `overall`, and the columns of `STAGES`: the accuracy, and the cosine of
    the content embedding to that of the clean image.
    """
    names, height = list(accuracy.index), 30 * len(accuracy)
    with canvas(WIDTH, height + 120, caption) as figure:
        left, right = (area(figure, x, 32, 340, height) for x in (130, 520))
        for axes, table in ((left, accuracy), (right, cosine)):
            values = table[list(STAGES)]
            dots = [
                Dots(values[[stage]].set_axis(["value"], axis=1)
                     .assign(low=values.min(axis=1), high=values.max(axis=1)), stage, color, marker)
                for stage, (marker, color) in STAGES.items()
            ]  # fmt: skip
            dot_intervals(axes, names, dots, spread=0)
        left.set(xlim=(-0.03, 1.03), xlabel="accuracy")
        percent(left.xaxis)
        reference_line(left, CHANCE, vertical=True)
        left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.1,
                    handletextpad=0.3)  # fmt: skip
        right.set_xlabel("content, cosine to the clean crop")
        right.set_yticks([])
    return figure
