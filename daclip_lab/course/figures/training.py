"""A controller and its training: its connections, losses, learning curves, and what it reaches. Restorers' curves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daclip_lab.figures.classification import CHANCE
from daclip_lab.figures.palette import (
    BLUE,
    COLORS,
    INK,
    MUTED,
    ORANGE,
    PALE,
    PALE_BLUE,
    PALE_ORANGE,
)
from daclip_lab.figures.primitives import Dots, dot_intervals, reference_line
from daclip_lab.figures.style import WIDTH, area, canvas, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
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


def training_curve(
    steps: "pd.DataFrame",
    held_out: "pd.Series",
    *,
    loss_chance: float,
    loss_floor: float = 0.0,
    total: int | None = None,
) -> "Figure":
    """A controller's training: accuracy on held-out photos, and the loss of the degradation embedding.

    `steps` has a row per step (index: 1, 2, ...) with the column `degradation_loss` (nats); `held_out` gives the
    accuracy (0..1) after some numbers of steps, 0 among them. `total` fixes the width of the axes during training.
    """
    caption = (
        "Left: accuracy before and during training. "
        "Right: the loss, thin at each step and thick as a running mean."
    )
    end = total or max(len(steps), 1)
    with canvas(WIDTH, 350, caption) as figure:
        accuracy, loss = (area(figure, 72 + k * 444, 36, 340, 230) for k in (0, 1))
        _accuracy(accuracy, held_out)
        accuracy.set(ylabel="accuracy", title="Accuracy on held-out photos")
        _loss(loss, steps, loss_chance, loss_floor)
        loss.set(ylabel="loss (nats)", title="Loss of the degradation embedding")
        _step_axes((accuracy, loss), end)
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
    """A controller's training so far: accuracy, loss of the degradation embedding, cosine of content to clean.

    Args:
        steps: a row per step (index: 1, 2, ...) with the column `degradation_loss`.
        exams: a row per test on held-out photos (index: steps done, 0 among them) with `accuracy` (0..1) and `cosine`.
        total: steps in all, which fixes the axes.
        content_from: the step after which the content embedding is trained as well, drawn as a thin line.
    """
    caption = (
        "Left and right: photos that are not trained on. Middle: the training batches, thin at each step, thick as a "
        "running mean."
    )
    if content_from is not None:
        caption += " From the dashed line on, the content embedding is trained as well."
    with canvas(WIDTH, 346, caption) as figure:
        accuracy, loss, cosine = (area(figure, 58 + k * 294, 36, 226, 212) for k in range(3))
        _accuracy(accuracy, exams.accuracy)
        accuracy.set_title("Accuracy")
        _loss(loss, steps, loss_chance, loss_floor)
        loss.set_title("Degradation loss (nats)")
        cosine.plot(exams.index, exams.cosine, "-o", color=BLUE, markersize=5)
        low = min(exams.cosine.min(), 0.9) - 0.05
        cosine.set(title="Content, cosine to clean", ylim=(low, 1.01))
        reference_line(cosine, exams.cosine.iloc[0], f"CLIP, {exams.cosine.iloc[0]:.2f}")
        _step_axes((accuracy, loss, cosine), total)
        if content_from is not None:
            for axes in (accuracy, loss, cosine):
                axes.axvline(content_from, color=INK, linestyle="--", linewidth=0.9)
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


def restorer_curves(
    losses: "pd.DataFrame",
    averages: "pd.DataFrame",
    latest: "pd.DataFrame",
    rates: "pd.Series",
    *,
    total: int,
) -> "Figure":
    """The trainings of two restorers so far, the columns of the tables: loss and gain in PSNR over the steps (index).

    Args:
        losses: at each step, in nats.
        averages, latest: the gain (dB) with the running average of the weights, and with the latest weights.
        rates: the learning rate, in shares of its largest.
        total: steps in all, which fixes the axes.
    """
    caption = (
        "Left: running means of the loss. Right: photos that are not trained on, restored by the running average of "
        "the weights (solid) and by the latest weights (dashed); the grey line is the learning rate."
    )
    with canvas(WIDTH, 386, caption) as figure:
        learned, judged = (area(figure, 76 + k * 444, 36, 340, 240) for k in (0, 1))
        for name, ink in zip(losses, (ORANGE, BLUE), strict=True):
            learned.plot(losses.index, losses[name].ewm(span=30).mean(), color=ink)
            for table, line in ((latest, "s--"), (averages, "o-")):
                shown = table[name].dropna()
                judged.plot(shown.index, shown, line, color=ink, markersize=4,
                            label=name if table is averages else None)  # fmt: skip
        learned.set(title="Loss on training patches", ylabel="mean loss of the patches (nats)")
        judged.set(title="Exam on other photos", ylabel="gain in PSNR (dB)")
        reference_line(judged, 0)
        judged.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        rate = judged.twinx()
        rate.plot(rates.index, rates, color=PALE, linewidth=1.2, zorder=0)
        rate.set(ylim=(0, 4), yticks=())
        rate.spines[:].set_visible(False)
        _step_axes((learned, judged), total)
    return figure


def _accuracy(axes: "Axes", accuracy: "pd.Series") -> None:
    axes.plot(accuracy.index, accuracy, "-o", color=TEAL, markersize=5)
    axes.set_ylim(0, 1)
    percent(axes.yaxis)
    reference_line(axes, CHANCE, f"chance, {CHANCE:.0%}")


def _loss(axes: "Axes", steps: "pd.DataFrame", chance: float, floor: float) -> None:
    """The loss at each step (thin) and its running mean (thick), between its chance level and its floor."""
    if len(steps):
        values = steps.degradation_loss
        axes.plot(values.index, values, color=TEAL, alpha=0.3, linewidth=1)
        axes.plot(values.index, values.ewm(span=10).mean(), color=TEAL)
        axes.set_ylim(floor - 0.2, max(values.max(), chance) * 1.08 + 0.1)
    reference_line(axes, chance, f"chance, {chance:.2f}")
    reference_line(axes, floor, f"floor, {floor:.2f}")


def _step_axes(panels: tuple["Axes", ...], end: int) -> None:
    for axes in panels:
        axes.set(xlim=(-0.02 * end, 1.02 * end), xlabel="training step")
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        axes.grid(axis="y")
