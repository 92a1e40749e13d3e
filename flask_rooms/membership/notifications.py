"""Sends the signals of one application, in the order in which things happened."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from blinker import NamedSignal
from flask import Flask

from flask_rooms.membership.namespace import MembershipEvent, Origin
from flask_rooms.signals import joined, left, room_created, room_deleted

logger = logging.getLogger("flask_rooms")

_ALL = (room_created, joined, left, room_deleted)

#: How many changes may wait for receivers that do not come back.
WAITING = 100_000


class SignalQueue:
    """
    Sends the signals of one application, in the order in which things happened.

    Whoever has something to announce announces everything that waits, unless somebody is at it
    already; the thread that listens to the other workers leaves it to one in the background.
    A receiver that raises or hangs holds up no membership change, and no other receiver.

    Args:
        app: The sender of the signals; its context is pushed for the receivers.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._sending = threading.Lock()
        self._waiting: deque[tuple[MembershipEvent, Origin]] = deque()
        self._dropped = 0

    @property
    def waits(self) -> bool:
        """Whether there is something to send()."""
        return bool(self._waiting)

    def add(self, moved: Iterable[MembershipEvent], origin: Origin) -> None:
        """Note what has happened."""
        if not any(signal.receivers for signal in _ALL):
            return
        for one in moved:
            if len(self._waiting) < WAITING:
                self._waiting.append((one, origin))
            else:
                self._drop()

    def send(self) -> None:
        """Send what waits, unless somebody else is doing so."""
        while self._waiting and self._sending.acquire(blocking=False):
            try:
                with self._app.app_context():
                    while self._waiting:
                        self._announce(*self._waiting.popleft())
            finally:
                self._sending.release()

    def forked(self) -> None:
        """Begin afresh in a forked child."""
        self._sending = threading.Lock()
        self._waiting.clear()

    def _announce(self, moved: MembershipEvent, origin: Origin) -> None:
        about = {
            "namespace": moved.namespace,
            "sid": moved.sid,
            "user": moved.user,
            "room": moved.room,
            "reason": self._reason(moved, origin),
            "worker": origin.worker,
            "by": origin.by or None,
        }
        if moved.joined and moved.edge:
            self._send(room_created, about)
        self._send(joined if moved.joined else left, about)
        if moved.edge and not moved.joined:
            self._send(room_deleted, about)

    def _reason(self, moved: MembershipEvent, origin: Origin) -> str:
        own = origin.by == moved.sid and origin.reason in ("call", "remote")
        return "request" if own else origin.reason

    def _send(self, signal: NamedSignal, about: dict[str, Any]) -> None:
        for receiver in signal.receivers_for(self._app):
            try:
                receiver(self._app, **about)
            except Exception:  # the application's own, and no business of the other receivers
                logger.exception("A receiver of the signal %r has failed.", signal.name)

    def _drop(self) -> None:
        self._dropped += 1
        if self._dropped == 1:
            logger.warning(
                "%d changes wait for receivers of signals that do not return: dropping signals.",
                WAITING,
            )
