"""The images of a training, and those held out from it."""

from collections.abc import Sequence

from daclip_lab.errors import InputError

HOLD_OUT = 10
"""One photo in so many is held out for validation."""
PARTS = ("clip", "words", "daclip", "restorer")
"""What can be trained."""


def source_of(data: list[str], scale, part: str = "restorer", only: Sequence[str] | None = None):
    """Training pairs from what --data names: "bundled", folders of photos, or real pairs (`pairs.find_pairs`).

    A tenth of the photos is held out for validation; pairs are all used. `part` is one of `PARTS`, what is trained;
    `only` are the degradations to take of real pairs.

    Where the scale's CLIP sees whole images resized, as in the paper, all but the restorer see pairs whole, and a
    degradation as often as it has pairs. The restorer sees patches, and all degradations as often; so do the others
    where CLIP sees native crops, as in the lab.
    """
    from daclip_lab.data.pair_files import is_pairs, refuse_halves
    from daclip_lab.data.pairs import PairFolder
    from daclip_lab.data.photos import image_folder, sample_photos
    from daclip_lab.data.training_pairs import Synthetic

    kinds = {path: is_pairs(path) for path in data if path != "bundled"}
    if any(kinds.values()):
        if len(kinds) != len(data) or not all(kinds.values()):
            other = next(path for path in data if not kinds.get(path))
            raise InputError(f"{other} holds no pairs, and other --data do: name one kind only")
        whole = part != "restorer" and scale.view == "resize"
        return PairFolder(*data, crop="whole" if whole else "patch", evenly=not whole, only=only)
    if only is not None:
        raise InputError("--only picks degradations of real pairs: --data names none")
    if data == ["bundled"]:
        photos = sample_photos("train")
    else:
        photos = image_folder(*data)
        refuse_halves(photos.paths)
        if len(photos) >= HOLD_OUT:
            photos, _ = photos.split(held_out=len(photos) // HOLD_OUT)
    return Synthetic(
        photos=photos,
        scene_prob=scale.scene_prob,
        clean_prob=scale.clean_prob,
        second_degradation_prob=scale.second_degradation_prob,
        severity=scale.severity,
    )


def described(source) -> str:
    """One line that describes a source of `source_of`."""
    from daclip_lab.data.pairs import PairFolder

    if isinstance(source, PairFolder):
        counts = (f"{label} {len(source.pairs[label])}" for label in source.labels)
        return f"{len(source)} pairs: {', '.join(counts)}"
    return f"{len(source.photos)} photos, degraded on the fly"


def labels_of(source) -> tuple[str, ...]:
    """The degradations that a source of `source_of` draws, "clean" among them where it leaves images clean."""
    from daclip_lab.data.pairs import PairFolder
    from daclip_lab.degradations.registry import CLEAN

    if isinstance(source, PairFolder):
        return source.labels
    return (*source.degradations, CLEAN) if source.clean_prob else source.degradations


def held_out(photos):
    """The photos that `source_of` holds out."""
    if len(photos) < HOLD_OUT:
        raise InputError(f"{len(photos)} photos: of fewer than {HOLD_OUT} none is held out")
    return photos.split(held_out=len(photos) // HOLD_OUT)[1]
