"""The backend for workers inside one process, which is the default."""

from __future__ import annotations

import os
import queue
import threading

from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError

# close() puts None into an inbox, to wake receive().
_Inbox = queue.Queue["bytes | None"]

# (process ID, hub, channel) -> the open inboxes and their addresses, in the order of opening. It
# has no lock: one made at import would stay a native lock where eventlet or gevent patch later, and
# each step below is a single dict operation, which is atomic. The process ID is there because a
# forked child must not fill copies of its parent's inboxes, which nothing reads.
_hubs: dict[tuple[int, str, str], dict[_Inbox, str]] = {}


class MemoryBackend(Backend):
    """
    Connects the backends of one hub and channel inside this process.

    Args:
        channel: Only backends of the same channel are connected.
        hub: Only backends of the same hub are connected; a name, or "" for the default hub.
        private: Whether there is only this backend, on a hub of its own without a name.
    """

    def __init__(self, channel: str, *, hub: str = "", private: bool = False) -> None:
        self.private = private
        self._hub = hub
        self._channel = channel
        self._inbox: _Inbox | None = None

    def __repr__(self) -> str:
        return f"<MemoryBackend {self._channel!r} on memory://{self._hub}>"

    @property
    def alone(self) -> bool:  # type: ignore[override]  # read only, here
        """Whether no other backend is open on this hub and channel."""
        return self._inbox is not None and len(self._inboxes) == 1

    def open(self) -> None:
        """Join the channel: every payload published after the return is received."""
        self.close()
        # Made here, not at import or construction, so that a patched process has green locks.
        self._publishing = threading.Lock()
        key = os.getpid(), self._hub, self._channel
        self._inboxes = {} if self.private else _hubs.setdefault(key, {})
        self._inbox = queue.Queue()
        self._inboxes[self._inbox] = self.address

    def publish(self, payload: bytes) -> None:
        """
        Put *payload* into the inbox of every open backend of the channel, this one included.

        Raises:
            BackendError: The backend is closed.
            TypeError: The payload is not bytes.
        """
        self._put(payload, None)

    def publish_to(self, address: str, payload: bytes) -> None:
        """
        Put *payload* into the inbox of the backend with that address.

        Raises:
            BackendError: The backend is closed.
            TypeError: The payload is not bytes.
        """
        self._put(payload, address)

    def _put(self, payload: bytes, address: str | None) -> None:
        if not isinstance(payload, bytes):
            raise TypeError(f"A payload must be bytes, not {type(payload).__name__}.")
        if self._inbox is None:
            raise BackendError("The backend is closed; call open() first.")
        # Without the lock, backends could receive the payloads of two threads in different orders.
        with self._publishing:
            for inbox, its_address in list(self._inboxes.items()):
                if address is None or address == its_address:
                    inbox.put(payload)

    def receive(self, timeout: float) -> bytes | None:
        """
        Return the next payload, waiting at most *timeout* seconds.

        Returns:
            The payload, or None if none arrived in time or the backend is closed.
        """
        inbox = self._inbox
        if inbox is None:
            return None
        try:
            return inbox.get(block=timeout > 0, timeout=timeout)
        except queue.Empty:
            return None

    def audience(self) -> int | None:
        """Return how many backends are open on this hub and channel; None if this one is not."""
        return None if self._inbox is None else len(self._inboxes)

    def close(self) -> None:
        """Leave the channel, and wake a waiting receive(); closing twice has no effect."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            self._inboxes.pop(inbox, None)
            inbox.put(None)
