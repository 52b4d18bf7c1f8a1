"""The authors' table of captions: tab-separated text, a line for each degraded image.

The header is `filepath` and `title`; a title is `caption: degradation` (scripts/generate_captions.py of the authors),
for clean photos the caption alone.
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

    line: int
    """Its number in the file, from 1."""
    path: Path
    """The image, absolute."""
    title: str
    """`caption: degradation`, or a caption alone."""


def read_table(file: str | Path, *, absent: bool = False) -> list[Row]:
    """Read the lines of a table; an InputError names the line that is wrong.

    A path is absolute, or relative to the folder of the table. Those of the authors' own tables are relative to where
    their script ran: leading folders that do not exist beside the table are left out. A line whose image does not exist
    is wrong, unless images may be `absent`.
    """
    file = Path(file)
    rows, folder = [], Path(os.path.abspath(file.parent))
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t", strict=True)
            header = next(reader, [])
            if not set(HEADER) <= set(header):
                raise InputError(f"{file}, line 1: wanted a header with {_written(HEADER)}")
            columns = [header.index(name) for name in HEADER]
            for fields in reader:
                if not fields:
                    continue
                line = reader.line_num
                if len(fields) != len(header):
                    raise InputError(
                        f"{file}, line {line}: {len(fields)} fields between tabs, "
                        f"wanted {len(header)}: {_written(header)}"
                    )
                path, title = (fields[column].strip() for column in columns)
                if not path or not title:
                    raise InputError(f"{file}, line {line}: {HEADER[bool(path)]} is empty")
                place = _place(path, folder)
                if not (absent or place.is_file()):
                    raise InputError(f"{file}, line {line}: no such file: {path}")
                rows.append(Row(line, place, title))
    except UnicodeDecodeError:
        raise InputError(f"{file}: wanted text in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    if not rows:
        raise InputError(f"{file}: no line below the header {_written(HEADER)}")
    return rows


def write_table(file: str | Path, titles: Mapping[Path, str]) -> None:
    """Write the title of each image, whole or not at all; paths are relative to the folder of the table."""
    file = Path(file)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(HEADER)
    for path, title in titles.items():
        place = os.path.relpath(path, file.parent).replace(os.sep, "/")
        writer.writerow((place, " ".join(title.split())))
    write_text(file, text.getvalue())


def _written(header) -> str:
    return " and ".join(map(repr, header)) + ", tab-separated"


def _place(written: str, folder: Path) -> Path:
    """The image that a path in a table of this folder means, whether it is there or not."""
    parts = Path(written.replace("\\", "/")).parts
    for skipped in range(len(parts)):
        found = folder.joinpath(*parts[skipped:])
        if found.is_file():
            return Path(os.path.normpath(found))
    return Path(os.path.normpath(folder.joinpath(*parts)))
