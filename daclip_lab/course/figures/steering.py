"""Restoration under edited embeddings: other degradations' words, mixtures, interpolation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from daclip_lab.figures.palette import BLUE, INK, MUTED, ORANGE, VIOLET, color_of
from daclip_lab.figures.primitives import Dots, dot_intervals, heatmap, reference_line
from daclip_lab.figures.style import GAP, WIDTH, area, canvas, percent, picture, pixels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OTHERS = ["own", "negated", "none"]
"""Columns of a steering table that are no words."""


def steering_heatmap(table: "pd.DataFrame") -> "Figure":
    """Gain (dB of PSNR) of the restorer under the word of a degradation (column), for each true one (row).

    The table is that of `course.analysis.steering_table`.
    """
    import seaborn as sns
    from matplotlib.patches import Rectangle

    words = [name for name in table.columns if name not in OTHERS]
    caption = (
        "Blue: nearer to the clean photo than before; red: further away. A dark frame marks the word of the true "
        "degradation. Right: the image's own embedding, its opposite, and neither of the two embeddings."
    )
    left, wide, high = 150, 47 * len(words), 32 * len(table)
    shown = table.round(1) + 0.0  # no "-0.0"
    with canvas(left + wide + 190, high + 184, caption) as figure:
        first = area(figure, left, 36, wide, high)
        second = area(figure, left + wide + 14, 36, 52 * len(OTHERS), high)
        for axes, columns in ((first, words), (second, OTHERS)):
            heatmap(axes, shown[columns], fmt=".1f", vmin=-10, vmax=10, annot_kws={"fontsize": 9},
                    cmap=sns.diverging_palette(14, 250, s=85, l=45, as_cmap=True))  # fmt: skip
            axes.set_xticks(axes.get_xticks(), columns, rotation=40, ha="right")
        for row, name in enumerate(table.index):
            if name in words:
                cell = (words.index(name), row)
                first.add_patch(Rectangle(cell, 1, 1, fill=False, edgecolor=INK, linewidth=2,
                                          clip_on=False))  # fmt: skip
        first.set_ylabel("true degradation")
        second.set_yticks([])
        first.set_title("Gain in PSNR (dB) when the restorer is conditioned on ...", pad=8)
    return figure


def mixture_gains(table: "pd.DataFrame", strategies: Mapping[str, str]) -> "Figure":
    """Gain in PSNR against two degradations at once: a dot and a 95 % interval for each pair and strategy.

    The table is that of `course.analysis.mixture_table`; `strategies` maps the strategies to their descriptions.
    """
    marks = ("o", "s", "D", "^", "v", "P", "X", "*")
    inks = (BLUE, MUTED, ORANGE, INK, VIOLET, "#007662", "#b08a00", "#761400")
    pairs = list(dict.fromkeys(table.pair))
    height = (14 * len(strategies) + 16) * len(pairs)
    caption = (
        "Means over crops that carry both degradations; lines: 95 % intervals over photos. Left of the dotted line: "
        "worse than before."
    )
    rows = table.rename(columns={"gain": "value"}).set_index("pair")
    with canvas(WIDTH, height + 112, caption) as figure:
        axes = area(figure, 204, 34, WIDTH - 464, height)
        dot_intervals(axes, pairs, [
            Dots(rows[rows.strategy == key], words, ink, mark, ink)
            for (key, words), ink, mark in zip(strategies.items(), inks, marks, strict=False)
        ], spread=0.8)  # fmt: skip
        reference_line(axes, 0, vertical=True)
        axes.set_xlabel("gain in PSNR (dB)")
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), title="conditioned on",
                    alignment="left")  # fmt: skip
    return figure


def between_strip(
    degraded,
    restored: Sequence,
    shares: Sequence[float],
    gain: Sequence[float],
    ends: Sequence[str],
) -> "Figure":
    """Restorations of one image on the way from one degradation embedding to another, and their gain in PSNR (dB).

    `shares` (0..1) are the positions on the way, and `ends` name where it starts and where it ends.
    """
    height, width = pixels_of(degraded).shape[:2]
    step, first = width + GAP, width + 3 * GAP
    whole = first + len(restored) * step
    caption = (
        f"Left: the degraded image. Then its restorations, conditioned on {ends[0]} (0 %), {ends[1]} (100 %) and what "
        "lies between. Below: the gain of each over the degraded image."
    )
    with canvas(whole, height + 240, caption) as figure:
        picture(figure, degraded, GAP, 26).set_title("degraded", fontsize=10, pad=4)
        for index, (image, share) in enumerate(zip(restored, shares, strict=True)):
            axes = picture(figure, image, first + index * step, 26)
            axes.set_title(f"{share:.0%}", fontsize=10, pad=4)
        # Each point lies below its picture where the shares are even.
        curve = area(figure, first + width // 2, height + 44, (len(restored) - 1) * step, 120)
        curve.plot(shares, gain, color=MUTED, zorder=1)
        curve.scatter(shares, gain, c=INK, s=30, zorder=2)
        for name, place in zip(ends, (0, -1), strict=True):
            curve.scatter(shares[place], gain[place], s=80, c=color_of(name), zorder=3,
                          edgecolors=INK, clip_on=False)  # fmt: skip
        reference_line(curve, 0)
        curve.set(xlabel=f"share of the way from {ends[0]} to {ends[1]}", ylabel="gain (dB)")
        curve.set_xlim(min(shares), max(shares))
        curve.margins(y=0.15)
        percent(curve.xaxis)
        curve.grid(axis="y")
    return figure
