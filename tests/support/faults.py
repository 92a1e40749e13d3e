"""A backend that fails when a test asks for it."""

from __future__ import annotations

from flask_rooms import BackendError
from flask_rooms.backends import MemoryBackend


class FaultyBackend(MemoryBackend):
    """
    In-memory backend with a connection that can be half open.

    Attributes:
        deaf: Nothing is heard any more, and no error says so.
        mute: Whether publishing discards every payload, without an error. To connect anew does not
            help, and misses nothing.
        down: What is published is refused, as without a broker.
    """

    deaf = False
    mute = False
    down = False

    def __init__(self, hub: str) -> None:
        super().__init__("flask-rooms", hub=hub.removeprefix("memory://"))

    def open(self) -> None:
        if self.mute and self._inbox is not None:
            self._inboxes[self._inbox] = self.address
        else:
            super().open()

    def close(self) -> None:
        if not self.mute:
            super().close()

    def publish(self, payload: bytes) -> None:
        if self.down:
            raise BackendError("The test has switched the broker off.")
        if not self.mute:
            super().publish(payload)

    def publish_to(self, address: str, payload: bytes) -> None:
        if self.down:
            raise BackendError("The test has switched the broker off.")
        if not self.mute:
            super().publish_to(address, payload)

    def receive(self, timeout: float) -> bytes | None:
        payload = super().receive(timeout)
        return None if self.deaf else payload
