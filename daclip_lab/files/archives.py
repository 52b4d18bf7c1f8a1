"""Archives unpacked so that no file leaves its folder, and no folder stands under its name before it is whole."""

import gzip
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from lzma import LZMAError
from pathlib import Path
from typing import IO, NamedTuple

from tqdm.auto import tqdm

from daclip_lab.errors import InputError

BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    LZMAError,
    EOFError,
    RuntimeError,  # a zip that asks for a password, or is packed in a way that zipfile does not know
)
"""What the readers raise for an archive that they cannot read."""


class UnusableArchive(InputError):
    """The archive is not what it should be; another attempt at unpacking it would end the same way."""


class Member(NamedTuple):
    """An entry of an archive that is not a folder."""

    name: str
    size: int
    plain: bool
    """A file, and no link, device or pipe."""
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folders: Mapping[str, Path]) -> None:
    """Unpack folders of a .zip or .tar(.gz, .bz2, .xz) archive: `folders` says which one ("" for all) goes where.

    A target that exists is left alone. The others are filled under a hidden name, `.NAME.part`, and renamed when
    whole; files that an interrupted call has written there are not written again.

    Raises UnusableArchive, and leaves nothing behind, if the archive is damaged or lacks a folder, if any name in it is
    absolute or leads upwards, or if a wanted entry is a link or a device.
    """
    targets = {inside: target for inside, target in folders.items() if not target.exists()}
    hidden = {inside: to.with_name(f".{to.name}.part") for inside, to in targets.items()}
    try:
        _fill(archive, hidden)
    except (UnusableArchive, *BROKEN) as error:
        for folder in hidden.values():
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UnusableArchive):
            raise
        raise UnusableArchive(f"{archive} is damaged, or no archive that can be read") from None
    for inside, folder in hidden.items():
        os.replace(folder, targets[inside])


def _fill(archive: Path, folders: Mapping[str, Path]) -> None:
    """Write the files below each folder of the archive."""
    above = {inside: tuple(inside.split("/")) if inside else () for inside in folders}
    for member in tqdm(_members(archive), unit="file", desc=f"unpacking {archive.name}"):
        parts = _parts(archive, member.name)
        for inside, folder in folders.items():
            depth = len(above[inside])
            if len(parts) > depth and parts[:depth] == above[inside]:
                if not member.plain:
                    raise UnusableArchive(f"{archive}: {member.name!r} is no plain file")
                _write(member, folder.joinpath(*parts[depth:]))
    for inside, folder in folders.items():
        if not folder.exists():
            raise UnusableArchive(f"{archive}: holds no files in {inside or 'it'}")


def _write(member: Member, target: Path) -> None:
    if target.is_file() and target.stat().st_size == member.size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """The folders and the name of an entry; UnusableArchive if they lead out of where it is unpacked."""
    parts = tuple(part for part in re.split(r"[/\\]", name) if part not in ("", "."))
    if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in parts or not parts:
        raise UnusableArchive(f"{archive}: {name!r} would leave the folder")
    return parts


def _members(archive: Path) -> Iterator[Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if not info.is_dir():
                    plain = kind in (0, stat.S_IFREG)
                    yield Member(info.filename, info.file_size, plain, partial(opened.open, info))
        return
    with tarfile.open(archive) as opened:
        for info in opened:
            if not info.isdir():
                extract = partial(opened.extractfile, info)
                yield Member(info.name, info.size, info.isfile(), extract)
