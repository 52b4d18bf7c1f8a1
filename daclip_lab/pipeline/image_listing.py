"""Many images become a table: a folder of any kind, real pairs, or a list; a few at a time, and resumable."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from daclip_lab.data.embedding_table import EmbeddingTable, fingerprint, gather
from daclip_lab.data.image_io import find_images
from daclip_lab.data.pair_files import is_pairs
from daclip_lab.data.pairs import PairFolder
from daclip_lab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from daclip_lab.pipeline.pipeline import Pipeline


class Listing(NamedTuple):
    """Images, and what is known about them before they are read."""

    images: list
    """n images, each anything that `read_image` takes."""
    clean: list | None
    """Their n clean partners; None unless every image has one."""
    rows: "pd.DataFrame"
    """n rows, with the column `image` and perhaps others of `EmbeddingTable.rows`."""


def listing(
    images, *, labels: Sequence[str] = (), clean: Sequence | None = None, known=None
) -> Listing:
    """What there is to embed.

    Args:
        images: real pairs, as a folder or a table in the authors' layout (`data.pairs`): degradation, clean partner and
            caption are read from it. Or any other folder: an image below a folder that is called like one of `labels`
            has that degradation, and images of one name show one photo. Or one image, or a list of them.
        clean: the clean partners of a list of images.
        known: columns of what is known about a list of images, such as `degradation` or `severity`: a DataFrame or a
            mapping of sequences.
    """
    import pandas as pd

    path = Path(images) if isinstance(images, str | Path) else None
    if path is not None and (path.is_dir() or path.suffix.lower() in (".csv", ".tsv")):
        if clean is not None or known is not None:
            raise InputError("`clean` and `known` belong to a list of images, not to a folder")
        return _of_pairs(path) if is_pairs(path) else _of_folder(path, labels)
    images = list(images) if isinstance(images, list | tuple) else [images]
    if not images:
        raise InputError("no images: wanted at least one")
    rows = pd.DataFrame({"image": [_name(image, f"image {k}") for k, image in enumerate(images)]})
    for name, values in (known if known is not None else {}).items():
        rows[name] = _fitting(list(values), len(images), f"known {name!r}")
    if clean is not None:
        clean = _fitting(list(clean), len(images), "clean partners")
        if "partner" not in rows:
            rows["partner"] = [_name(c, f"clean {k}") for k, c in enumerate(clean)]
    return Listing(images, clean, rows)


def embed(
    pipe: "Pipeline",
    images,
    *,
    clean: Sequence | None = None,
    known: "pd.DataFrame | Mapping[str, Sequence] | None" = None,
    out: str | Path | None = None,
    half: bool = False,
) -> EmbeddingTable:
    """The table of `Pipeline.embed`, which says what the arguments are."""
    listed = listing(images, labels=pipe.settings.labels, clean=clean, known=known)

    def make(which: range) -> EmbeddingTable:
        some = slice(which.start, which.stop)
        partners = None if listed.clean is None else listed.clean[some]
        return embed_some(pipe, listed.images[some], listed.rows[some], partners)

    return gather(list(listed.rows.image), make, provenance=provenance(pipe), out=out, half=half)


def embed_some(
    pipe: "Pipeline", images: Sequence, rows: "pd.DataFrame", clean: Sequence | None = None
) -> EmbeddingTable:
    """The table of as many images as fit into memory, with the answers of DA-CLIP and CLIP in its rows."""
    content, degradation, plain = pipe.encode_all(images)
    if labels := pipe.settings.labels:  # some weights name no degradation
        probabilities = pipe.probabilities(degradation)
        rows = rows.assign(
            predicted=[labels[k] for k in probabilities.argmax(1)],
            probability=probabilities.amax(1).double().numpy(),
            clip_predicted=[labels[k] for k in (plain @ pipe.word_embeddings.T).argmax(1)],
        )
    return EmbeddingTable(
        rows=rows,
        content=content.numpy(),
        degradation=degradation.numpy(),
        plain=plain.numpy(),
        clean=None if clean is None else pipe.encode_clip(clean).numpy(),
    )


def means_of(seen: Iterable[Tensor], encode: Callable, batch: int = 64) -> list[Tensor]:
    """What an encoder says of n images, of each the mean over its views: (n, d) on the CPU, for each kind of answer.

    Args:
        seen: the views (k, 3, s, s) of each image, see `models.clip.views`.
        encode: views (b, 3, s, s) -> several (b, d).

    Raises InputError where there is no image.
    """
    seen = list(seen)
    if not seen:
        raise InputError("no images: wanted at least one")
    parts = [encode(some) for some in torch.cat(seen).split(batch)]
    counts = [len(views) for views in seen]
    return [
        torch.stack([views.mean(0) for views in torch.cat(kind).cpu().split(counts)])
        for kind in zip(*parts, strict=True)
    ]


def provenance(pipe: "Pipeline") -> dict:
    """What embeddings depend on besides the images."""
    return {
        "weights": fingerprint(pipe.daclip.state_dict()),
        "labels": list(pipe.settings.labels),
        "view": pipe.settings.view,
    }


def _of_pairs(path: Path) -> Listing:
    import pandas as pd

    pairs = [pair for some in PairFolder(path).pairs.values() for pair in some]
    photos = _photos([pair.clean for pair in pairs])
    rows = pd.DataFrame(
        {
            "image": [str(pair.degraded) for pair in pairs],
            "photo": photos,
            "partner": photos,
            "degradation": [pair.label for pair in pairs],
            "caption": [pair.caption for pair in pairs],
        }
    )
    return Listing([pair.degraded for pair in pairs], [pair.clean for pair in pairs], rows)


def _photos(clean: Sequence[Path]) -> list[str]:
    """For each clean file the first one of the same bytes: data sets keep one photo below several degradations."""
    photos: dict[bytes, str] = {}
    return [
        photos.setdefault(hashlib.sha256(path.read_bytes()).digest(), str(path)) for path in clean
    ]


def _of_folder(folder: Path, labels: Sequence[str]) -> Listing:
    import pandas as pd

    paths = find_images(folder)
    rows = pd.DataFrame({"image": [str(path) for path in paths]})
    found = [
        next((p for p in reversed(path.relative_to(folder).parts[:-1]) if p in labels), None)
        for path in paths
    ]
    if any(found):
        rows["degradation"] = found
        rows["photo"] = [path.stem for path in paths]
    return Listing(paths, None, rows)


def _name(image, otherwise: str) -> str:
    return str(image) if isinstance(image, str | Path) else otherwise


def _fitting(values: list, count: int, what: str) -> list:
    if len(values) != count:
        raise InputError(f"{len(values)} {what} for {count} images: wanted one for each")
    return values
