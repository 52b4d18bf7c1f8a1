"""One photo degraded, restored and clean, above the degradations that were predicted for it."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from PIL import ImageOps

from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.figures.classification import probability_bars
from daclip_lab.figures.style import GAP, area, canvas, picture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from daclip_lab.data.image_io import ImageLike

SIDE = 272
"""Longest side in pixels of a picture: three of them are as wide as a page. Larger photos are shrunk."""
BAR = 17
LEFT = 134


def restored_photo(
    images: "Mapping[str, ImageLike]",
    probabilities: "pd.Series",
    *,
    truths: Collection[str] = (),
    caption: str = "",
) -> "Figure":
    """Up to three images of one size by their titles, above a bar for each label; those of `truths` are coloured."""
    shown = {title: to_pil(read_image(image)) for title, image in images.items()}
    pictures = {
        title: ImageOps.contain(image, (SIDE, SIDE)) if max(image.size) > SIDE else image
        for title, image in shown.items()
    }
    wide, high = next(iter(pictures.values())).size
    top = 14 * max(title.count("\n") + 1 for title in pictures) + 12
    bars = BAR * len(probabilities)
    width = GAP + max(3, len(pictures)) * (max(wide, 180) + GAP)
    with canvas(width, top + high + 34 + bars + 62, caption) as figure:
        for place, (title, image) in enumerate(pictures.items()):
            axes = picture(figure, image, GAP + place * (max(wide, 180) + GAP), top)
            axes.set_title(title, fontsize=9, pad=4, linespacing=1.15)
        if bars:
            axes = area(figure, LEFT, top + high + 34, width - LEFT - 2 * GAP, bars)
            probability_bars(axes, probabilities, truths)
            axes.set_title("predicted degradations (%)", fontsize=9, pad=4)
    return figure
