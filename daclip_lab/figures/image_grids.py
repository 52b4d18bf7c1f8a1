"""The figures that show images: each takes images and numbers and returns a matplotlib Figure.

Images are shown at their own pixels, never resampled. A colour always means the same degradation (see `style`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from daclip_lab.degradations.rules import CLEAN
from daclip_lab.figures.style import COLORS, GAP, INK, PALE, WIDTH, area, canvas, picture, pixels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def degradation_gallery(clean, degraded: Mapping[str, object], *, zoom: int = 1) -> "Figure":
    """A clean image and what became of it, each with its name, at native pixels.

    `clean` and the values of `degraded` are images of one size; `zoom` is a whole number.
    """
    tiles = {CLEAN: clean, **degraded}
    height, width = (side * zoom for side in pixels_of(clean).shape[:2])
    columns = max(1, min(6, (WIDTH - GAP) // (width + GAP)))
    rows = -(-len(tiles) // columns)
    whole = (GAP + columns * (width + GAP), rows * (height + 32) + 28)
    caption = "One photo, untouched and degraded. What gives each of them away?"
    with canvas(*whole, caption) as figure:
        for index, (name, image) in enumerate(tiles.items()):
            row, column = divmod(index, columns)
            axes = picture(
                figure, image, GAP + column * (width + GAP), 24 + row * (height + 32), zoom
            )
            axes.set_title(name, fontsize=9, pad=4, weight="bold" if name == CLEAN else "normal")
    return figure


def classification_bars(
    probabilities: "pd.Series | pd.DataFrame",
    truths: Sequence[str],
    images: Sequence | None = None,
) -> "Figure":
    """The probability of every answer for one image (a Series) or several (a row of a DataFrame each).

    `truths` says what was really done to each image: that bar is coloured. `images`, up to 160 pixels wide, are shown
    above the bars.
    """
    table = probabilities.to_frame().T if probabilities.ndim == 1 else probabilities
    names = list(table.columns)
    seen = [pixels_of(image) for image in images] if images is not None else []
    side = 144 if not seen else max(132, max(image.shape[1] for image in seen))
    above = 10 + max((image.shape[0] for image in seen), default=0)
    left, gap = 130, 16
    columns = max(1, min(len(table), (WIDTH - left) // (side + gap)))
    rows = -(-len(table) // columns)
    tall = above + 44 + 17 * len(names) + 42
    caption = "In colour: what was really done. The longest bar is the answer."
    with canvas(left + columns * (side + gap), rows * tall + 26, caption) as figure:
        for index, (_, line) in enumerate(table.iterrows()):
            row, column = divmod(index, columns)
            x, y = left + column * (side + gap), 8 + row * tall
            if seen:
                picture(figure, seen[index], x, y)
            axes = area(figure, x, y + above + 36, side, 17 * len(names))
            truth, answer = truths[index], line.idxmax()
            axes.barh(
                range(len(names)),
                line.to_numpy(),
                color=[COLORS[name] if name == truth else PALE for name in names],
                edgecolor=[INK if name == truth else "none" for name in names],
                linewidth=0.8,
                height=0.78,
            )
            axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
            axes.set_xticks((0, 0.5, 1), ("0", "50", "100"))
            axes.tick_params(axis="y", length=0, labelsize=10)
            axes.tick_params(axis="x", labelsize=8)
            # Centred, the last number would run into the first of the next axes.
            for label, side_of_tick in zip(
                axes.get_xticklabels(), ("left", "center", "right"), strict=True
            ):
                label.set_horizontalalignment(side_of_tick)
            axes.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
            mark = "✓" if answer == truth else "✗"
            axes.set_title(f"is {truth}\n{mark} says {answer}", fontsize=9, pad=5)
            if row == rows - 1 or index + columns >= len(table):
                axes.set_xlabel("probability (%)", fontsize=9)
    return figure


def restoration_triptychs(
    degraded: Sequence, restored: Sequence, clean: Sequence, labels: "pd.DataFrame"
) -> "Figure":
    """Before, after and the clean image, two triples to a row, at native pixels.

    `labels` has a row per triple: `degradation`, `psnr_input` and `psnr` in dB.
    """
    height, width = pixels_of(clean[0]).shape[:2]
    triple = 3 * width + 2 * 4
    columns = max(1, min(2, (WIDTH + 3 * GAP) // (triple + 3 * GAP)))
    rows = -(-len(clean) // columns)
    tall = height + 42
    caption = (
        "Left: degraded. Middle: restored. Right: the clean photo, which the restorer never sees. "
        "PSNR in dB, higher is closer."
    )
    whole = (2 * GAP + columns * (triple + 3 * GAP) - 3 * GAP, rows * tall + 34)
    with canvas(*whole, caption) as figure:
        for index, (_, line) in enumerate(labels.iterrows()):
            row, column = divmod(index, columns)
            x, y = GAP + column * (triple + 3 * GAP), 36 + row * tall
            gain = round(line.psnr - line.psnr_input, 1) + 0.0  # no "-0.0"
            titles = (
                f"{line.degradation}\n{line.psnr_input:.1f} dB",
                f"restored\n{line.psnr:.1f} dB ({gain:+.1f})",
                "clean",
            )
            images = (degraded[index], restored[index], clean[index])
            for place, (title, image) in enumerate(zip(titles, images, strict=True)):
                axes = picture(figure, image, x + place * (width + 4), y)
                axes.annotate(title, (0, 1), (0, 31), xycoords="axes fraction", va="top",
                              textcoords="offset pixels", fontsize=9, linespacing=1.15)  # fmt: skip
    return figure
