"""Receives for a worker, in one thread that survives errors and never keeps a dead worker alive."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from types import BuiltinFunctionType
from typing import Protocol

from flask_rooms.backends.base import Backend
from flask_rooms.backends.logs import safe_logging
from flask_rooms.errors import BackendError

logger = logging.getLogger("flask_rooms.cluster")

#: Seconds before connecting again: the first pause, and the longest.
SHORTEST, LONGEST = 0.05, 2.0


class PayloadHandler(Protocol):
    """Takes what a receiver receives."""

    def poll_timeout(self) -> float:
        """Return how many seconds to wait for the next payload."""

    def on_payload(self, payload: bytes | None, reconnected: bool) -> bool:
        """Handle a payload, or None when only time has passed; return False to reconnect."""

    def on_disconnect(self, error: BackendError) -> None:
        """Record that the connection is lost."""

    def on_idle(self) -> None:
        """Let time pass while nothing can be received."""


class Receiver:
    """
    Receives for a cluster until that is stopped or no longer referenced.

    Args:
        handler: Held weakly, since a test suite may make and drop hundreds of applications.
        backend: Where to receive from.
        opened: Whether *backend* is open; otherwise the broker was down and is retried.
        longest: The longest pause before a reconnect, in seconds.

    Attributes:
        stopping: Set to make run() return.
        stopped: Set when run() has returned.
    """

    def __init__(
        self, handler: PayloadHandler, backend: Backend, *, opened: bool, longest: float = LONGEST
    ) -> None:
        # Closing wakes receive(), so the thread of a dropped application ends at once.
        self._handler = weakref.ref(handler, lambda _: backend.close())
        self._backend = backend
        self._opened = opened
        self._longest = longest
        self._failures = 0
        self._process = os.getpid()
        self._draining = threading.Lock()
        self.stopping = threading.Event()
        self.stopped = threading.Event()

    def run(self) -> None:
        """Receive and pass on; returns after `stopping` is set."""
        while not self.stopping.is_set() and self._is_here:
            timeout = self._poll_timeout()
            if timeout is None:
                break
            try:
                payload = self._receive(timeout)
            except BackendError as error:
                self._pause(error)
            except Exception as error:  # a bug of a driver must not end the thread
                with safe_logging():
                    logger.exception("The connection to the broker has failed in an unknown way.")
                self._pause(BackendError(repr(error)))
            else:
                self._pass_on(payload)
                _yield()
        if self._is_here:
            self._backend.close()  # stop() could not close a connection that was being opened
        self.stopped.set()

    @property
    def _is_here(self) -> bool:
        """Whether this is the process that receives: a green thread is copied into a child."""
        return self._process == os.getpid()

    def drain(self) -> None:
        """Pass on what has been received so far, for a worker without a thread that receives."""
        while self._draining.acquire(blocking=False):
            try:
                payload = self._receive(0)
                if payload is None:
                    return
                self._pass_on(payload)
            finally:
                self._draining.release()

    def _poll_timeout(self) -> float | None:
        handler = self._handler()
        return None if handler is None else handler.poll_timeout()

    def _receive(self, timeout: float) -> bytes | None:
        if not self._opened:
            self._backend.open()
            self._opened = True
        return self._backend.receive(timeout)

    def _pass_on(self, payload: bytes | None) -> None:
        handler = self._handler()
        reconnected, self._failures = self._failures > 0, 0
        if handler is None or self.stopping.is_set() or not self._is_here:
            return
        try:
            well = handler.on_payload(payload, reconnected)
        except Exception:  # no message may end the thread
            with safe_logging():
                logger.exception("A message from another worker could not be handled.")
            return
        if not well:
            # A connection can be dead without an error, and would stay so for ever.
            del handler
            self._backend.close()
            self._opened, self._failures = False, 1

    def _pause(self, error: BackendError) -> None:
        handler = self._handler()
        if handler is None or self.stopping.is_set() or not self._is_here:
            return
        handler.on_disconnect(error)
        try:
            handler.on_idle()
        except Exception:  # as above
            with safe_logging():
                logger.exception("Calls that wait could not be told that they are unconfirmed.")
        del handler
        seconds = pause_before(self._failures, self._longest)
        self._failures += 1
        self.stopping.wait(seconds)


def pause_before(failures: int, longest: float) -> float:
    """Return how many seconds to wait for the broker after so many failures and another one."""
    # A random part, so that the workers do not all come back at once.
    seconds: float = min(SHORTEST * 2 ** min(failures, 10), longest)
    return seconds * random.uniform(0.5, 1)


def _yield() -> None:
    """Let other green threads run; the system interrupts its own, and a pause costs 70 us."""
    # eventlet and gevent patch this function in whatever mode the server is.
    if not isinstance(time.sleep, BuiltinFunctionType):
        time.sleep(0)
