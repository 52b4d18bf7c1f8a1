"""A source of real pairs of images, whose files `pair_files` finds."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.captions.table import read_table
from daclip_lab.data.image_io import read_image
from daclip_lab.data.pair_files import DEGRADED_DIR, PARTS, Pair, find_pairs
from daclip_lab.data.seeding import choose, uniform
from daclip_lab.data.training_pairs import Example
from daclip_lab.degradations.registry import in_order
from daclip_lab.errors import InputError

CROPS = ("patch", "whole")
SMALLEST = 16  # pixels that a caption of visible attributes needs


class PairFolder:
    """A source of real pairs: a degradation is drawn, then a pair of it, then the same part of both images."""

    def __init__(
        self,
        *roots: str | Path,
        crop: str = "patch",
        evenly: bool = True,
        only: Sequence[str] | None = None,
    ):
        """Find all pairs; images are read when they are drawn.

        Args:
            roots: as `find_pairs` takes them. Captions are read from a table in the folder, or beside a folder named
                train, val or test: `captions.csv` or `daclip_<train, val or test>.csv`.
            crop: `"patch"`, for the restorer: a square of native pixels, mirrored and turned by multiples of 90 degrees
                at random (DA-CLIP's code, train.yml). `"whole"`, for the controller: 90 to 100 % of the area, resized
                bicubically to a square (open_clip's training transform).
            evenly: draw every degradation equally often (the authors' restorer, MD_dataset.py), or every pair (their
                controller, training/data.py).
            only: the degradations to use; None uses all.

        Raises InputError as `find_pairs` does, for a table that lacks a pair, and for a degradation in `only` that no
        pair has.
        """
        if crop not in CROPS:
            raise InputError(f"crop {crop!r} is unknown: use {' or '.join(map(repr, CROPS))}")
        self.crop, self.evenly = crop, evenly
        self.pairs: dict[str, list[Pair]] = {}
        for pair in (pair for root in roots for pair in _captioned(Path(root))):
            self.pairs.setdefault(pair.label, []).append(pair)
        if only is not None:
            if missing := [label for label in only if label not in self.pairs]:
                raise InputError(f"no pairs of {missing[0]!r}: there are {', '.join(self.pairs)}")
            self.pairs = {label: self.pairs[label] for label in only}
        self.labels = in_order(self.pairs)
        self._all = [pair for label in self.labels for pair in self.pairs[label]]
        self._captions: dict[Path, str] = {}

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self._all)

    def draw(self, generator: torch.Generator, size: int, *, captions: bool = True) -> Example:
        """A random pair as an `Example` of (3, size, size); its severity is unknown, NaN.

        Raises InputError, naming the file, where the two differ in size or are too small.
        """
        pairs = self._all
        if self.evenly:
            pairs = self.pairs[self.labels[choose(generator, len(self.pairs))]]
        pair = pairs[choose(generator, len(pairs))]
        whole = self.crop == "whole"
        images = read_pair(pair, SMALLEST if whole else size)
        degraded, clean = (_whole if whole else _patch)(images, generator, size)
        text = pair.caption if captions else ""
        if text is None and whole:  # of the whole image: always the same
            text = self._captions.get(pair.clean) or caption(images[1])
            self._captions[pair.clean] = text
        elif text is None:
            text = caption(clean)
        return Example(
            clean=clean, degraded=degraded, label=pair.label, severity=math.nan, caption=text
        )


def _captioned(root: Path) -> list[Pair]:
    """The pairs of a root, with the captions of its table."""
    pairs = find_pairs(root)
    folders = Path(os.path.abspath(pairs[0].degraded)).parents
    part = next(folder for folder in folders if folder.name == DEGRADED_DIR).parent.parent
    places = [root, part] + ([part.parent] if part.name in PARTS else [])
    names = ("captions.csv", f"daclip_{part.name}.csv")
    tables = (place / name for place in places for name in names)
    table = next((path for path in tables if path.is_file()), None)
    if table is None or root.is_file():
        return pairs
    # A table of all sets may list some that are not here.
    rows = {row.path: row for row in read_table(table, absent=True)}
    for place, pair in enumerate(pairs):
        row = rows.get(Path(os.path.abspath(pair.degraded)))
        if row is None:
            raise InputError(f"{table} has no line for {pair.degraded}: run daclip-lab captions")
        text, label = row.split_title()
        if label != pair.label:
            raise InputError(f"{row.place}: {row.title!r}, wanted 'caption: {pair.label}'")
        pairs[place] = pair._replace(caption=text)
    return pairs


def read_pair(pair: Pair, smallest: int) -> tuple[Tensor, Tensor]:
    """Degraded and clean image (3, h, w); raises InputError where sizes differ or a side is below `smallest`."""
    degraded, clean = read_image(pair.degraded), read_image(pair.clean)
    if degraded.shape != clean.shape or min(clean.shape[-2:]) < smallest:
        raise InputError(
            f"{pair.degraded} is {degraded.shape[2]}x{degraded.shape[1]} and its partner "
            f"{clean.shape[2]}x{clean.shape[1]}: wanted equal sizes of at least {smallest}x{smallest}"
        )
    return degraded, clean


def _patch(both: Sequence[Tensor], generator: torch.Generator, size: int) -> list[Tensor]:
    """The same square of both, in one of its eight orientations."""
    *_, height, width = both[0].shape
    top, left = choose(generator, height - size + 1), choose(generator, width - size + 1)
    turns, mirrored = choose(generator, 4), choose(generator, 2)
    squares = (
        image[:, top : top + size, left : left + size].rot90(turns, (1, 2)) for image in both
    )
    return [(square.flip(-1) if mirrored else square).contiguous() for square in squares]


def _whole(both: Sequence[Tensor], generator: torch.Generator, size: int) -> list[Tensor]:
    """The same 90 to 100 % of both, resized to a square."""
    top, left, h, w = large_part(both[0].shape[1], both[0].shape[2], generator)
    parts = torch.stack([image[:, top : top + h, left : left + w] for image in both])
    return [*F.interpolate(parts, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)]


def large_part(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part with 90 to 100 % of the area and a ratio of 3:4 to 4:3.

    Distributed as in torchvision's `RandomResizedCrop(scale=(0.9, 1))`, which open_clip trains with. Where ten draws do
    not fit, it is the largest part in the centre with an allowed ratio.
    """
    for _ in range(10):
        area = height * width * uniform(generator, 0.9, 1.0)
        ratio = math.exp(uniform(generator, math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h <= height and w <= width:
            return choose(generator, height - h + 1), choose(generator, width - w + 1), h, w
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w
