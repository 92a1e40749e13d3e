"""Frames over a backend, and a warning where something is amiss there."""

from __future__ import annotations

import logging
import time
from collections import Counter

from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError
from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.messages import Frame

logger = logging.getLogger("flask_rooms")

#: Seconds in which a stale connection shows itself.
AT_ONCE = 0.5
#: Seconds between two warnings of the same kind.
_WARN_EVERY = 60.0
_FOREIGN = "Does another application use this ROOMS_CHANNEL, or a worker another SECRET_KEY?"
_REMEDIES = {
    "version": "A worker has another version of Flask-Rooms, and neither understands the other: "
    "calls for its sockets will be Unconfirmed until all workers have the same.",
    "oversized": "Give all workers the same ROOMS_MESSAGE_BYTES.",
}


def remedy(reason: str) -> str:
    """Return what to do about messages that were dropped for this reason."""
    return _REMEDIES.get(reason, _FOREIGN)


class Transport:
    """
    What the workers hear each other on.

    Args:
        backend: Carries the bytes; not opened yet.
        codec: Encodes and signs.
    """

    def __init__(self, backend: Backend, codec: Codec) -> None:
        self.backend = backend
        self._codec = codec
        #: Whether the broker could not be reached when it was last tried.
        self.down = False
        #: Payloads that were refused, by reason.
        self.dropped: Counter[str] = Counter()
        self._warned: dict[str, float] = {}

    def open(self) -> bool:
        """Connect; False when the broker cannot be reached."""
        self.down = False
        try:
            self.backend.open()
        except BackendError as error:
            self.lost(error)
        return not self.down

    def lost(self, error: BackendError) -> None:
        """Take notice that the broker cannot be reached."""
        self.down = True
        self.warn("lost", "The broker cannot be reached, trying again: %s", error)

    def publish(self, frame: Frame) -> None:
        """
        Send a frame to every worker.

        Raises:
            BackendError: The broker cannot be reached.
        """
        payload = self._codec.encode(frame)
        began = time.monotonic()
        try:
            self.backend.publish(payload)
        except BackendError:
            # A connection that went stale while idle says so at once; it is worth another try.
            if time.monotonic() - began > AT_ONCE:
                raise
            self.backend.publish(payload)

    def decode(self, payload: bytes) -> Frame:
        """
        Return the frame that was received.

        Raises:
            BadMessage: There is none that may be trusted; refuse() counts it.
        """
        return self._codec.decode(payload)

    def refuse(self, reason: str) -> None:
        """Count a payload that is dropped, and say what to do about it."""
        self.dropped[reason] += 1
        self.warn(
            reason,
            "Dropped a message on the channel (%s; %d so far). %s",
            reason,
            self.dropped[reason],
            remedy(reason),
        )

    def warn(self, kind: str, text: str, *args: object) -> None:
        """Log a warning, unless there has just been one of this kind."""
        now = time.monotonic()
        if now - self._warned.get(kind, float("-inf")) >= _WARN_EVERY:
            self._warned[kind] = now
            logger.warning(text, *args)
