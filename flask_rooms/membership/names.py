"""Checks names from callers: rooms, users, events and namespaces."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from werkzeug.local import LocalProxy

from flask_rooms.errors import InvalidArgument, InvalidRoom
from flask_rooms.protocol.messages import Room, User

#: What can be iterated over, and stands for one value all the same: it is no iterable of names.
SINGLE_VALUES = (LocalProxy, str, bytes, Mapping)


class NotGiven:
    """The type of NOT_GIVEN, the default of an argument for which None is an error."""


NOT_GIVEN = NotGiven()

#: Characters that a room's name may have, and that of a namespace.
ROOM_LENGTH = NAMESPACE_LENGTH = 1024

# Socket.IO clients tell their own application of these, so no server may imitate them.
# https://socket.io/docs/v4/emit-cheatsheet/#reserved-events
RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


def room_name(room: Any) -> str:
    """Return *room*, which has to be a room's name, or raise InvalidRoom."""
    if not isinstance(room, str):
        if room is NOT_GIVEN:
            raise InvalidRoom("Give a room: a name, or an iterable of names.")
        raise InvalidRoom(f"A room is named by a string, not by {type_of(room)}.")
    if not room.strip():
        raise InvalidRoom("A room's name cannot be empty.")
    if len(room) > ROOM_LENGTH:
        raise InvalidRoom(f"A room's name has at most {ROOM_LENGTH} characters, not {len(room)}.")
    if not (room.isascii() or is_text(room)):
        raise InvalidRoom("A room's name has to be encodable as UTF-8.")
    return room if type(room) is str else plain(room)


def room_names(rooms: Any) -> tuple[str, ...]:
    """Return the names in *rooms*, one or an iterable of them, each once."""
    if type(rooms) is str or isinstance(rooms, SINGLE_VALUES) or not isinstance(rooms, Iterable):
        return (room_name(rooms),)
    return tuple(dict.fromkeys(room_name(one) for one in rooms))


def any_room(room: Any) -> Room:
    """Return *room* as Flask-SocketIO's calls allow it: also a number, if a message holds it."""
    if type(room) is str:
        return room_name(room)
    with contextlib.suppress(TypeError):  # no number; those of enumerations and of numpy are some
        number = operator.index(room)
        if type(room) is not bool and abs(number) < 2**63:
            return number
    return room_name(room)


def any_rooms(rooms: Any) -> tuple[Room, ...] | None:
    """Return what Flask-SocketIO's `to` names, which may be nothing, one room or several."""
    if rooms is None:
        return None
    if isinstance(rooms, str | bytes) or not isinstance(rooms, Iterable):
        return (any_room(rooms),)
    return tuple(dict.fromkeys(any_room(one) for one in rooms))


def room_prefix(prefix: Any) -> str:
    """Return *prefix*, which has to be the beginning of rooms' names, or raise InvalidRoom."""
    if not isinstance(prefix, str) or len(prefix) > ROOM_LENGTH or not is_text(prefix):
        raise InvalidRoom(f"A prefix is a string of at most {ROOM_LENGTH} characters.")
    return plain(prefix)


def user_id(user: Any) -> User:
    """Return the user with this ID, a string or a number, or raise InvalidArgument."""
    text = user
    if not isinstance(user, str | bool):
        # As in any_room(); the text of an integer has a bound, too.
        with contextlib.suppress(TypeError, ValueError):
            text = str(operator.index(user))
    if not isinstance(text, str) or not text or len(text) > ROOM_LENGTH or not is_text(text):
        raise InvalidArgument(
            "A user's ID is a number, or a string that is not empty and has at most "
            f"{ROOM_LENGTH} characters, not {type_of(user)}."
        )
    return User(plain(text))


def event_name(event: Any) -> str:
    """Return *event*, which has to be the name of an event, or raise InvalidArgument."""
    if not isinstance(event, str) or not event:
        raise InvalidArgument(
            f"An event is named by a string that is not empty, not by {type_of(event)}."
        )
    if event in RESERVED_EVENTS:
        raise InvalidArgument(f"{event!r} is Socket.IO's own event: name yours otherwise.")
    return plain(event)


def message_name(event: Any) -> str:
    """Return *event*, which has to name a message between workers, or raise InvalidArgument."""
    if not isinstance(event, str) or not 0 < len(event) <= ROOM_LENGTH or not is_text(event):
        raise InvalidArgument(
            "A message between workers is named by a string that is not empty and has at most "
            f"{ROOM_LENGTH} characters, not by {type_of(event)}."
        )
    return plain(event)


def namespace_name(value: Any) -> str:
    """Return *value*, which has to be the name of a namespace, or raise InvalidArgument."""
    if not isinstance(value, str) or not is_namespace(value) or not is_text(value):
        raise InvalidArgument(
            'A namespace is a string that starts with "/" and has no comma, at which a packet of '
            f"Socket.IO ends it, and at most {NAMESPACE_LENGTH} characters."
        )
    return plain(value)


def is_namespace(name: str) -> bool:
    """Whether a namespace may be called so; what is no text is not refused."""
    return name.startswith("/") and "," not in name and len(name) <= NAMESPACE_LENGTH


def is_text(value: str) -> bool:
    """Whether a string can be encoded as UTF-8."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # lone surrogates, which JSON lets through
    return True


def plain(value: str) -> str:
    """Return the text of a string that may be of a subclass, such as a string enumeration."""
    # A member of one prints as its name, and travels as its value.
    return str.__str__(value)


def type_of(value: Any) -> str:
    """Return what kind of value it is, for a message."""
    return "None" if value is None else f"a value of type {type(value).__name__}"
