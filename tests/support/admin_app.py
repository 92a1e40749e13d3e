"""The application of socketio_app.py, instrumented for the Admin UI."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from flask_rooms import Rooms
from tests.support.socketio_app import add_handlers, make

LOGIN = {"username": "admin", "password": "of the tests"}

#: Bytes; small, so that a report can be too large for a message without taking long.
MESSAGE_BYTES = 20_000


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app, socketio = make({"ROOMS_MESSAGE_BYTES": MESSAGE_BYTES, **config}), SocketIO()
    Rooms(app, socketio)
    add_handlers(socketio)
    socketio.server.instrument(auth=LOGIN, server_stats_interval=0.1)
    return app
