"""The application with which the tests of limits find out what a worker does at each of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from typing import Any

import flask_socketio
from flask import Blueprint, Flask, current_app, request

from flask_rooms import Refused, Rooms, signals, sockets

#: Seconds between two pings, for which python-engineio keeps a thread, and until one is overdue.
PING, PING_TIMEOUT = 2, 20

#: Seconds until what is held goes on by itself.
HELD = 60.0

bp = Blueprint("limits", __name__)

_gone: list[dict[str, Any]] = []
_left: list[str] = []
_handled: Counter[str] = Counter()
_gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def create_app(ping_timeout: float = PING_TIMEOUT, **config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", **config)
    app.register_blueprint(bp)
    rooms = Rooms(
        app,
        flask_socketio.SocketIO(
            max_http_buffer_size=10**7, ping_interval=PING, ping_timeout=ping_timeout
        ),
    )
    rooms.before_connect(_look_at_login)
    rooms.user_loader(lambda auth: auth.get("user") if isinstance(auth, dict) else None)
    rooms.after_disconnect(lambda reason, left: _gone.append({"sid": _sid(), "reason": reason}))
    signals.left.connect(_note, app)
    for namespace in ("/", "/chat", "/news"):
        rooms.socketio.on("connect", namespace=namespace)(_connect)
        rooms.socketio.on("disconnect", namespace=namespace)(_say_goodbye)
    rooms.socketio.on("large")(lambda size: "x" * size)
    rooms.socketio.on("hold")(_hold)
    rooms.socketio.on("echo")(lambda *args: list(args))
    return app


def _sid() -> str:
    return str(request.sid)  # type: ignore[attr-defined]  # in the context of a socket


def _look_at_login(auth: Any) -> None:
    if isinstance(auth, dict) and "expires_in" in auth:
        when = datetime.now(timezone.utc) + timedelta(seconds=auth["expires_in"])
        current_app.extensions["rooms"].login_expires(when)


def _connect(auth: Any = None) -> bool:
    if isinstance(auth, dict) and "hold" in auth:
        _hold(auth["hold"])
    return not (isinstance(auth, dict) and auth.get("refuse"))


def _say_goodbye(reason: str) -> None:
    _handled[f"disconnect: {reason}"] += 1


def _note(app: Flask, sid: str, **details: Any) -> None:
    _left.append(sid)


def _hold(gate: str) -> str:
    _handled[gate] += 1
    _gates[gate].wait(HELD)
    return gate


@bp.put("/join/<room>")
def join(room: str) -> dict[str, Any]:
    """Put the socket into a room."""
    try:
        return {"changed": sockets.join(request, room).result().changed}
    except Refused as error:
        return {"refused": error.sids}


@bp.post("/renew/<int:seconds>")
def renew(seconds: int) -> dict[str, Any]:
    """Let the login of the socket expire so many seconds from now."""
    current_app.extensions["rooms"].login_expires(time.time() + seconds)
    return {}


@bp.post("/say-volatile/<room>/<int:size>/<int:times>")
def say_volatile(room: str, size: int, times: int) -> dict[str, Any]:
    """Send an event of some size so many times, each only to those who have read everything."""
    for _ in range(times):
        sockets.broadcast(room, "x" * size, volatile=True)
    return {}


@bp.post("/say/<room>/<int:size>/<int:times>")
def say(room: str, size: int, times: int) -> dict[str, Any]:
    """Broadcast to a room."""
    for _ in range(times):
        sockets.broadcast(room, "x" * size)
    return {}


@bp.get("/large/<int:size>")
def large(size: int) -> str:
    """Answer at length."""
    _handled["large"] += 1
    return "x" * size


@bp.post("/release/<gate>")
def release(gate: str) -> dict[str, Any]:
    """Let what is held go on."""
    _gates[gate].set()
    return {}


@bp.get("/state")
def state() -> dict[str, Any]:
    """Say what there is, and what there was."""
    server = current_app.extensions["socketio"].server
    return {
        "sids": [sid for sid, _ in server.manager.get_participants("/", None)],
        "sessions": len(server.eio.sockets),
        "connections": sum(not one.closed for one in server.eio.sockets.values()),
        "websockets": sum(one.queue.transport is not None for one in server.eio.sockets.values()),
        "threads": threading.active_count(),
        "served": sum("process_request" in one.name for one in threading.enumerate()),
        "gone": _gone,
        "left": _left,
        "handled": dict(_handled),
        "refusals": dict(current_app.extensions["rooms"].refusals),
    }
