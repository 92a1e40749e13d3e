"""The application that is fuzzed: a route, handler or hook of each kind, and what it all costs."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

import flask_socketio
from flask import Blueprint, Flask, Response, current_app, g, redirect, request, session

from flask_rooms import Rooms, RoomsError, signals, sockets

#: Seconds between two pings.
PING = 2

#: Seconds to wait for another worker, on a machine that has something better to do.
CONFIRM = 120.0

#: Bytes of a body, and of a message.
CONTENT, MESSAGE = 100_000, 1_000_000

bp = Blueprint("fuzz", __name__)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app(log: str = "", ping_timeout: float = 20, **config: Any) -> Flask:
    """Return the application; what the process says goes to the file *log*."""
    if log:
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), sys.stderr.fileno())
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="of the tests",
        MAX_CONTENT_LENGTH=CONTENT,
        ROOMS_CONNECT_TIMEOUT=2,
        ROOMS_CONFIRM_TIMEOUT=CONFIRM,
        **config,
    )
    app.register_blueprint(bp)
    socketio = flask_socketio.SocketIO(
        max_http_buffer_size=MESSAGE, ping_interval=PING, ping_timeout=ping_timeout
    )
    rooms = Rooms(app, socketio)
    rooms.before_connect(lambda auth: auth != {"refuse": True})
    rooms.after_disconnect(lambda reason, left: None)
    rooms.user_loader(lambda auth: session.get("user"))
    rooms.guard("secret:<name>")(lambda name: False)
    signals.joined.connect(_note, app)
    for namespace in ("/", "/chat"):
        socketio.on("connect", namespace=namespace)(lambda auth=None: None)
        socketio.on("disconnect", namespace=namespace)(lambda reason: None)
        socketio.on("echo", namespace=namespace)(lambda *args: list(args))
    return app


def _note(app: Flask, **details: Any) -> None:
    """Receive a signal."""
    g.noted = True


@bp.errorhandler(RoomsError)
def refuse(error: RoomsError) -> tuple[dict[str, str], int]:
    """Answer that a call of `sockets` was refused."""
    return {"error": str(error)}, 400


@bp.get("/me")
def me() -> dict[str, Any]:
    """Say whose request it is."""
    return {"sid": request.sid, "user": session.get("user")}  # type: ignore[attr-defined]


@bp.route("/echo", methods=METHODS)
@bp.route("/echo/<path:path>", methods=METHODS)
def echo(path: str = "") -> dict[str, Any]:
    """Say what has arrived."""
    return {"args": request.args.to_dict(flat=False), "json": request.get_json(silent=True)}


@bp.route("/join/<room>", methods=METHODS)
def join(room: str) -> dict[str, Any]:
    """Put the socket into a room."""
    return {"changed": sockets.join(request, room).result().changed}


@bp.route("/leave/<room>", methods=METHODS)
def leave(room: str) -> dict[str, Any]:
    """Take it out of one."""
    return {"changed": sockets.leave(request, room).result().changed}


@bp.post("/release/<sid>/<room>")
def release(sid: str, room: str) -> dict[str, Any]:
    """Take any socket, also one of another worker, out of a room."""
    outcome = sockets.leave(sid, room).result()
    return {"known": not outcome.unknown}


@bp.route("/say/<room>", methods=METHODS)
def say(room: str) -> dict[str, Any]:
    """Tell the members what has arrived."""
    sockets.broadcast(room, "said", request.get_json(silent=True))
    return {}


@bp.route("/session", methods=METHODS)
def write_session() -> dict[str, Any]:
    """Write into the session."""
    session["last"] = request.path
    session.modified = True
    return dict(session)


@bp.route("/login", methods=METHODS)
def login() -> dict[str, Any]:
    """Let the session have a user, or none."""
    if session.pop("user", None) is None:
        session["user"] = "ada"
    return {}


@bp.route("/upload", methods=METHODS)
def upload() -> dict[str, Any]:
    """Read the body in every way."""
    return {"size": len(request.get_data()), "form": len(request.form), "files": len(request.files)}


@bp.get("/large/<int:size>")
def large(size: int) -> str:
    """Answer at length."""
    return "x" * size


@bp.get("/stream")
def stream() -> Response:
    """Answer piece by piece."""

    def pieces() -> Iterator[bytes]:
        yield from [b"piece"] * 10

    return Response(pieces())


@bp.get("/away")
def away() -> Any:
    """Answer with a redirection."""
    return redirect("/me")


@bp.get("/figures")
def figures() -> dict[str, int]:
    """Say what this process has, once it has thrown away what it does not need."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # else what is free counts as used
        trim(0)
    server = current_app.extensions["socketio"].server
    return {
        "memory": _status("VmRSS"),
        "threads": _status("Threads") + _greenlets(),
        "files": len(os.listdir("/proc/self/fd")),
        "connections": sum(not one.closed for one in list(server.eio.sockets.values())),
        "sockets": sum(1 for name in ("/", "/chat") for _ in _participants(server, name)),
    }


def _participants(server: Any, namespace: str) -> Iterator[Any]:
    try:
        yield from server.manager.get_participants(namespace, None)
    except KeyError:  # nobody has connected yet
        return


def _status(name: str) -> int:
    """Return a number of /proc; memory is in KiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def _greenlets() -> int:
    """Return how many green threads have begun and have not ended."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return 0
    # Not isinstance(): some proxies raise when they are asked for their class.
    kinds = [one for one in gc.get_objects() if issubclass(type(one), greenlet.greenlet)]
    return sum(bool(one) for one in kinds)
