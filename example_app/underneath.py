"""What happens underneath: the workers, and how long their confirmations took. A room, too."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flask import Blueprint, Flask, current_app
from flask.typing import ResponseReturnValue

from example_app.access import current_user
from flask_rooms import Outcome, RoomsError, request, sockets
from flask_rooms.api.overview import overview
from flask_rooms.globals import parts_of
from flask_rooms.results import WorkerInfo
from flask_rooms.signals import joined, left, worker_gone

#: The room of the pages that show it.
ROOM = "panel:underneath"
TIMEOUT = 0.5  # seconds to wait for the other workers

bp = Blueprint("underneath", __name__)


@bp.get("/underneath")
def workers() -> ResponseReturnValue:
    """Return the workers, and how many milliseconds they took to answer; the page gets news."""
    current_user()
    sockets.join(request, ROOM).result()
    began = time.perf_counter()
    # What the admin page shows as well; `sockets.workers()` has the names alone.
    answer = overview(parts_of(current_app).cluster, TIMEOUT)
    workers = sorted(answer.workers.items())
    return {
        "milliseconds": milliseconds_since(began),
        "workers": [{**as_json(worker), "numbers": numbers} for worker, numbers in workers],
        "missing": [as_json(one) for one in sorted(answer.missing)],
        "complete": answer.complete,
        "controls": "CONTROLS" in current_app.config,
    }


def confirmed(what: str, call: Callable[[], Future[Outcome]]) -> Outcome:
    """Make a call, wait until all workers have confirmed it, and show how long it took."""
    began = time.perf_counter()
    try:
        outcome = call().result()
    except RoomsError as error:
        show(f"{what}: {error}", milliseconds_since(began), failed=True)
        raise
    show(f"{what}: {outcome.changed} removed, confirmed", milliseconds_since(began))
    return outcome


def init_app(app: Flask) -> None:
    """Receive the signals of one application."""
    joined.connect(on_joined, app)
    left.connect(on_left, app)
    worker_gone.connect(on_worker_gone, app)


def on_joined(app: Flask, sid: str, room: str, user: str | None, **about: Any) -> None:
    """Show who has joined a room."""
    if room not in (sid, ROOM):
        show(f"{user or 'Someone'} joined {room}")


def on_left(app: Flask, sid: str, room: str, user: str | None, reason: str, **about: Any) -> None:
    """Show who has left a room, and why."""
    if room not in (sid, ROOM):
        show(f"{user or 'Someone'} left {room} ({reason})")


def on_worker_gone(app: Flask, worker: WorkerInfo, reason: str, **about: Any) -> None:
    """Show that a worker is gone: its sockets, which are gone with it, send no signals."""
    show(f"{worker.description} is gone ({reason})", failed=True)


def show(text: str, milliseconds: float | None = None, *, failed: bool = False) -> None:
    """Show a line on all pages that look underneath."""
    news = {"at": time.time(), "text": text, "milliseconds": milliseconds, "pid": os.getpid()}
    sockets.broadcast(ROOM, "underneath", {**news, "failed": failed})


def as_json(worker: WorkerInfo) -> dict[str, Any]:
    """Return what is known of a worker; `here` says whether it is the one of the request."""
    here = (worker.pid, worker.host) == (os.getpid(), platform.node())
    return {"name": worker, **vars(worker), "here": here}


def milliseconds_since(began: float) -> float:
    """Return the time since a value of time.perf_counter()."""
    return round(1000 * (time.perf_counter() - began), 1)
