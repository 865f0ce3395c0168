"""Results that the host gives in batches, as rows of SQL and entries of storage.

A result of the host ends with its turn. If work goes on after it, `keep_all` reads what is left into memory.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from .errors import Failure, HostError

__all__ = ["Batches", "keep_all", "track"]

MOST = 8 << 20
"""Bytes that one turn may bring into memory for later ones."""

_SIZE = 256
"""How many entries or rows are asked for at once; the host also ends a batch at about 1 MiB."""

_tracked: weakref.WeakSet[Batches] | None = None


class Batches:
    """What a result has left."""

    __slots__ = ("__weakref__", "_error", "_kept", "_next", "_size", "_source")

    def __init__(self, source: Any, next: Callable[[Any, int], Any], size: Callable[[Any], int]) -> None:
        self._source = source
        self._next = next
        self._size = size
        self._kept: deque[Any] = deque()
        self._error: Exception | None = None
        if _tracked is not None:
            _tracked.add(self)

    def next(self) -> Any:
        """The next batch; an empty one at the end."""
        if self._source is not None:
            return self._next(self._source, _SIZE)
        if self._kept:
            return self._kept.popleft()
        if self._error is not None:
            raise self._error
        return ()

    def keep(self, room: int) -> int:
        """Reads what is left into this much memory. Returns how much of it is left."""
        try:
            while batch := self.next():
                room -= self._size(batch)
                if room < 0:
                    raise Failure("too-many-rows", "a result was in use when its turn ended and has too much left")
                self._kept.append(batch)
        except (Failure, HostError) as error:
            self._error = error
        self._source = None
        return max(room, 0)


def track() -> None:
    """From here on, results are known that are in use."""
    global _tracked
    _tracked = weakref.WeakSet()


def keep_all(goes_on: bool) -> None:
    """The turn ends. If work goes on after it, reads what the results have left that are in use."""
    if _tracked:
        room = MOST
        for batches in list(_tracked) if goes_on else ():
            room = batches.keep(room)
        _tracked.clear()
