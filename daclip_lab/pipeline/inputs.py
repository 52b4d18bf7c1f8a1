"""Arguments of the pipeline: images in any form, options, devices; what cannot be used is refused in one line."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError

SMALLEST = 16
"""Side in pixels below which nothing is restored."""
BATCH_PIXELS = 2**19
"""Images of one size are restored together up to so many pixels in all."""
OUTPUT_TYPES = ("pil", "pt", "np")
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
    several = isinstance(images, list | tuple)
    if several and not images:
        raise InputError("no images: wanted at least one")
    return [*images] if isinstance(images, list | tuple) else [images], several


def equal_sizes(images: Sequence) -> Iterator[tuple[list[int], Tensor]]:
    """Batches (b, 3, h, w) of images of one size, of at most `BATCH_PIXELS`, each with the places of its images.

    An image is read when its turn comes, so that a long list of large files fits into memory.
    """
    waiting: dict[tuple, list[tuple[int, Tensor]]] = {}

    def batch(group: list[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
        places, pixels = zip(*group, strict=True)
        return list(places), torch.stack(pixels)

    for place, image in enumerate(images):
        pixels = read_image(image)
        h, w = pixels.shape[-2:]
        if min(h, w) < SMALLEST:
            name = (
                image
                if isinstance(image, str) or hasattr(image, "__fspath__")
                else f"image {place}"
            )
            raise InputError(
                f"{name}: {w}x{h} pixels are too few: wanted at least {SMALLEST}x{SMALLEST}"
            )
        group = waiting.setdefault((h, w), [])
        group.append((place, pixels))
        if (len(group) + 1) * h * w > BATCH_PIXELS:
            yield batch(waiting.pop((h, w)))
    yield from map(batch, waiting.values())


def as_output(image: Tensor, kind: str):
    """A restored image (3, h, w) as a PIL image, a float32 tensor (3, h, w) or a float32 array (h, w, 3), in [0, 1]."""
    image = image.clamp(0, 1).cpu()
    if kind == "pil":
        return to_pil(image)
    return image.clone() if kind == "pt" else image.permute(1, 2, 0).contiguous().numpy()


def mean_over_views(seen: Iterable[Tensor], encode: Callable, batch: int = 64) -> list[Tensor]:
    """Each output of an encoder for n images, averaged over the views of an image: tensors (n, d).

    Args:
        seen: the views (k, 3, s, s) of each image, see `models.clip.views`; at most `batch` views are in memory.
        encode: views (b, 3, s, s) -> several (b, d).
    """
    means: list[list[Tensor]] = []
    waiting: list[Tensor] = []

    def flush() -> None:
        counts = [len(views) for views in waiting]
        outputs = encode(torch.cat(waiting))
        means.append([torch.stack([p.mean(0) for p in out.split(counts)]) for out in outputs])
        waiting.clear()

    for views in seen:
        if waiting and sum(len(v) for v in waiting) + len(views) > batch:
            flush()
        waiting.append(views)
    flush()
    return [torch.cat(parts) for parts in zip(*means, strict=True)]


def whole_number(name: str, value, least: int = 0, most: int | None = None) -> int:
    """The value of an option; an InputError names the option and the value unless it is a whole number in range."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        upper = "or more" if most is None else f"to {most}"
        raise InputError(f"{name}={value!r}: wanted a whole number, {least} {upper}")
    return int(value)


def seeds_of(seed: int | Sequence[int], count: int) -> list[int]:
    """A seed for each of some images: those of a list, or `seed` + index."""
    if isinstance(seed, list | tuple | range):
        if len(seed) != count:
            raise InputError(f"{len(seed)} seeds for {count} images: wanted one for each")
        return [whole_number("seed", each) for each in seed]
    first = whole_number("seed", seed)
    return list(range(first, first + count))
