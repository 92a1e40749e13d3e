"""Keeps the database's list of connected sockets, as they come and go."""

from __future__ import annotations

from flask import Flask, request
from flask_socketio import ConnectionRefusedError, SocketIO

from example_app import people
from flask_rooms import sockets

LONGEST_NAME = 40  # characters


def init_app(app: Flask) -> None:
    """Listen to the application's sockets."""
    socketio: SocketIO = app.extensions["rooms"].socketio

    @socketio.on("connect")
    def connect(auth: object = None) -> None:
        user = people.connected(name_in(auth), sockets.get_id(request))
        people.announce()
        if len(user.connections) > 1:
            # Not here: a mute worker would keep the new socket waiting.
            socketio.start_background_task(forget_lost, app, user.id)

    @socketio.on("disconnect")
    def disconnect(*reason: object) -> None:
        people.forget([sockets.get_id(request)])
        people.announce()


def name_in(auth: object) -> str:
    """
    Return the name that a client gives itself when it connects; an example has no passwords.

    Args:
        auth: What the client sent: `{"name": ...}`, or nothing for a guest.

    Raises:
        ConnectionRefusedError: That is no name.
    """
    name = auth.get("name", "guest") if isinstance(auth, dict) else "guest"
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise ConnectionRefusedError(f"A name has 1 to {LONGEST_NAME} characters.")
    return name.strip()


def forget_lost(app: Flask, user_id: int) -> None:
    """Look after a person's sockets in the background."""
    with app.app_context():
        people.forget_lost(user_id)
        people.announce()
