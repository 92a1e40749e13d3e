"""Sends what waits in the outbox of a worker, from whichever thread comes by."""

from __future__ import annotations

import logging
import threading
import time

from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.transport import AT_ONCE, Transport
from flask_rooms.errors import BackendError
from flask_rooms.protocol.messages import Goodbye

logger = logging.getLogger("flask_rooms")

#: How much one caller sends for all before the listener goes on with it.
_FRAMES_AT_ONCE = 8
#: Seconds for which what was sent last is waited for, before more is sent without it.
_ROUND_TRIP = 0.02


class Sender:
    """
    Publishes the frames of a node, one at a time.

    Args:
        shared: Whose outbox it empties.
        channel: Where to.
        stopping: Set when this worker does not hear any more; then nothing is sent, either.
    """

    def __init__(self, shared: LockedNode, channel: Transport, stopping: threading.Event) -> None:
        self._shared = shared
        self._channel = channel
        self.stopping = stopping
        self._publishing = threading.Lock()
        self._sent_at = float("-inf")

    def flush(self) -> None:
        """
        Send what waits, unless somebody is at it already, who then sends this as well.

        So a lone call costs one publish and is sent at once. What is said while that is on its
        way back to us shares one frame, which the listener sends when it hears the other come
        back: under load it is this that lets the broker, and everybody's listener, keep up.
        While the broker is away only the listener tries, and nobody else waits for it.
        """
        began = time.monotonic()
        for _ in range(_FRAMES_AT_ONCE):  # then the listener goes on
            if time.monotonic() - began > AT_ONCE:  # the broker is slow: let no caller wait
                return
            if self._channel.down or self.stopping.is_set() or self._awaits_echo():
                return
            if not self._publishing.acquire(blocking=False):
                return
            try:
                if not self._publish_next():
                    return
            finally:
                self._publishing.release()

    def send_last(self, deadline: float) -> None:
        """Empty the outbox if that is possible until then; nobody will do it any more."""
        # Whoever is sending may not know yet of the last things, so it is waited for.
        while self._publishing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                more = not self._channel.down and self._publish_next()
            finally:
                self._publishing.release()
            if not more or time.monotonic() > deadline:
                break
        with self._shared.lock:
            lost = [one for one in self._shared.node.waiting() if not isinstance(one, Goodbye)]
        if lost:
            logger.warning("Leaving the cluster with %d operations unsent.", len(lost))

    def lost(self, error: BackendError) -> None:
        """Take notice that the broker cannot be reached; only the listener tries it now."""
        if not self.stopping.is_set():  # or it is we who have closed it
            self._channel.lost(error)

    def wakes_at(self) -> float:
        """Return when there is something to do at the latest, by the monotonic clock."""
        with self._shared.lock:
            wakes_at = self._shared.node.wakes_at
            if self._shared.node.has_unsent:  # it was held back, and is to be so no longer
                wakes_at = min(wakes_at, time.monotonic() + _ROUND_TRIP)
        return wakes_at

    def _awaits_echo(self) -> bool:
        with self._shared.lock:
            under_way = self._shared.node.awaits_echo
        return under_way and time.monotonic() - self._sent_at < _ROUND_TRIP

    def _publish_next(self) -> bool:
        """Send one frame; False when nothing waits, or it could not be sent."""
        now = time.monotonic()
        with self._shared.lock:
            node = self._shared.node  # which may be another one by the time this has failed
            frame = node.take(now)
        if frame is None:
            return False
        self._sent_at = now
        try:
            self._channel.publish(frame)
        except BackendError as error:
            with self._shared.lock:
                node.give_back(frame, time.monotonic())
            self.lost(error)
            return False
        return True
