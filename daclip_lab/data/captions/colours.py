"""Names of colours: a pixel has the name of the nearest value in `colours.toml`."""

import functools
import tomllib
from pathlib import Path

import numpy as np

COLOURS = tomllib.loads(Path(__file__).with_name("colours.toml").read_text("utf-8"))
"""Values (r, g, b) in 0..255 of each name, the typical one first."""
COLOUR_NAMES = tuple(COLOURS)
LEVELS = 32
"""Colours are quantised to so many levels of each channel."""


def typical_colour(name: str) -> np.ndarray:
    """The typical colour (3,) of a name, sRGB in [0, 1]."""
    return np.array(COLOURS[name][0]) / 255


def colour_indices(rgb: np.ndarray) -> np.ndarray:
    """Name every pixel of an image (3, h, w) in [0, 1]: (h, w) indices into `COLOUR_NAMES`."""
    r, g, b = (np.clip(rgb, 0, 1) * (LEVELS - 1) + 0.5).astype(np.int64)
    return _names_of_levels()[r, g, b]


@functools.cache
def chroma() -> np.ndarray:
    """The chroma of the typical colour of each name, (names,), in the units of `_oklab`."""
    _, a, b = _oklab(np.array([typical_colour(name) for name in COLOUR_NAMES])).T
    return np.hypot(a, b)


@functools.cache
def _names_of_levels() -> np.ndarray:
    owner = np.array([i for i, values in enumerate(COLOURS.values()) for _ in values])
    values = np.concatenate([np.array(values) for values in COLOURS.values()]) / 255
    levels = np.linspace(0, 1, LEVELS)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    distance = np.linalg.norm(_oklab(cube)[..., None, :] - _oklab(values), axis=-1)
    return owner[distance.argmin(axis=-1)]


def _oklab(srgb: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) in [0, 1] to Oklab (Ottosson 2020), whose distances are close to perceived ones.

    The axes a and b are doubled, since a colour's name depends on hue first.
    """
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_lms = np.array(
        [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    )
    to_lab = np.array(
        [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    )
    return np.cbrt(linear @ to_lms.T) @ to_lab.T * (1, 2, 2)
