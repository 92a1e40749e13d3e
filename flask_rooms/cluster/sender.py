"""Empties the outbox of a worker: one publish at a time, from any thread, without blocking it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.transport import AT_ONCE, Transport
from flask_rooms.errors import BackendError
from flask_rooms.protocol.messages import Goodbye, Operation

logger = logging.getLogger("flask_rooms.cluster")

#: Frames that one caller sends before the receiver's thread continues.
_FRAMES_AT_ONCE = 8
#: Seconds to wait for the last frame to come back before the next one is sent.
_ROUND_TRIP = 0.02


class Sender:
    """
    Publishes the frames of a node, one at a time.

    Args:
        shared: The node whose outbox it empties.
        transport: Carries the frames.
        stopping: Set when the receiver stops; then nothing more is sent.
        echo: Called after sending: receives what was sent, where no thread does. Else None.
    """

    def __init__(
        self,
        shared: LockedNode,
        transport: Transport,
        stopping: threading.Event,
        echo: Callable[[], object] | None,
    ) -> None:
        self._echo = echo
        self._shared = shared
        self._transport = transport
        self.stopping = stopping
        self._publishing = threading.Lock()
        self._sent_at = float("-inf")

    @property
    def name(self) -> str:
        """The name of this worker at present."""
        return self._shared.node.name

    def submit(self, operation: Operation) -> int:
        """
        Put an operation for the other workers into the outbox; flush() sends it.

        Returns:
            Its number in the stream of this worker.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full.
        """
        return self._shared.submit(operation)

    def publish(self, operation: Operation) -> None:
        """Submit an operation and send it, as submit() and flush() do."""
        self.submit(operation)
        self.flush()

    def flush_apart(self, spawn: Callable[..., object]) -> None:
        """
        Do as flush(), for the receiver: in the background, where there may be much to send.

        A broker answers each publish, and what has arrived meanwhile would wait for that. Answers
        go out at once, as callers wait for them.
        """
        node = self._shared.node
        if not node.has_frame(time.monotonic()):
            return  # as after nearly every message of a worker that is not busy
        if self._echo is not None or node.has_direct or not node.has_unsent:
            self.flush()
        elif not self._awaits_echo():
            spawn(self.flush)

    def flush(self) -> None:
        """
        Send what waits, unless another thread is sending: that one then sends this as well.

        A single call costs one publish and is sent at once. What is submitted while that frame
        has not come back shares the next one, which is sent on the echo; a call does so only if
        there is another call in that frame. Under load this batching is what lets the broker and
        the receivers of all workers keep up. While the broker is down only the receiver retries,
        and no caller waits for it.
        """
        self.send()
        self._transport.log_warnings()
        if self._echo is not None:
            self._echo()

    def send(self) -> None:
        """Do the first part of flush(), which logs nothing; the caller may hold a lock."""
        began = time.monotonic()
        for _ in range(_FRAMES_AT_ONCE):  # then the receiver continues
            if self.stopping.is_set():
                self._warn_if_unsent()
                return
            if self._transport.down or self._awaits_echo():
                return
            # Others may have submitted something meanwhile, and have left it to this thread.
            now = time.monotonic()
            if not self._shared.node.has_frame(now):
                return
            if now - began > AT_ONCE:  # the broker is slow: let no caller wait
                return
            if not self._publishing.acquire(blocking=False):
                return
            try:
                self._publish_next()
            finally:
                self._publishing.release()

    def count_workers(self) -> int | None:
        """
        Ask the broker how many workers there are, in a bounded time.

        No caller waits meanwhile, also where the broker hangs: what they send is left in the
        outbox, for the flush() that has to follow.

        Returns:
            Their number; None where it is not known, or a sending thread waits for the broker.
        """
        if not self._publishing.acquire(timeout=_ROUND_TRIP):
            return None
        try:
            return self._transport.audience()
        except BackendError:
            return None
        finally:
            self._publishing.release()

    def _warn_if_unsent(self) -> None:
        with self._shared.lock:
            unsent = self._shared.node.has_unsent
        if unsent:
            self._transport.warn(
                "left", "This worker has left the cluster: what it sends reaches no other worker."
            )

    def send_last(self, deadline: float) -> None:
        """Empty the outbox before *deadline* where possible: this is the last chance."""
        # A thread that is sending may have missed the last operations, so wait for it.
        while self._publishing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                more = not self._transport.down and self._publish_next()
                with self._shared.lock:
                    has_unsent = self._shared.node.has_unsent
            finally:
                self._publishing.release()
            if time.monotonic() > deadline or not has_unsent:
                break
            if not more:  # the receiver connects again
                self.stopping.wait(_ROUND_TRIP)
        self._transport.log_warnings()

    def warn_of_lost(self, unechoed: int) -> None:
        """
        Log how much this worker, which is about to leave, has in vain for the others.

        Args:
            unechoed: How many operations have not come back: RabbitMQ does not say whether it has
                taken what was published.
        """
        with self._shared.lock:
            lost = [one for one in self._shared.node.unpublished() if not isinstance(one, Goodbye)]
        if lost:
            with safe_logging():
                logger.warning("Leaving the cluster with %d operations unsent.", len(lost))
        elif unechoed > 0:
            with safe_logging():
                logger.warning(
                    "Leaving the cluster with %d operations that have not come back from the "
                    "broker: the other workers may not have received them.",
                    unechoed,
                )

    def on_disconnect(self, error: BackendError) -> None:
        """Record that the broker is unreachable. From now on only the receiver retries."""
        if not self.stopping.is_set():  # else this worker has closed the connection itself
            self._transport.on_disconnect(error)

    def wakes_at(self) -> float:
        """Return the time of the next thing to do, by the monotonic clock."""
        with self._shared.lock:
            node = self._shared.node
            wakes_at = node.wakes_at
            if node.has_unsent:  # apart from answers, held back until an echo or a timeout
                pause = 0.0 if node.has_direct else _ROUND_TRIP
                wakes_at = min(wakes_at, time.monotonic() + pause)
        return wakes_at

    def _awaits_echo(self) -> bool:
        """
        Whether what waits shares the next frame, once the last one has come back.

        Takes no lock: what this caller has submitted the receiver sees when that frame comes back.
        """
        shares = self._shared.node.shares_next
        return shares and time.monotonic() - self._sent_at < _ROUND_TRIP

    def _publish_next(self) -> bool:
        """Send one frame; return False when none waits or it could not be sent."""
        now = time.monotonic()
        with self._shared.lock:
            node = self._shared.node  # a restart may replace it before this fails
            frame = node.take(now)
        if frame is None:
            return False
        self._sent_at = now
        try:
            self._transport.publish(frame)
        except BackendError as error:
            with self._shared.lock:
                node.give_back(frame, time.monotonic())
            self.on_disconnect(error)
            return False
        return True
