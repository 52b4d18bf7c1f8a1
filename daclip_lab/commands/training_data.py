"""Which photos a training sees, and which it holds out."""

from pathlib import Path

from daclip_lab.errors import InputError

HOLD_OUT = 10
"""One photo in so many is kept from training, for validation."""


def source_of(data: list[str], scale):
    """Training pairs from what --data names; a tenth of the photos is held out for validation."""
    from daclip_lab.data.datasets import PairFolder, Synthetic, bundled, folder

    if data == ["bundled"]:
        return Synthetic(
            photos=bundled("train"), scenes=scale.scenes, clean=scale.clean, mixed=scale.mixed
        )
    if len(data) == 1 and any(Path(data[0]).glob("*/LQ")):
        return PairFolder(data[0])
    photos = folder(*data)
    if len(photos) >= HOLD_OUT:
        photos, _ = photos.split(held_out=len(photos) // HOLD_OUT)
    return Synthetic(photos=photos, scenes=scale.scenes, clean=scale.clean, mixed=scale.mixed)


def held_out(photos):
    """The part of the photos of `source_of` that it left out."""
    if len(photos) < HOLD_OUT:
        raise InputError(f"{len(photos)} photos: of fewer than {HOLD_OUT} none is held out")
    return photos.split(held_out=len(photos) // HOLD_OUT)[1]
