"""Motion blur: the camera, or an object before it, moves while the shutter is open; imitates the paper's GoPro.

`motion_blurry` is a `registry.Function`.
"""

import numpy as np
from numpy.random import Generator

from daclip_lab.degradations.fields import smoothstep, splat, value_noise


def motion_blurry(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Blur along a curved, shaky path of 1 to 29 pixels.

    In 60 % the camera moves; in 25 % an object (semi-axes 0.15 to 0.5 of the shorter side) before a scene that is still
    or moves up to a third as far; in 15 % the camera passes a scene whose far part moves 0.1 to 0.7 times as far.
    """
    y, x = _path((1 + 23 * severity) * rng.uniform(0.8, 1.2), rng)
    # GoPro's frames were averaged as stored and also in linear light, where highlights leave trails.
    linear = rng.random() < 0.5
    kind = rng.choice(["camera", "object", "parallax"], p=[0.6, 0.25, 0.15])
    scene = np.square(image) if linear else image
    if kind == "camera":
        blurred = _along(scene, _trace(y, x))
    elif kind == "object":
        blurred = _moving_object(scene, y, x, rng)
    else:
        blurred = _parallax(scene, y, x, rng)
    return np.sqrt(blurred) if linear else blurred


def motion_kernel(length: float, rng: Generator) -> np.ndarray:
    """The trace of one point of light: an odd-sided square plane of sum 1, centred on its mean."""
    return _trace(*_path(length, rng))


def _path(length: float, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points y and x of a curved, shaky path of `length` pixels, whose mean is the origin."""
    n = 8 + int(2 * length)
    bend = rng.normal(0, 0.7) * np.linspace(-1, 1, n)
    shake = np.cumsum(rng.normal(0, rng.uniform(0, 0.2), n))
    angle = rng.uniform(0, 2 * np.pi) + bend + shake
    y, x = np.cumsum([np.sin(angle), np.cos(angle)], axis=1) * length / n
    return y - y.mean(), x - x.mean()


def _trace(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Equal points of light at (y, x) around the origin: an odd-sided square plane of sum 1."""
    reach, n = int(max(np.abs(y).max(), np.abs(x).max())) + 1, len(y)
    kernel = splat(y + reach, x + reach, np.full(n, 1 / n), 2 * reach + 1, 2 * reach + 1)
    kernel[kernel < 0.02 / n] = 0
    return kernel / kernel.sum()


def _along(planes: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Planes (n, h, w) convolved with a kernel that has few entries; the edges are mirrored."""
    _, h, w = planes.shape
    reach = kernel.shape[0] // 2
    padded = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    # A path fills few pixels of its square: a sum of shifted copies is cheaper than a convolution.
    blurred, shifted = np.zeros_like(planes), np.empty_like(planes)
    for y, x in np.argwhere(kernel):
        np.multiply(padded[:, y : y + h, x : x + w], kernel[y, x], out=shifted)
        blurred += shifted
    return blurred


def _parallax(scene: np.ndarray, y: np.ndarray, x: np.ndarray, rng: Generator) -> np.ndarray:
    """Near parts of the scene, chosen by a smooth field, move along (y, x), far parts a shorter way."""
    _, h, w = scene.shape
    noise = value_noise(rng, h, w, cells=rng.uniform(0.5, 3), octaves=2)
    near = smoothstep((noise - rng.uniform(0.3, 0.7)) / rng.uniform(0.03, 0.3) + 0.5)
    slow = rng.uniform(0.1, 0.7)
    far = _along(scene, _trace(slow * y, slow * x))
    return far + near * (_along(scene, _trace(y, x)) - far)


def _moving_object(scene: np.ndarray, y: np.ndarray, x: np.ndarray, rng: Generator) -> np.ndarray:
    """An uneven oval of the scene moves along (y, x); the rest is still or moves a little."""
    _, h, w = scene.shape
    cy, cx, turn = rng.uniform(0.2, 0.8) * h, rng.uniform(0.2, 0.8) * w, rng.uniform(0, np.pi)
    tall, wide = rng.uniform(0.15, 0.5, 2) * min(h, w)
    down, right = np.ogrid[:h, :w]
    down, right = down - cy, right - cx
    u = (np.cos(turn) * right + np.sin(turn) * down) / wide
    v = (np.cos(turn) * down - np.sin(turn) * right) / tall
    bulge = rng.uniform(0, 1) * (value_noise(rng, h, w, cells=rng.uniform(1, 6)) - 0.5)
    mask = np.clip((1 + bulge - np.hypot(u, v)) * min(tall, wide) + 0.5, 0, 1).astype(np.float32)
    slow = rng.choice([0, 1]) * rng.uniform(0, 0.33)
    ground = _along(scene, _trace(slow * y, slow * x)) if slow else scene.copy()
    kernel = _trace(y, x)
    # Nothing changes farther from the object than the path reaches.
    reach = kernel.shape[0] // 2
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(rows):
        box = (
            slice(max(0, rows[0] - reach), rows[-1] + reach + 1),
            slice(max(0, columns[0] - reach), columns[-1] + reach + 1),
        )
        part, cover = scene[:, *box], mask[box]
        moved = _along(np.concatenate([part * cover, cover[None]]), kernel)
        ground[:, *box] *= 1 - moved[3]
        ground[:, *box] += moved[:3]
    return np.clip(ground, 0, 1)
