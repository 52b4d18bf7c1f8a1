"""The parts of procedural scenes: colours by name, textures, bars and soft edges.

Images are float64 arrays (3, h, w), colours (3, 1, 1), in [0, 1]; coverages are (h, w).
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from daclip_lab.data.captions.colours import COLOUR_NAMES, colour_indices, typical_colour

# For each texture the exponent of the relief's spectrum, and its mean gradient.
RELIEF = {"smooth": (2.0, 0.02), "soft": (1.3, 0.065), "rough": (1.0, 0.1), "busy": (0.7, 0.16)}


def textured(rng: np.random.Generator, colour: str, texture: str, h: int, w: int) -> np.ndarray:
    """A plane of one colour, (3, h, w), with a relief that `captions.attributes` names as this texture."""
    slope, strength = RELIEF[texture]
    relief = field(rng, h, w, slope)
    steepness = np.abs(np.diff(relief, axis=1)).mean() * 3
    return rgb_of(rng, colour) + relief * min(strength / steepness, 0.1)


def field(rng: np.random.Generator, h: int, w: int, slope: float) -> np.ndarray:
    """Noise of unit variance whose amplitude falls as 1 / frequency^slope; natural photos have about 1."""
    white = np.fft.rfft2(rng.standard_normal((h, w)))
    noise = np.fft.irfft2(white * spectrum(h, w, slope), s=(h, w))
    return noise / noise.std()


@functools.lru_cache(maxsize=64)
def spectrum(h: int, w: int, slope: float) -> np.ndarray:
    """1 / frequency^slope over the half plane of a real Fourier transform, 0 at frequency 0."""
    frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w))
    frequency[0, 0] = np.inf
    return frequency**-slope


@functools.lru_cache(maxsize=64)
def grid(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres as a column of y and a row of x."""
    return np.arange(h)[:, None] + 0.5, np.arange(w)[None] + 0.5


def wave(h: int, w: int, angle: float, period: float, phase: float) -> np.ndarray:
    """The coverage of antialiased bars, vertical at angle 0 and rising to the right at pi/4."""
    rows, columns = grid(h, w)
    turn = (np.cos(angle) * columns + np.sin(angle) * rows) / period + phase
    return cover((abs(turn % 1 - 0.5) - 0.25) * period)


def cover(distance: np.ndarray) -> np.ndarray:
    """The share of each pixel inside a shape, from its signed distance in pixels to the outline, negative inside."""
    return np.clip(0.5 - distance, 0, 1)


def blend(image: np.ndarray, colour: np.ndarray, coverage: np.ndarray) -> None:
    """Paint a colour over an image, in place, with the coverage as opacity."""
    image += coverage * (colour - image)


def third(rng: np.random.Generator, index: int) -> float:
    """A random place near the middle of the first, second or last third (0, 1, 2) of a side of length 1."""
    return (0.22, 0.5, 0.78)[index] + rng.uniform(-0.06, 0.06)


def rgb_of(rng: np.random.Generator, name: str) -> np.ndarray:
    """A random colour (3, 1, 1) near the typical one of a name."""
    typical = typical_colour(name).reshape(3, 1, 1)
    # More in lightness than in hue, so that gray does not turn lilac.
    varied = typical + rng.normal(scale=0.03) + rng.normal(scale=0.015, size=(3, 1, 1))
    return varied if COLOUR_NAMES[colour_indices(varied).item()] == name else typical


def any_colour(
    rng: np.random.Generator, *, among: Sequence[str] = COLOUR_NAMES, unlike: Sequence[str] = ()
) -> str:
    """A random colour name, clearly different from those of `unlike`."""
    while True:
        name = pick(rng, among)
        if all(
            np.abs(typical_colour(name) - typical_colour(other)).max() > 0.27 for other in unlike
        ):
            return name


def two_colours(rng: np.random.Generator) -> tuple[str, str]:
    """Two clearly different colour names."""
    first = any_colour(rng)
    return first, any_colour(rng, unlike=[first])


def pick(rng: np.random.Generator, options: Sequence) -> Any:
    """One of the options at random."""
    return options[int(rng.integers(len(options)))]
