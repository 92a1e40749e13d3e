"""Who is in a room: asked of all workers, and again when a signal says that it has changed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask
from flask.typing import ResponseReturnValue

from example_app import underneath
from example_app.access import require_member
from example_app.store import sql
from flask_rooms import sockets
from flask_rooms.signals import joined, left, worker_gone

TIMEOUT = 1.0  # seconds to wait for the other workers
#: Why a socket leaves a room by itself; for other reasons its page is told.
OF_ITSELF = ("request", "disconnect", "expelled")

bp = Blueprint("presence", __name__)


@bp.get("/rooms/<room>/people")
def people(room: str) -> ResponseReturnValue:
    """Return the people in a room, each once, however many tabs they have open; and the banned."""
    require_member(room)
    answer = sockets.members(room, by="user", timeout=TIMEOUT)
    banned = sql("SELECT user FROM bans WHERE room = ? ORDER BY user", room)
    return {
        "people": sorted(answer.value),
        "banned": [user for (user,) in banned],
        "complete": answer.complete,
    }


def init_app(app: Flask) -> None:
    """Receive the signals of one application."""
    joined.connect(on_joined, app)
    left.connect(on_left, app)
    worker_gone.connect(on_worker_gone, app)


def on_joined(app: Flask, sid: str, room: str, user: str | None, **about: Any) -> None:
    """Tell the room that its people have changed."""
    if room not in (sid, underneath.ROOM):
        sockets.broadcast(room, "people", {"room": room})
        underneath.show(f"{user or 'Someone'} joined {room}")


def on_left(app: Flask, sid: str, room: str, user: str | None, reason: str, **about: Any) -> None:
    """Tell the room that its people have changed, and the page why it is out."""
    if room in (sid, underneath.ROOM):
        return
    if reason not in OF_ITSELF:
        sockets.broadcast(sid, "removed", {"room": room})
    sockets.broadcast(room, "people", {"room": room})
    underneath.show(f"{user or 'Someone'} left {room} ({reason})")


def on_worker_gone(app: Flask, worker: str, reason: str, **about: Any) -> None:
    """Tell all pages that people may be gone with a worker, which sends no signals for them."""
    sockets.blast("people", {})
    underneath.show(f"Worker {worker} is gone ({reason})")
