"""A lock on a folder, so that two processes do not run a study into the same one."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daclip_lab.errors import InputError

PATIENCE = 15.0
"""Seconds to wait for the workers of a killed process, which keep their checkpoints before they end."""


@contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Hold the lock of a folder; gives its file descriptor, which child processes may inherit to hold it as well.

    The lock goes with the last process that holds it, however that ends. Raises InputError where others keep it for
    longer than `patience` seconds.
    """
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + patience
        while not _take(file):
            if time.monotonic() > end:
                raise InputError(
                    f"{folder}: another process runs a study into it; stop that one, or name another folder"
                )
            time.sleep(0.1)
        yield file
    finally:
        os.close(file)


def _take(file: int) -> bool:
    """Take the lock if nobody has it; a process that was killed has not."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
