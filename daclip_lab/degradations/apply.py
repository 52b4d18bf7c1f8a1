"""Degradations applied to an image tensor: one, several in their physical order, and the mild traces of any camera."""

import numbers
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from daclip_lab.degradations import sensor
from daclip_lab.degradations.registry import CLEAN, lookup, mixing_order
from daclip_lab.errors import InputError


def degrade(image: Tensor, name: str, severity: float, generator: torch.Generator) -> Tensor:
    """Degrade an image in one way.

    `image` is (3, h, w) float32 in [0, 1], at least 8x8 pixels; the result is a new tensor of the same shape and range.
    `name` is one of `degradation_names()`, or "clean" for a copy. `severity` runs from 0 (unchanged) over 0.3 (visible)
    to 1 (strong, yet recoverable). One draw from the generator seeds everything random, whatever the name.

    Raises InputError for an unknown name, a severity outside [0, 1], or an image of another shape, type or range.
    """
    _check_image(image)
    _check_step(name, severity)
    rng = _numpy_generator(generator)
    if name == CLEAN or severity == 0:
        return image.clone()
    array = lookup(name).function(image.detach().cpu().numpy(), float(severity), rng)
    return _to_tensor(array, image, name)


def mix(image: Tensor, steps: Iterable[tuple[str, float]], generator: torch.Generator) -> Tensor:
    """Degrade an image in several ways: a mix of one step equals `degrade`, a mix of none is a copy.

    `steps` are pairs of (name, severity) as for `degrade`, in any order; they are applied in that of `mixing_order`.

    Raises InputError as `degrade` does, and when a name is given twice.
    """
    _check_image(image)
    severities = {}
    for name, severity in steps:
        _check_step(name, severity)
        if name in severities:
            raise InputError(f"{name!r} is in the mix twice; give each degradation once")
        severities[name] = severity
    image = image.clone()
    for name in sorted(severities.keys() - {CLEAN}, key=mixing_order().index):
        image = degrade(image, name, severities[name], generator)
    return image


def camera(image: Tensor, generator: torch.Generator) -> Tensor:
    """Give an image the mild noise and compression of any photo.

    Applied to every class, "clean" too, it keeps a classifier from separating them by the absence of noise or blocks,
    see `sensor.camera`. Shapes, ranges and errors are those of `degrade`.
    """
    _check_image(image)
    array = sensor.camera(image.detach().cpu().numpy(), _numpy_generator(generator))
    return _to_tensor(array, image, "camera")


def _check_image(image: Tensor) -> None:
    if not isinstance(image, Tensor):
        raise InputError(f"image is a {type(image).__name__}: wanted a tensor (3, h, w)")
    shape = tuple(image.shape)
    if image.dtype != torch.float32 or len(shape) != 3 or shape[0] != 3 or min(shape[1:]) < 8:
        raise InputError(f"image is {image.dtype} {shape}: wanted float32 (3, h, w), at least 8x8")
    low, high = torch.aminmax(image)
    if not (low >= 0 and high <= 1):
        raise InputError(f"image runs from {low:.3g} to {high:.3g}: wanted [0, 1]")


def _check_step(name: str, severity: float) -> None:
    if name != CLEAN:
        lookup(name)
    if not isinstance(severity, numbers.Real) or not 0 <= severity <= 1:
        raise InputError(f"severity of {name!r} is {severity}: wanted 0 (unchanged) to 1")


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))


def _to_tensor(array: np.ndarray, like: Tensor, name: str) -> Tensor:
    if np.shape(array) != tuple(like.shape) or not np.isfinite(array).all():
        shapes = f"{np.shape(array)} for {tuple(like.shape)}"
        raise InputError(f"{name!r} returned {shapes}, or values that are not finite")
    array = np.clip(array, 0, 1).astype(np.float32, copy=False)
    return torch.from_numpy(array).to(like.device)
