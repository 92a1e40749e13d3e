"""What moderators do: kick, ban and forgive. And what a guest of a private room does: invite."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask
from flask.typing import ResponseReturnValue

from example_app.access import PRIVATE, require_member, require_moderator, rooms
from example_app.chat import NAME_RULE, is_name
from example_app.store import sql
from example_app.underneath import confirmed
from flask_rooms import Outcome, request, sockets
from flask_rooms.signals import left

#: Why a socket leaves a room of its own accord; for other reasons its page is told.
OWN_ACCORD = ("request", "disconnect", "expelled")

bp = Blueprint("moderation", __name__, url_prefix="/rooms/<room>")


@bp.before_request
def check_name() -> ResponseReturnValue | None:
    """Refuse what cannot be the name of a person."""
    user = (request.view_args or {}).get("user")
    return None if user is None or is_name(user) else ({"message": NAME_RULE}, 400)


@bp.get("/bans")
def bans(room: str) -> ResponseReturnValue:
    """Return who is banned from a room."""
    require_member(room)
    found = sql("SELECT user FROM bans WHERE room = ? ORDER BY user", room)
    return {"banned": [user for (user,) in found]}


@bp.delete("/people/<user>")
def kick(room: str, user: str) -> ResponseReturnValue:
    """Take all tabs of a user out of a room; and off the list of a private room."""
    require_moderator()
    if room.startswith(PRIVATE):
        sql("DELETE FROM guests WHERE room = ? AND user = ?", room, user)
        # The guard decides who has to go: its rule is in one place.
        outcome = confirmed(f"Ask the guard of {room} again", lambda: rooms.recheck(room))
    else:
        outcome = confirmed(f"Kick {user}", lambda: sockets.leave(user=user, room=room))
    return {"message": f"{user} is out of {room}: {tabs(outcome)}."}


@bp.put("/bans/<user>")
def ban(room: str, user: str) -> ResponseReturnValue:
    """Ban a user; the response is sent when all of the user's tabs are out of the room."""
    require_moderator()
    # In this order: the guard refuses who joins from now on, and who is in leaves after that.
    sql("INSERT OR IGNORE INTO bans VALUES (?, ?)", room, user)
    sockets.broadcast(room, "bans", {"room": room})
    outcome = confirmed(f"Ban {user}", lambda: sockets.leave(user=user, room=room))
    return {"message": f"{user} is banned from {room}: {tabs(outcome)} left."}


@bp.delete("/bans/<user>")
def forgive(room: str, user: str) -> ResponseReturnValue:
    """Lift a ban, without putting anyone back into the room."""
    require_moderator()
    sql("DELETE FROM bans WHERE room = ? AND user = ?", room, user)
    sockets.broadcast(room, "bans", {"room": room})
    return {"message": f"{user} may join {room} again."}


@bp.put("/guests/<user>")
def invite(room: str, user: str) -> ResponseReturnValue:
    """Put a user on the list of a private room, and show the room on the user's pages."""
    require_member(room)
    sql("INSERT OR IGNORE INTO guests VALUES (?, ?)", room, user)
    sockets.broadcast("rooms", {}, user=user)
    return {"message": f"{user} may join {room}."}


def init_app(app: Flask) -> None:
    """Receive the signal of one application."""
    left.connect(tell_page, app)


def tell_page(app: Flask, sid: str, room: str, reason: str, **about: Any) -> None:
    """Tell a page that its socket was taken out of a room."""
    if reason not in OWN_ACCORD:
        sockets.broadcast(sid, "removed", {"room": room})


def tabs(outcome: Outcome) -> str:
    """Return in how many tabs a user was in the room."""
    return "1 tab" if outcome.changed == 1 else f"{outcome.changed} tabs"
