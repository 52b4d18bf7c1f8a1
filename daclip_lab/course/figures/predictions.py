"""Images beside their probabilities: mixtures, prompts of one's own, a folder.

Images keep their own pixels, or are shrunk by a whole number.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from daclip_lab.figures.classification import BAR, probability_axis, probability_bars
from daclip_lab.figures.palette import GREY, INK, color_of
from daclip_lab.figures.style import GAP, WIDTH, area, canvas, picture, pixels_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

BOX = (152, 114)
"""Largest width and height of a thumbnail in pixels."""


def mixture_bars(
    images: Sequence, probabilities: "pd.DataFrame", truths: Sequence[Collection[str]]
) -> "Figure":
    """Images of one size with several degradations each, over the probability of every label.

    `probabilities` has a row for each image; the bars of its `truths` are coloured.
    """
    height, width = pixels_of(images[0]).shape[:2]
    left, side, gap = 130, max(width, 124), 24
    bars = BAR * len(probabilities.columns)
    columns = max(1, min(len(images), (WIDTH - left) // (side + gap)))
    rows, tall = -(-len(images) // columns), height + 90 + bars
    caption = "In colour: the two that are in the image. Are they the two longest bars, whatever their lengths?"
    with canvas(left + columns * (side + gap), rows * tall + 28, caption) as figure:
        for index, (_, line) in enumerate(probabilities.iterrows()):
            row, column = divmod(index, columns)
            x, y = left + column * (side + gap), 8 + row * tall
            picture(figure, images[index], x, y)
            axes = area(figure, x, y + height + 38, side, bars)
            axes.set_title(" +\n".join(truths[index]), fontsize=9, pad=4)
            probability_bars(axes, line, truths[index], named=column == 0)
            axes.set_xlabel("probability (%)", fontsize=9)
    return figure


def own_words(
    image, photo: "pd.DataFrame", table: "pd.DataFrame", truth: str, words: str
) -> "Figure":
    """One degraded image, and many with the same degradation, classified with the package's prompts and with others.

    `photo` holds the probabilities of the labels for the image, `table` the share of each predicted label among the
    many; both have two rows, with the package's prompts (pale) and with the others (coloured).
    """
    height, width = (2 * side for side in pixels_of(image).shape[:2])
    names, bars = list(photo.columns), 26 * len(photo.columns)
    panels = (
        (photo, "Probabilities for this photo", "probability (%)"),
        (table, "Predictions for all such photos", "share (%)"),
    )
    caption = (
        f"Grey: the package's prompts. In colour: the words “{words}” for {truth}, the package's for all "
        "else. The longest bar is the prediction."
    )
    with canvas(WIDTH, max(height, bars) + 116, caption) as figure:
        picture(figure, image, GAP, 34, zoom=2).set_title(f"one photo, {truth}", pad=6)
        for k, (values, title, xlabel) in enumerate(panels):
            left = width + 148 + k * ((WIDTH - width - 148) // 2)
            axes = area(figure, left, 34, (WIDTH - width - 208) // 2, bars)
            for offset, (_, line) in zip((-0.2, 0.2), values.iterrows(), strict=True):
                own = offset > 0
                axes.barh([y + offset for y in range(len(names))], line, height=0.38, linewidth=0.8,
                          color=color_of(truth) if own else GREY,
                          edgecolor=INK if own else "none")  # fmt: skip
            probability_axis(axes, names, named=k == 0)
            axes.set_title(title, fontsize=10, pad=6)
            axes.set_xlabel(xlabel)
    return figure


def folder_sheet(
    images: Sequence, titles: Sequence[str], probabilities: "pd.DataFrame"
) -> "Figure":
    """Thumbnails of images of any size, each beside its three most probable labels.

    `probabilities` has a row for each image.
    """
    columns, tall = 3, BOX[1] + 36
    wide = (WIDTH - GAP) // columns
    rows = -(-len(images) // columns)
    caption = "The three most probable labels of each image, in percent."
    with canvas(WIDTH, rows * tall + 26, caption) as figure:
        for index, (_, line) in enumerate(probabilities.iterrows()):
            row, column = divmod(index, columns)
            x, y = GAP + column * wide, 22 + row * tall
            axes = picture(figure, thumbnail(images[index]), x, y)
            axes.set_title(titles[index], fontsize=9, pad=4)
            best = line.nlargest(3)
            axes = area(figure, x + BOX[0] + 8, y, wide - BOX[0] - 24, BOX[1])
            axes.barh(range(3), best, height=0.34, color=[color_of(name) for name in best.index],
                      edgecolor=INK, linewidth=0.8)  # fmt: skip
            for place, (name, value) in enumerate(best.items()):
                axes.annotate(f"{name}, {100 * value:.0f}", (0, place), (0, 11), va="center",
                              textcoords="offset points", fontsize=8)  # fmt: skip
            axes.set(xlim=(0, 1), ylim=(2.3, -0.7))
            axes.set_axis_off()
    return figure


def thumbnail(image) -> "np.ndarray":
    """An image shrunk by the least whole number with which it fits into a thumbnail's box: (h, w, 3)."""
    pixels = pixels_of(image)
    height, width = pixels.shape[:2]
    factor = max(1, -(-width // BOX[0]), -(-height // BOX[1]))
    h, w = max(1, height // factor), max(1, width // factor)
    blocks = pixels[: h * factor, : w * factor].reshape(h, factor, w, factor, 3)
    return blocks.mean((1, 3))
