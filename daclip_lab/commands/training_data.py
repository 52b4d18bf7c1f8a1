"""The images of a training, and those held out from it."""

from collections.abc import Sequence

from daclip_lab.errors import InputError

HOLD_OUT = 10
"""One photo in so many is held out for validation."""
PARTS = ("clip", "words", "daclip", "restorer")
"""What can be trained."""


def source_of(
    data: list[str],
    scale,
    part: str = "restorer",
    only: Sequence[str] | None = None,
    pairs: str | None = None,
):
    """Training pairs from what --data names: "bundled", folders of photos, or real pairs (`pairs.find_pairs`).

    A tenth of the photos is held out for validation; pairs are all used. `part` is one of `PARTS`, what is trained;
    `only` are the degradations to take of real pairs; `pairs` is a folder of real pairs to mix into photos, of
    registered degradations.

    CLIP is trained on crops of photos, controller and restorer at the lab's scale on whole ones as well, see
    `data.canvases`.

    Where the scale's CLIP sees whole images resized, as in the paper, all but the restorer see pairs whole, and a
    degradation as often as it has pairs. The restorer sees patches, and all degradations as often; so do the others
    where CLIP sees native crops, as in the lab.
    """
    from daclip_lab.data.canvases.source import WholePhotos
    from daclip_lab.data.pair_files import is_pairs, refuse_halves
    from daclip_lab.data.pairs import PairFolder
    from daclip_lab.data.photos import image_folder, sample_photos
    from daclip_lab.data.training_pairs import Synthetic

    kinds = {path: is_pairs(path) for path in data if path != "bundled"}
    if any(kinds.values()):
        if len(kinds) != len(data) or not all(kinds.values()):
            other = next(path for path in data if not kinds.get(path))
            raise InputError(f"{other} holds no pairs, and other --data do: name one kind only")
        if pairs:
            raise InputError(f"--pairs {pairs}: --data holds pairs already")
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
    crops = Synthetic(
        photos=photos,
        scene_prob=scale.scene_prob,
        clean_prob=scale.clean_prob,
        second_degradation_prob=scale.second_degradation_prob,
        severity=scale.severity,
    )
    real = _real_pairs(pairs, crops.degradations) if pairs else ()
    if part in ("clip", "words") or not scale.canvas_sides:
        return crops
    return WholePhotos(
        crops=crops, sides=scale.canvas_sides, kept=scale.canvases_kept, pairs=tuple(real)
    )


def _real_pairs(folder: str, known: Sequence[str]) -> list:
    """The pairs of a folder; an InputError names a degradation that photos are not degraded in."""
    from daclip_lab.data.pair_files import find_pairs

    pairs = find_pairs(folder)
    if other := next((pair for pair in pairs if pair.label not in known), None):
        raise InputError(f"{other.degraded} is {other.label!r}: wanted one of {', '.join(known)}")
    return pairs


def described(source) -> str:
    """One line that describes a source of `source_of`."""
    from daclip_lab.data.canvases.source import WholePhotos
    from daclip_lab.data.pairs import PairFolder

    if isinstance(source, PairFolder):
        counts = (f"{label} {len(source.pairs[label])}" for label in source.labels)
        return f"{len(source)} pairs: {', '.join(counts)}"
    whole = isinstance(source, WholePhotos)
    photos = f"{len((source.crops if whole else source).photos)} photos, degraded on the fly"
    return f"{photos}, and {len(source.pairs)} real pairs" if whole and source.pairs else photos


def labels_of(source) -> tuple[str, ...]:
    """The degradations that a source of `source_of` draws, "clean" among them where it leaves images clean."""
    from daclip_lab.data.training_pairs import Synthetic
    from daclip_lab.degradations.registry import CLEAN

    if isinstance(source, Synthetic):
        return (*source.degradations, CLEAN) if source.clean_prob else source.degradations
    return source.labels


def held_out(photos):
    """The photos that `source_of` holds out."""
    if len(photos) < HOLD_OUT:
        raise InputError(f"{len(photos)} photos: of fewer than {HOLD_OUT} none is held out")
    return photos.split(held_out=len(photos) // HOLD_OUT)[1]


def validation_photos(data: list[str]):
    """The photos of --data that `source_of` holds out; None where there are none."""
    from daclip_lab.data.pair_files import is_pairs
    from daclip_lab.data.photos import image_folder

    if data == ["bundled"] or any(map(is_pairs, data)):
        return None
    photos = image_folder(*data)
    return held_out(photos) if len(photos) >= HOLD_OUT else None
