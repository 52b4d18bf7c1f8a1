"""A file from an address: resumed after a cut, checked against its size and hash, never half there under its name."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm.auto import tqdm

from daclip_lab.errors import InputError
from daclip_lab.files.sources import File

CHUNK = 1 << 18
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as cut."""


def download(file: File, target: Path) -> None:
    """Fetch a file into `target`, by way of `target.part`, from where an earlier run was cut.

    Bytes are only added to those of an earlier run if they are of the same file: the server says so (If-Range), or
    the hash will tell. A server that cannot send a part of a file starts again.

    Raises InputError where there is no answer, no such file, another size than the table's, too little room on the
    disk, or where the connection is cut: then what has come stays, and the next call goes on.
    """
    part = target.with_name(f"{target.name}.part")
    tag = target.with_name(f"{target.name}.part.tag")
    done = part.stat().st_size if part.exists() else 0
    validator = tag.read_text() if tag.exists() else ""
    if done != file.size:
        if not (validator or file.sha256) or (file.size is not None and done > file.size):
            done = 0
        with _open(file, target, done, validator) as response:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _receive(response, file, part, tag, done)
            except ConnectionError as error:
                raise InputError(f"{file.url}: {error}; run it again to go on") from None
    os.replace(part, target)
    tag.unlink(missing_ok=True)


def _open(file: File, target: Path, done: int, validator: str) -> HTTPResponse:
    """Ask for the bytes of a file from `done` on."""
    headers = {"User-Agent": "daclip-lab"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if validator:
            headers["If-Range"] = validator
    by_hand = f"the file may also be put by hand at {target}"
    try:
        return urlopen(Request(file.url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        # The file there ends before our part does: ours is of another one.
        if error.code == 416 and done:
            return _open(file, target, 0, "")
        raise InputError(
            f"{file.url}: the server answers {error.code} {error.reason}; {by_hand}"
        ) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{file.url}: no answer ({reason}); without a network {by_hand}") from None


def _receive(response: HTTPResponse, file: File, part: Path, tag: Path, done: int) -> None:
    """Write the bytes of an answer to the part, behind those that are there if the server sends the rest."""
    start = 0
    if response.status == 206:
        if not re.match(rf"bytes {done}-", response.headers["Content-Range"] or ""):
            raise InputError(f"{file.url}: the server sends other bytes than it was asked for")
        start = done
    length = response.headers["Content-Length"]
    total = file.size if length is None else start + int(length)
    if file.size not in (None, total):
        raise InputError(
            f"{file.url}: {total} bytes at the server, {file.size} in the table: it is another file"
        )
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise InputError(f"{part.parent}: {readable(total - start)} to come, {readable(free)} free")
    shown = {"unit": "B", "unit_scale": True, "desc": file.name}
    with (
        part.open("ab" if start else "wb") as out,
        tqdm(total=total, initial=start, **shown) as bar,
    ):
        # Not before the old bytes are gone: they may be of another version.
        if start == 0:
            tag.write_text(_validator(response))
        for chunk in _chunks(response):
            out.write(chunk)
            bar.update(len(chunk))
        if total is not None and out.tell() < total:
            raise ConnectionError(f"the connection was cut after {out.tell()} of {total} bytes")


def _validator(response: HTTPResponse) -> str:
    """What names this version of the file for If-Range; a weak tag does not."""
    etag = response.headers["ETag"]
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers["Last-Modified"] or ""


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The bytes of an answer; an error of the network is a ConnectionError, so that none looks like one of the disk."""
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"the connection was cut ({error})") from None


def verify(file: File, path: Path) -> str:
    """The SHA-256 of a file, once size and hash are as the table says, or as they were at the first fetch.

    Raises InputError otherwise, and puts the file aside.
    """
    size = path.stat().st_size
    if file.size not in (None, size):
        raise InputError(
            f"{path}: {size} bytes, wanted {file.size}; it is kept as {put_aside(path)}"
        )
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    note = _note(path)
    known, origin = file.sha256, "in the table"
    if known is None and note.exists():
        known, origin = note.read_text().split()[0], f"at the first fetch ({note.name})"
    if known not in (None, sha256):
        raise InputError(
            f"{path}: its SHA-256 is {sha256}, but {known} {origin}; it is kept as {put_aside(path)}"
        )
    return sha256


def trust(file: File, path: Path, sha256: str) -> Path | None:
    """Keep the hash of a file that the table has no hash of, for the next time; return where, if it is new there.

    The note is what `sha256sum --check` reads.
    """
    note = _note(path)
    if file.sha256 is not None or note.exists():
        return None
    note.write_text(f"{sha256}  {path.name}\n")
    return note


def put_aside(path: Path) -> Path:
    """Give a file that is not what it should be another name, so that it is neither used nor lost."""
    aside = path.with_name(f"{path.name}.refused")
    os.replace(path, aside)
    return aside


def readable(size: int) -> str:
    """A size in the largest unit that leaves at least 1, in powers of ten: 1744725787 is 1.74 GB."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:.3g} {unit}"
    return f"{size} B"


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
