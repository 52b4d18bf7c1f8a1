"""Missing pixels: free-form masks of one colour, imitating CelebA-HQ under the masks of RePaint and of LaMa.

`uncompleted` is a `registry.Function`.
"""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from daclip_lab.degradations.fields import object_scale, value_noise

Range = tuple[float, float]
# Chains of straight pieces: ranges of the width and of the length of a piece, in pixels of a small photo; the standard
# deviation of the turn from piece to piece and a turn to and fro, in radians.
STROKES: dict[str, tuple[Range, Range, float, float]] = {
    "thin": ((1, 3.5), (4, 12), 0.5, 0),
    "thick": ((4, 10), (6, 16), 0.6, 0),
    "scribble": ((1, 2.5), (2, 4), 1.2, 0),
}
# The same in shares of the shorter side of the image.
LARGE_STROKES: dict[str, tuple[Range, Range, float, float]] = {
    "wide": ((0.06, 0.22), (0.08, 0.3), 0.7, 0),
    "zigzag": ((0.02, 0.06), (0.08, 0.25), 0.25, 2.6),
}
# Sides of a box, as shares of the shorter side of the image.
BOXES = {"boxes": (0.12, 0.4), "blocks": (0.03, 0.1), "slabs": (0.25, 0.8)}
# The probability of each style, and the range of the share that it covers at severity 1.
FINE, LARGE = (0.36, 0.54), (0.3, 0.72)
STYLES: dict[str, tuple[float, Range]] = {
    "thin": (0.2, FINE),
    "thick": (0.14, FINE),
    "scribble": (0.08, FINE),
    "boxes": (0.09, FINE),
    "blocks": (0.09, FINE),
    "wide": (0.14, LARGE),
    "zigzag": (0.06, LARGE),
    "blobs": (0.06, LARGE),
    "slabs": (0.07, LARGE),
    "mixed": (0.07, LARGE),
}


def uncompleted(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Strokes, boxes, blocks or blobs of one colour hide up to about three quarters of the pixels.

    At severity 1 fine masks cover 36 to 54 %, large ones 30 to 72 %; below in proportion.
    """
    style = str(rng.choice(list(STYLES), p=[chance for chance, _ in STYLES.values()]))
    mask = _mask(image.shape[1:], severity * rng.uniform(*STYLES[style][1]), style, rng)
    # Of two colours the one farther from the image's: white on a white wall would not be seen.
    mean = image.mean(axis=(1, 2))
    colour = max(_colour(rng), _colour(rng), key=lambda colour: np.abs(colour - mean).sum())
    return np.where(mask, colour[:, None, None], image)


def _colour(rng: Generator) -> np.ndarray:
    kind = rng.choice(["white", "black", "gray", "any"], p=[0.3, 0.3, 0.15, 0.25])
    if kind == "any":
        return rng.random(3, np.float32)
    return np.full(3, {"white": 1, "black": 0, "gray": rng.uniform(0.3, 0.7)}[kind], np.float32)


def _mask(size: tuple[int, int], coverage: float, style: str, rng: Generator) -> np.ndarray:
    """A boolean plane of which about `coverage` is true."""
    h, w = size
    if style == "mixed":
        # Two independent masks that together cover what is wanted.
        part = 1 - (1 - coverage) ** 0.5
        return _mask(size, part, "slabs", rng) | _mask(size, part, "zigzag", rng)
    if style == "blobs":
        plane = value_noise(rng, h, w, cells=rng.uniform(1.5, 5), octaves=2)
        plane += 1e-3 * np.linspace(0, 1, w, dtype=np.float32)  # no two pixels are equal
        return plane >= min(np.quantile(plane, 1 - coverage), plane.max())
    canvas = Image.new("L", (w, h))
    draw = ImageDraw.Draw(canvas)
    # Shapes overlap: to cover a share c at random, paint -log(1 - c) times the area.
    area = -np.log1p(-coverage) * h * w
    if style in BOXES:
        for box in _boxes(*BOXES[style], area, size, rng).tolist():
            draw.rectangle(box, fill=255)
    else:
        lines, widths = _strokes(style, area, size, rng)
        for line, width in zip(lines.tolist(), widths.tolist(), strict=True):
            draw.line(line, fill=255, width=width, joint="curve")
            # The ends of a wide stroke are round.
            for x, y in (line[:2], line[-2:]) if style in LARGE_STROKES else ():
                half = width / 2
                draw.ellipse((x - half, y - half, x + half, y + half), fill=255)
    return np.asarray(canvas) > 0


def _boxes(low: float, high: float, area: float, size: tuple[int, int], rng: Generator):
    """Boxes of about `area` in all, centred in the image: rows of (left, top, right, bottom)."""
    h, w = size
    # Only large boxes grow with the image without a limit.
    side = min(h, w) if high > 0.5 else min(h, w, 200 * object_scale(h, w))
    low, high = np.array([low, high]) * side
    # No box alone is much larger than the area wanted.
    low, high = max(2, min(low, 0.7 * area**0.5)), max(2, min(high, 1.2 * area**0.5))
    count = max(1, round(area / ((low + high) / 2) ** 2))
    sides = rng.uniform(low, high, (count, 2))
    corner = rng.random((count, 2)) * (w, h) - sides / 2
    return np.concatenate([corner, corner + sides - 1], axis=1)


def _strokes(
    style: str, area: float, size: tuple[int, int], rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Winding lines of about `area` in all: rows of x0, y0, x1, y1, ..., and each line's width."""
    h, w = size
    widths, steps, turn, back = {**STROKES, **LARGE_STROKES}[style]
    scale = object_scale(h, w)
    if style in LARGE_STROKES:
        # No stroke alone is much larger than the area wanted.
        scale = min(h, w, area**0.5 / sum(widths))
    step = rng.uniform(*steps) * scale
    piece = step * scale * sum(widths) / 2
    longest = min(int(rng.integers(5, 15)), 1 + (3 if back else 0.7) * min(h, w) / step)
    pieces = int(np.clip(area / piece, 1, longest))
    # About a tenth of all pieces lie outside the image.
    count = max(1, round(area / (0.9 * pieces * piece)))
    turns = turn * rng.standard_normal((count, pieces)) + back * (-1) ** np.arange(pieces)
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + turns.cumsum(axis=1)
    path = step * np.stack([np.cos(angle), np.sin(angle)], axis=2).cumsum(axis=1)
    path = np.concatenate([np.zeros((count, 1, 2)), path], axis=1)
    points = path - path.mean(axis=1, keepdims=True) + rng.random((count, 1, 2)) * (w, h)
    width = np.round(rng.uniform(*widths, count) * scale).astype(int)
    return points.reshape(count, -1), np.maximum(width, 1)
