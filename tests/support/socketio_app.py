"""
An application as Flask-SocketIO's users write it, with that library's own calls alone.

Clients drive it: each handler makes one call with the arguments of the event.
"""

from __future__ import annotations

from typing import Any

import flask_socketio
from flask import Blueprint, Flask
from flask import request as flask_request
from flask_socketio import Namespace, SocketIO, close_room, emit, join_room, leave_room

from flask_rooms import Rooms
from flask_rooms.backends import Backend

TIMEOUT = 20.0  # seconds for a client's answer

#: The room in which is said who has gone.
WATCHERS = "watchers"

request: Any = flask_request  # to which Flask-SocketIO adds `sid`
bp = Blueprint("classic", __name__)


def create_app(backend: Backend | None = None, **config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", **config)
    app.register_blueprint(bp)
    socketio = SocketIO()
    Rooms(app, socketio, backend=backend)
    add_handlers(socketio)
    socketio.on_namespace(Chat("/chat"))
    return app


def add_handlers(socketio: SocketIO) -> None:
    """Register the handlers of the namespace "/"."""
    for event, handler in {
        "join": join,
        "leave": leave,
        "rooms": rooms,
        "close": close,
        "say": say,
        "kick": kick,
        "disconnect": goodbye,
    }.items():
        socketio.on_event(event, handler)

    @socketio.on("ask")
    def ask(sid: str, *question: Any) -> None:
        asker = request.sid
        socketio.emit(
            "question",
            question,
            to=sid,
            callback=lambda *answer: socketio.emit("answer", answer, to=asker),
        )

    @socketio.on("call")
    def call(sid: str, *question: Any) -> Any:
        return socketio.call("question", question, to=sid, timeout=TIMEOUT)


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
    """Take everybody out of a room."""
    close_room(room)
    return "done"


def say(options: dict[str, Any], *data: Any) -> str:
    """Say *data* as the options of `emit` tell."""
    emit("said", data, **options)
    return "done"


def kick(sid: str) -> str:
    """Disconnect a socket."""
    flask_socketio.disconnect(sid)
    return "done"


def goodbye(*reason: Any) -> None:
    """Tell the watchers who has gone, and which rooms that socket was in."""
    emit("gone", (request.sid, sorted(flask_socketio.rooms(), key=str)), to=WATCHERS)


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


# The same calls inside of Flask routes, which sockets reach by socket requests.


@bp.put("/rooms/<room>")
def join_by_request(room: str) -> dict[str, Any]:
    """Put the asking socket into a room, and tell it so."""
    join_room(room)
    emit("joined", room)
    return {"rooms": list(flask_socketio.rooms())}


@bp.post("/rooms/<room>")
def say_by_request(room: str) -> dict[str, Any]:
    """Say something to everybody else in a room."""
    emit("said", "by request", to=room, include_self=False)
    return {}


@bp.delete("/rooms/<room>")
def leave_by_request(room: str) -> dict[str, Any]:
    """Take the asking socket out of a room."""
    leave_room(room)
    return {"rooms": list(flask_socketio.rooms())}
