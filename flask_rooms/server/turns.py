"""One request for packets at a time, and one WebSocket, for each connection of Engine.IO."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from flask_rooms.server.slots import Slots

#: Seconds for which a request waits for the one before: its client may have the whole response
#: before the server knows.
OVERLAP = 2.0


class Turn:
    """The turn of one request, while the next one waits for a moment and a third is refused."""

    def __init__(self) -> None:
        self._slots = Slots(1)
        self._lock = threading.Lock()
        self._tcp: Any = None
        self.is_taken = False

    def take(self, tcp: Any, wait: Callable[[], bool]) -> bool:
        """
        Take the turn for a request; return False if it is not free in time.

        Args:
            tcp: The connection that the request has come over; None if that is not known.
            wait: Waits for a moment; False ends the wait.
        """
        if not self._slots.take_patiently(OVERLAP, wait):
            return False
        with self._lock:
            self._tcp, self.is_taken = tcp, True
        return True

    def end(self) -> None:
        """Let the next request have its turn."""
        with self._lock:  # else the connection may be cut that has begun to serve another client
            self._tcp, self.is_taken = None, False
        self._slots.release()

    def cut(self) -> None:
        """End the connection over which a response is being sent, which nothing reads."""
        with self._lock, contextlib.suppress(AttributeError, OSError):  # there may be none
            self._tcp.shutdown(socket.SHUT_RDWR)


class Sent(list[bytes]):
    """
    The body of a response that says when its server has sent it.

    A list, since servers take the length of a body from it.

    Args:
        body: The body.
        on_sent: Called once.
    """

    def __init__(self, body: list[bytes], on_sent: Callable[[], object]) -> None:
        super().__init__(body)
        self._on_sent: list[Callable[[], object]] = [on_sent]

    def close(self) -> None:
        """Call *on_sent*; servers call this when they have sent the body, or have failed."""
        with contextlib.suppress(IndexError):  # it was called
            self._on_sent.pop()()

    # Middleware of the application may forget to close what it has read.
    __del__ = close
