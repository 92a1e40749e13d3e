"""The application of benchmarks/served.py, with Flask-Rooms or with Flask-SocketIO alone."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_socketio import SocketIO, join_room, leave_room

from flask_rooms import Rooms

#: The room that each client joins and leaves.
ROOM = "fun"


def create_app(rooms: bool, mode: str, **config: Any) -> Flask:
    """Return the application; both have the same route and the same event handlers."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the benchmarks", ROOMS_PACKETS_PER_SECOND=10**6, **config)
    app.add_url_rule("/echo", "echo", lambda: {"n": request.json["n"]}, methods=["PUT"])
    socketio = SocketIO(async_mode=mode)
    if rooms:
        Rooms(app, socketio)
    else:
        socketio.init_app(app)
    socketio.on_event("echo", lambda data: {"n": data["n"]})
    socketio.on_event("join", lambda: join_room(ROOM) or "joined")
    socketio.on_event("leave", lambda: leave_room(ROOM) or "left")
    return app
