"""An application with Flask-Rooms, as in its README."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from flask import Flask

from benchmarks.workers.driver import TEXT, Served, after
from flask_rooms import BackendUnavailable, Outcome, Rooms, sockets
from flask_rooms.globals import parts_of
from flask_rooms.protocol.messages import Room


def create(url: str, mode: str) -> Served:
    """Return the application; the process is already patched for its mode."""
    app = Flask("flask_rooms_worker")
    app.config["SECRET_KEY"] = "of the benchmarks"
    socketio = Rooms(app, backend_url=url).socketio

    def leave(sid: str, room: str) -> Future[Outcome]:
        return sockets.leave(sid, room)

    def broadcast(room: str) -> bool:
        try:
            sockets.broadcast(room, "news", TEXT)
        except BackendUnavailable:
            return False
        return True

    def on_left(tell: Callable[[str], None]) -> None:
        def left(namespace: str, sid: str, rooms: tuple[Room, ...]) -> None:
            for room in rooms:
                tell(str(room))

        # Not the signal `left`, which is sent later, in another thread. As nothing listens to
        # memberships here, this is what carries out each leave.
        after(parts_of(app).registry, "fast_leave", left)

    return Served(app, socketio, leave, broadcast, on_left)
