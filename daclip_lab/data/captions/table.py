"""The authors' table of captions (scripts/generate_captions.py): tab-separated text, a line for each image.

The columns are `filepath` and `title`: `caption: degradation` for a degraded image, the caption alone for a clean one.
"""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from daclip_lab.errors import InputError
from daclip_lab.files.storage import write_text

HEADER = ("filepath", "title")


class Row(NamedTuple):
    """One line of a table."""

    place: str
    """The file and the number of the line, for messages."""
    path: Path
    """The image, absolute."""
    title: str
    """`caption: degradation`, or a caption alone."""

    def split_title(self) -> tuple[str, str]:
        """The caption and the degradation; raises InputError where the title lacks one of them."""
        caption, _, degradation = (part.strip() for part in self.title.rpartition(":"))
        if not caption or not degradation:
            raise InputError(f"{self.place}: wanted 'caption: degradation', got {self.title!r}")
        return caption, degradation


def read_table(file: str | Path, *, absent: bool = False) -> list[Row]:
    """Read the lines of a table; raises InputError, naming the line, for a bad one.

    A path is absolute, or relative to the folder of the table. Those of the authors' own tables are relative to where
    their script ran: leading folders that do not exist beside the table are left out. A line whose image does not exist
    is bad, unless images may be `absent`.
    """
    file = Path(file)
    rows, folder = [], Path(os.path.abspath(file.parent))
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t", strict=True)
            names = reader.fieldnames or ()
            if not set(HEADER) <= set(names):
                raise InputError(f"{file}, line 1: wanted the columns {HEADER}, tab-separated")
            for fields in reader:
                place = f"{file}, line {reader.line_num}"
                if None in fields or None in fields.values():
                    raise InputError(f"{place}: wanted {len(names)} fields between tabs: {names}")
                path, title = (fields[name].strip() for name in HEADER)
                if not path or not title:
                    raise InputError(f"{place}: {'title' if path else 'filepath'} is empty")
                image = _image(path, folder)
                if not (absent or image.is_file()):
                    raise InputError(f"{place}: no such file: {path}")
                rows.append(Row(place, image, title))
    except UnicodeDecodeError:
        raise InputError(f"{file}: wanted text in UTF-8") from None
    except csv.Error as error:
        # The DictReader counts a line only once it is read.
        raise InputError(f"{file}, line {reader.reader.line_num}: {error}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    if not rows:
        raise InputError(f"{file}: no line below the header")
    return rows


def write_table(file: str | Path, titles: Mapping[Path, str]) -> None:
    """Write the title of each image, atomically; paths are relative to the folder of the table."""
    file = Path(file)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(HEADER)
    for path, title in titles.items():
        place = os.path.relpath(path, file.parent).replace(os.sep, "/")
        writer.writerow((place, " ".join(title.split())))
    write_text(file, text.getvalue())


def _image(path: str, folder: Path) -> Path:
    """The image of a path in a table of this folder, whether it exists or not."""
    parts = Path(path.replace("\\", "/")).parts
    places = [folder.joinpath(*parts[skipped:]) for skipped in range(len(parts))]
    return Path(os.path.normpath(next((place for place in places if place.is_file()), places[0])))
