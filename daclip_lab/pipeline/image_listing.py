"""What there is to embed: a folder of images, a folder or table of real pairs, or a list of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from daclip_lab.data.image_io import ImageLike, find_images
from daclip_lab.data.pair_files import is_pairs
from daclip_lab.data.pairs import PairFolder
from daclip_lab.errors import InputError
from daclip_lab.files.storage import file_hash
from daclip_lab.pipeline.inputs import Images, as_list


class Listing(NamedTuple):
    """Images, and what is known about them before they are read."""

    images: list
    """n images, each anything that `read_image` takes."""
    clean: list | None
    """Their n clean partners; None unless every image has one."""
    rows: "pd.DataFrame"
    """n rows, with the column `image` and perhaps others of `EmbeddingTable.rows`."""

    def part(self, which: slice) -> "Listing":
        """The listing of some of the images."""
        clean = None if self.clean is None else self.clean[which]
        return Listing(self.images[which], clean, self.rows[which])

    @property
    def units(self) -> list[tuple]:
        """What a run is resumed by, see `gather`: of each image its columns, its pixels and those of its partner."""
        columns = map(str, self.rows.itertuples(index=False, name=None))
        partners = self.images if self.clean is None else self.clean
        return list(zip(columns, self.images, partners, strict=True))


def listing(
    images: Images, *, labels: Sequence[str] = (), clean: Sequence | None = None, metadata=None
) -> Listing:
    """List images without reading them.

    Args:
        images: real pairs, as a folder or a table in the authors' layout (`data.pairs`): degradation, clean partner and
            caption are read from it. Or any other folder: an image below a folder named like one of `labels` has that
            degradation, and images of one name show one photo. Or one image, or several, see `inputs.as_list`.
        clean: the clean partners of a list of images.
        metadata: columns about a list of images, such as `degradation` or `severity`: a DataFrame or a mapping of
            sequences.

    Raises InputError for an empty folder or list, and where `clean` or `metadata` do not have one entry per image.
    """
    path = Path(images) if isinstance(images, str | Path) else None
    if path is not None and (path.is_dir() or path.suffix.lower() in (".csv", ".tsv")):
        if clean is not None or metadata is not None:
            raise InputError("`clean` and `metadata` are for a list of images, not for a folder")
        return _of_pairs(path) if is_pairs(path) else _of_folder(path, labels)
    images, _ = as_list(images)
    rows = pd.DataFrame({"image": [_name(image, f"image {k}") for k, image in enumerate(images)]})
    for name, values in (metadata if metadata is not None else {}).items():
        rows[name] = _one_each(list(values), len(images), f"values of {name!r}")
    if clean is not None:
        clean = _one_each(list(clean), len(images), "clean partners")
        if "partner" not in rows:
            rows["partner"] = [_name(c, f"clean {k}") for k, c in enumerate(clean)]
    return Listing(images, clean, rows)


def _of_pairs(path: Path) -> Listing:
    pairs = [pair for some in PairFolder(path).pairs.values() for pair in some]
    # Data sets keep one photo below several degradations: it is named by the first file of the same bytes.
    first: dict[str, str] = {}
    photos = [first.setdefault(file_hash(pair.clean), str(pair.clean)) for pair in pairs]
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


def _of_folder(folder: Path, labels: Sequence[str]) -> Listing:
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


def _name(image: ImageLike, otherwise: str) -> str:
    return str(image) if isinstance(image, str | Path) else otherwise


def _one_each(values: list, count: int, what: str) -> list:
    if len(values) != count:
        raise InputError(f"{len(values)} {what} for {count} images: wanted one for each")
    return values
