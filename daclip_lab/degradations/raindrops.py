"""Raindrops on the lens, each a small upside-down view of the scene; imitates RainDrop.

`raindrop` is a `registry.Function`.
"""

import numpy as np
from numpy.random import Generator

from daclip_lab.degradations.fields import object_scale, resize, smoothstep


def raindrop(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Drops on the lens, each an upside-down, blurred view of the scene with a soft, uneven edge.

    The typical radius is 7 to 22 pixels (55 %), 0.06 to 0.2 of the shorter side, however large the photo (25 %), or 3
    to 8 pixels with some larger ones (20 %). Edges are 0.1 to 1.8 radii soft, those of drops sized by the photo at
    least 0.3; the softer, the more of the scene may show through (up to half). In half of the images drops are pale: up
    to 60 % of what they show is the mean light.
    """
    _, h, w = image.shape
    scale = object_scale(h, w)
    kind = rng.choice(["drops", "near", "spray"], p=[0.55, 0.25, 0.2])
    spread = 0.35
    if kind == "drops":
        typical = min(rng.uniform(0.1, 0.28) * min(h, w), rng.uniform(7, 22) * scale)
    elif kind == "near":
        typical, spread = rng.uniform(0.06, 0.2) * min(h, w), rng.uniform(0.2, 0.6)
    else:
        typical = min(rng.uniform(0.05, 0.15) * min(h, w), rng.uniform(3, 8) * scale)
        spread = rng.uniform(0.2, 0.7)
    covered = (0.03 + 0.4 * severity) * rng.uniform(0.8, 1.2)
    softness = np.exp(rng.uniform(np.log(0.3 if kind == "near" else 0.1), np.log(1.8)))
    # Per pixel: how much of it a drop hides, how bright the drop is, and which pixel it shows.
    alpha, gain = np.zeros((2, h, w), np.float32)
    source = np.zeros((2, h, w), np.int32)
    # The mean area of a drop grows with the spread of the radii.
    count = covered * h * w / (np.pi * (1.1 * typical) ** 2 * np.exp(2 * (spread**2 - 0.35**2)))
    radii = typical * np.exp(rng.normal(0, spread, max(1, round(count))))
    most = 0.4 if kind == "drops" else 0.28
    _add_drops(alpha, gain, source, np.minimum(radii, most * min(h, w)), softness, rng)
    shrink = max(2, round(0.5 * typical))
    small = max(2, h // shrink), max(2, w // shrink)
    blurred = np.stack([resize(resize(channel, *small), h, w) for channel in image])
    if rng.random() < 0.5:
        pale = np.float32(rng.uniform(0, 0.6))
        ambient = image.mean(axis=(1, 2), keepdims=True) * np.float32(rng.uniform(1, 1.5))
        blurred += pale * (ambient - blurred)
    alpha *= min(1, 0.3 + 2 * severity)
    return image + alpha * (gain * blurred[:, source[0], source[1]] - image)


def _add_drops(
    alpha: np.ndarray,
    gain: np.ndarray,
    source: np.ndarray,
    radii: np.ndarray,
    softness: float,
    rng: Generator,
) -> None:
    """Write drops into the three planes, each at the pixels where it is more opaque than the drops before it."""
    radii = np.sort(radii)
    while len(radii):
        # Drops of similar size are painted together, on square patches of one size; not so many that their pixels no
        # longer fit a processor's cache.
        alike = np.searchsorted(radii, 2 * radii[0], side="right")
        few = 1 + int(2e5 / (2.5 * radii[alike - 1] * (1 + softness / 2)) ** 2)
        group, radii = np.split(radii, [min(alike, few)])
        _add_equal_drops(alpha, gain, source, group, softness, rng)


def _add_equal_drops(
    alpha: np.ndarray,
    gain: np.ndarray,
    source: np.ndarray,
    radii: np.ndarray,
    softness: float,
    rng: Generator,
) -> None:
    """As `_add_drops`, for drops so similar in size that one size of patch holds them all."""
    h, w = alpha.shape
    n = len(radii)

    def column(values) -> np.ndarray:
        """One value per drop, to be broadcast over its patch (n, rows, columns)."""
        return np.asarray(values, np.float32)[:, None, None]

    radius, tall = column(radii), column(rng.uniform(1, 1.3, n))
    cy = column(radii / 2 + rng.random(n) * (h - radii))
    cx = column(radii / 2 + rng.random(n) * (w - radii))
    reach = float((radius * tall).max()) * 1.2 * (1 + softness / 2)
    steps = np.arange(-int(reach), int(reach) + 2)
    down, right = np.floor(cy) + steps[:, None], np.floor(cx) + steps
    v = ((down - cy) / (radius * tall)).astype(np.float32)
    u = ((right - cx) / radius).astype(np.float32)
    # Bulges of the outline: the second and third harmonic of the angle.
    rho = np.hypot(u, v)
    way = 1 / (rho + 1e-6)
    cos, sin = u * way, v * way
    a, b, c, d = (column(rng.normal(0, 0.06, n)) for _ in range(4))
    cos2, sin2 = cos * cos - sin * sin, 2 * cos * sin
    rho /= 1 + a * cos2 - b * sin2 + c * (cos2 * cos - sin2 * sin) - d * (sin2 * cos + cos2 * sin)

    cover = smoothstep((1 + softness / 2 - rho) / softness)
    # A soft drop is out of focus, and some of the scene shows through.
    cover *= 1 - column(rng.uniform(0, 0.5, n)) * min(1, softness / 1.2)
    inside = (cover > 0) & (down >= 0) & (down < h) & (right >= 0) & (right < w)
    drop, i, j = np.nonzero(inside)
    cover, v, u, rho = cover[inside], v[drop, i, 0], u[drop, 0, j], rho[inside]
    pixel = down[drop, i, 0].astype(np.int64) * w + right[drop, 0, j].astype(np.int64)
    # Of several assignments to one pixel the last one stays: the most opaque.
    order = np.argsort((cover * 65535).astype(np.uint16), kind="stable")
    order = order[cover[order] > alpha.ravel()[pixel[order]]]
    drop, cover, v, u, rho, pixel = (a[order] for a in (drop, cover, v, u, rho, pixel))
    alpha.ravel()[pixel] = cover
    # Brighter or darker than the scene, sky at the bottom, and a dark rim.
    bright = 1 + rng.choice([-1, 1], n) * rng.uniform(0.1, 0.35, n)
    sky, rim = rng.uniform(0, 0.4, n), rng.uniform(0.1, 0.4, n)
    bright, sky, rim = (a.astype(np.float32)[drop] for a in (bright, sky, rim))
    shading = bright * (1 + sky * v - rim * np.square(np.square(np.minimum(rho, 1.3))))
    gain.ravel()[pixel] = np.maximum(shading, 0)
    # A drop is a strong lens: it shows a wide piece of the scene, turned by 180 degrees; of a small image not so wide
    # that the piece, folded back at the borders, would look like a kaleidoscope.
    wide = np.minimum(radii * rng.uniform(2, 4, n), 0.35 * min(h, w)).astype(np.float32)[drop]
    source[0].ravel()[pixel] = _mirror(cy.ravel()[drop] - wide * v, h)
    source[1].ravel()[pixel] = _mirror(cx.ravel()[drop] - wide * u, w)


def _mirror(position: np.ndarray, size: int) -> np.ndarray:
    """Pixel indices, with positions outside of 0..size-1 mirrored at the edges."""
    folded = np.floor(position).astype(np.int32) % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)
