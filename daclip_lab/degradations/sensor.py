"""Degradations by the camera, its file or an edit: motion blur, JPEG, low light, noise, missing pixels.

Each is a `registry.Function`. They imitate the paper's data sets: GoPro (motion blur), DIV2K and Flickr2K at JPEG
quality 10 or with Gaussian noise of sigma 50, LOL (low light), and CelebA-HQ under the thin masks of RePaint.
"""

import io

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from daclip_lab.degradations.fields import object_scale, splat, value_noise


def motion_blurry(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Blur along a curved, shaky path of 1 to about 25 pixels."""
    _, h, w = image.shape
    kernel = motion_kernel((1 + 23 * severity) * rng.uniform(0.8, 1.2), rng)
    reach = kernel.shape[0] // 2
    padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    # GoPro's frames were averaged as stored and also in linear light, where highlights leave trails.
    linear = rng.random() < 0.5
    padded = np.square(padded) if linear else padded
    # A path fills few pixels of its square: a sum of shifted copies is cheaper than a convolution.
    blurred, shifted = np.zeros_like(image), np.empty_like(image)
    for y, x in np.argwhere(kernel):
        np.multiply(padded[:, y : y + h, x : x + w], kernel[y, x], out=shifted)
        blurred += shifted
    return np.sqrt(blurred) if linear else blurred


def motion_kernel(length: float, rng: Generator) -> np.ndarray:
    """The trace of one point of light: an odd-sided square plane of sum 1, centred on its mean."""
    n = 8 + int(2 * length)
    bend = rng.normal(0, 0.7) * np.linspace(-1, 1, n)
    shake = np.cumsum(rng.normal(0, rng.uniform(0, 0.2), n))
    angle = rng.uniform(0, 2 * np.pi) + bend + shake
    y, x = np.cumsum([np.sin(angle), np.cos(angle)], axis=1) * length / n
    y, x = y - y.mean(), x - x.mean()
    reach = int(max(np.abs(y).max(), np.abs(x).max())) + 1
    kernel = splat(y + reach, x + reach, np.full(n, 1 / n), 2 * reach + 1, 2 * reach + 1)
    kernel[kernel < 0.02 / n] = 0
    return kernel / kernel.sum()


def jpeg_compressed(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """JPEG at quality 60 (severity near 0), 28 (0.3), 10 (0.72, the paper's), 5 (1)."""
    return _random_jpeg(image, round(60 * (5 / 60) ** severity), rng)


def _random_jpeg(image: np.ndarray, quality: int, rng: Generator) -> np.ndarray:
    subsampling = "4:2:0" if rng.random() < 0.6 else "4:4:4"
    # A crop of a file begins anywhere in a block; a network should not learn that blocks start at pixel 0.
    down, right = rng.integers(0, 8, 2).tolist()
    return jpeg(image, quality, subsampling, (down, right))


def jpeg(
    image: np.ndarray, quality: int, subsampling: str, phase: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Encode and decode with libjpeg; `phase` is where in its 8x8 block the first pixel lies."""
    down, right = phase
    padded = np.pad(image, ((0, 0), (down, 0), (right, 0)), mode="symmetric")
    pixels = np.ascontiguousarray((padded * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    decoded = np.asarray(Image.open(file))[down:, right:]
    return np.ascontiguousarray(decoded.transpose(2, 0, 1)).astype(np.float32) / 255


def low_light(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Underexposure, at severity 1 to about a tenth, with a colour cast and signal-dependent noise."""
    _, h, w = image.shape
    gain = np.float32(np.exp(-2.3 * severity * rng.uniform(0.75, 1.05)))
    contrast = np.float32(1 + severity * rng.uniform(-0.1, 0.5))
    cast = 1 + severity * rng.uniform(-0.15, 0.15, (3, 1, 1)).astype(np.float32)
    lamp = 1 - severity * rng.uniform(0, 0.4) * value_noise(rng, h, w, cells=rng.uniform(0.5, 2))
    dark = gain * cast * np.power(image, contrast) * lamp
    shot, read = severity * rng.uniform(0.0002, 0.002), severity * rng.uniform(0.001, 0.01)
    noise = rng.standard_normal(image.shape, np.float32) * np.sqrt(shot * dark + read**2)
    # A dark photo uses few of the 256 levels of its file.
    return np.round((dark + noise) * 255) / 255


def noisy(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Noise of sigma 68/255 at severity 1 and in proportion below; mostly white and Gaussian."""
    _, h, w = image.shape
    sigma = np.float32(68 / 255 * severity * rng.uniform(0.9, 1.1))
    kind = rng.choice(["white", "gray", "shot", "grainy"], p=[0.6, 0.1, 0.15, 0.15])
    if kind == "gray":
        noise = rng.standard_normal((1, h, w), np.float32)
    elif kind == "grainy":
        noise = _grain(rng, h, w)
    else:
        noise = rng.standard_normal(image.shape, np.float32)
    if kind == "shot":
        noise *= np.sqrt(0.2 + 1.6 * image)
    return image + sigma * noise


def _grain(rng: Generator, h: int, w: int) -> np.ndarray:
    """Noise of standard deviation 1 with correlated neighbours, as after demosaicking or on film."""
    white = rng.standard_normal((3, h + 2, w + 2), np.float32)
    side = np.float32(rng.uniform(0.1, 0.5))
    rows = white[:, 1:-1] + side * (white[:, :-2] + white[:, 2:])
    both = rows[..., 1:-1] + side * (rows[..., :-2] + rows[..., 2:])
    return both / (1 + 2 * side**2)


def uncompleted(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Strokes, boxes or blocks of one colour hide up to about half of the pixels."""
    mask = _mask(image.shape[1:], 0.45 * severity * rng.uniform(0.8, 1.2), rng)
    # Of two colours the one farther from the image's: white on a white wall would not be seen.
    mean = image.mean(axis=(1, 2))
    colour = max(_colour(rng), _colour(rng), key=lambda colour: np.abs(colour - mean).sum())
    return np.where(mask, colour[:, None, None], image)


def _colour(rng: Generator) -> np.ndarray:
    kind = rng.choice(["white", "black", "gray", "any"], p=[0.35, 0.2, 0.1, 0.35])
    if kind == "any":
        return rng.random(3, np.float32)
    return np.full(3, {"white": 1, "black": 0, "gray": rng.uniform(0.3, 0.7)}[kind], np.float32)


Range = tuple[float, float]
# Chains of straight pieces: ranges of the width and of the length of a piece, in pixels of a small photo, and the
# standard deviation of the turn from piece to piece, in radians.
STROKES: dict[str, tuple[Range, Range, float]] = {
    "thin": ((1, 3.5), (4, 12), 0.5),
    "thick": ((4, 10), (6, 16), 0.6),
    "scribble": ((1, 2.5), (2, 4), 1.2),
}
# Sides of a box, as shares of the shorter side of the image.
BOXES = {"boxes": (0.12, 0.4), "blocks": (0.03, 0.1)}


def _mask(size: tuple[int, int], coverage: float, rng: Generator) -> np.ndarray:
    """A boolean plane of which about `coverage` is true, in one random style."""
    h, w = size
    style = rng.choice([*STROKES, *BOXES], p=[0.35, 0.2, 0.15, 0.15, 0.15])
    canvas = Image.new("L", (w, h))
    draw = ImageDraw.Draw(canvas)
    # Shapes overlap: to cover a share c at random, paint -log(1 - c) times the area.
    area = -np.log1p(-coverage) * h * w
    if style in BOXES:
        for box in _boxes(*BOXES[style], area, size, rng).tolist():
            draw.rectangle(box, fill=255)
    else:
        lines, widths = _strokes(*STROKES[style], area, size, rng)
        for line, width in zip(lines.tolist(), widths.tolist(), strict=True):
            draw.line(line, fill=255, width=width, joint="curve")
    return np.asarray(canvas) > 0


def _boxes(low: float, high: float, area: float, size: tuple[int, int], rng: Generator):
    """Boxes of about `area` in all, centred in the image: rows of (left, top, right, bottom)."""
    h, w = size
    low, high = np.array([low, high]) * min(h, w, 200 * object_scale(h, w))
    # No box alone is much larger than the area wanted.
    low, high = max(2, min(low, 0.7 * area**0.5)), max(2, min(high, 1.2 * area**0.5))
    count = max(1, round(area / ((low + high) / 2) ** 2))
    sides = rng.uniform(low, high, (count, 2))
    corner = rng.random((count, 2)) * (w, h) - sides / 2
    return np.concatenate([corner, corner + sides - 1], axis=1)


def _strokes(
    widths: Range, steps: Range, turn: float, area: float, size: tuple[int, int], rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Winding lines of about `area` in all: rows of x0, y0, x1, y1, ..., and each line's width."""
    h, w = size
    scale = object_scale(h, w)
    step = rng.uniform(*steps) * scale
    piece = step * scale * sum(widths) / 2
    longest = min(int(rng.integers(5, 15)), 1 + 0.7 * min(h, w) / step)
    pieces = int(np.clip(area / piece, 1, longest))
    # About a tenth of all pieces lie outside the image.
    count = max(1, round(area / (0.9 * pieces * piece)))
    turns = turn * rng.standard_normal((count, pieces))
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + turns.cumsum(axis=1)
    path = step * np.stack([np.cos(angle), np.sin(angle)], axis=2).cumsum(axis=1)
    path = np.concatenate([np.zeros((count, 1, 2)), path], axis=1)
    points = path - path.mean(axis=1, keepdims=True) + rng.random((count, 1, 2)) * (w, h)
    width = np.round(rng.uniform(*widths, count) * scale).astype(int)
    return points.reshape(count, -1), np.maximum(width, 1)


def camera(image: np.ndarray, rng: Generator) -> np.ndarray:
    """With probability one half each: noise of sigma up to 4/255, and JPEG at quality 80 to 98."""
    if rng.random() < 0.5:
        sigma = np.float32(rng.uniform(0, 4 / 255))
        image = np.clip(image + sigma * rng.standard_normal(image.shape, np.float32), 0, 1)
    if rng.random() < 0.5:
        image = _random_jpeg(image, int(rng.integers(80, 99)), rng)
    return image
