"""A controller and its training: how it is wired, how its losses read, its curves, and what it learned.

Each function takes data and returns a matplotlib Figure; none computes a result.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daclip_lab.degradations.rules import NAMES
from daclip_lab.figures.style import COLORS, INK, MUTED, WIDTH, area, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FROZEN, TRAINED = "#9dbbe0", "#f0b36b"
STAGES = {"CLIP": ("s", "white"), "yours": ("D", "#f0b36b"), "shipped": ("o", "#1f4e8c")}


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
        columns = {"controller": (110, TRAINED, "degradation\nembedding"),
                   "CLIP": (470, FROZEN, "content\nembedding")}  # fmt: skip
        for name, (x, color, embedding) in columns.items():
            middle = x + wide / 2
            lowest, highest = 0.7 * step, (layers + 1.3) * step
            axes.plot([middle, middle], [lowest, highest], color=MUTED, linewidth=1.5, zorder=0)
            axes.text(middle, 0.4 * step, "degraded image", ha="center", va="center")
            axes.text(middle, highest + 6, embedding, ha="center", va="bottom", linespacing=1.1)
            for k in range(layers):
                y = (k + 1) * step
                box = axes.barh(y + 14, wide, 28, left=x, color=color, edgecolor=INK, linewidth=0.8)
                axes.bar_label(box, [f"{name}, block {k + 1}"], label_type="center", fontsize=9)
        right, left = 110 + wide, 470 + wide / 2
        for k in range(layers):
            start, end = (k + 1) * step + 34, (layers - k) * step + 34
            color = "#8c5a14"
            axes.plot([110 + wide / 2, right + 14], [start, start], color=color, linewidth=1.2)
            axes.text(right + 24, start, "0", ha="center", va="center", fontsize=9, color=color,
                      bbox={"boxstyle": "circle,pad=0.2", "fc": "white", "ec": color})  # fmt: skip
            axes.plot([right + 34, 452], [start, end], color=color, linewidth=1.2)
            axes.annotate("", (left, end), (452, end),
                          arrowprops={"arrowstyle": "->", "color": color, "lw": 1.2})  # fmt: skip
    return figure


def losses_over_certainty(
    table: "pd.DataFrame", levels: Mapping[str, tuple[float, float]], *, xlabel: str
) -> "Figure":
    """Losses of embeddings that are right, and more and more certain, each with its chance level and its floor.

    `table` has a column for each loss, over the certainty (index); `levels` its (chance, floor).
    """
    caption = (
        "Every image lies at its own word. The further right, the more certain it is of it. A loss reads as progress "
        "only between its own two lines."
    )
    end = table.index.max()
    with canvas(WIDTH, 336, caption) as figure:
        for index, name in enumerate(table.columns):
            axes = area(figure, 64 + 444 * index, 36, 340, 200)
            axes.plot(table.index, table[name], color="#1f4e8c")
            for text, value in zip(("chance", "floor"), levels[name], strict=True):
                _level(axes, value, f"{text}, {value:.2f}", end)
            top = max(chance for chance, _ in levels.values())
            axes.set(title=name, xlim=(0, end), ylim=(-0.25, 1.12 * top), xlabel=xlabel)
            axes.grid(axis="y")
            if index == 0:
                axes.set_ylabel("loss (nats)")
    return figure


def controller_curves(
    steps: "pd.DataFrame",
    exams: "pd.DataFrame",
    *,
    loss_chance: float,
    loss_floor: float,
    total: int,
    content_from: int | None = None,
) -> "Figure":
    """A controller's training so far: exam accuracy, loss of the degradation embedding, cosine of content to clean.

    Args:
        steps: a row per step (index: 1, 2, ...) with the column `degradation_loss`.
        exams: a row per exam (index: steps done, 0 among them) with `accuracy` (0..1) and `cosine`.
        total: steps in all, which fixes the axes.
        content_from: the step after which the content embedding is trained as well, drawn as a thin line.
    """
    caption = (
        "Left and right: photos that are not trained on. Middle: the training batches, thin at each step, thick as a "
        "running mean."
    )
    if content_from is not None:
        caption += " From the dashed line on, the content embedding is trained as well."
    wide, color = 226, COLORS["raindrop"]
    with canvas(WIDTH, 346, caption) as figure:
        named, loss, alike = (area(figure, 58 + k * 294, 36, wide, 212) for k in range(3))
        named.plot(exams.index, exams.accuracy, "-o", color=color, markersize=5)
        named.set(title="Named right", ylim=(0, 1))
        percent(named.yaxis)
        _level(named, 1 / len(NAMES), f"chance, {1 / len(NAMES):.0%}", total)
        alike.plot(exams.index, exams.cosine, "-o", color="#1f4e8c", markersize=5)
        low = min(exams.cosine.min(), 0.9) - 0.05
        alike.set(title="Content, cosine to clean", ylim=(low, 1.01))
        _level(alike, exams.cosine.iloc[0], f"CLIP, {exams.cosine.iloc[0]:.2f}", total)
        if len(steps):
            values = steps.degradation_loss
            loss.plot(values.index, values, color=color, alpha=0.3, linewidth=1)
            loss.plot(values.index, values.ewm(span=10).mean(), color=color)
            loss.set_ylim(loss_floor - 0.2, max(values.max(), loss_chance) * 1.08 + 0.1)
        loss.set(title="Degradation loss (nats)")
        _level(loss, loss_chance, f"chance, {loss_chance:.2f}", total)
        _level(loss, loss_floor, f"floor, {loss_floor:.2f}", total)
        for axes in (named, loss, alike):
            axes.set(xlim=(-0.02 * total, 1.02 * total), xlabel="training step")
            axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
            axes.grid(axis="y")
            if content_from is not None:
                axes.axvline(content_from, color=INK, linestyle="--", linewidth=0.9)
    return figure


def stages(accuracy: "pd.DataFrame", cosine: "pd.DataFrame", caption: str = "") -> "Figure":
    """What CLIP, a controller just trained and the shipped one make of each degradation.

    Both tables have a row per degradation, and `overall`, and the columns of `STAGES`: the share named right, and the
    cosine of the content embedding to that of the clean image.
    """
    rows, height = list(accuracy.index), 30 * len(accuracy)
    with canvas(WIDTH, height + 120, caption) as figure:
        panels = (
            (accuracy, "named right", 130),
            (cosine, "content, cosine to the clean crop", 520),
        )
        for table, xlabel, left in panels:
            axes = area(figure, left, 32, 340, height)
            for y, name in enumerate(rows):
                line = table.loc[name, list(STAGES)]
                axes.hlines(y, line.min(), line.max(), color=MUTED, linewidth=1.2, zorder=1)
                for stage, (marker, color) in STAGES.items():
                    axes.scatter(line[stage], y, s=52, marker=marker, c=color, edgecolors=INK, zorder=2,
                                 label=stage if y == 0 else None)  # fmt: skip
            axes.set(xlabel=xlabel, ylim=(len(rows) - 0.4, -0.6))
            axes.set_yticks(range(len(rows)), rows if table is accuracy else [])
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
            if table is accuracy:
                axes.set_xlim(-0.03, 1.03)
                percent(axes.xaxis)
                axes.axvline(1 / len(NAMES), color=MUTED, linestyle=":", linewidth=1.3)
                axes.legend(
                    loc="lower left",
                    bbox_to_anchor=(0, 1),
                    ncols=3,
                    borderpad=0.1,
                    handletextpad=0.3,
                )
    return figure


def _level(axes: "Axes", value: float, text: str, end: float) -> None:
    """A dotted line at a value, with its name at the right end."""
    axes.axhline(value, color=MUTED, linestyle=":", linewidth=1.4)
    axes.annotate(text, (end, value), (0, 3), textcoords="offset points", ha="right", fontsize=9,
                  color=MUTED)  # fmt: skip
