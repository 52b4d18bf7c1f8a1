"""Captions by rule: a sentence of the visible attributes of a clean image, measured from its pixels.

DA-CLIP is trained on a caption of every clean image (by BLIP in the paper). At the lab scale the images are crops of 64
pixels, which a captioner cannot name; what they do show is colour, layout, light, texture and lines. The thresholds
are quantiles over crops of natural photos, so that every word divides the crops into groups of similar size.
"""

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from daclip_lab.errors import InputError

Value = tuple[int, int, int]
# sRGB values of each colour name: a typical one, then duller ones of the same name, since photos are duller than paint.
# A pixel has the name of the value nearest to it.
COLOURS: dict[str, tuple[Value, ...]] = {
    "black": ((14, 14, 14),),
    "dark gray": ((68, 68, 68),),
    "gray": ((125, 125, 125),),
    "pale gray": ((185, 185, 185),),
    "white": ((243, 243, 243),),
    "red": ((205, 35, 35), (172, 72, 75)),
    "dark red": ((110, 25, 28),),
    "pink": ((235, 150, 170), (205, 165, 165)),
    "orange": ((235, 130, 35), (250, 172, 120), (200, 118, 45)),
    "brown": ((130, 85, 50), (112, 90, 70), (150, 118, 92)),
    "dark brown": ((66, 44, 28), (60, 52, 40), (76, 60, 50)),
    "tan": ((200, 165, 125), (178, 154, 126)),
    "yellow": ((238, 212, 50), (248, 240, 165)),
    "olive": ((112, 112, 58), (82, 82, 50)),
    "green": ((60, 150, 55), (98, 130, 90)),
    "dark green": ((34, 66, 32), (44, 62, 44), (66, 92, 62)),
    "pale green": ((165, 200, 145),),
    "teal": ((35, 140, 140), (82, 128, 122)),
    "blue": ((45, 95, 200), (78, 116, 158)),
    "dark blue": ((28, 42, 95), (44, 62, 92)),
    "pale blue": ((155, 190, 228), (160, 184, 206)),
    "purple": ((125, 60, 155), (62, 34, 66), (180, 150, 200)),
}
COLOUR_NAMES = tuple(COLOURS)
POSITIONS = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
RELATIONS = ("above", "below", "left of", "right of", "around", "and")
BRIGHTNESS = ("very dark", "dark", "", "bright", "very bright")
CONTRAST = ("flat", "", "stark")
SATURATION = ("muted", "", "colorful")
TEXTURES = ("smooth", "soft", "rough", "busy")
GRAINS = ("broad", "", "fine")
LINES = ("vertical", "rising", "horizontal", "falling")

BRIGHTNESS_EDGES = (0.31, 0.39, 0.46, 0.56)
CONTRAST_EDGES = (0.1, 0.17)
SATURATION_EDGES = (0.11, 0.2)
TEXTURE_EDGES = (0.05, 0.085, 0.125)
GRAIN_EDGES = (0.6, 0.95)

# Every word that a caption can print.
PHRASES = (
    *COLOUR_NAMES, *itertools.chain(*POSITIONS), *RELATIONS, *BRIGHTNESS, *CONTRAST, *SATURATION, *TEXTURES, *GRAINS,
    *LINES, "a scene of some with lines and detail, shapes and light",
)  # fmt: skip

SIDE = 64  # every image is measured at this size, so that a crop and its enlargement read alike
MAX_WORDS = 23  # words and commas, each one BPE token; leaves space in 32 for seven tokens about a degradation


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """The words of an attribute caption, each from the lists above; "" for an attribute that it does not mention."""

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
    """Describe a clean image in one sentence that its pixels determine.

    image: (3, h, w) in [0, 1], both sides at least 16 pixels. Raises InputError for any other shape. The sentence has
    at most 25 BPE tokens, start and end included; the last attributes are left out where it would be longer.
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
    """Count words and commas, which is the number of BPE tokens for the words used here."""
    return len(text.replace(",", " , ").split())


def _with(text: str, extras: list[str]) -> str:
    return f"{text} with {enumerated(extras)}" if extras else text


def enumerated(words: list[str]) -> str:
    """Words as a list in English: "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def attributes(image: torch.Tensor) -> Attributes:
    """Measure the attributes that `caption` puts into words.

    image: (3, h, w) in [0, 1], both sides at least 16 pixels. Raises InputError for any other shape.
    """
    if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < 16:
        raise InputError(
            f"image has shape {tuple(image.shape)}; a caption needs (3, h, w) with h and w at least 16"
        )
    image = image.detach().float().cpu()
    if image.shape[1:] != (SIDE, SIDE):
        image = F.interpolate(image[None], size=(SIDE, SIDE), mode="area")[0]
    rgb = image.numpy()
    luma = np.tensordot(np.float32([0.299, 0.587, 0.114]), rgb, axes=1)
    blurred = _shrink(rgb, 2)
    return Attributes(
        brightness=_bin(luma.mean(), BRIGHTNESS_EDGES, BRIGHTNESS),
        contrast=_bin(luma.std(), CONTRAST_EDGES, CONTRAST),
        saturation=_bin(
            (blurred.max(axis=0) - blurred.min(axis=0)).mean(), SATURATION_EDGES, SATURATION
        ),
        light=_light(luma),
        **_detail(luma),
        **_colours(blurred),
    )


def _bin(value: float, edges: tuple[float, ...], words: tuple[str, ...]) -> str:
    return words[sum(value >= edge for edge in edges)]


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
        grain = _bin(fine / coarse, GRAIN_EDGES, GRAINS) if coarse > 0 else "fine"
        coherence = math.hypot(xx - yy, 2 * xy) / (xx + yy)
        if coherence > 0.3:
            # The gradient points across the lines, and y grows downwards: a gradient of 45 degrees is a rising line.
            angle = 0.5 * math.atan2(2 * xy, xx - yy)
            lines = LINES[round(angle / (math.pi / 4)) % 4]
    return {"texture": _bin(fine, TEXTURE_EDGES, TEXTURES), "grain": grain, "lines": lines}


def _light(luma: np.ndarray) -> str:
    thirds = [0, 21, 43]
    cells = np.add.reduceat(np.add.reduceat(luma, thirds, axis=0), thirds, axis=1)
    cells = cells / np.outer([21, 22, 21], [21, 22, 21])
    row, column = divmod(int(cells.argmax()), 3)
    return POSITIONS[row][column] if cells[row, column] - cells.mean() > 0.08 else ""


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
    rest = np.where(share >= 0.025, share * (0.01 + _palette()[1] ** 2), 0)
    accent = int(rest.argmax())
    if rest[accent] > 0:
        found["accent"] = COLOUR_NAMES[accent]
        found["accent_position"] = _position(names == accent)
    return found


def _centre(mask: np.ndarray) -> tuple[float, float]:
    """The centre of mass of a mask as (y, x), each in [-1, 1]."""
    y, x = _axis(mask.shape[0]), _axis(mask.shape[1])
    return float(mask.sum(axis=1) @ y / mask.sum()), float(mask.sum(axis=0) @ x / mask.sum())


@functools.cache
def _axis(n: int) -> np.ndarray:
    return (np.arange(n) + 0.5) * 2 / n - 1


def _relation(first: np.ndarray, second: np.ndarray) -> str:
    (ya, xa), (yb, xb) = _centre(first), _centre(second)
    if max(abs(ya - yb), abs(xa - xb)) > 0.3:
        if abs(ya - yb) >= abs(xa - xb):
            return "above" if ya < yb else "below"
        return "left of" if xa < xb else "right of"
    rim = _rim(first.shape)
    return "around" if rim[first].mean() - rim[second].mean() > 0.09 else "and"


def _position(mask: np.ndarray) -> str:
    y, x = _centre(mask)
    row, column = (1 + (v > 0.25) - (v < -0.25) for v in (y, x))
    if row == column == 1 and _rim(mask.shape)[mask].mean() >= 0.5:
        return ""  # scattered over the image
    return POSITIONS[row][column]


def _rim(shape: tuple[int, int]) -> np.ndarray:
    """The distance of each pixel from the centre, 1 along the whole rim."""
    return np.maximum.outer(*(abs(_axis(n)) for n in shape))


def colour_indices(rgb: np.ndarray) -> np.ndarray:
    """Name every pixel: (3, h, w) in [0, 1] to (h, w) indices into COLOUR_NAMES."""
    r, g, b = (np.clip(rgb, 0, 1) * 31 + 0.5).astype(np.int64)
    return _palette()[0][(r * 32 + g) * 32 + b]


@functools.cache
def _palette() -> tuple[np.ndarray, np.ndarray]:
    """The colour name of each of the 32^3 quantised colours, and the chroma of each name."""
    owner = np.array([i for i, values in enumerate(COLOURS.values()) for _ in values])
    centres = _oklab(np.array([value for values in COLOURS.values() for value in values]) / 255)
    levels = np.linspace(0, 1, 32)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(_oklab(cube)[:, None] - centres, axis=-1)
    _, a, b = _oklab(np.array([value for value, *_ in COLOURS.values()]) / 255).T
    return owner[distance.argmin(axis=1)], np.hypot(a, b)


def _oklab(srgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1], colours last, to Oklab (Ottosson 2020), in which distances are close to perceived ones.

    Hue and chroma count twice, since a colour's name depends on hue first.
    """
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_lms = np.array(
        [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    )
    to_lab = np.array(
        [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    )
    return np.cbrt(linear @ to_lms.T) @ to_lab.T * (1, 2, 2)
