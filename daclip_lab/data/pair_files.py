"""Pairs of files, a degraded image and its clean partner, in the folders and tables of the DA-CLIP authors."""

import functools
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import NamedTuple

from daclip_lab.data.captions.table import read_table
from daclip_lab.data.image_io import find_images
from daclip_lab.errors import InputError

PARTS = ("train", "val", "test")
DEGRADED_DIR, CLEAN_DIR = "LQ", "GT"
LAYOUT = f"<degradation>/{DEGRADED_DIR} and <degradation>/{CLEAN_DIR}"
OTHER_CLEAN_DIRS = "gt|groundtruth|targets?|clean|clear|sharp|hq|high|norain|shadowfree|reference"
"""Names of the folder of clean partners in other projects, as a pattern; in lower case, letters only."""


class Pair(NamedTuple):
    """Two files with their label and caption."""

    degraded: Path
    clean: Path
    label: str
    """The degradation, any text."""
    caption: str | None = None
    """Caption of the clean image; None without a table."""


def find_pairs(root: str | Path) -> list[Pair]:
    """List the pairs below a folder or in a table, by degradation and name.

    `root` holds `<degradation>/LQ` and `<degradation>/GT`, or a folder `train` that does, or LQ and GT themselves; or
    it is a table (see `captions.table`) whose images lie in folders LQ, with folders GT beside them. Partners have one
    name, but for the extension. Where LQ and GT share no name, the numbers in the names decide (`7_rain.png` and
    `07_clean.png`), if each occurs exactly once on both sides.

    Raises InputError, naming the file, for an image without a partner or with two, and as `read_table` does.
    """
    root = Path(root)
    if root.is_file():
        return _of_table(root)
    pairs = []
    for folder in _degradations(root):
        label, partners = Path(os.path.abspath(folder)).name, _Partners(folder / DEGRADED_DIR)
        pairs += [Pair(low, partners.of(low), label) for low in partners.degraded]
    return pairs


def is_pairs(root: str | Path) -> bool:
    """Whether a path is meant for `find_pairs`: a table, or a folder in the authors' layout."""
    root = Path(root)
    return root.suffix.lower() in (".csv", ".tsv") or any(
        any(root.glob(f"{inside}{DEGRADED_DIR}")) for inside in ("", "*/", f"{PARTS[0]}/*/")
    )


def refuse_halves(images: Iterable[Path]) -> None:
    """Raise InputError where photos seem to be halves of pairs in a layout that `find_pairs` does not read.

    This is assumed of a folder of `OTHER_CLEAN_DIRS` with another folder of images beside it.
    """
    images = [Path(os.path.abspath(path)) for path in images]
    common = Path(os.path.commonpath(images))
    folders = {parent for path in images for parent in path.parents if common in parent.parents}
    for clean in sorted(folders):
        if re.fullmatch(OTHER_CLEAN_DIRS, re.sub("[^a-z]", "", clean.name.lower())):
            others = [each for each in folders if each.parent == clean.parent and each != clean]
            if others:
                raise InputError(
                    f"{min(others)} and {clean.name} beside it look like the halves of pairs: "
                    f"name one of them alone, or arrange them as {LAYOUT}, in capitals"
                )


def _degradations(root: Path) -> list[Path]:
    """The folders that hold LQ and GT."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    if (root / DEGRADED_DIR).is_dir():
        return [root]
    for folder in (root, root / PARTS[0]):
        if found := sorted(low.parent for low in folder.glob(f"[!.]*/{DEGRADED_DIR}")):
            return found
    raise InputError(f"{root} holds no pairs: wanted {LAYOUT} in it or in {PARTS[0]}")


def _of_table(table: Path) -> list[Pair]:
    pairs, partners = [], functools.cache(_Partners)
    for row in read_table(table):
        caption, label = row.split_title()
        low = next((p for p in row.path.parents if p.name == DEGRADED_DIR), None)
        if low is None:
            raise InputError(f"{row.place}: {row.path} lies in no folder {DEGRADED_DIR}")
        pairs.append(Pair(row.path, partners(low).of(row.path), label, caption))
    return pairs


class _Partners:
    """Finds the partners of the images of a folder LQ, see `find_pairs`."""

    def __init__(self, low: Path):
        self.low, self.folder = low, low.parent / CLEAN_DIR
        self.degraded, clean = find_images(low), find_images(self.folder)
        self.key: Callable[[Path, Path], Hashable] = _name
        self.clean = _by(_name, clean, self.folder)
        if self.clean.keys().isdisjoint(_by(_name, self.degraded, low)):
            self.key, self.clean = _numbers, _by(_numbers, clean, self.folder)
            degraded = _by(_numbers, self.degraded, low)
            for numbers in degraded | self.clean:
                own, others = degraded.get(numbers, []), self.clean.get(numbers, [])
                if len(own) != 1 or len(others) != 1:
                    raise InputError(
                        f"{(own or others)[-1]} has no partner: {low} and {CLEAN_DIR} beside it share no "
                        "name, and the numbers in the names are not the same, each once"
                    )

    def of(self, degraded: Path) -> Path:
        found = self.clean.get(self.key(degraded, self.low), [])
        exact = [path for path in found if path.name == degraded.name]
        if not found:
            raise InputError(f"{degraded} has no partner of the same name in {self.folder}")
        if len(found) > 1 and not exact:
            raise InputError(f"{degraded} has two partners: {found[0]} and {found[1].name}")
        return (exact or found)[0]


def _by(key: Callable[[Path, Path], Hashable], paths: list[Path], folder: Path) -> dict:
    found = defaultdict(list)
    for path in paths:
        found[key(path, folder)].append(path)
    return found


def _name(path: Path, folder: Path) -> str:
    # Some systems write a letter with an accent as two characters.
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def _numbers(path: Path, folder: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", _name(path, folder))))
