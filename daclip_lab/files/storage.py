"""Files written whole or not at all, checks of output paths, hashes, and JSON."""

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from daclip_lab.errors import InputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary file that replaces `path` once the block has ended without an error.

    An interruption leaves the old file as it was. Missing folders are made.

    Raises InputError, naming `path`, for an OSError in the block: a full disk, a missing permission.
    """
    path = Path(path)
    # The name is this thread's own: two that write the same file do not mix their bytes.
    owner = f"{os.getpid()}-{threading.get_native_id()}"
    temporary = path.with_name(f".{path.name}.{owner}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # a folder without permission: the error above names it
            temporary.unlink(missing_ok=True)


def check_output(path: str | os.PathLike, suffixes: Collection[str] = ()) -> Path:
    """Refuse, before any work is done, a path that no file can be written to; returns it as a Path.

    Raises InputError for a folder that does not exist or cannot be written to, for a path that is a folder itself, and
    for a suffix that is not among `suffixes` where there are any.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: the extension must be one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; name a file in it")
    _check_writable(path, path.parent)
    return path


def check_output_folder(path: str | Path) -> Path:
    """Refuse, before any work is done, a folder that cannot be made or written to; returns it as a Path."""
    path = Path(path)
    above = path.absolute()
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise InputError(f"{above} is a file: wanted a folder to write to")
    _check_writable(path, above)
    return path


def _check_writable(path: Path, folder: Path) -> None:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def file_hash(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal; an InputError names a file that cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, see `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8", newline="")


def write_json(path: str | Path, content: dict) -> None:
    """Write a dict as indented JSON, see `atomic_write`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: str | Path) -> dict:
    """Read a JSON file; an InputError names it where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None
