"""Tells which locks of Flask-Rooms a thread holds, and what it calls meanwhile."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any
from unittest import mock

from blinker import Signal
from flask import Flask
from socketio import Server

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


#: The client stands apart: emit() of python-socketio, which logs, is not thread-safe. The other one
#: has a lock for Flask-SocketIO's test clients, which have one place for the parts of a packet.
NOT_WATCHED = frozenset({"flask_rooms.client.threaded", "flask_rooms.server.private"})


def _is_watched(module: str) -> bool:
    return module.startswith("flask_rooms.") and module not in NOT_WATCHED


@contextmanager
def watched() -> Iterator[None]:
    """Watch the locks that modules of Flask-Rooms make within the context."""
    make = threading.Lock

    def make_watched() -> Any:
        where = str(sys._getframe(1).f_globals["__name__"])
        return WatchedLock(make(), where) if _is_watched(where) else make()

    threading.Lock = make_watched  # type: ignore[assignment]
    try:
        yield
    finally:
        threading.Lock = make


#: What leads to code of the application: classes, and their methods.
FOREIGN: dict[type, tuple[str, ...]] = {
    logging.Logger: ("isEnabledFor",),  # called first, also where nothing is logged
    Signal: ("send",),
    Flask: ("ensure_sync", "full_dispatch_request", "app_context", "request_context"),
    Future: ("_invoke_callbacks",),
    Server: ("_trigger_event",),
}

#: Their locks are held while the driver of a broker is used, which logs as it likes. A thread that
#: holds one is refused another use, and no other thread waits for long.
WHILE_SENDING = frozenset({"flask_rooms.backends.kombu", "flask_rooms.cluster.sender"})


@contextmanager
def nothing_foreign_is_called() -> Iterator[None]:
    """
    Fail if code of the application may be called under a lock of Flask-Rooms within the context.

    Such as a handler of logging, a receiver of a signal, a callback, a guard or a view: it may make
    calls itself, or hang.
    """
    calls: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(watched())
        for kind, names in FOREIGN.items():
            for name in names:
                noting = _noting(getattr(kind, name), calls)
                stack.enter_context(mock.patch.object(kind, name, noting))
        yield
    assert not calls, f"Called while a lock is held: {calls}"


def _noting(method: Any, calls: list[str]) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        locks = held()
        if locks and WHILE_SENDING.isdisjoint(locks):
            caller = sys._getframe(1)
            where = f"{caller.f_globals['__name__']}:{caller.f_lineno}"
            calls.append(f"{method.__qualname__} by {where} under the locks of {locks}")
        return method(*args, **options)

    return call
