"""Images beside what they are called: mixtures, a person's own words, a folder. Each takes data and returns a Figure.

Images keep their own pixels, or are shrunk by a whole number. A colour always means the same degradation (see `style`).
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from daclip_lab.figures.style import COLORS, GAP, INK, PALE, WIDTH, area, canvas, picture, pixels_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 17
"""Pixels from one bar to the next."""
BOX = (152, 114)
"""Width and height in pixels that a thumbnail fits into."""


def mixture_bars(
    images: Sequence, probabilities: "pd.DataFrame", truths: Sequence[Collection[str]]
) -> "Figure":
    """Images with several degradations each, over the probability of every answer.

    `probabilities` has a row for each image; the bars of its `truths` are coloured.
    """
    height, width = pixels_of(images[0]).shape[:2]
    names, left, side, gap = list(probabilities.columns), 122, max(width, 124), 24
    columns = max(1, min(len(images), (WIDTH - left) // (side + gap)))
    rows = -(-len(images) // columns)
    tall = height + 46 + LINE * len(names) + 44
    caption = "In colour: the two that were really done. Are they the two longest bars, whatever their lengths?"
    with canvas(left + columns * (side + gap), rows * tall + 28, caption) as figure:
        for index, (image, (_, line)) in enumerate(
            zip(images, probabilities.iterrows(), strict=True)
        ):
            row, column = divmod(index, columns)
            x, y = left + column * (side + gap), 8 + row * tall
            picture(figure, image, x, y)
            axes = area(figure, x, y + height + 38, side, LINE * len(names))
            axes.set_title(" +\n".join(truths[index]), fontsize=9, pad=4)
            _bars(axes, line, truths[index], named=column == 0)
            axes.set_xlabel("probability (%)", fontsize=9)
    return figure


def own_words(
    image, photo: "pd.DataFrame", table: "pd.DataFrame", truth: str, words: str
) -> "Figure":
    """One degraded image, and many with the same degradation, asked with the package's words and with a person's own.

    `photo` holds the probabilities of the answers for the image, `table` the share of each answer among the many; both
    have two rows, the package's words (pale) and the person's (coloured).
    """
    height, width = (2 * side for side in pixels_of(image).shape[:2])
    names = list(photo.columns)
    bars = 26 * len(names)
    caption = (
        f"Grey: the package's words. In colour: the words “{words}” for {truth}, the package's for all "
        "else. The longest bar is the answer."
    )
    with canvas(WIDTH, max(height, bars) + 116, caption) as figure:
        picture(figure, image, GAP, 34, zoom=2).set_title(f"one photo, {truth}", pad=6)
        for k, (values, title) in enumerate(
            ((photo, "What this photo is called"), (table, "What all such photos are called"))
        ):
            left = width + 148 + k * ((WIDTH - width - 148) // 2)
            axes = area(figure, left, 34, (WIDTH - width - 208) // 2, bars)
            for offset, (_, line) in zip((-0.2, 0.2), values.iterrows(), strict=True):
                own = offset > 0
                axes.barh([y + offset for y in range(len(names))], line, height=0.38, linewidth=0.8,
                          color=COLORS[truth] if own else "#c9c9c9",
                          edgecolor=INK if own else "none")  # fmt: skip
            _answer_axis(axes, names, named=k == 0)
            axes.set_title(title, fontsize=10, pad=6)
            axes.set_xlabel("share (%)" if k else "probability (%)")
    return figure


def folder_sheet(
    images: Sequence, titles: Sequence[str], probabilities: "pd.DataFrame"
) -> "Figure":
    """Thumbnails of images of any size, each beside its three most probable answers.

    `probabilities` has a row for each image.
    """
    columns, tall = 3, BOX[1] + 36
    wide = (WIDTH - GAP) // columns
    rows = -(-len(images) // columns)
    caption = "The three most probable answers for each image, in percent."
    with canvas(WIDTH, rows * tall + 26, caption) as figure:
        for index, (image, (_, line)) in enumerate(
            zip(images, probabilities.iterrows(), strict=True)
        ):
            row, column = divmod(index, columns)
            x, y = GAP + column * wide, 22 + row * tall
            axes = picture(figure, _thumbnail(image), x, y)
            axes.set_title(titles[index], fontsize=9, pad=4)
            best = line.nlargest(3)
            axes = area(figure, x + BOX[0] + 8, y, wide - BOX[0] - 24, BOX[1])
            axes.barh(range(3), best, height=0.34, color=[COLORS[name] for name in best.index],
                      edgecolor=INK, linewidth=0.8)  # fmt: skip
            for place, (name, value) in enumerate(best.items()):
                axes.annotate(f"{name}, {100 * value:.0f}", (0, place), (0, 11), va="center",
                              textcoords="offset points", fontsize=8)  # fmt: skip
            axes.set(xlim=(0, 1), ylim=(2.3, -0.7))
            axes.set_axis_off()
    return figure


def _thumbnail(image) -> "np.ndarray":
    """An image shrunk by the least whole number with which it fits into a thumbnail's box: (h, w, 3)."""
    pixels = pixels_of(image)
    height, width = pixels.shape[:2]
    factor = max(1, -(-width // BOX[0]), -(-height // BOX[1]))
    h, w = max(1, height // factor), max(1, width // factor)
    blocks = pixels[: h * factor, : w * factor].reshape(h, factor, w, factor, 3)
    return blocks.mean((1, 3))


def _bars(axes: "Axes", line: "pd.Series", truths: Collection[str], *, named: bool) -> None:
    """A bar for each answer; those that are true are coloured."""
    names = list(line.index)
    axes.barh(range(len(names)), line, height=0.78, linewidth=0.8,
              color=[COLORS[name] if name in truths else PALE for name in names],
              edgecolor=[INK if name in truths else "none" for name in names])  # fmt: skip
    _answer_axis(axes, names, named=named)


def _answer_axis(axes: "Axes", names: Sequence[str], *, named: bool) -> None:
    """Answers from above, shares from 0 to 100 %."""
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    axes.set_xticks((0, 0.5, 1), ("0", "50", "100"))
    axes.set_yticks(range(len(names)), names if named else [""] * len(names))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
