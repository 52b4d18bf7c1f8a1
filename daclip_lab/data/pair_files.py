"""Which files are pairs: a degraded image and its clean partner, in the layouts of the DA-CLIP authors.

A folder: `<root>/train/<degradation>/{LQ,GT}`, files paired by name, or by order where no name is in both. A table:
see `caption_table`.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from daclip_lab.data.captions.table import read_table
from daclip_lab.data.image_io import find_images
from daclip_lab.errors import InputError

PARTS = ("train", "val", "test")
LOW, CLEAN = "LQ", "GT"


class Pair(NamedTuple):
    """Two files and what is known about them."""

    degraded: Path
    clean: Path
    label: str
    """The degradation: any word."""
    caption: str | None = None
    """What the clean image shows; None where no table says so."""


def find_pairs(root: str | Path) -> list[Pair]:
    """List the pairs below a folder or in a table, by degradation and name.

    root: a folder that holds `<degradation>/LQ` and `<degradation>/GT` or a folder `train` that does; one degradation
    alone, with LQ and GT in it; or a table whose images lie in folders LQ, their partners beside it in GT. The endings
    of partners may differ. Where no name in LQ is one in GT, and both hold as many images, they are partners in the
    order of their names, as everywhere in the authors' code (`0_rain.png`, `0_clean.png`). Raises InputError as
    `PairFolder` does.
    """
    root = Path(root)
    if root.is_file():
        return _by_table(root)
    pairs = []
    for folder in _degradations(root):
        label, partners = Path(os.path.abspath(folder)).name, _Partners(folder / LOW)
        for low in partners.degraded:
            pairs.append(Pair(low, partners.of(low), label))
    return pairs


def is_pairs(root: str | Path) -> bool:
    """Whether a path is meant for `find_pairs`: a table, or a folder in the authors' layout."""
    root = Path(root)
    return root.suffix.lower() in (".csv", ".tsv") or any(
        any(root.glob(f"{inside}{LOW}")) for inside in ("", "*/", f"{PARTS[0]}/*/")
    )


def refuse_halves(images: Iterable[Path]) -> None:
    """Raise InputError where photos are halves of pairs, in a place that `find_pairs` does not know."""
    kinds = {path.parent.name.upper(): path for path in images}
    if {LOW, CLEAN} <= kinds.keys():
        raise InputError(
            f"{kinds[LOW]} looks like one of a pair: name the folder that holds <degradation>/{LOW} and "
            f"<degradation>/{CLEAN}, in capitals"
        )


def _degradations(root: Path) -> list[Path]:
    """The folders that hold LQ and GT."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    if (root / LOW).is_dir():
        return [root]
    for folder in (root, root / PARTS[0]):
        if found := sorted(low.parent for low in folder.glob(f"[!.]*/{LOW}")):
            return found
    raise InputError(
        f"{root} holds no pairs: wanted folders <degradation>/{LOW} and <degradation>/{CLEAN} in it, "
        f"or in its folder {PARTS[0]}"
    )


def _by_table(table: Path) -> list[Pair]:
    pairs, partners = [], {}
    for row in read_table(table):
        text, _, label = (part.strip() for part in row.title.rpartition(":"))
        if not text or not label:
            raise InputError(
                f"{table}, line {row.line}: wanted 'caption: degradation', got {row.title!r}"
            )
        low = next((p for p in row.path.parents if p.name == LOW), None)
        if low is None:
            raise InputError(
                f"{table}, line {row.line}: {row.path} lies in no folder {LOW}, beside which its "
                f"partner would be in {CLEAN}"
            )
        if low not in partners:
            partners[low] = _Partners(low)
        pairs.append(Pair(row.path, partners[low].of(row.path), label, text))
    return pairs


class _Partners:
    """The clean images that belong to those of a folder LQ, see `find_pairs`."""

    def __init__(self, low: Path):
        self.low, self.folder = low, low.parent / CLEAN
        self.degraded, clean = find_images(low), find_images(self.folder)
        self.named: dict[str, list[Path]] = {}
        for path in clean:
            self.named.setdefault(_name(path, self.folder), []).append(path)
        strangers = self.named.keys().isdisjoint(_name(path, low) for path in self.degraded)
        if strangers and len(clean) == len(self.degraded):
            self.named = {
                _name(path, low): [partner]
                for path, partner in zip(self.degraded, clean, strict=True)
            }

    def of(self, degraded: Path) -> Path:
        found = self.named.get(_name(degraded, self.low), [])
        exact = [path for path in found if path.name == degraded.name]
        if not found:
            raise InputError(f"{degraded} has no partner of the same name in {self.folder}")
        if len(found) > 1 and not exact:
            raise InputError(f"{degraded} has two partners: {found[0]} and {found[1].name}")
        return (exact or found)[0]


def _name(path: Path, folder: Path) -> str:
    # Some systems write an accent as a letter of its own.
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
