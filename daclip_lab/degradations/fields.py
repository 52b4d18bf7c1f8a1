"""Building blocks of the degradations: smooth random fields, blurs, and points between pixels.

All work on one plane (h, w) of float32. Fields are enlarged small random grids, and large blurs are done on a shrunken
copy, so that the cost per pixel does not grow with the size of a structure.
"""

import numpy as np
from numpy.random import Generator
from PIL import Image


def object_scale(h: int, w: int) -> float:
    """Magnification of an object (drop, flake, stroke): 1 up to a shorter side of 400 pixels, then as its square root.

    A large photo shows the same scene with more pixels, but also more of the scene.
    """
    return max(1.0, (min(h, w) / 400) ** 0.5)


def resize(plane: np.ndarray, h: int, w: int) -> np.ndarray:
    """Resize a plane bicubically, antialiased."""
    return np.asarray(Image.fromarray(plane).resize((w, h), Image.Resampling.BICUBIC))


def value_noise(rng: Generator, h: int, w: int, cells: float, octaves: int = 1) -> np.ndarray:
    """A smooth random field that spans [0, 1], with about `cells` hills along the longer side.

    Each further octave adds hills of half the size and half the height.
    """
    longer = max(h, w)
    field = np.zeros((h, w), np.float32)
    for octave in range(octaves):
        per_pixel = min(cells * 2**octave, longer) / longer
        grid = rng.random((2 + int(h * per_pixel), 2 + int(w * per_pixel)), np.float32)
        field += resize(grid, h, w) * 0.5**octave
    low, high = field.min(), field.max()
    return (field - low) / max(high - low, 1e-6)


def blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a plane with a Gaussian of `sigma` pixels; the edges are repeated outwards."""
    h, w = plane.shape
    shrink = int(sigma / 2)
    if shrink >= 2:
        small = resize(plane, max(2, round(h / shrink)), max(2, round(w / shrink)))
        return resize(blur(small, sigma / shrink), h, w)
    reach = max(1, int(np.ceil(2.5 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    padded = np.pad(plane, reach, mode="edge")
    rows = sum(tap * padded[i : i + h] for i, tap in enumerate(taps))
    return sum(tap * rows[:, i : i + w] for i, tap in enumerate(taps))


def splat(y: np.ndarray, x: np.ndarray, weight: np.ndarray, h: int, w: int) -> np.ndarray:
    """A plane of weighted points, each divided bilinearly among its four nearest pixels; points outside are dropped."""
    y, x, weight = np.clip(y, -1, h).ravel(), np.clip(x, -1, w).ravel(), weight.ravel()
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    lower, right = (y - top) * weight, x - left
    upper = weight - lower
    # A margin of one pixel above and left, two below and right, catches what falls outside.
    stride = w + 3
    corner = (top + 1) * stride + left + 1
    pixels = np.concatenate([corner, corner + 1, corner + stride, corner + stride + 1])
    shares = [upper * (1 - right), upper * right, lower * (1 - right), lower * right]
    canvas = np.bincount(pixels, np.concatenate(shares), minlength=(h + 3) * stride)
    return canvas.reshape(h + 3, stride)[1 : h + 1, 1 : w + 1].astype(np.float32)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """A cubic rise from 0 at x <= 0 to 1 at x >= 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
