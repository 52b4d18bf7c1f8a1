"""Which degradations there are: the ten of DA-CLIP, and those that users register.

The functions of the ten are in `weather` (between the scene and the camera), `raindrops` (on the lens), `motion_blur`,
`sensor` (the sensor and its file) and `missing_pixels` (after it).
"""

import difflib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from daclip_lab.degradations import missing_pixels, motion_blur, raindrops, sensor, weather
from daclip_lab.degradations.prompt_phrases import WORDS, Words
from daclip_lab.errors import InputError

CLEAN = "clean"
"""The label of an image without a degradation."""

Function = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
"""`function(image, severity, rng)`: `image` is (3, h, w) float32 in [0, 1] and must not be changed, severity lies in
(0, 1]; the result is a new array of the same shape and need not be clipped."""


class Degradation(NamedTuple):
    """How a degradation changes an image, and the words for it."""

    function: Function
    words: Words


_TEN: dict[str, Function] = {
    "motion-blurry": motion_blur.motion_blurry,
    "hazy": weather.hazy,
    "jpeg-compressed": sensor.jpeg_compressed,
    "low-light": sensor.low_light,
    "noisy": sensor.noisy,
    "raindrop": raindrops.raindrop,
    "rainy": weather.rainy,
    "shadowed": weather.shadowed,
    "snowy": weather.snowy,
    "uncompleted": missing_pixels.uncompleted,
}
DEGRADATIONS = tuple(_TEN)
"""The ten degradations of the paper, in its order."""
LABELS = (*DEGRADATIONS, CLEAN)
"""The ten and "clean": the labels of the shipped weights. Weights keep theirs in `settings.labels`."""

_registered = {name: Degradation(function, WORDS[name]) for name, function in _TEN.items()}
# The physical order: in the scene, on the lens, in the sensor, in the file, after it.
_mixing_order = ["shadowed", "hazy", "rainy", "snowy", "raindrop", "motion-blurry", "low-light", "noisy",
                 "jpeg-compressed", "uncompleted"]  # fmt: skip


def degradation_names() -> tuple[str, ...]:
    """The ten, then those registered, in the order of registration."""
    return tuple(_registered)


def label_names() -> tuple[str, ...]:
    """The classes of a training on all current degradations: `degradation_names` and "clean"."""
    return (*_registered, CLEAN)


def mixing_order() -> tuple[str, ...]:
    """The order in which `mix` applies degradations, from the scene to the file."""
    return tuple(_mixing_order)


def lookup(name: str) -> Degradation:
    """The degradation of that name; raises InputError, with the known names, for another."""
    if name not in _registered:
        near = difflib.get_close_matches(str(name), _registered, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        known = ", ".join(_registered)
        raise InputError(f"unknown degradation {name!r}{hint}; it is one of: {known}, or {CLEAN}")
    return _registered[name]


def words_of(label: str) -> Words:
    """The words for a degradation or "clean"; raises InputError for an unknown label."""
    return WORDS[CLEAN] if label == CLEAN else lookup(label).words


def register_degradation(
    name: str, function: Function, words: Words, *, after: str | None = None
) -> None:
    """Add a degradation to those that synthetic pairs, trainings and evaluations use.

    Existing weights keep their labels: a degradation registered later is ignored by their classifier and evaluation. A
    spawned process has to import the module that registers the degradation.

    Args:
        name: its label, which must be the first adjective in `words`.
        function: see `Function`; all its randomness comes from the NumPy generator `rng`.
        words: its phrasings, at least one of them held out from training.
        after: the degradation after which it is applied in a mixture; None applies it last.

    Raises InputError for a name that is taken, for words that do not begin with the name or have no held-out phrasing,
    and for an unknown `after`.
    """
    if name in label_names():
        raise InputError(f"degradation {name!r} is registered already")
    if words.adjectives[:1] != (name,):
        raise InputError(
            f"the adjectives of {name!r} are {words.adjectives}: wanted the name first"
        )
    if not words.held_out:
        raise InputError(f"{name!r} has no held-out phrasing: give Words(held_out_adjectives=...)")
    if after is None:
        _mixing_order.append(name)
    else:
        lookup(after)
        _mixing_order.insert(_mixing_order.index(after) + 1, name)
    _registered[name] = Degradation(function, words)


def unregister_degradation(name: str) -> None:
    """Remove a degradation that `register_degradation` added; the ten cannot be removed (InputError)."""
    lookup(name)
    if name in DEGRADATIONS:
        raise InputError(f"{name!r} is one of the ten, which cannot be removed")
    del _registered[name]
    _mixing_order.remove(name)


def in_order(labels) -> tuple[str, ...]:
    """Labels without repetition: first those of `label_names`, in its order, then unknown ones, sorted."""
    labels, known = set(labels), label_names()
    return (*(name for name in known if name in labels), *sorted(labels.difference(known)))
