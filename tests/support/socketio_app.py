"""
An application as Flask-SocketIO's users write it, with that library's own calls alone.

Clients drive it: each handler makes one call with the arguments of the event.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flask_socketio
from flask import Blueprint, Flask
from flask import request as flask_request
from flask_socketio import Namespace, SocketIO, close_room, emit, join_room, leave_room

from flask_rooms import Rooms
from flask_rooms.backends import Backend

TIMEOUT = 20.0  # seconds for a client's answer

request: Any = flask_request  # to which Flask-SocketIO adds `sid`
bp = Blueprint("classic", __name__)


def create_app(backend: Backend | None = None, **config: Any) -> Flask:
    """Return the application."""
    app, socketio = make(config), SocketIO()
    Rooms(app, socketio, backend=backend)
    add_handlers(socketio)
    return app


def make(config: dict[str, Any]) -> Flask:
    """Return the application without its Socket.IO server."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", **config)
    app.register_blueprint(bp)
    return app


def add_handlers(socketio: SocketIO) -> None:
    """Register the handlers of both namespaces."""
    socketio.on_namespace(Chat("/chat"))
    for event, handler in {
        "join": join,
        "leave": leave,
        "rooms": rooms,
        "close": close,
        "say": say,
        "send": send_message,
        "ask and wait": ask_and_wait,
        "kick": kick,
        "connect": greet,
        "disconnect": goodbye,
        "fail": fail,
    }.items():
        socketio.on_event(event, handler)
    socketio.on_error_default(lambda error: ["failed", str(error)])
    socketio.on_error("/chat")(lambda error: ["failed in chat", str(error)])

    @socketio.on("ask")
    def ask(sid: str, *question: Any) -> None:
        caller = request.sid
        socketio.emit(
            "question",
            question,
            to=sid,
            callback=lambda *answer: socketio.emit("answer", answer, to=caller),
        )

    @socketio.on("call")
    def call(sid: str, *question: Any) -> Any:
        return socketio.call("question", question, to=sid, timeout=TIMEOUT)

    @socketio.on("socketio")
    def of_socketio(method: str, *args: Any, **options: Any) -> Any:
        """Call a method of Flask-SocketIO's extension; its options are the last argument."""
        return getattr(socketio, method)(*args[:-1], **args[-1])

    @socketio.on("server")
    def of_server(method: str, *args: Any) -> Any:
        """Call a method of python-socketio's server; its options are the last argument."""
        return getattr(socketio.server, method)(*args[:-1], **args[-1])

    @socketio.on("in background")
    def in_background(text: str) -> str:
        socketio.start_background_task(tell_everybody, text)
        return "started"

    def tell_everybody(text: str) -> None:
        socketio.sleep(0)
        socketio.emit("said", text)


def join(room: Any, sid: str | None = None) -> str:
    """Put a socket into a room."""
    join_room(room, sid=sid)
    return "done"


def leave(room: Any, sid: str | None = None) -> str:
    """Take a socket out of a room."""
    leave_room(room, sid=sid)
    return "done"


def rooms() -> list[Any]:
    """Say in which rooms the asking socket is."""
    return list(flask_socketio.rooms())


def close(room: Any) -> str:
    """Take all members out of a room."""
    close_room(room)
    return "done"


def say(options: dict[str, Any], *data: Any) -> str:
    """Send *data* with the options of `emit`."""
    emit("said", data, **options)
    return "done"


def send_message(options: dict[str, Any], message: Any) -> str:
    """Send *message* with the options of `send`."""
    flask_socketio.send(message, **options)
    return "done"


def ask_and_wait(question: Any, options: dict[str, Any]) -> Any:
    """Return the answer of a socket: the caller's own, unless the options name another."""
    return flask_socketio.call("question", question, timeout=TIMEOUT, **options)


def fail(reason: str) -> None:
    """Raise an error."""
    raise ValueError(reason)


def greet(auth: Any) -> bool | None:
    """Refuse a client that asks for that, with a reason or without."""
    if auth == {"refuse": "with a reason"}:
        raise flask_socketio.ConnectionRefusedError("The reason.", 42)
    return False if auth == {"refuse": "without"} else None


def kick(sid: str) -> str:
    """Disconnect a socket."""
    flask_socketio.disconnect(sid)
    return "done"


def watchers(sid: str) -> str:
    """Return the room whose members are told when this socket disconnects."""
    return f"watchers of {sid}"


def goodbye(*reason: Any) -> None:
    """Send those who watch this socket its ID, and its rooms."""
    rooms = sorted(flask_socketio.rooms(), key=str)
    emit("gone", (request.sid, rooms), to=watchers(request.sid))


class Chat(Namespace):
    """A namespace as a class."""

    def on_join(self, room: str) -> list[Any]:
        """Put the asking socket into a room, and return all that it is in."""
        join_room(room)
        return list(flask_socketio.rooms())

    def on_leave(self, room: str, sid: str) -> str:
        """Take a socket out of a room."""
        leave_room(room, sid=sid)
        return "done"

    def on_say(self, room: str, text: str) -> str:
        """Say something to a room of this namespace."""
        self.emit("said", text, room=room)
        return "done"

    def on_send(self, room: str, text: str) -> str:
        """Say something to a room of this namespace, and not to oneself."""
        self.send(text, room=room, include_self=False)
        return "done"

    def on_close(self, room: str) -> str:
        """Take all members out of a room."""
        self.close_room(room)
        return "done"

    def on_ask(self, sid: str, question: str) -> None:
        """Ask a socket, and send its answer to the caller."""
        caller = request.sid
        tell = partial(self.emit, "answer", room=caller)
        self.emit("question", question, room=sid, callback=lambda *answer: tell(answer))

    def on_fail(self, reason: str) -> None:
        """Raise an error."""
        raise ValueError(reason)


# The same calls inside of Flask routes, which sockets reach by socket requests.


@bp.put("/rooms/<room>")
def join_by_request(room: str) -> dict[str, Any]:
    """Put the caller's socket into a room, and confirm that."""
    join_room(room)
    emit("joined", room)
    return {"rooms": list(flask_socketio.rooms())}


@bp.post("/rooms/<room>")
def say_by_request(room: str) -> dict[str, Any]:
    """Send something to the other members of a room."""
    emit("said", "by request", to=room, include_self=False)
    return {}


@bp.delete("/rooms/<room>")
def leave_by_request(room: str) -> dict[str, Any]:
    """Take the asking socket out of a room."""
    leave_room(room)
    return {"rooms": list(flask_socketio.rooms())}
