"""Carries frames over a backend, and warns when the broker or a message is not right."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

from flask_rooms.backends.base import Backend
from flask_rooms.backends.logs import Throttle, safe_logging
from flask_rooms.cluster.receiver import LONGEST, pause_before
from flask_rooms.errors import BackendError
from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.messages import Frame

logger = logging.getLogger("flask_rooms.cluster")

#: Seconds within which a stale connection fails.
AT_ONCE = 0.5
_FOREIGN = "Does another application use this ROOMS_CHANNEL, or a worker another SECRET_KEY?"
_REMEDIES = {
    "version": "A worker has another version of Flask-Rooms, and the two cannot read each other: "
    "calls for its sockets will be Unconfirmed until all workers have the same.",
    "oversized": "Give all workers the same ROOMS_MESSAGE_BYTES.",
}


def remedy(reason: str) -> str:
    """Return what to do about messages that were dropped for this reason."""
    return _REMEDIES.get(reason, _FOREIGN)


class Transport:
    """
    The frames of this worker on the channel of its cluster.

    It collects warnings and logs them when it is told to, without a lock: a handler of the
    application's logging may make calls itself, or hang.

    Args:
        backend: Carries the bytes; not opened yet.
        codec: Encodes and signs.
        longest: The longest pause before it is tried again to publish, in seconds.

    Attributes:
        down: Whether the broker could not be reached at the last attempt.
        error: Why the broker could not be reached the last time; None if it always could.
        dropped: How many payloads were refused, by reason.
        reconnects: How often the broker was connected to again.
    """

    def __init__(self, backend: Backend, codec: Codec, longest: float = LONGEST) -> None:
        self.backend = backend
        self._codec = codec
        self._longest = longest
        self._failures = 0  # to publish, since it was possible
        self._retry_at = 0.0
        self.down = False
        self.error: str | None = None
        self.dropped: Counter[str] = Counter()
        self.reconnects = 0
        self._latest: tuple[bytes, Frame] | None = None  # of those to all, which come back
        self._throttle = Throttle()
        self._unlogged: deque[tuple[object, ...]] = deque()

    def open(self, address: str) -> bool:
        """Connect, to be reached at *address*; return False when the broker cannot be reached."""
        self.backend.address = address
        self.down = False
        try:
            self.backend.open()
        except BackendError as error:
            self.on_disconnect(error)
        return not self.down

    def on_disconnect(self, error: BackendError) -> None:
        """Record that the broker is unreachable."""
        self.down = True
        self.error = str(error)
        self.warn("lost", "The broker cannot be reached, trying again: %s", error)

    def publish(self, frame: Frame) -> None:
        """
        Send a frame to every worker, or to the only one that it is for.

        Raises:
            BackendError: The broker cannot be reached.
        """
        payload = self._codec.encode(frame)
        if not frame.to:
            self._latest = payload, frame
        publish = self._publisher_for(frame)
        try:
            _publish_twice(publish, payload)
        except BackendError:
            self._retry_at = time.monotonic() + pause_before(self._failures, self._longest)
            self._failures += 1
            raise
        self._failures = 0

    def on_received(self, reconnected: bool) -> None:
        """
        Record that the broker can be received from, so that publishing is tried again.

        A broker may refuse that alone, such as to a user without the permission.
        """
        if self.down and (reconnected or time.monotonic() >= self._retry_at):
            self.down = False

    def decode(self, payload: bytes) -> Frame:
        """
        Return the frame in *payload*; an echo needs no check, and in a small cluster is common.

        Raises:
            BadMessage: It is too large, not signed with one of the keys, or not well-formed.
        """
        latest = self._latest
        if latest is not None and payload == latest[0]:
            return latest[1]
        return self._codec.decode(payload)

    def _publisher_for(self, frame: Frame) -> Callable[[bytes], object]:
        # A backend need have no more than the four methods.
        publish_to = getattr(self.backend, "publish_to", None)
        if not frame.to or publish_to is None:
            return self.backend.publish
        return partial(publish_to, frame.to)

    def audience(self) -> int | None:
        """Return how many workers are connected to the channel, or None if it is not known."""
        audience = getattr(self.backend, "audience", None)
        return None if audience is None else audience()

    def drop(self, reason: str) -> None:
        """Count a dropped payload, and warn with the remedy."""
        self.dropped[reason] += 1
        self.warn(
            reason,
            "Dropped a message on the channel (%s; %d so far). %s",
            reason,
            self.dropped[reason],
            remedy(reason),
        )

    def warn(self, kind: str, text: str, *args: object) -> None:
        """Have log_warnings() log this, at most one of each kind a minute."""
        if self._throttle.is_due(kind):
            self._unlogged.append((text, *args))

    def log_warnings(self) -> None:
        """Log what there is to warn of; the caller holds no lock."""
        while self._unlogged:
            try:
                text, *args = self._unlogged.popleft()
            except IndexError:  # also where another thread has taken the last one
                return
            with safe_logging():
                logger.warning(text, *args)


def _publish_twice(publish: Callable[[bytes], object], payload: bytes) -> None:
    began = time.monotonic()
    try:
        publish(payload)
    except BackendError:
        # A connection that went stale while idle fails at once; a second attempt may succeed.
        if time.monotonic() - began > AT_ONCE:
            raise
        publish(payload)
