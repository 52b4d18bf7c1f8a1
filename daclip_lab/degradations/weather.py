"""Degradations between the scene and the camera: haze, rain, shadow and snow.

Each is a `registry.Function`. They imitate the paper's data sets RESIDE-6k, Rain100H, SRD and Snow100K-L. Depth and
shadow scale with the image; streaks and flakes grow slowly with it (`fields.object_scale`), so that a crop of 64 pixels
and a whole photo both look right.
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
    """Scattering: I = J t + A (1 - t), t = exp(-beta depth), outdoors or (35 %) indoors.

    The mean of beta depth is 1.7 to 2.3 severity outdoors and 1.1 to 2.3 severity indoors, where objects stand out
    against the walls; the airlight A is gray to white, 0.55 to 1, indoors 0.7 to 1.
    """
    _, h, w = image.shape
    if rng.random() < 0.35:
        depth = _indoor_depth(image, rng)
        beta = 2 * severity * rng.uniform(0.55, 1.15)
        # In SOTS indoor the haze is mostly white.
        airlight = rng.uniform(0.7, 1) if rng.random() < 0.4 else rng.uniform(0.9, 1)
    else:
        # Photos are mostly farther away at the top; a crop of one may lie at a single depth.
        far = rng.uniform(-0.2, 1) * np.linspace(1, 0, h)[:, None]
        hills = rng.uniform(0, 0.8) * value_noise(rng, h, w, cells=rng.uniform(0.5, 4), octaves=2)
        depth = rng.uniform(0.1, 1.5) + far + hills
        beta = 2 * severity * rng.uniform(0.85, 1.15)
        airlight = rng.uniform(0.55, 1)
    t = np.exp(-beta * depth / depth.mean()).astype(np.float32)
    airlight = airlight + rng.uniform(-0.04, 0.04, (3, 1, 1))
    return image * t + np.clip(airlight, 0, 1).astype(np.float32) * (1 - t)


def _indoor_depth(image: np.ndarray, rng: Generator) -> np.ndarray:
    """Depth of a box seen from inside, with up to three objects whose outlines follow the image's tones."""
    _, h, w = image.shape
    y = np.abs(np.arange(h) - rng.uniform(0, 0.8) * h)[:, None] / (h * rng.uniform(0.4, 1.2))
    x = np.abs(np.arange(w) - rng.uniform(-0.2, 1.2) * w) / (w * rng.uniform(0.4, 1.2))
    depth = 1 / np.maximum(np.maximum(y, x), rng.uniform(0.2, 1))
    small = max(2, h // 10), max(2, w // 10)
    tones = resize(image.mean(axis=0), *small)
    tones = np.float32(rng.uniform(-0.8, 0.8)) * (tones - tones.mean())
    for _ in range(int(rng.integers(0, 4))):
        shape = value_noise(rng, *small, cells=rng.uniform(0.7, 3)) + tones
        level = resize(shape - np.float32(rng.uniform(0.4, 0.9)), h, w)
        # An outline about two to ten pixels wide.
        inside = np.clip(level * rng.uniform(0.02, 0.1) * max(h, w) + 0.5, 0, 1)
        depth *= 1 - inside * rng.uniform(0.1, 0.55)
    return depth


def shadowed(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """A gray or bluish shadow on 15 to 70 % of the image; at severity 1 it leaves 15 to 45 % of the light."""
    _, h, w = image.shape
    level = _shadow_level(h, w, rng)
    # The quantile that puts the wanted share into shadow; a large photo is sampled for it.
    stride = 1 + int((h * w) ** 0.5 / 100)
    level -= np.quantile(level[::stride, ::stride], 1 - rng.uniform(0.15, 0.7))
    slope = (np.abs(np.diff(level, axis=0)).mean() + np.abs(np.diff(level, axis=1)).mean()) / 1.3
    penumbra = np.exp(rng.uniform(0, np.log(max(2, 0.12 * min(h, w)))))
    # A penumbra wider than the shapes would leave no core shadow at all.
    shade = smoothstep(level / min(slope * penumbra, level.std()) + 0.5)
    cast = np.array([rng.uniform(0.85, 1), rng.uniform(0.92, 1), rng.uniform(1, 1.1)])
    light = 1 - severity * (1 - rng.uniform(0.15, 0.45) * cast[:, None, None])
    return image * (1 - shade * (1 - light)).astype(np.float32)


def _shadow_level(h: int, w: int, rng: Generator) -> np.ndarray:
    """A plane whose upper level sets have the shape of shadows."""
    kind = rng.choice(["edges", "blob", "leaves", "bars", "tree"], p=[0.36, 0.28, 0.16, 0.08, 0.12])
    if kind == "tree":
        # Large masses with ragged outlines.
        mass = value_noise(rng, h, w, cells=rng.uniform(0.7, 2))
        return mass + rng.uniform(0.15, 0.4) * _leaves(h, w, rng)
    if kind == "leaves":
        return _leaves(h, w, rng)
    if kind == "bars":
        return _bars(h, w, rng)
    if kind == "blob":
        return value_noise(rng, h, w, cells=rng.uniform(1, 3), octaves=int(rng.integers(1, 4)))
    y, x = np.ogrid[:h, :w]
    y, x = y - rng.uniform(0, h), x - rng.uniform(0, w)
    # One side makes a half plane, two opposite sides a strip, three and more a polygon.
    sides = int(rng.integers(1, 6))
    around = np.arange(sides) + rng.uniform(-0.3, 0.3, sides)
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi / sides * around
    offsets = rng.uniform(0, 0.3, sides) * min(h, w)
    planes = [o - (np.sin(a) * y + np.cos(a) * x) for a, o in zip(angles, offsets, strict=True)]
    return np.minimum.reduce(planes).astype(np.float32)


def _leaves(h: int, w: int, rng: Generator) -> np.ndarray:
    finest = np.clip(max(h, w) / 8, 10, 30)
    return value_noise(rng, h, w, cells=rng.uniform(5, finest), octaves=2)


def _bars(h: int, w: int, rng: Generator) -> np.ndarray:
    """A railing, a blind or a row of trunks, seen in perspective."""
    y, x = np.ogrid[:h, :w]
    turn, period = rng.uniform(0, np.pi), rng.uniform(0.12, 0.6) * max(h, w)
    across = (np.cos(turn) * (x - w / 2) + np.sin(turn) * (y - h / 2)) / period
    along = (np.cos(turn) * (y - h / 2) - np.sin(turn) * (x - w / 2)) / max(h, w)
    wave = np.cos(2 * np.pi * (across * (1 + rng.uniform(-0.5, 0.5) * along) + rng.random()))
    return wave.astype(np.float32)


def rainy(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """One to three layers of bright slanted streaks, drizzle to curtain, under a thin veil.

    At severity 1 they cover about half; in 40 % they are added to the light and clipped, as in Rain100H, and then cover
    up to all of it.
    """
    _, h, w = image.shape
    layers = int(rng.integers(1, 4))
    slant = np.clip(rng.normal(0, 0.35), -0.9, 0.9)
    # In Rain100H the layers fall in several directions at once, elsewhere in one.
    spread = rng.choice([0.03, 0.3], p=[0.75, 0.25])
    covered = (0.03 + 0.5 * severity) * rng.uniform(0.8, 1.2) / layers
    added = rng.random() < 0.4
    if added:
        covered *= rng.uniform(1, 2)
    thin = rng.choice([1, 0.7]) if added else 1
    rain = sum(_streaks(h, w, covered, rng.normal(slant, spread), thin, rng) for _ in range(layers))
    light = np.clip(rain * (0.25 + 0.6 * severity) * rng.uniform(0.8, 1.2), 0, 0.95)
    tint = np.array([rng.uniform(0.93, 1), rng.uniform(0.96, 1), 1], np.float32)[:, None, None]
    veil = np.float32(0.2 * severity * rng.random())
    veiled = image * (1 - veil) + veil * np.float32(rng.uniform(0.5, 0.9))
    return veiled + light * tint * (rng.uniform(0.5, 0.8) if added else 1 - veiled)


def _streaks(
    h: int, w: int, covered: float, slant: float, thin: float, rng: Generator
) -> np.ndarray:
    """A plane of streaks about 1 bright, fading at both ends.

    `slant` is in radians from vertical; `thin` below 1 makes streaks thinner and longer.
    """
    scale = object_scale(h, w)
    length = min(scale * rng.uniform(8, 50) / thin, 0.8 * min(h, w))
    thick = scale * thin * rng.uniform(0.45, 1.1)
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
