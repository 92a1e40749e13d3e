"""
The application of the workers under load.

Every call is timed at its caller. What becomes of a membership call is recorded here, too, by
its callback, which must be called exactly once whatever the caller waits for.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, current_app, request

from flask_rooms import BackendUnavailable, Rooms, Unconfirmed, sockets

#: The room of leaves that are made for their confirmation alone; it never has members.
NOWHERE = "nowhere"

bp = Blueprint("faults", __name__)


class Fates:
    """What became of the membership calls of this worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._numbers = itertools.count()
        self._repeated = 0

    def ask(self) -> Callable[[BaseException | None], None]:
        """Note a call, and return its callback."""
        with self._lock:
            self._open.add(number := next(self._numbers))
        return lambda error: self._called(number)

    def open(self) -> int:
        """Return how many calls have no outcome yet."""
        with self._lock:
            return len(self._open)

    def repeated(self) -> int:
        """Return how often a callback was called again, since the last time."""
        with self._lock:
            repeated, self._repeated = self._repeated, 0
            return repeated

    def _called(self, number: int) -> None:
        with self._lock:
            self._repeated += number not in self._open
            self._open.discard(number)


class Alarms(logging.Handler):
    """Keeps what is logged as an error: nothing should be."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, and what has been raised."""
        error = record.exc_info[1] if record.exc_info else None
        self._messages.append(f"{record.name}: {record.getMessage()} {error!r}")

    def take(self) -> list[str]:
        """Return what was logged since the last time."""
        messages, self._messages = self._messages, []
        return messages


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", **config)
    app.register_blueprint(bp)
    app.extensions["fates"] = Fates()
    app.extensions["alarms"] = alarms = Alarms()
    logging.getLogger().addHandler(alarms)
    logging.getLogger("flask_rooms").addHandler(logging.NullHandler())  # warnings are expected
    Rooms(app)
    return app


@bp.post("/change")
def change() -> dict[str, Any]:
    """
    Join or leave, and wait for the outcome.

    Right behind a leave the room is spoken to, without waiting: what one caller says after its own
    leave must not reach the socket.
    """
    data = request.get_json()
    move = sockets.join if data["action"] == "join" else sockets.leave
    called = current_app.extensions["fates"].ask()
    began = time.monotonic()
    try:
        future = move(data["sid"], data["room"], called)
    except BackendUnavailable as error:
        called(error)
        return {"fate": "unavailable", "block": time.monotonic() - began}
    block = time.monotonic() - began
    if data["action"] == "leave":
        block = max(block, _say(data["room"], "behind", data["sid"])["block"])
    try:
        outcome = future.result()
    except Unconfirmed:
        return {"fate": "unconfirmed", "block": block}
    figures = [outcome.changed, outcome.unchanged, len(outcome.unknown)]
    return {"fate": "confirmed", "block": block, "figures": figures}


@bp.post("/say")
def say() -> dict[str, Any]:
    """Broadcast."""
    data = request.get_json()
    return _say(data["room"], data["event"], *data["args"])


@bp.post("/memberships")
def memberships() -> dict[str, Any]:
    """Say where sockets of this worker are members, and what it is called after that."""
    manager = current_app.extensions["rooms_parts"].socketio.server.manager
    rooms = {sid: manager.get_rooms(sid, "/") for sid in request.get_json()["sids"]}
    return {"rooms": rooms, "name": current_app.extensions["rooms_parts"].cluster.name}


@bp.post("/state")
def state() -> dict[str, Any]:
    """Say what this worker is called at present, and how many of its calls have no outcome."""
    fates: Fates = current_app.extensions["fates"]
    return {"name": current_app.extensions["rooms_parts"].cluster.name, "open": fates.open()}


@bp.post("/complaints")
def complaints() -> dict[str, Any]:
    """Say what there is to complain about since the last time."""
    dropped: Counter[str] = current_app.extensions["rooms_parts"].cluster.dropped
    fates: Fates = current_app.extensions["fates"]
    alarms: Alarms = current_app.extensions["alarms"]
    answer = {"dropped": dict(dropped), "repeated": fates.repeated(), "errors": alarms.take()}
    dropped.clear()
    return answer


def _say(room: str, event: str, *args: Any) -> dict[str, Any]:
    began = time.monotonic()
    try:
        sockets.broadcast(room, event, args)
    except BackendUnavailable:
        return {"fate": "unavailable", "block": time.monotonic() - began}
    return {"fate": "sent", "block": time.monotonic() - began}
