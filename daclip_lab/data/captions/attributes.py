"""Captions by rule: a sentence of the visible attributes of a clean image, measured from its pixels.

DA-CLIP is trained on a caption of every clean image (by BLIP in the paper). A crop of 64 pixels, as at the lab scale,
shows colour, layout, light, texture and lines rather than things. The thresholds are quantiles over crops of natural
photos, so that the words of a measure are about equally frequent.
"""

import bisect
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from daclip_lab.data.captions.colours import COLOUR_NAMES, chroma, colour_indices
from daclip_lab.errors import InputError

POSITIONS = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
# The words of each measure from low to high ("" prints nothing), and the values that divide them.
SCALES = {
    "brightness": (("very dark", "dark", "", "bright", "very bright"), (0.31, 0.39, 0.46, 0.56)),
    "contrast": (("flat", "", "stark"), (0.1, 0.17)),
    "saturation": (("muted", "", "colorful"), (0.11, 0.2)),
    "texture": (("smooth", "soft", "rough", "busy"), (0.05, 0.085, 0.125)),
    "grain": (("broad", "", "fine"), (0.6, 0.95)),
}
TEXTURES, _ = SCALES["texture"]
LINES = ("vertical", "rising", "horizontal", "falling")
RELATIONS = ("above", "below", "left of", "right of", "around", "and")

PHRASES = (
    *COLOUR_NAMES,
    *itertools.chain(*POSITIONS),
    *RELATIONS,
    *itertools.chain(*(words for words, _ in SCALES.values())),
    *LINES,
    "a scene of some with lines and detail, shapes and light",
)
"""Every word that a caption can print."""
SIDE = 64
"""Images are measured at this size, so that an image and its enlargement have one caption."""
MAX_WORDS = 23
"""Words and commas of a caption, each one BPE token; of a context of 32, seven are left to name a degradation."""


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """The words of a caption; "" for an attribute that it does not mention."""

    brightness: str
    contrast: str
    saturation: str
    texture: str
    colour: str  # the most frequent colour
    second: str = ""  # the next most frequent, if it covers a seventh of the image
    relation: str = ""  # how the first colour lies to the second
    accent: str = ""  # a rarer, more saturated colour
    accent_position: str = ""  # one of POSITIONS
    lines: str = ""  # direction of the dominant edges
    grain: str = ""  # fine or broad detail
    light: str = ""  # the brightest ninth of the image, one of POSITIONS


def caption(image: torch.Tensor) -> str:
    """Describe a clean image (3, h, w) in [0, 1], of at least 16x16 pixels, in a sentence that its pixels determine.

    The sentence has at most 25 BPE tokens, start and end included; attributes that do not fit are left out. Raises
    InputError for another shape.
    """
    found = attributes(image)
    adjectives = (found.brightness, found.contrast, found.saturation, found.texture)
    text = " ".join(word for word in ("a", *adjectives, "scene of", found.colour) if word)
    if found.second:
        text += f" {found.relation} {found.second}"
    detail = {"fine": "fine detail", "broad": "broad shapes", "": ""}[found.grain]
    if found.lines:
        detail = f"{found.grain} {found.lines} lines"
    light = found.light and f"light {found.light}"
    accent = found.accent and f"some {found.accent} {found.accent_position}"
    kept: list[str] = []
    for extra in filter(None, (detail.strip(), light, accent.strip())):
        if count_words(_with(text, [*kept, extra])) <= MAX_WORDS:
            kept.append(extra)
    return _with(text, kept)


def count_words(text: str) -> int:
    """Count words and commas, which are one BPE token each in captions."""
    return len(text.replace(",", " , ").split())


def _with(text: str, extras: list[str]) -> str:
    return f"{text} with {enumerated(extras)}" if extras else text


def enumerated(words: list[str]) -> str:
    """Words joined as "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def attributes(image: torch.Tensor) -> Attributes:
    """Measure the attributes of an image, as `caption` takes it."""
    if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < 16:
        raise InputError(f"image {tuple(image.shape)}: wanted (3, h, w) with sides of at least 16")
    image = image.detach().float().cpu()
    if image.shape[1:] != (SIDE, SIDE):
        image = F.interpolate(image[None], size=(SIDE, SIDE), mode="area")[0]
    rgb = image.numpy()
    luma = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), rgb, axes=1)
    blurred = _shrink(rgb, 2)
    return Attributes(
        brightness=_word("brightness", luma.mean()),
        contrast=_word("contrast", luma.std()),
        saturation=_word("saturation", np.ptp(blurred, axis=0).mean()),
        light=_light(luma),
        **_detail(luma),
        **_colours(blurred),
    )


def _word(measure: str, value: float) -> str:
    words, edges = SCALES[measure]
    return words[bisect.bisect_right(edges, value)]


def _shrink(plane: np.ndarray, factor: int) -> np.ndarray:
    *lead, h, w = plane.shape
    return plane.reshape(*lead, h // factor, factor, w // factor, factor).mean(axis=(-3, -1))


def _gradient(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return luma[1:-1, 2:] - luma[1:-1, :-2], luma[2:, 1:-1] - luma[:-2, 1:-1]


def _detail(luma: np.ndarray) -> dict[str, str]:
    """Texture by the mean gradient, grain by how it compares with the gradient at a quarter of the size, and the
    direction of lines by the structure tensor of the whole image."""
    dx, dy = _gradient(luma)
    xx, yy, xy = float((dx * dx).sum()), float((dy * dy).sum()), float((dx * dy).sum())
    fine = float(np.sqrt(dx * dx + dy * dy).mean())
    coarse = float(np.hypot(*_gradient(_shrink(luma, 4))).mean())
    grain = lines = ""
    if fine > 0.008:  # below, there is nothing but quantisation to find lines in
        grain = _word("grain", fine / coarse) if coarse > 0 else "fine"
        coherence = math.hypot(xx - yy, 2 * xy) / (xx + yy)
        if coherence > 0.3:
            # The gradient points across the lines, and y grows downwards: a gradient of 45 degrees is a rising line.
            angle = 0.5 * math.atan2(2 * xy, xx - yy)
            lines = LINES[round(angle / (math.pi / 4)) % 4]
    return {"texture": _word("texture", fine), "grain": grain, "lines": lines}


def _light(luma: np.ndarray) -> str:
    thirds = [0, 21, 43]
    cells = np.add.reduceat(np.add.reduceat(luma, thirds, axis=0), thirds, axis=1)
    cells = cells / np.outer([21, 22, 21], [21, 22, 21])
    row, column = divmod(int(cells.argmax()), 3)
    return POSITIONS[row][column] if cells[row, column] - cells.mean() > 0.08 else ""


# Colours are counted at half the size. Coordinates of a pixel in [-1, 1], and its Chebyshev distance from the centre.
_AXIS = (np.arange(SIDE // 2) + 0.5) * 4 / SIDE - 1
_RADIUS = np.maximum.outer(abs(_AXIS), abs(_AXIS))


def _colours(rgb: np.ndarray) -> dict[str, str]:
    names = colour_indices(rgb)
    share = np.bincount(names.ravel(), minlength=len(COLOUR_NAMES)) / names.size
    first, second, *_ = np.argsort(-share, kind="stable")
    found = {"colour": COLOUR_NAMES[first]}
    if share[second] >= 1 / 7:
        found["second"] = COLOUR_NAMES[second]
        found["relation"] = _relation(names == first, names == second)
        share[second] = 0
    share[first] = 0
    rest = np.where(share >= 0.025, share * (0.01 + chroma() ** 2), 0)
    accent = int(rest.argmax())
    if rest[accent] > 0:
        found["accent"] = COLOUR_NAMES[accent]
        found["accent_position"] = _position(names == accent)
    return found


def _centre(mask: np.ndarray) -> tuple[float, float]:
    """The centre of mass of a mask as (y, x), each in [-1, 1]."""
    y, x = mask.sum(axis=1) @ _AXIS, mask.sum(axis=0) @ _AXIS
    return float(y / mask.sum()), float(x / mask.sum())


def _relation(first: np.ndarray, second: np.ndarray) -> str:
    (ya, xa), (yb, xb) = _centre(first), _centre(second)
    if max(abs(ya - yb), abs(xa - xb)) > 0.3:
        if abs(ya - yb) >= abs(xa - xb):
            return "above" if ya < yb else "below"
        return "left of" if xa < xb else "right of"
    return "around" if _RADIUS[first].mean() - _RADIUS[second].mean() > 0.09 else "and"


def _position(mask: np.ndarray) -> str:
    y, x = _centre(mask)
    row, column = (1 + (v > 0.25) - (v < -0.25) for v in (y, x))
    if row == column == 1 and _RADIUS[mask].mean() >= 0.5:
        return ""  # scattered over the image
    return POSITIONS[row][column]
