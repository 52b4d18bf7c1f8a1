"""A log of finished parts, so that a long measurement can be interrupted and resumed."""

import json
from pathlib import Path

from daclip_lab.errors import InputError
from daclip_lab.files.storage import write_text


class ResumeLog:
    """The finished parts of a measurement, one JSON line each, below a header line with the settings.

    ```python
    log = ResumeLog(path, {"weights": pipe.fingerprint, "photos": photos.content_hash})
    done = {part["photo"] for part in log.parts}
    for name in photos.names:
        if name not in done:
            log.append({"photo": name, **measure(name)})
    ```

    Values pass through JSON at once, so that a resumed run and an uninterrupted one hold the same numbers.

    Args:
        path: the file, JSON Lines; missing folders are made. None keeps the parts in memory only.
        header: everything that decides the results: settings, a fingerprint of weights, a hash of the *contents* of
            data, never their names alone.

    Raises InputError, naming the file and the fields, where it was written under another header.
    """

    def __init__(self, path: str | Path | None, header: dict):
        self.path = None if path is None else Path(path)
        self.parts: list[dict] = []
        """What is finished, in the order of `append`."""
        if self.path is None:
            return
        header = json.loads(json.dumps(header))
        found, *self.parts = _complete_lines(self.path) if self.path.exists() else [header]
        if found != header:
            other = ", ".join(key for key in header | found if found.get(key) != header.get(key))
            raise InputError(
                f"{self.path} holds results of other {other}: delete it, or name another folder"
            )
        # Rewritten without the line in which a run was interrupted.
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in [header, *self.parts]))

    def append(self, part: dict) -> None:
        """Keep one more part; it is in the file when this returns."""
        line = json.dumps(part)
        self.parts.append(json.loads(line))
        if self.path is not None:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise InputError(f"{self.path} cannot be written: {error.strerror}") from error


def _complete_lines(path: Path) -> list[dict]:
    """The lines of a log that end with a newline, the header first."""
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]
    except (OSError, ValueError):
        lines = []
    if not lines or not all(isinstance(line, dict) for line in lines):
        raise InputError(f"{path} holds no results: delete it, or name another folder")
    return lines
