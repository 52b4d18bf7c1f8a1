"""Files of the table of sources: downloaded with resumption, verified, and unpacked."""

import os
import re
import shutil
import tarfile
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path
from typing import NamedTuple

from daclip_lab.errors import InputError
from daclip_lab.files.sources import File
from daclip_lab.files.storage import file_hash

HUB_FILE = re.compile(
    r"https://huggingface\.co/(?P<dataset>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>[^/]+)"
)
RETRIES = 3
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as cut."""
DAMAGED = (
    tarfile.TarError,  # also names and links that lead out of the folder
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    RuntimeError,  # a zip with a password, or packed by a method that zipfile lacks
)
"""Errors of the readers for an archive that they cannot unpack."""


class Fetched(NamedTuple):
    """The result for one file of the table."""

    paths: list[Path]
    """The file itself, or the folders that were unpacked from it."""
    new: bool
    """False where all of it was there already."""
    sha256: str | None
    """Of the file; None for an archive that was unpacked earlier and is gone."""


def fetch(file: File, folder: Path) -> Fetched:
    """Download one file of the table into a folder, verify it, and unpack it if it is an archive.

    Existing files and folders are kept, an interrupted download is resumed. A file that was put into the folder by hand
    is treated as if it had been downloaded. An archive is removed after unpacking.

    Raises InputError, naming the remedy, where the server or the disk fails. A file of another size or hash, and an
    archive that cannot be unpacked, are renamed to `<name>.refused`.
    """
    target = folder / file.name
    paths = [folder / name for name in file.folders] or [target]
    if file.folders and all(path.exists() for path in paths):
        return Fetched(paths, new=False, sha256=None)
    new = not target.exists()
    try:
        if new:
            folder.mkdir(parents=True, exist_ok=True)
            _download(file, target)
        if file.size not in (None, size := target.stat().st_size):
            raise InputError(f"{target}: {size} bytes, wanted {file.size}; {_refuse(target)}")
        sha256 = file_hash(target)
        if file.sha256 not in (None, sha256):
            raise InputError(
                f"{target}: its SHA-256 is {sha256}, wanted {file.sha256}; {_refuse(target)}"
            )
        if file.folders:
            unpack(target, {folder / name: inside for name, inside in file.folders.items()})
            target.unlink()
    except OSError as error:
        raise InputError(f"{target}: {error.strerror or error}") from error
    return Fetched(paths, new or bool(file.folders), sha256)


def _download(file: File, target: Path) -> None:
    """Download a file under its name; what an earlier call left unfinished is resumed."""
    import gdown
    from huggingface_hub import hf_hub_download

    def check(done: int, total: int | None) -> None:
        if total is None:
            return
        if file.size not in (None, total):
            raise InputError(
                f"{file.url}: {total} bytes at the server, {file.size} in the table: it has changed"
            )
        free = shutil.disk_usage(target.parent).free
        if total - done > free:
            raise InputError(f"{target}: {readable(total - done)} to come, {readable(free)} free")

    try:
        if hub := HUB_FILE.fullmatch(file.url):
            hf_hub_download(
                hub["repo"],
                hub["name"],
                revision=hub["revision"],
                repo_type="dataset" if hub["dataset"] else "model",
                local_dir=target.parent,
            )
        else:
            if not file.sha256:
                # Without a hash, parts of two versions could be joined unnoticed.
                for part in target.parent.glob(f"{target.name}{'?' * 8}.part"):
                    part.unlink()
            # gdown downloads from any address, not only from Google Drive.
            gdown.download(
                file.url,
                str(target),
                resume=bool(file.sha256),
                retries=RETRIES,
                timeout=TIMEOUT,
                use_cookies=False,
                progress=check,
            )
    except Exception as error:
        # requests, httpx and hf_xet raise errors of their own; one with a number is the disk's.
        if isinstance(error, InputError) or getattr(error, "errno", None):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{file.url}: {reason}; run it again to resume, or put the file by hand at {target}"
        ) from error


def unpack(archive: Path, folders: dict[Path, str]) -> None:
    """Unpack a .zip or .tar(.gz, .bz2, .xz): each path becomes a folder of the archive ("" for all of it).

    Folders that exist are kept. No folder appears under its name before it is complete, and no file outside of them.

    Raises InputError, and renames the archive to `<name>.refused`, where it is damaged or lacks a folder, or where a
    name or link in it leads out of the folder.
    """
    hidden = archive.with_name(f".{archive.name}.part")
    shutil.rmtree(hidden, ignore_errors=True)  # of an interrupted call
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(hidden)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(hidden, filter="data")
        for target, inside in folders.items():
            if not any((hidden / inside).glob("*")):
                raise InputError(
                    f"{archive}: holds no files in {inside or 'it'}; {_refuse(archive)}"
                )
            if not target.exists():
                os.replace(hidden / inside, target)
    except DAMAGED as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{archive} is damaged, or no archive that can be read ({reason}); {_refuse(archive)}"
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def readable(size: int) -> str:
    """A size in the largest unit that leaves at least 1, in powers of ten: 1744725787 is 1.74 GB."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:.3g} {unit}"
    return f"{size} B"


def _refuse(path: Path) -> str:
    """Rename a file that is not what it should be, so that it is neither used nor lost; returns where it is."""
    refused = path.with_name(f"{path.name}.refused")
    os.replace(path, refused)
    return f"it is kept as {refused}"
