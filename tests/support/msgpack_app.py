"""The application of socketio_app.py, which speaks msgpack with its clients in place of JSON."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from flask_socketio import SocketIO

from flask_rooms import Rooms, sockets
from tests.support.socketio_app import add_handlers, make


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app, socketio = make(config), SocketIO(serializer="msgpack")
    rooms = Rooms(app, socketio)
    add_handlers(socketio)

    # Lists of pairs, as no client can send a dictionary with such keys as it is.
    socketio.on("ask keys")(lambda room, pairs: ask(room, pairs))
    socketio.on("call keys")(lambda sid, pairs: socketio.call("keys", dict(pairs), to=sid))
    socketio.on("send keys")(lambda room, pairs: sockets.broadcast(room, "keys", dict(pairs)))
    socketio.on("tell keys")(lambda pairs: rooms.tell("keys", dict(pairs)).result() and None)
    rooms.on_tell("keys")(lambda data: socketio.emit("told", data, ignore_queue=True))
    app.add_url_rule("/echo", view_func=lambda: {"got": request.json}, methods=["PUT"])
    return app


def ask(room: str, pairs: Any) -> Any:
    """Return what the members of a room answer."""
    return [*sockets.ask(room, "keys", dict(pairs)).result().answers.values()]
