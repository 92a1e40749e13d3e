"""Rooms and what is said in them. Pages join and leave with the routes of fun_rooms.py."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import Any

from flask import Blueprint, abort, session
from flask.typing import ResponseReturnValue

from example_app.access import PRIVATE, current_user, require_member
from example_app.fun_rooms import param
from example_app.store import sql
from flask_rooms import request, sockets

#: The names of people and rooms: a letter or digit, and then spaces, too.
NAME = re.compile(r"[^\W_][\w .'-]{0,29}")
NAME_RULE = "A name has 1 to 30 letters, digits and spaces."
#: How long a text may be, in characters.
LONGEST_TEXT = 2000
#: How many messages a page gets that comes into a room, or comes back.
LATEST = 100

bp = Blueprint("chat", __name__)


@bp.get("/me")
def me() -> ResponseReturnValue:
    """Return who is signed in."""
    return {"user": current_user(), "moderator": bool(session.get("moderator"))}


@bp.get("/rooms")
def list_rooms() -> ResponseReturnValue:
    """Return the rooms that are open to everyone, and the private ones of the user."""
    found = sql(
        "SELECT name FROM rooms WHERE name NOT LIKE ? "
        "OR name IN (SELECT room FROM guests WHERE user = ?) ORDER BY name",
        f"{PRIVATE}%",
        current_user(),
    )
    return {"rooms": [name for (name,) in found]}


@bp.post("/rooms")
def create_room() -> ResponseReturnValue:
    """Create a room; the user is the first guest of a private one."""
    user, name = current_user(), param("name")
    if not is_name(name):
        return {"message": NAME_RULE}, 400
    room = PRIVATE + name if param("private") else name
    try:
        sql("INSERT INTO rooms VALUES (?)", room)
    except sqlite3.IntegrityError:
        return {"message": f"There is a room called {name} already."}, 409
    if room.startswith(PRIVATE):
        sql("INSERT INTO guests VALUES (?, ?)", room, user)
        sockets.broadcast("rooms", {}, user=user)
    else:
        sockets.blast("rooms", {})
    return {"room": room}, 201


@bp.get("/rooms/<room>/messages")
def messages(room: str) -> ResponseReturnValue:
    """Return the latest messages of a room, or those after a number."""
    require_member(room)
    after = request.args.get("after", 0, type=int)
    found = sql(
        "SELECT number, room, user, key, text, at FROM messages WHERE room = ? AND number > ? "
        "ORDER BY number DESC LIMIT ?",
        *(room, after, LATEST),
    )
    return {"messages": [as_json(row) for row in reversed(found)]}


@bp.post("/rooms/<room>/messages")
def speak(room: str) -> ResponseReturnValue:
    """Store a message and send it to the room; a page may safely repeat the request."""
    user, text, key = require_member(room), param("text"), param("key")
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= LONGEST_TEXT:
        abort(400, f"A message has 1 to {LONGEST_TEXT} characters.")
    if not isinstance(key, str) or not 1 <= len(key) <= 40:
        abort(400, "`key` is required: a text of the page's choice, new for each message.")
    sql(
        "INSERT OR IGNORE INTO messages (room, user, key, text, at) VALUES (?, ?, ?, ?, ?)",
        *(room, user, key, text.strip(), time.time()),
    )
    (stored,) = sql(
        "SELECT number, room, user, key, text, at FROM messages "
        "WHERE room = ? AND user = ? AND key = ?",
        *(room, user, key),
    )
    sockets.broadcast(room, as_json(stored))
    return as_json(stored), 201


@bp.post("/rooms/<room>/typing")
def typing(room: str) -> ResponseReturnValue:
    """Tell the others in the room that the user is typing."""
    user = require_member(room)
    data = {"room": room, "user": user}
    sockets.broadcast(room, "typing", data, omit=request, volatile=True)
    return {}


def is_name(name: object) -> bool:
    """Return whether a person or a room may be called so."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def as_json(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row of messages as it is sent to pages; `at` is in seconds since 1970."""
    return dict(zip(("number", "room", "user", "key", "text", "at"), row, strict=True))
