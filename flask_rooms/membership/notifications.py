"""Sends the signals of one application, in the order in which things happened."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from blinker import NamedSignal
from flask import Flask

from flask_rooms.membership.namespace import MembershipEvent, Origin
from flask_rooms.results import WorkerInfo
from flask_rooms.signals import joined, left, room_created, room_deleted, worker_gone

logger = logging.getLogger("flask_rooms.membership")

#: How many events may wait for receivers that do not return.
WAITING = 100_000


class SignalQueue:
    """
    Sends the signals of one application, one thread at a time.

    A receiver that raises or hangs delays no membership change and no other receiver. Each change
    is told in a context of the application of its own, outside any other context.

    Args:
        app: The sender of the signals; its context is pushed for the receivers.

    Attributes:
        failures: How many calls of receivers have raised an error.
        dropped: How many changes were not told, because receivers do not return.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._sending = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self.failures = 0
        self.dropped = 0
        self._warned = False

    def add(self, events: list[MembershipEvent], origin: Origin) -> bool:
        """Queue membership events; return whether there is something to send."""
        if not events or not (
            joined.receivers or left.receivers or room_created.receivers or room_deleted.receivers
        ):
            return False
        for event in events:
            self._add(partial(self._announce, event, origin))
        return True

    def add_gone(self, worker: WorkerInfo, said_goodbye: bool) -> bool:
        """Queue the end of another worker; return whether there is something to send."""
        if not worker_gone.receivers:
            return False
        about = {"worker": worker, "reason": "goodbye" if said_goodbye else "dead"}
        self._add(partial(self._send, worker_gone, about))
        return True

    def _add(self, announce: Callable[[], None]) -> None:
        if len(self._waiting) < WAITING:
            self._waiting.append(announce)
        else:
            self.dropped += 1  # flush() logs it: here the registry is locked

    @property
    def are_sent(self) -> bool:
        """Whether nothing waits, and no receiver is running."""
        return not self._waiting and not self._sending.locked()

    def flush(self) -> None:
        """Send what waits, unless another thread is sending."""
        self._warn_once()
        while self._waiting and self._sending.acquire(blocking=False):
            try:
                while self._waiting:
                    self._apart(self._waiting.popleft())
            finally:
                self._sending.release()

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self._sending = threading.Lock()
        self._waiting.clear()

    def _apart(self, announce: Callable[[], None]) -> None:
        # One context for each, as `flask.g` may hold what is about one socket.
        try:
            with self._app.app_context():
                announce()
        except BaseException:  # of the application, in a teardown
            logger.exception("The context of a signal's receivers could not be torn down.")

    def _announce(self, event: MembershipEvent, origin: Origin) -> None:
        about = {
            "namespace": event.namespace,
            "sid": event.sid,
            "user": event.user,
            "room": event.room,
            "reason": self._reason(event, origin),
            "worker": origin.worker,
            "by": origin.by or None,
        }
        if event.joined and event.edge:
            self._send(room_created, about)
        self._send(joined if event.joined else left, about)
        if event.edge and not event.joined:
            self._send(room_deleted, about)

    def _reason(self, event: MembershipEvent, origin: Origin) -> str:
        own = origin.by == event.sid and origin.reason in ("call", "remote")
        return "request" if own else origin.reason

    def _send(self, signal: NamedSignal, about: dict[str, Any]) -> None:
        for receiver in signal.receivers_for(self._app):
            try:
                receiver(self._app, **about)
            except BaseException:  # of the application, such as SystemExit; the others go on
                self.failures += 1
                logger.exception("A receiver of the signal %r has failed.", signal.name)

    def _warn_once(self) -> None:
        if self.dropped and not self._warned:
            self._warned = True
            logger.warning(
                "%d changes wait for receivers of signals that do not return: dropping signals.",
                WAITING,
            )
