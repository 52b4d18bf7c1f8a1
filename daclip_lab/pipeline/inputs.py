"""Arguments of the pipeline: images in any form, whole numbers and seeds; each error is an InputError of one line."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from daclip_lab.data.image_io import ImageLike
from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError

Images = ImageLike | Sequence[ImageLike] | Photos
"""One image, several, or a batch: see `as_list`."""


def as_list(images: Images) -> tuple[list, bool]:
    """The images, and whether several were given: a list, `Photos`, a tensor (b, 3, h, w) or an array (b, h, w, 3).

    Raises InputError for none, and for an iterator, which can be read only once.
    """
    if isinstance(images, Photos):
        return images.paths, True
    if isinstance(images, Iterator) and not hasattr(images, "read"):
        raise InputError(f"got a {type(images).__name__}: pass a list of images")
    if isinstance(images, Tensor | np.ndarray) and images.ndim == 4:
        images = list(images)
    if not isinstance(images, list | tuple):
        return [images], False
    if not images:
        raise InputError("no images: wanted at least one")
    return [*images], True


def whole_number(name: str, value, least: int = 0, most: int | None = None) -> int:
    """The value of an option; an InputError names the option and the value unless it is a whole number in range."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        upper = "or more" if most is None else f"to {most}"
        raise InputError(f"{name}={value!r}: wanted a whole number, {least} {upper}")
    return int(value)


def seeds_of(seed: int | Sequence[int], count: int) -> list[int]:
    """A seed for each of some images: those of a list, or `seed` + index."""
    if not isinstance(seed, list | tuple | range):
        first = whole_number("seed", seed)
        return list(range(first, first + count))
    if len(seed) != count:
        raise InputError(f"{len(seed)} seeds for {count} images: wanted one for each")
    return [whole_number("seed", each) for each in seed]
