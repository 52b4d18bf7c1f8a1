"""What can be downloaded, how it comes here whole, and how it is unpacked."""

from pathlib import Path
from typing import NamedTuple

from daclip_lab.errors import InputError
from daclip_lab.files.archives import UnusableArchive, unpack
from daclip_lab.files.sources import SOURCES, File, Source
from daclip_lab.files.transfer import download, put_aside, trust, verify

__all__ = ["SOURCES", "Fetched", "File", "Source", "fetch"]


class Fetched(NamedTuple):
    """What one file of the table has become."""

    paths: list[Path]
    """The file itself, or the folders that were unpacked from it."""
    new: bool
    """False where all of it was there already."""
    sha256: str | None
    """Of the file; None for an archive that was unpacked earlier and is gone."""
    note: Path | None
    """Where the hash is kept for the next time, if the table does not know it and this was the first time."""


def fetch(file: File, folder: Path) -> Fetched:
    """Bring one file of the table into a folder: downloaded, verified, and unpacked if it is an archive.

    What is there is kept; what was interrupted goes on. A file that was put into the folder by hand is taken as if it
    had been downloaded. An archive is removed once it is unpacked.

    Raises InputError where the server, the file, the archive or the disk does not allow it, and says what to do.
    """
    target = folder / file.name
    paths = [folder / name for _, name in file.folders] or [target]
    if file.folders and all(path.exists() for path in paths):
        return Fetched(paths, new=False, sha256=None, note=None)
    try:
        new = not target.exists()
        if new:
            download(file, target)
        sha256 = verify(file, target)
        if file.folders:
            _unpack(file, target)
        # Only what proved usable is trusted from now on.
        note = trust(file, target, sha256)
        if file.folders:
            target.unlink()
            new = True
    except OSError as error:
        raise InputError(f"{target}: {error.strerror or error}") from None
    return Fetched(paths, new, sha256, note)


def _unpack(file: File, archive: Path) -> None:
    """Unpack an archive; one that cannot be used is put aside, so that the next call downloads another."""
    try:
        unpack(archive, {inside: archive.parent / name for inside, name in file.folders})
    except UnusableArchive as error:
        raise InputError(f"{error}; it is kept as {put_aside(archive)}") from None
