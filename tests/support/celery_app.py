"""Celery tasks that look at and change rooms, for a Celery worker beside the web workers."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

from celery import Celery

from flask_rooms import sockets
from tests.support.outside_app import app, cluster, rooms

URL = app.config["ROOMS_BACKEND_URL"]

celery = Celery("tests", broker=URL, backend=URL)
celery.conf.update(
    broker_connection_retry_on_startup=True,
    task_default_queue=app.config["ROOMS_CHANNEL"],  # and so no other test's
    worker_cancel_long_running_tasks_on_connection_loss=True,
)


@celery.task(name="leave")
def leave(sid: str, room: str) -> dict[str, Any]:
    """Take a socket out of a room, in a context as Flask's documentation has it."""
    with app.app_context():
        return asdict(sockets.leave(sid, room).result())


@celery.task(name="leave_all")
def leave_all(room: str) -> dict[str, Any]:
    """Take the members of a room out of all rooms."""
    return asdict(rooms.sockets.leave_all(room).result())


@celery.task(name="members")
def members(room: str) -> list[str]:
    """Return the socket IDs of a room, of which none may be missing."""
    answer = rooms.sockets.members(room)
    assert answer.complete, answer
    return sorted(answer.value)


@celery.task(name="broadcast")
def broadcast(room: str, data: Any) -> None:
    """Say something to a room."""
    rooms.sockets.broadcast(room, data)


@celery.task(name="name")
def name() -> str:
    """Return the name of the worker that runs this."""
    return str(cluster.name)


@celery.task(name="hang")
def hang() -> None:
    """Join, and run until the process is ended."""
    cluster.start()
    threading.Event().wait(60)
