"""The table of what can be fetched, from `sources.toml`."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class File:
    """One file at one address."""

    url: str
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    folders: dict[str, str] = field(default_factory=dict)
    """Of an archive: the name of each folder to unpack, and its place inside the archive ("" for all of it). A file
    that is not unpacked has none."""

    @property
    def name(self) -> str:
        """The file's local name: the end of its address."""
        return urlsplit(self.url).path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A data set or a set of weights, under one name."""

    what: str
    licence: str
    pages: tuple[str, ...]
    """Where it is described; without `files`, where it has to be fetched by hand."""
    files: tuple[File, ...] = ()
    """The files with a direct address, which together make up the set."""
    size: str = ""
    """Its size as its page rounds it, where that of a file is not known."""
    place: Literal["data", "weights", "torch"] = "data"
    """The folder below the working directory in which it gets a folder of its name; "torch" is torch's own cache."""


def _read(path: Path) -> dict[str, Entry]:
    entries = {}
    for name, row in tomllib.loads(path.read_text("utf-8")).items():
        files = tuple(File(**file) for file in row.pop("files", ()))
        entries[name] = Entry(pages=tuple(row.pop("pages")), files=files, **row)
    return entries


SOURCES = _read(Path(__file__).with_name("sources.toml"))
