"""An application with Flask-SocketIO and a message queue, as in its documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import socketio
from flask import Flask
from flask_socketio import SocketIO, leave_room

from benchmarks.workers.driver import TEXT, Served, after


def create(url: str, mode: str, manager: str) -> Served:
    """
    Return the application.

    Args:
        url: The URL of the message queue.
        mode: The asynchronous mode.
        manager: `message_queue`, which selects RedisManager for redis:// and KombuManager for
            amqp://; or `kombu`, which always selects KombuManager.
    """
    app = Flask("python_socketio_worker")
    app.config["SECRET_KEY"] = "of the benchmarks"
    if manager == "kombu":
        options: dict[str, Any] = {"client_manager": socketio.KombuManager(url)}
    else:
        options = {"message_queue": url}
    extension = SocketIO(app, async_mode=mode, **options)

    def leave(sid: str, room: str) -> None:
        leave_room(room, sid=sid, namespace="/")

    def broadcast(room: str) -> bool:
        extension.emit("news", TEXT, to=room)
        return True

    def on_left(tell: Callable[[str], None]) -> None:
        after(
            extension.server.manager,
            "basic_leave_room",
            lambda sid, namespace, room: tell(room),
        )

    return Served(app, extension, leave, broadcast, on_left)
