"""The ten degradations of DA-CLIP: pure functions of (image, severity, generator), alone or mixed.

The paper trains on one data set per degradation; here each is a rule that can be applied to any
photo at any strength, so that pairs are unlimited. The rules are in two rooms: `weather` (what lies
between the scene and the camera) and `sensor` (what the camera and its file do).
"""

import difflib
import numbers
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from daclip_lab.degradations import sensor, weather
from daclip_lab.errors import InputError

CLEAN = "clean"

DEGRADATIONS = {
    "motion-blurry": sensor.motion_blurry,
    "hazy": weather.hazy,
    "jpeg-compressed": sensor.jpeg_compressed,
    "low-light": sensor.low_light,
    "noisy": sensor.noisy,
    "raindrop": weather.raindrop,
    "rainy": weather.rainy,
    "shadowed": weather.shadowed,
    "snowy": weather.snowy,
    "uncompleted": sensor.uncompleted,
}
NAMES = tuple(DEGRADATIONS)

# The way of the light: through the scene, onto the lens and the sensor, into the file and beyond.
MIX_ORDER = (
    "shadowed",
    "hazy",
    "rainy",
    "snowy",
    "raindrop",
    "motion-blurry",
    "low-light",
    "noisy",
    "jpeg-compressed",
    "uncompleted",
)


def degrade(image: Tensor, name: str, severity: float, generator: torch.Generator) -> Tensor:
    """Degrade an image in one way.

    `image` is `(3, h, w)` float32 in [0, 1], at least 8x8 pixels, and is left as it is; the result
    is a new tensor of the same shape and range. `name` is one of `NAMES`, or "clean" for a plain
    copy. `severity` runs from 0 (unchanged) over 0.3 (visible) to 1 (strong, yet recoverable). The
    generator moves on by one draw, whatever the name, and decides all else: direction, size,
    colour, number.

    Raises InputError for an unknown name, a severity outside [0, 1], or an image of another shape,
    type or range.
    """
    _check_image(image)
    _check_step(name, severity)
    rng = _numpy_generator(generator)
    if name == CLEAN or severity == 0:
        return image.clone()
    return _to_tensor(DEGRADATIONS[name](_to_array(image), float(severity), rng), image)


def mix(image: Tensor, steps: Iterable[tuple[str, float]], generator: torch.Generator) -> Tensor:
    """Degrade an image in several ways at once.

    `steps` are pairs of (name, severity) as for `degrade`, in any order. They are applied along the
    way of the light (`MIX_ORDER`): shadow, haze, rain, snow, drops on the lens, motion blur, low
    light, noise, JPEG, missing pixels. A mix of one step equals `degrade`; a mix of none is a copy.

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
    for name in sorted(severities.keys() - {CLEAN}, key=MIX_ORDER.index):
        image = degrade(image, name, severities[name], generator)
    return image


def camera(image: Tensor, generator: torch.Generator) -> Tensor:
    """Give an image the mild traces that every photo bears.

    With probability one half each: sensor noise of sigma up to 4/255, and JPEG at quality 80 to 98.
    Applied to every class, the clean one too, it keeps a classifier from telling them apart by the
    absence of noise or blocks. Shapes, ranges and errors are those of `degrade`.
    """
    _check_image(image)
    return _to_tensor(sensor.camera(_to_array(image), _numpy_generator(generator)), image)


def _check_image(image: Tensor) -> None:
    if not isinstance(image, Tensor):
        raise InputError(f"image is a {type(image).__name__}; it should be a tensor (3, h, w)")
    shape = tuple(image.shape)
    if image.dtype != torch.float32 or len(shape) != 3 or shape[0] != 3 or min(shape[1:]) < 8:
        raise InputError(
            f"image is {image.dtype} {shape}; it should be float32 (3, h, w), at least 8x8 pixels"
        )
    low, high = torch.aminmax(image)
    if not (low >= 0 and high <= 1):
        raise InputError(f"image runs from {low:.3g} to {high:.3g}; it should lie in [0, 1]")


def _check_step(name: str, severity: float) -> None:
    if name != CLEAN and name not in DEGRADATIONS:
        near = difflib.get_close_matches(str(name), [*NAMES, CLEAN], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        known = ", ".join(NAMES)
        raise InputError(f"unknown degradation {name!r}{hint}; it is one of: {known}, or {CLEAN}")
    if not isinstance(severity, numbers.Real) or not 0 <= severity <= 1:
        raise InputError(
            f"severity of {name!r} is {severity}; it runs from 0 (unchanged) to 1 (strongest)"
        )


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))


def _to_array(image: Tensor) -> np.ndarray:
    return image.detach().cpu().numpy()


def _to_tensor(array: np.ndarray, like: Tensor) -> Tensor:
    array = np.clip(array, 0, 1).astype(np.float32, copy=False)
    return torch.from_numpy(array).to(like.device)
