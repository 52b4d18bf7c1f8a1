"""Procedural scenes with exact captions: shapes, dead leaves, landscapes, stripes, checkerboards, clouds and fades.

Dead leaves (Ruderman 1997; Lee, Mumford and Huang 2001) occlude each other with sizes distributed as 1/r^3, which
gives the scale-invariant statistics of natural photos. Colours, textures and positions are named as in
`captions.attributes`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from daclip_lab.data.captions.attributes import LINES, POSITIONS, TEXTURES, enumerated
from daclip_lab.data.captions.colours import typical_colour
from daclip_lab.data.scene_primitives import (
    any_colour,
    blend,
    cover,
    field,
    grid,
    pick,
    rgb_of,
    textured,
    third,
    two_colours,
    wave,
)
from daclip_lab.errors import InputError

SHAPES = ("circle", "square", "diamond", "triangle", "ring", "cross")
# The radius as a share of the shorter side.
SIZES = {"small": (0.09, 0.13), "": (0.16, 0.2), "large": (0.24, 0.32)}
Painting = tuple[np.ndarray, str]


@dataclass(frozen=True)
class Scene:
    """A procedural image (3, h, w) in [0, 1] and its exact caption."""

    image: torch.Tensor
    caption: str


def scene(generator: torch.Generator, *, height: int = 64, width: int = 64) -> Scene:
    """Paint a random scene; the same generator state gives the same bytes.

    Raises InputError for a side below 16 pixels.
    """
    if min(height, width) < 16:
        raise InputError(f"a scene of {height}x{width} pixels: wanted sides of at least 16")
    rng = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    paint = _KINDS[rng.choice(len(_KINDS), p=_SHARES)]
    image, caption = paint(rng, height, width)
    return Scene(torch.from_numpy(image.clip(0, 1).astype(np.float32)), caption)


def paint_shape(
    canvas: np.ndarray,
    shape: str,
    colour: np.ndarray,
    centre: tuple,
    radius: float,
    angle: float = 0,
) -> None:
    """Paint an antialiased shape over a canvas (c, h, w), in place.

    `shape` is one of SHAPES, `colour` (c, 1, 1) or (c, h, w), `centre` (y, x); centre and radius are in pixels, the
    angle in radians.
    """
    y, x = centre
    reach = 1.25 * radius + 1
    top, left = max(int(y - reach), 0), max(int(x - reach), 0)
    box = np.s_[:, top : max(int(y + reach) + 1, 0), left : max(int(x + reach) + 1, 0)]
    rows, columns = grid(*canvas.shape[1:])
    v, u = rows[box[1]] - y, columns[:, box[2]] - x
    if angle:
        u, v = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
    inside = cover(_distance(shape, u, v, radius))
    blend(canvas[box], colour if colour.shape[1:] == (1, 1) else colour[box], inside)


def _distance(shape: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance in pixels to the outline of a shape around the origin, negative inside."""
    match shape:
        case "circle":
            return np.hypot(u, v) - radius
        case "square":
            return np.maximum(abs(u), abs(v)) - 0.85 * radius
        case "diamond":
            return (abs(u) + abs(v)) / np.sqrt(2) - 0.85 * radius
        case "triangle":
            return np.maximum(abs(u) * np.sqrt(0.75) - 0.5 * v, v) - 0.55 * radius
        case "ring":
            return abs(np.hypot(u, v) - 0.8 * radius) - 0.24 * radius
        case "cross":
            long, short = np.maximum(abs(u), abs(v)), np.minimum(abs(u), abs(v))
            return np.maximum(long - radius, short - 0.28 * radius)
    raise InputError(f"unknown shape {shape!r}; choose one of {', '.join(SHAPES)}")


def _shapes(rng: np.random.Generator, h: int, w: int) -> Painting:
    ground, texture = any_colour(rng), pick(rng, TEXTURES)
    image = textured(rng, ground, texture, h, w)
    side = min(h, w)
    where = f"on a {texture} {ground} background"
    things, taken, sizes = [], [ground], tuple(SIZES)
    for _ in range(rng.integers(1, 3)):
        taken.append(any_colour(rng, unlike=taken))
        size = pick(rng, sizes)
        things.append((pick(rng, SHAPES), taken[-1], size, side * rng.uniform(*SIZES[size])))
        if size == "large":  # two large shapes would cover each other
            sizes = ("small", "")
    if len(things) == 1:
        row, column = rng.integers(3, size=2)
        places = [(h * third(rng, row), w * third(rng, column))]
        caption = f"{_thing(things[0])} {POSITIONS[row][column]} {where}"
    else:
        relation = pick(rng, ("above", "below", "left of", "right of"))
        near, far = rng.uniform(0.22, 0.27), rng.uniform(0.73, 0.78)
        along = (near, far) if relation in ("above", "left of") else (far, near)
        across = rng.uniform(0.35, 0.65, size=2)
        y, x = (along, across) if relation in ("above", "below") else (across, along)
        places = [(h * y[0], w * x[0]), (h * y[1], w * x[1])]
        caption = f"{_thing(things[0])} {relation} {_thing(things[1])} {where}"
    for (shape, colour, _, radius), place in zip(things, places, strict=True):
        paint = textured(rng, colour, pick(rng, TEXTURES[:2]), h, w)
        paint_shape(image, shape, paint, place, radius, rng.uniform(-0.25, 0.25))
    return image, caption


def _leaves(rng: np.random.Generator, h: int, w: int) -> Painting:
    """Dead leaves, painted from back to front; the caption names the colours by their visible share."""
    form, shape = pick(rng, (("round", "circle"), ("square", "square")))
    size, low, high, count = pick(rng, (("small", 0.03, 0.12, 160), ("large", 0.08, 0.5, 70)))
    palette: list[str] = []
    for _ in range(rng.integers(2, 4)):
        palette.append(any_colour(rng, unlike=palette))
    # Inverse transform of the density 1/r^3 between low and high.
    radii = min(h, w) * (high**-2 + rng.random(count) * (low**-2 - high**-2)) ** -0.5
    centres = rng.uniform((-0.05 * h, -0.05 * w), (1.05 * h, 1.05 * w), size=(count, 2))
    odds = (0.6, 0.4) if len(palette) == 2 else (0.5, 0.3, 0.2)
    kinds = rng.choice(len(palette), size=count, p=odds)
    angles, shades = rng.uniform(0, np.pi / 2, size=count), rng.normal(scale=0.04, size=count)
    # Beside RGB the canvas has a channel for each colour of the palette: the visible share of it.
    rgb = [typical_colour(name) for name in palette]
    inks = np.concatenate([rgb, np.eye(len(palette))], axis=1)[:, :, None, None]
    canvas = np.broadcast_to(inks[0], (inks.shape[1], h, w)).copy()
    for i, centre in enumerate(centres):
        ink = inks[kinds[i]].copy()
        ink[:3] += shades[i]
        paint_shape(canvas, shape, ink, centre, radii[i], angles[i])
    image = canvas[:3] + field(rng, h, w, 1.0) * rng.uniform(0.01, 0.05)
    share = canvas[3:].mean(axis=(1, 2))
    seen = [palette[k] for k in np.argsort(-share, kind="stable") if share[k] > 0.02]
    return image, f"many {size} {form} leaves of {enumerated(seen)}"


def _landscape(rng: np.random.Generator, h: int, w: int) -> Painting:
    sky, ground = two_colours(rng)
    texture = pick(rng, TEXTURES)
    word, horizon = pick(rng, (("high", 0.3), ("", 0.5), ("low", 0.7)))
    rows, _ = grid(h, w)
    image = textured(rng, sky, "smooth", h, w)
    caption = f"a {sky} sky above {texture} {ground} ground"
    if word:
        caption += f" with a {word} horizon"
    if horizon > 0.4 and rng.random() < 0.5:
        sun = any_colour(rng, among=("white", "yellow", "orange", "red"), unlike=[sky])
        column = int(rng.integers(3))
        y, x = h * rng.uniform(0.15, 0.22), w * third(rng, column)
        paint_shape(image, "circle", rgb_of(rng, sun), (y, x), min(h, w) * rng.uniform(0.07, 0.12))
        caption += f"{' and' if word else ' with'} a {sun} sun {POSITIONS[0][column]}"
    ridge = h * (horizon + rng.uniform(-0.05, 0.05) + 0.05 * field(rng, 1, w, 1.5)[0])
    blend(image, textured(rng, ground, texture, h, w), cover(ridge - rows))
    return image, _with_articles(caption)


def _stripes(rng: np.random.Generator, h: int, w: int) -> Painting:
    first, second = two_colours(rng)
    width, direction = pick(rng, ("thin", "wide")), int(rng.integers(4))
    period = min(h, w) * (rng.uniform(0.08, 0.13) if width == "thin" else rng.uniform(0.25, 0.4))
    image = textured(rng, first, "smooth", h, w)
    angle = direction * np.pi / 4 + rng.uniform(-0.15, 0.15)
    bars = wave(h, w, angle, period, rng.random())
    blend(image, textured(rng, second, "smooth", h, w), bars)
    return image, f"{width} {LINES[direction]} stripes of {first} and {second}"


def _checkers(rng: np.random.Generator, h: int, w: int) -> Painting:
    first, second = two_colours(rng)
    size = pick(rng, ("small", "large"))
    period = min(h, w) * (rng.uniform(0.14, 0.22) if size == "small" else rng.uniform(0.45, 0.7))
    tilt = rng.uniform(-0.15, 0.15)
    a, b = (wave(h, w, tilt + turn, period, rng.random()) for turn in (0, np.pi / 2))
    image = textured(rng, first, "smooth", h, w)
    blend(image, textured(rng, second, "smooth", h, w), a + b - 2 * a * b)
    return image, f"a board of {size} {first} and {second} squares"


def _clouds(rng: np.random.Generator, h: int, w: int) -> Painting:
    first, second = two_colours(rng)
    word, slope = pick(rng, (("soft", 2.2), ("rough", 1.4), ("busy", 0.7)))
    image = textured(rng, first, "smooth", h, w)
    mix = 1 / (1 + np.exp(-2.5 * field(rng, h, w, slope)))
    blend(image, rgb_of(rng, second), mix)
    return image, f"{word} clouds of {first} and {second}"


def _fade(rng: np.random.Generator, h: int, w: int) -> Painting:
    first, second = two_colours(rng)
    directions = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    y, x = pick(rng, directions)
    rows, columns = grid(h, w)
    # Runs from 1 where the first colour is to 0 at the opposite side.
    along = 0.5 + (y * (rows / h - 0.5) + x * (columns / w - 0.5)) / (abs(y) + abs(x))
    image = textured(rng, second, "smooth", h, w)
    blend(image, rgb_of(rng, first), np.broadcast_to(along, (h, w)))
    start, end = POSITIONS[1 + y][1 + x], POSITIONS[1 - y][1 - x]
    return image, f"a smooth fade from {first} {start} to {second} {end}"


_KINDS = (_shapes, _leaves, _landscape, _stripes, _checkers, _clouds, _fade)
_SHARES = (0.3, 0.25, 0.2, 0.08, 0.05, 0.06, 0.06)

# Every word of these captions.
PHRASES = (
    *SHAPES,
    "a small large thing on a smooth background an",
    "many small large round square leaves of",
    "a sky above ground with a high low horizon and a sun",
    "thin wide stripes of and, a board of squares",
    "soft rough busy clouds of, a smooth fade from to",
)


def _thing(thing: tuple[str, str, str, float]) -> str:
    shape, colour, size, _ = thing
    return _with_articles(" ".join(word for word in ("a", size, colour, shape) if word))


def _with_articles(text: str) -> str:
    return text.replace("a o", "an o")
