"""The best, the median and the worst restoration of each degradation, so that failures are seen as well."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from daclip_lab.evaluation.examples import RANKS, Restoration
from daclip_lab.figures.palette import INK, MUTED, RED, color_of
from daclip_lab.figures.style import GAP, area, canvas, picture, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX = (240, 160)
"""Width and height of a tile in pixels for whole photos."""
SMALL = 144
"""Side in pixels up to which images are crops, shown whole and enlarged."""
PARTS = (("degraded", "before"), ("restored", "after"), ("clean", "clean"))
TOP, LINE = 50, 30


def restoration_wall(restorations: Sequence[Restoration], *, photos: int) -> "Figure":
    """A row for each degradation; in it the best, median and worst restoration, each before, after and clean.

    Small images are enlarged by a whole number. Larger ones are shrunk by a whole number and cut to 3:2 in the middle;
    their numbers are those of the whole image. `photos` is the number of photos that the wall was chosen from.
    """
    small = max(restorations[0].clean.shape[-2:]) <= SMALL
    width, height = BOX
    if small:
        height, width = (side * _zoom(side) for side in restorations[0].clean.shape[-2:])
    names = list(dict.fromkeys(each.degradation for each in restorations))
    left, tall, triple = 160, height + LINE, 3 * width + 8 + 2 * GAP
    cut = (
        "" if small else " Photos are shrunk and cut to 3:2; numbers are those of the whole photo."
    )
    caption = (
        f"Of {photos} photos, the restorations with the largest, the median and the smallest gain in PSNR. Above "
        f"each triple: PSNR before → after, and the gain in dB (+10 dB is a tenth of the squared error). Red: worse "
        f"than before, or classified wrongly by DA-CLIP.{cut}"
    )
    with canvas(left + len(RANKS) * triple, TOP + len(names) * tall + 34, caption) as figure:
        for place, rank in enumerate(RANKS):
            write(figure, left + place * triple, 6, rank, fontsize=13, weight="bold")
            for part, (_, title) in enumerate(PARTS):
                write(figure, left + place * triple + part * (width + 4), 28, title, color=MUTED)
        for row, name in enumerate(names):
            y = TOP + row * tall
            area(figure, 8, y + 22, 8, height).set(xticks=[], yticks=[], facecolor=color_of(name))
            write(figure, 22, y + 12 + height // 2, name, fontsize=10, weight="bold")
        for each in restorations:
            x = left + RANKS.index(each.rank) * triple
            y = TOP + names.index(each.degradation) * tall
            _title(figure, x, y + 4, each)
            for part, (field, _) in enumerate(PARTS):
                image = getattr(each, field)
                image = image if small else fitted(image)
                zoom = _zoom(image.shape[-2]) if small else 1
                inset = (width - image.shape[-1] * zoom) // 2
                picture(figure, image, x + part * (width + 4) + inset, y + 22, zoom)
    return figure


def fitted(image: Tensor) -> Tensor:
    """An image (3, h, w) shrunk by a whole number and cut around its middle, so that it fits into a tile."""
    width, height = BOX
    h, w = image.shape[-2:]
    factor = max(1, round((h * w / (height * width)) ** 0.5))
    if factor > 1:
        image = F.avg_pool2d(image, factor)
    h, w = image.shape[-2:]
    top, left = max(0, (h - height) // 2), max(0, (w - width) // 2)
    return image[:, top : top + height, left : left + width]


def _zoom(side: int) -> int:
    return max(1, SMALL // side)


def _title(figure: "Figure", x: int, y: int, each: Restoration) -> None:
    gain = round(each.psnr - each.psnr_input, 1) + 0.0  # no "-0.0"
    write(figure, x, y, f"{each.psnr_input:.1f} → {each.psnr:.1f}  ({gain:+.1f} dB)",
          color=INK if gain >= 0 else RED, weight="bold")  # fmt: skip
    if each.predicted != each.degradation:
        write(figure, x + 190, y, f"classified as {each.predicted}", color=RED)
