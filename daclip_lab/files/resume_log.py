"""Long measurements, part by part: finished parts lie in a file, so that an interrupted run goes on."""

import json
from pathlib import Path

from daclip_lab.errors import InputError
from daclip_lab.training.checkpoints import write_text


class Records:
    """The finished parts of a measurement: a JSON line each, behind a line that says what is measured.

    A run that keeps a file and one that does not hold the same numbers.

    Args:
        path: the file that keeps them; None keeps them in memory.
        header: what decides the results. A file with another header is refused with an InputError.
    """

    def __init__(self, path: Path | None, header: dict):
        self.path, self.parts = path, []
        header = json.loads(json.dumps(header))
        if path is None:
            return
        found, *kept = _whole_lines(path) if path.exists() else [header]
        if found != header:
            other = ", ".join(key for key in header if found.get(key) != header[key])
            raise InputError(
                f"{path} holds results of other {other or 'kind'}: delete it, or name another folder"
            )
        self.parts = kept
        # Written anew, whole: the line in which a run was interrupted is dropped.
        write_text(path, "".join(json.dumps(line) + "\n" for line in [header, *kept]))

    def append(self, part: dict) -> None:
        """Keep one more part."""
        line = json.dumps(part)
        self.parts.append(json.loads(line))
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(line + "\n")


def _whole_lines(path: Path) -> list[dict]:
    """The lines of a file that end; at least one."""
    try:
        lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    except (OSError, ValueError):
        lines = []
    if not lines or not all(isinstance(line, dict) for line in lines):
        raise InputError(f"{path} holds no results: delete it, or name another folder")
    return lines
