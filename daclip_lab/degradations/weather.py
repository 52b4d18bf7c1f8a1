"""Degradations between the scene and the camera: haze, raindrops, rain, shadow and snow.

Each is a `registry.Function`. They imitate the paper's data sets RESIDE-6k, RainDrop, Rain100H, SRD and Snow100K-L.
Depth and shadow scale with the image; drops, streaks and flakes grow slowly with it (`fields.object_scale`), so that a
crop of 64 pixels and a whole photo both look right.
"""

import numpy as np
from numpy.random import Generator

from daclip_lab.degradations.fields import (
    blur,
    object_scale,
    resize,
    smoothstep,
    splat,
    value_noise,
)


def hazy(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Scattering: I = J t + A (1 - t), t = exp(-beta depth); the mean of beta depth is about 2 severity."""
    _, h, w = image.shape
    # Photos are mostly farther away at the top; a crop of one may lie at a single depth.
    far = rng.uniform(-0.2, 1) * np.linspace(1, 0, h)[:, None]
    hills = rng.uniform(0, 0.8) * value_noise(rng, h, w, cells=rng.uniform(0.5, 4), octaves=2)
    depth = rng.uniform(0.1, 1.5) + far + hills
    beta = 2 * severity * rng.uniform(0.85, 1.15)
    t = np.exp(-beta * depth / depth.mean()).astype(np.float32)
    airlight = rng.uniform(0.6, 1) + rng.uniform(-0.04, 0.04, (3, 1, 1))
    return image * t + np.clip(airlight, 0, 1).astype(np.float32) * (1 - t)


def shadowed(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """A bluish shadow on a fifth to two thirds of the image; at severity 1 it leaves 20 to 40 % of the light."""
    _, h, w = image.shape
    level = _shadow_level(h, w, rng)
    # The quantile that puts the wanted share into shadow; a large photo is sampled for it.
    stride = 1 + int((h * w) ** 0.5 / 100)
    level -= np.quantile(level[::stride, ::stride], 1 - rng.uniform(0.2, 0.66))
    slope = (np.abs(np.diff(level, axis=0)).mean() + np.abs(np.diff(level, axis=1)).mean()) / 1.3
    penumbra = np.exp(rng.uniform(0, np.log(max(2, 0.12 * min(h, w)))))
    # A penumbra wider than the shapes would leave no core shadow at all.
    shade = smoothstep(level / min(slope * penumbra, level.std()) + 0.5)
    cast = np.array([rng.uniform(0.85, 1), rng.uniform(0.92, 1), 1.08])[:, None, None]
    light = 1 - severity * (1 - rng.uniform(0.2, 0.4) * cast)
    return image * (1 - shade * (1 - light)).astype(np.float32)


def _shadow_level(h: int, w: int, rng: Generator) -> np.ndarray:
    """A plane whose upper level sets have the shape of shadows: half planes, strips, polygons, blobs, leaves."""
    kind = rng.choice(["edges", "blob", "leaves"], p=[0.45, 0.35, 0.2])
    if kind == "blob":
        return value_noise(rng, h, w, cells=rng.uniform(1, 3), octaves=int(rng.integers(1, 4)))
    if kind == "leaves":
        finest = np.clip(max(h, w) / 8, 10, 30)
        return value_noise(rng, h, w, cells=rng.uniform(5, finest), octaves=2)
    y, x = np.ogrid[:h, :w]
    y, x = y - rng.uniform(0, h), x - rng.uniform(0, w)
    # One side makes a half plane, two opposite sides a strip, three and more a polygon.
    sides = int(rng.integers(1, 6))
    around = np.arange(sides) + rng.uniform(-0.3, 0.3, sides)
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi / sides * around
    offsets = rng.uniform(0, 0.3, sides) * min(h, w)
    planes = [o - (np.sin(a) * y + np.cos(a) * x) for a, o in zip(angles, offsets, strict=True)]
    return np.minimum.reduce(planes).astype(np.float32)


def rainy(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """One to three layers of bright slanted streaks, drizzle to curtain, under a thin veil."""
    _, h, w = image.shape
    layers = int(rng.integers(1, 4))
    slant = np.clip(rng.normal(0, 0.35), -0.9, 0.9)
    # In Rain100H the layers fall in several directions at once, elsewhere in one.
    spread = rng.choice([0.03, 0.3], p=[0.75, 0.25])
    covered = (0.03 + 0.5 * severity) * rng.uniform(0.8, 1.2) / layers
    rain = sum(_streaks(h, w, covered, rng.normal(slant, spread), rng) for _ in range(layers))
    light = np.clip(rain * (0.25 + 0.6 * severity) * rng.uniform(0.8, 1.2), 0, 0.95)
    tint = np.array([rng.uniform(0.93, 1), rng.uniform(0.96, 1), 1], np.float32)[:, None, None]
    veil = np.float32(0.2 * severity * rng.random())
    veiled = image * (1 - veil) + veil * np.float32(rng.uniform(0.5, 0.9))
    return veiled + light * tint * (1 - veiled)


def _streaks(h: int, w: int, covered: float, slant: float, rng: Generator) -> np.ndarray:
    """A plane of streaks about 1 bright, fading at both ends; `slant` in radians from vertical."""
    scale = object_scale(h, w)
    length = min(scale * rng.uniform(8, 50), 0.8 * min(h, w))
    thick = scale * rng.uniform(0.45, 1.1)
    # Streaks that begin outside reach into the image: they are spread over a larger field.
    count = max(2, round(covered * (h + length) * (w + length) / (length * 3 * thick)))
    spacing = 0.7 * scale
    along = np.linspace(-0.5, 0.5, max(2, int(length / spacing)))
    lengths = length * rng.uniform(0.5, 1.2, (count, 1)) * along
    angle = slant + rng.normal(0, 0.03, (count, 1))
    y = rng.uniform(-length / 2, h + length / 2, (count, 1)) + np.cos(angle) * lengths
    x = rng.uniform(-length / 2, w + length / 2, (count, 1)) + np.sin(angle) * lengths
    bright = rng.uniform(0.4, 1.3, (count, 1)) * np.cos(np.pi * along) ** 0.5
    # A line of unit points `spacing` apart, blurred across, is 1 / (spacing sqrt(2 pi) sigma) high.
    across = 2.5 * np.hypot(thick, 0.4)
    return blur(splat(y, x, bright * spacing * across, h, w), thick)


def snowy(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Bright flakes, from dust to large blurred ones, half transparent, moving, under a veil."""
    _, h, w = image.shape
    wind, speed = rng.normal(0, 0.7), rng.uniform(0, 2.5)
    drift = speed * np.cos(wind), speed * np.sin(wind)
    near = min(object_scale(h, w) * np.exp(rng.uniform(-0.3, 0.7)), 0.03 * min(h, w))
    clear = np.full((h, w), 1 - 0.2 * severity * rng.random(), np.float32)
    # Radius in pixels, share of the covered part, and how much a flake hides of what is behind it.
    for radius, share, opacity in ((0.9, 0.25, 0.9), (2.2, 0.35, 0.95), (5.0, 0.4, 0.75)):
        covered = share * 0.5 * severity * rng.uniform(0.4, 1.6)
        radius *= near * rng.uniform(0.85, 1.2)
        clear *= 1 - opacity * _flakes(h, w, covered, radius, drift, rng)
    white = np.array([0.98, 0.99, 1], np.float32)[:, None, None] * np.float32(rng.uniform(0.88, 1))
    return image * clear + white * (1 - clear)


def _flakes(
    h: int, w: int, covered: float, radius: float, drift: tuple[float, float], rng: Generator
) -> np.ndarray:
    """A plane in [0, 1] of soft clumps of a few points, stretched by `drift` (y, x) radii."""
    points = 6
    count = max(1, round(covered * h * w / (np.pi * radius**2)))
    trail = rng.normal(radius, 0.3 * radius, (count, 1)) * np.linspace(-0.5, 0.5, points)
    jitter = rng.normal(0, 0.45 * radius, (2, count, points))
    y = rng.uniform(0, h, (count, 1)) + drift[0] * trail + jitter[0]
    x = rng.uniform(0, w, (count, 1)) + drift[1] * trail + jitter[1]
    sigma = 0.45 * radius
    # Scaled so that a clump of coinciding points would be about as high as the drawn number.
    weight = rng.uniform(0.7, 2, (count, 1)) * 2 * np.pi * (sigma**2 + 0.16) / points
    plane = splat(y, x, np.broadcast_to(weight, y.shape), h, w)
    return smoothstep(1.3 * blur(plane, sigma))


def raindrop(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Drops on the lens, each an upside-down, blurred view of the scene with a soft, uneven edge."""
    _, h, w = image.shape
    typical = min(rng.uniform(0.1, 0.28) * min(h, w), rng.uniform(7, 22) * object_scale(h, w))
    covered = (0.03 + 0.4 * severity) * rng.uniform(0.8, 1.2)
    softness = np.exp(rng.uniform(np.log(0.12), 0))
    # Per pixel: how much of it a drop hides, how bright the drop is, and which pixel it shows.
    alpha, gain = np.zeros((2, h, w), np.float32)
    source = np.zeros((2, h, w), np.int32)
    for _ in range(max(1, round(covered * h * w / (np.pi * (1.1 * typical) ** 2)))):
        radius = min(typical * np.exp(rng.normal(0, 0.35)), 0.4 * min(h, w))
        _add_drop(alpha, gain, source, radius, softness, rng)
    shrink = max(2, round(0.5 * typical))
    small = max(2, h // shrink), max(2, w // shrink)
    blurred = np.stack([resize(resize(channel, *small), h, w) for channel in image])
    alpha *= min(1, 0.3 + 2 * severity)
    return image + alpha * (gain * blurred[:, source[0], source[1]] - image)


def _add_drop(
    alpha: np.ndarray,
    gain: np.ndarray,
    source: np.ndarray,
    radius: float,
    softness: float,
    rng: Generator,
) -> None:
    """Write one drop into the three planes, at the pixels where it is more opaque than the drops before it."""
    h, w = alpha.shape
    cy, cx = rng.uniform(radius / 2, h - radius / 2), rng.uniform(radius / 2, w - radius / 2)
    tall = rng.uniform(1, 1.3)
    reach = radius * tall * 1.2 * (1 + softness / 2)
    rows = slice(max(0, int(cy - reach)), int(cy + reach) + 1)
    columns = slice(max(0, int(cx - reach)), int(cx + reach) + 1)
    v = ((np.arange(h, dtype=np.float32) - cy) / (radius * tall))[rows, None]
    u = ((np.arange(w, dtype=np.float32) - cx) / radius)[columns]
    # Bulges of the outline: powers of a direction, a number on the complex unit circle.
    rho = np.hypot(u, v)
    way = (u + 1j * v) / (rho + 1e-6)
    two, three = rng.normal(0, 0.06, 2) + 1j * rng.normal(0, 0.06, 2)
    rho /= 1 + (way * way * (two + three * way)).real.astype(np.float32)

    patch = rows, columns
    cover = smoothstep((1 + softness / 2 - rho) / softness)
    wins = cover > alpha[patch]
    np.copyto(alpha[patch], cover, where=wins)
    # Brighter or darker than the scene, sky at the bottom, and a dark rim.
    bright = 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.35)
    shading = bright * (1 + rng.uniform(0, 0.4) * v - rng.uniform(0.1, 0.4) * rho**4)
    np.copyto(gain[patch], np.maximum(shading, 0), where=wins)
    # A drop is a strong lens: it shows a wide piece of the scene, turned by 180 degrees; of a small image not so wide
    # that the piece, folded back at the borders, would look like a kaleidoscope.
    wide = min(radius * rng.uniform(2, 4), 0.35 * min(h, w))
    np.copyto(source[0][patch], _mirror(cy - wide * v, h), where=wins)
    np.copyto(source[1][patch], _mirror(cx - wide * u, w), where=wins)


def _mirror(position: np.ndarray, size: int) -> np.ndarray:
    """Pixel indices, with positions outside of 0..size-1 mirrored at the edges."""
    folded = np.floor(position).astype(np.int32) % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)
