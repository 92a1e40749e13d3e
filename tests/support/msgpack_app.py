"""The application of socketio_app.py, which speaks msgpack with its clients in place of JSON."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from flask_rooms import Rooms
from tests.support.socketio_app import add_handlers, make


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app, socketio = make(config), SocketIO(serializer="msgpack")
    Rooms(app, socketio)
    add_handlers(socketio)
    return app
