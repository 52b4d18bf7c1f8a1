"""Figures of a classification: probabilities, confusion, accuracy and restoration gain, calibration."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from daclip_lab.degradations.registry import DEGRADATIONS, in_order
from daclip_lab.figures.palette import BLUE, INK, MUTED, ORANGE, PALE, VIOLET, color_of
from daclip_lab.figures.primitives import Dots, dot_intervals, heatmap, reference_line
from daclip_lab.figures.style import WIDTH, area, canvas, percent, picture, pixels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANCE = 1 / len(DEGRADATIONS)
"""Accuracy of guessing one of the ten degradations."""
BAR = 17
"""Pixels from one bar to the next."""


def confusion_heatmap(confusion: "pd.DataFrame", n: "pd.Series | Mapping[str, int]") -> "Figure":
    """The confusion matrix: true degradations (rows) against predicted ones (columns), in percent of the row.

    `confusion` (true, predicted) holds shares that sum to 1 in each row, `n` the number of images of each row. A cell
    that never occurs stays blank.
    """
    caption = (
        "Each row sums to 100 %. A perfect classifier fills the diagonal only; a dark cell beside it "
        "is a frequent confusion."
    )
    share = confusion.to_numpy()
    texts = np.where(share > 0, np.char.mod("%.0f", 100 * share), "")
    wide, high = 64 * len(confusion.columns), 40 * len(confusion)
    with canvas(204 + wide + 40, high + 174, caption) as figure:
        axes = area(figure, 204, 32, wide, high)
        heatmap(axes, confusion, texts=texts, vmin=0, vmax=1, mask=share == 0)
        axes.set_facecolor("#f4f4f4")
        axes.set_xlabel("predicted (share of the row, %)", labelpad=8)
        # Above its names, where a table of a single row has space for it, too.
        axes.annotate("true (images)", (0, 1), (-6, 8), xycoords="axes fraction",
                      textcoords="offset points", ha="right")  # fmt: skip
        axes.set_xticks(axes.get_xticks(), list(confusion.columns), rotation=35, ha="right")
        axes.set_yticks(axes.get_yticks(), [f"{name} ({n[name]})" for name in confusion.index])
    return figure


def classification_bars(
    probabilities: "pd.Series | pd.DataFrame", truths: Sequence[str], images: Sequence | None = None
) -> "Figure":
    """The probability of every label for one image (a Series) or several (a row of a DataFrame each).

    `truths` holds the true label of each image, whose bar is coloured. `images`, up to 160 pixels wide, are shown above
    the bars.
    """
    table = probabilities.to_frame().T if probabilities.ndim == 1 else probabilities
    shown = [pixels_of(image) for image in images] if images is not None else []
    side = max([132, *(image.shape[1] for image in shown)]) if shown else 144
    above = 10 + max((image.shape[0] for image in shown), default=0)
    left, gap, bars = 130, 16, BAR * len(table.columns)
    columns = max(1, min(len(table), (WIDTH - left) // (side + gap)))
    rows, tall = -(-len(table) // columns), above + 86 + bars
    caption = "Above: the true label, then the predicted one. In colour: the true label."
    with canvas(left + columns * (side + gap), rows * tall + 26, caption) as figure:
        for index, (_, line) in enumerate(table.iterrows()):
            row, column = divmod(index, columns)
            x, y = left + column * (side + gap), 8 + row * tall
            if shown:
                picture(figure, shown[index], x, y)
            axes = area(figure, x, y + above + 36, side, bars)
            probability_bars(axes, line, [truths[index]], named=column == 0)
            mark = "✓" if line.idxmax() == truths[index] else "✗"
            axes.set_title(f"{truths[index]}\n{mark} {line.idxmax()}", fontsize=9, pad=5)
            if row == rows - 1 or index + columns >= len(table):
                axes.set_xlabel("probability (%)", fontsize=9)
    return figure


def probability_bars(
    axes: "Axes", line: "pd.Series", truths: Collection[str], *, named: bool = True
) -> None:
    """A bar for each label of one image, from the top; those of `truths` are coloured."""
    names = list(line.index)
    axes.barh(range(len(names)), line, height=0.78, linewidth=0.8,
              color=[color_of(name) if name in truths else PALE for name in names],
              edgecolor=[INK if name in truths else "none" for name in names])  # fmt: skip
    probability_axis(axes, names, named=named)


def probability_axis(axes: "Axes", names: Sequence[str], *, named: bool = True) -> None:
    """Labels from the top, probabilities from 0 to 100 %."""
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    axes.set_xticks((0, 0.5, 1), ("0", "50", "100"))
    axes.set_yticks(range(len(names)), names if named else [""] * len(names))
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.tick_params(axis="x", labelsize=8)
    # Centred, the last number would run into the first of the next axes.
    for label, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(side)


def accuracy_and_gain(table: "pd.DataFrame", classes: int = len(DEGRADATIONS)) -> "Figure":
    """Per degradation: the accuracy of CLIP and of DA-CLIP, and the gain of restoration.

    `table` is that of `evaluation.evaluation.evaluate`: rows are degradations and `overall`; columns `n`, `photos`, and
    `clip_accuracy`, `accuracy` (0..1) and perhaps `psnr_gain` (dB), each with `_low` and `_high`. `classes` is the
    number of degradations that the weights can predict, for the level of chance.
    """
    rows = [*in_order(set(table.index) - {"overall"}), *({"overall"} & set(table.index))]
    shown, restored = table.loc[rows], "psnr_gain" in table
    caption = (
        f"Means over {shown.n.iloc[0]} images of each degradation; lines: 95 % intervals over "
        f"{shown.photos.max()} photos."
    )
    colors, height = [color_of(name) for name in rows], 30 * len(rows)

    def dots(measure: str, **look) -> Dots:
        names = {measure: "value", f"{measure}_low": "low", f"{measure}_high": "high"}
        return Dots(shown[list(names)].rename(columns=names), **look)

    with canvas(WIDTH if restored else 640, height + 118, caption) as figure:
        accuracy = area(figure, 130, 34, 345 if restored else 480, height)
        clip = dots("clip_accuracy", color="white", marker="s", line=MUTED)
        dot_intervals(accuracy, rows, [clip, dots("accuracy", color=colors)], spread=0.64)
        look = {"s": 46, "edgecolors": INK}
        accuracy.scatter([], [], marker="s", c="white", label="CLIP alone", **look)
        accuracy.scatter([], [], marker="o", c=INK, label="DA-CLIP", **look)
        reference_line(accuracy, 1 / classes, vertical=True, label=f"chance, {1 / classes:.0%}")
        accuracy.set(xlim=(-0.03, 1.03), xlabel=f"accuracy, of {classes}")
        percent(accuracy.xaxis)
        accuracy.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderpad=0.2)
        if restored:
            gain = area(figure, 515, 34, 345, height)
            dot_intervals(gain, rows, [dots("psnr_gain", color=colors)])
            reference_line(gain, 0, vertical=True)
            gain.set(xlabel="gain in PSNR by restoration (dB)")
            gain.set_yticks(range(len(rows)), [""] * len(rows))
            gain.set_title("left of the dotted line: worse than before", fontsize=9)
        for axes in figure.axes:
            if rows[-1] == "overall":
                axes.axhline(len(rows) - 1.5, color=MUTED, linewidth=0.8)
    return figure


def reliability(curves: Mapping[str, "pd.DataFrame"]) -> "Figure":
    """Reliability diagram: mean confidence against accuracy in bins of confidence, a curve for each name.

    Each table has a row per bin and the columns confidence (mean, 0..1), accuracy (0..1) and n
    (predictions in the bin). A larger mark stands for more predictions.
    """
    caption = (
        "On the dotted line, predictions of 80 % confidence are right in 8 of 10 cases; below it, they are "
        "overconfident. The area of a mark is its share of the predictions."
    )
    with canvas(470, 448, caption) as figure:
        axes = area(figure, 80, 20, 340, 340)
        axes.plot((0, 1), (0, 1), color=MUTED, linestyle=":", linewidth=1.4)
        for (name, bins), ink in zip(curves.items(), (BLUE, ORANGE, MUTED, VIOLET), strict=False):
            axes.plot(bins.confidence, bins.accuracy, color=ink, linewidth=1.4, label=name)
            axes.scatter(bins.confidence, bins.accuracy, s=12 + 400 * bins.n / bins.n.sum(),
                         color=ink, edgecolors=INK, linewidths=0.6, alpha=0.85,
                         clip_on=False, zorder=3)  # fmt: skip
        axes.set(xlim=(0, 1.02), ylim=(0, 1.06), xlabel="confidence", ylabel="accuracy")
        for axis in (axes.xaxis, axes.yaxis):
            percent(axis)
        axes.grid()
        axes.legend(loc="lower right")
    return figure
