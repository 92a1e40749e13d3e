"""What happens underneath: the workers, and how long their confirmations took. A room, too."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from example_app.access import current_user
from flask_rooms import Outcome, RoomsError, request, sockets
from flask_rooms.results import WorkerInfo

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
    answer = sockets.workers(timeout=TIMEOUT)
    return {
        "milliseconds": milliseconds_since(began),
        "workers": [as_json(worker) for worker in sorted(answer.value)],
        "missing": sorted(answer.missing),
        "complete": answer.complete,
        "controls": "CONTROLS" in current_app.config,
    }


def confirmed(what: str, call: Callable[[], Future[Outcome]]) -> Outcome:
    """Make a call, wait until all workers have confirmed it, and show how long it took."""
    began = time.perf_counter()
    try:
        outcome = call().result()
    except RoomsError as error:
        show(f"{what}: {error}", milliseconds_since(began))
        raise
    show(f"{what}: {outcome.changed} removed, confirmed", milliseconds_since(began))
    return outcome


def show(text: str, milliseconds: float | None = None) -> None:
    """Show a line on all pages that look underneath."""
    news = {"at": time.time(), "text": text, "milliseconds": milliseconds, "pid": os.getpid()}
    sockets.broadcast(ROOM, "underneath", news)


def as_json(worker: WorkerInfo) -> dict[str, Any]:
    """Return what is known of a worker; `here` says whether it is the one of the request."""
    here = (worker.pid, worker.host) == (os.getpid(), platform.node())
    return {"name": worker, **vars(worker), "here": here}


def milliseconds_since(began: float) -> float:
    """Return the time since a value of time.perf_counter()."""
    return round(1000 * (time.perf_counter() - began), 1)
