"""Handlers that record connected sockets in the database."""

from __future__ import annotations

from flask import Flask
from flask_socketio import ConnectionRefusedError, SocketIO

from example_app import people
from flask_rooms import request, sockets

LONGEST_NAME = 40  # characters


def init_app(app: Flask) -> None:
    """Register the handlers."""
    socketio: SocketIO = app.extensions["rooms"].socketio

    @socketio.on("connect")
    def connect(auth: object = None) -> None:
        user = people.add_connection(name_in(auth), sockets.get_id(request))
        people.announce()
        if len(user.connections) > 1:
            # In the background: a worker that does not respond would delay the new socket.
            socketio.start_background_task(forget_lost, app, user.id)

    @socketio.on("disconnect")
    def disconnect(*reason: object) -> None:
        people.forget([sockets.get_id(request)])
        people.announce()


def name_in(auth: object) -> str:
    """
    Return the name in the `auth` of a client; the example has no passwords.

    Args:
        auth: `{"name": ...}`, or anything else for a guest.

    Raises:
        ConnectionRefusedError: The name is not valid.
    """
    name = auth.get("name", "guest") if isinstance(auth, dict) else "guest"
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise ConnectionRefusedError(f"A name has 1 to {LONGEST_NAME} characters.")
    return name.strip()


def forget_lost(app: Flask, user_id: int) -> None:
    """Delete the lost sockets of a user, in the background."""
    with app.app_context():
        people.forget_lost(user_id)
        people.announce()
