"""Who a socket belongs to, which rooms it may join, and what others in them are told of it."""

from __future__ import annotations

from typing import Any

from flask import abort, session

from example_app.store import sql
from flask_rooms import Rooms, request, sockets

#: How the names of private rooms begin.
PRIVATE = "private:"

rooms = Rooms(scripts_url="/js")


@rooms.user_loader
def load_user(auth: object) -> str | None:
    """Return the name that the visitor has signed in with."""
    name: str | None = session.get("user")
    return name


@rooms.guard("*")
def may_join(room: str) -> bool:
    """Let in who has signed in: only guests into a private room, and no one who is banned."""
    user = session.get("user")
    if user is None or (room.startswith(PRIVATE) and not is_guest(room, user)):
        return False
    return not sql("SELECT 1 FROM bans WHERE room = ? AND user = ?", room, user)


@rooms.presence("*")
def describe(room: str) -> dict[str, Any]:
    """Have Flask-Rooms send each room a live list of its people, with what is returned here."""
    return {"moderator": bool(session.get("moderator"))}


def is_guest(room: str, user: str | None) -> bool:
    """Return whether a user is on the list of a private room."""
    return bool(sql("SELECT 1 FROM guests WHERE room = ? AND user = ?", room, user))


def current_user() -> str:
    """Return the user of the request, who has to be signed in."""
    name: str = session.get("user") or abort(401, "Please sign in first.")
    return name


def require_member(room: str) -> str:
    """Return the user of the request, whose socket has to be in the room."""
    user = current_user()
    if room not in sockets.rooms_of(request).value:
        abort(403, "You are not in this room.")
    return user


def moderator() -> str | None:
    """Return the user of the request if it is a moderator: who may see the admin page."""
    name: str | None = session.get("user")
    return name if session.get("moderator") else None


def require_moderator() -> None:
    """Abort the request unless its user is a moderator."""
    current_user()
    if moderator() is None:
        abort(403, "Only moderators may do that.")
