"""The application that the tests of socket requests drive over real connections."""

from __future__ import annotations

import gc
import logging
import math
import os
import socket
import threading
from collections import Counter, defaultdict
from typing import Any

import flask_socketio
from flask import Blueprint, Flask, Response, current_app, request, session

from flask_rooms import Rooms, sockets
from flask_rooms.membership.namespace import Socket
from flask_rooms.socket_requests.serial_queue import SerialQueue

#: How many requests of one socket may wait here, and how many bytes.
WAITING = 5
WAITING_BYTES = 200_000

#: How much of a body is allowed, and how large a message may be. Bytes.
CONTENT = 100_000
MESSAGE = 11_000_000

#: Seconds until what is held goes on by itself.
HELD = 60.0

#: The packages whose objects a request is made of.
STACK = ("flask", "werkzeug", "socketio", "engineio", "http", "urllib", "email")

bp = Blueprint("requests", __name__)


class _Warnings(logging.Handler):
    """Keeps what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        _warnings.append(record.getMessage())


_warnings: list[str] = []
_notes: list[Any] = []
_gone: list[dict[str, Any]] = []
_runs: Counter[str] = Counter()
_gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="of the tests",
        MAX_CONTENT_LENGTH=CONTENT,
        ROOMS_WAITING_REQUESTS=WAITING,
        ROOMS_WAITING_REQUEST_BYTES=WAITING_BYTES,
        ROOMS_WAITING_TIMEOUT=float(os.environ.get("WAITING_TIMEOUT", "0.2")),
        **config,
    )
    app.register_blueprint(bp)
    logging.getLogger("flask_rooms").addHandler(_Warnings())
    rooms = Rooms(app, flask_socketio.SocketIO(max_http_buffer_size=MESSAGE))
    rooms.before_connect(before_connect)
    rooms.after_disconnect(after_disconnect)
    rooms.socketio.on("connect", namespace="/chat")(lambda: None)
    rooms.socketio.on("echo")(lambda *args: list(args))
    return app


def before_connect(auth: Any) -> bool | None:
    """Refuse a client in the way that it asks for."""
    way = auth.get("refuse") if isinstance(auth, dict) else None
    if way == "reason":
        raise flask_socketio.ConnectionRefusedError("Not on a Sunday.", {"opens": "Monday"})
    if way == "unsendable":
        raise flask_socketio.ConnectionRefusedError("Not on a Sunday.", {"not", "JSON"})
    if way == "bytes":
        raise flask_socketio.ConnectionRefusedError("Not on a Sunday.", b"no JSON")
    if way == "no number":
        raise flask_socketio.ConnectionRefusedError("Not on a Sunday.", math.inf)
    if way == "plainly":
        raise ConnectionRefusedError("Not on a Sunday.")
    if way == "error":
        raise RuntimeError("a secret")
    return False if way == "no" else None


def after_disconnect(reason: str, rooms: frozenset[Any]) -> None:
    """Remember how it ended."""
    _gone.append({"session": dict(session), "rooms": sorted(rooms), "reason": reason})


@bp.get("/gone")
def gone() -> list[Any]:
    """Say which sockets have ended, and how."""
    return _gone


@bp.post("/join/<room>")
def join(room: str) -> dict[str, Any]:
    """Put the socket into a room."""
    sockets.join(request, room)
    return {}


@bp.route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@bp.route("/echo/<path:path>", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def echo(path: str = "") -> dict[str, Any]:
    """Say what has arrived."""
    return {
        "path": path,
        "query": request.args.to_dict(flat=False),
        "json": request.get_json(silent=True),
        "size": len(request.get_data()),
    }


@bp.get("/sids")
def sids() -> list[Any]:
    """Say which sockets are here."""
    manager = current_app.extensions["socketio"].server.manager
    return [sid for sid, _ in manager.get_participants("/", None)]


@bp.get("/connections")
def connections() -> list[int]:
    """Say how many connections of Engine.IO there are."""
    return [len(current_app.extensions["socketio"].server.eio.sockets)]


@bp.get("/refusals")
def refusals() -> dict[str, int]:
    """Say which limits were reached, and how often."""
    return dict(current_app.extensions["rooms"].refusals)


@bp.get("/warnings")
def warnings() -> list[str]:
    """Say what was logged."""
    return _warnings


@bp.get("/delay")
def delay() -> list[bool]:
    """Say whether what is sent to the socket waits for an acknowledgement of TCP."""
    server = current_app.extensions["socketio"].server
    eio_sid = server.manager.eio_sid_from_sid(request.sid, "/")  # type: ignore[attr-defined]
    tcp = server.eio.sockets[eio_sid].queue.transport.socket
    return [not tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)]


@bp.put("/mirror")
def mirror() -> Response:
    """Answer with what has arrived, as what it is."""
    return Response(request.get_data(), mimetype=request.mimetype)


@bp.post("/note")
def note() -> list[Any]:
    """Remember what comes, in the order in which it comes."""
    _notes.append(request.get_json())
    return _notes


@bp.get("/notes")
def notes() -> list[Any]:
    """Say what was noted so far."""
    return _notes


@bp.post("/hold/<name>")
def hold(name: str) -> list[Any]:
    """Return when *name* is released, and record that."""
    _runs[name] += 1
    _gates[name].wait(HELD)
    _notes.append(name)
    return _notes


@bp.post("/release/<name>")
def release(name: str) -> dict[str, Any]:
    """Let the held requests continue."""
    _gates[name].set()
    return {}


@bp.get("/runs/<name>")
def runs(name: str) -> list[int]:
    """Say how often something of this name has run."""
    return [_runs[name]]


@bp.get("/large/<name>/<int:size>")
def large(name: str, size: int) -> str:
    """Answer at length."""
    _runs[name] += 1
    return "x" * size


@bp.put("/session")
def put_session() -> dict[str, Any]:
    """Write into the session."""
    session.update(request.get_json())
    return dict(session)


@bp.post("/count")
def count() -> dict[str, int]:
    """Count in the session, as a write that is easily lost: read, wait, write."""
    number = session.get("count", 0)
    threading.Event().wait(0.001)
    session["count"] = number + 1
    return {"count": number + 1}


@bp.get("/objects")
def objects() -> dict[str, Any]:
    """Count what is in memory."""
    gc.collect()
    everything = gc.get_objects()
    return {
        "all": len(everything),
        "ours": Counter(
            f"{type(one).__module__}.{type(one).__qualname__}"
            for one in everything
            if str(type(one).__module__).startswith(STACK)
        ),
        "queues": sum(isinstance(one, SerialQueue) for one in everything),
        "sockets": sum(isinstance(one, Socket) for one in everything),
        "kilobytes": _resident() // 1024,
    }


def _resident() -> int:
    """Return how much memory this process has, in bytes; 0 where that cannot be known."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
