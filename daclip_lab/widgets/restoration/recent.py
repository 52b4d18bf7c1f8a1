"""A memory for what takes long to make, bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class Recent:
    """What was made last, up to a number of bytes; several threads may use it."""

    def __init__(self, most: int):
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[tuple, tuple[Any, int]] = OrderedDict()

    def find(self, key: tuple) -> Any:
        """What is kept under a key, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: tuple, value: Any, size: int) -> Any:
        """Keep a value of some bytes; those that were used longest ago go, but never the value itself."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = value, size
            while len(self._kept) > 1 and sum(n for _, n in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return value

    def made(self, key: tuple, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """What is kept under a key, made where it is not there."""
        found = self.find(key)
        if found is None:
            found = make()
            self.keep(key, found, size(found))
        return found
