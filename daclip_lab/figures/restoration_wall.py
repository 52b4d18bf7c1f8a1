"""A wall of restorations: per degradation the best, the median and the worst, so that failures are seen as well."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from daclip_lab.evaluation.examples import RANKS, Restoration
from daclip_lab.figures.style import COLORS, GAP, INK, MUTED, area, canvas, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX = (240, 160)
"""Width and height of a tile in pixels for whole photos."""
SMALL = 144
"""Side in pixels up to which images are crops, shown whole and enlarged."""
BAD = "#b3001b"
PARTS = (("degraded", "before"), ("restored", "after"), ("clean", "clean"))
TOP, LINE = 50, 30


def restoration_wall(restorations: Sequence[Restoration], *, photos: int) -> "Figure":
    """A row for each degradation; in it the best, median and worst restoration, each before, after and clean.

    Small images are enlarged by a whole number. Larger ones are shrunk by a whole number and cut to 3:2 in the middle;
    their numbers are those of the whole image. `photos` says how many the wall was chosen from.
    """
    small = max(restorations[0].clean.shape[-2:]) <= SMALL
    if small:
        height, width = (side * _zoom(side) for side in restorations[0].clean.shape[-2:])
    else:
        width, height = BOX
    triple = 3 * width + 8
    names = list(dict.fromkeys(each.degradation for each in restorations))
    left, tall = 160, height + LINE
    whole = left + len(RANKS) * (triple + 2 * GAP)
    shown = (
        "" if small else " Photos are shrunk and cut to 3:2; numbers are those of the whole photo."
    )
    caption = (
        f"Of {photos} photos, the restorations with the largest, the median and the smallest gain in PSNR. Above "
        f"each triple: PSNR before → after, and the gain in dB (+10 dB is a tenth of the squared error). Red: worse "
        f"than before, or named wrongly by DA-CLIP.{shown}"
    )
    with canvas(whole, TOP + len(names) * tall + 34, caption) as figure:
        for place, rank in enumerate(RANKS):
            x = left + place * (triple + 2 * GAP)
            _write(figure, x, 6, rank, fontsize=13, weight="bold")
            for part, (_, title) in enumerate(PARTS):
                _write(figure, x + part * (width + 4), 28, title, color=MUTED)
        for each in restorations:
            x = left + RANKS.index(each.rank) * (triple + 2 * GAP)
            y = TOP + names.index(each.degradation) * tall
            if each.rank == RANKS[0]:
                swatch = area(figure, 8, y + 22, 8, height)
                swatch.set_facecolor(COLORS[each.degradation])
                swatch.set(xticks=[], yticks=[])
                _write(
                    figure,
                    22,
                    y + 20 + height // 2 - 8,
                    each.degradation,
                    fontsize=10,
                    weight="bold",
                )
            _title(figure, x, y + 4, each)
            for part, (field, _) in enumerate(PARTS):
                image = getattr(each, field)
                image = image if small else fitted(image)
                h, w = image.shape[-2:]
                zoom = _zoom(h) if small else 1
                inset = (width - w * zoom) // 2
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
    _write(figure, x, y, f"{each.psnr_input:.1f} → {each.psnr:.1f}  ({gain:+.1f} dB)",
                  color=INK if gain >= 0 else BAD, weight="bold")  # fmt: skip
    if each.named != each.degradation:
        _write(figure, x + 190, y, f"taken for {each.named}", color=BAD)


def _write(figure: "Figure", x: int, y: int, text: str, **look):
    """A text whose upper left corner is at (x, y) pixels from that of the figure."""
    width, height = figure.get_size_inches() * figure.dpi
    look = {"fontsize": 9, "va": "top", "ha": "left"} | look
    return figure.text(x / width, 1 - y / height, text, **look)
