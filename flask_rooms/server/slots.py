"""A bounded number of event handlers that run at once, for one connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Slots:
    """
    A number of places, each taken by one event handler or request.

    Args:
        limit: How many there are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._awaited = False  # whether a reader waits for a place
        self._lock = threading.Lock()  # one, as green ones are large, and each client has some

    def take_patiently(self, timeout: float, wait: Callable[[], bool]) -> bool:
        """
        Take a place; return False if there is none in time.

        The caller is the reader of a connection, which reads no more meanwhile. Only one waits:
        else a client that sends in parallel would hold many threads.

        Args:
            timeout: Seconds to wait at most.
            wait: Waits for a moment; False ends the wait.
        """
        with self._lock:
            if self._take():
                return True
            if self._awaited:
                return False
            self._awaited = True
        try:
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline and wait():
                with self._lock:
                    if self._take():
                        return True
            return False
        finally:
            self._awaited = False

    def _take(self) -> bool:
        if self._taken >= self._limit:
            return False
        self._taken += 1
        return True

    def release(self) -> None:
        """Give a place back."""
        with self._lock:
            self._taken -= 1
