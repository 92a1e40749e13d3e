"""Tells which locks of Flask-Rooms a thread holds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

_held = threading.local()


def held() -> list[str]:
    """Return where the locks were made that this thread holds."""
    return [lock.where for lock in getattr(_held, "locks", [])]


class WatchedLock:
    """
    A lock that this thread is known to hold.

    Args:
        lock: The lock.
        where: The module that made it.
    """

    def __init__(self, lock: Any, where: str) -> None:
        self._lock = lock
        self.where = where

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As threading.Lock; one that is taken without waiting is a turn, which holds up nobody."""
        acquired = bool(self._lock.acquire(blocking, timeout))
        if acquired and blocking:
            _held.locks = [*getattr(_held, "locks", []), self]
        return acquired

    def release(self) -> None:
        """As threading.Lock."""
        _held.locks = [lock for lock in getattr(_held, "locks", []) if lock is not self]
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


@contextmanager
def watched() -> Iterator[None]:
    """Watch the locks that modules of Flask-Rooms make within the context."""
    make = threading.Lock

    def make_watched() -> Any:
        where = str(sys._getframe(1).f_globals["__name__"])
        return WatchedLock(make(), where) if where.startswith("flask_rooms.") else make()

    threading.Lock = make_watched  # type: ignore[assignment]
    try:
        yield
    finally:
        threading.Lock = make
