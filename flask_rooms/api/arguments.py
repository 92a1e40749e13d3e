"""What callers hand in, checked at the door: names of rooms, sockets, events, namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from flask import Request, has_request_context, request
from werkzeug.local import LocalProxy

from flask_rooms.errors import InvalidArgument, InvalidRoom, InvalidSocket, NotASocketRequest
from flask_rooms.protocol.ids import is_sid
from flask_rooms.protocol.messages import Room, User

#: Characters that a room's name may have.
ROOM_LENGTH = 1024


class NotGiven:
    """What an argument is that was left out, where None would be a mistake."""


NOT_GIVEN = NotGiven()

#: `flask.request` in a socket request or event handler, or a socket ID.
OneSocket: TypeAlias = "Request | str"

# Socket.IO clients tell their own application of these, so no server may imitate them.
# https://socket.io/docs/v4/emit-cheatsheet/#reserved-events
_RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


def room_name(room: Any) -> str:
    """Return *room*, which has to be a room's name, or raise InvalidRoom."""
    if not isinstance(room, str):
        raise InvalidRoom(f"A room is named by a string, not by {_type_of(room)}.")
    if not room.strip():
        raise InvalidRoom("A room's name cannot be empty.")
    if len(room) > ROOM_LENGTH:
        raise InvalidRoom(f"A room's name has at most {ROOM_LENGTH} characters, not {len(room)}.")
    if not _is_text(room):
        raise InvalidRoom("A room's name has to be encodable as UTF-8.")
    return _plain(room)


def room_names(rooms: Any) -> tuple[str, ...]:
    """Return the names in *rooms*, one or an iterable of them, each once."""
    if isinstance(rooms, LocalProxy | str | bytes | Mapping) or not isinstance(rooms, Iterable):
        return (room_name(rooms),)
    return tuple(dict.fromkeys(room_name(one) for one in rooms))


def any_room(room: Any) -> Room:
    """Return *room* as Flask-SocketIO's calls allow it: also a number, if a message holds it."""
    if type(room) is int and abs(room) < 2**63:
        return room
    return room_name(room)


def any_rooms(rooms: Any) -> tuple[Room, ...] | None:
    """Return what Flask-SocketIO's `to` names, which may be nothing, one room or several."""
    if rooms is None:
        return None
    if isinstance(rooms, str | bytes) or not isinstance(rooms, Iterable):
        return (any_room(rooms),)
    return tuple(dict.fromkeys(any_room(one) for one in rooms))


def socket_ids(sockets: Any, namespace: str | None) -> tuple[str, tuple[str, ...]]:
    """
    Return the namespace of a call and the IDs of the sockets it is for, each once.

    Args:
        sockets: A socket request, a socket ID, or an iterable of these.
        namespace: As the caller gave it.

    Raises:
        InvalidSocket: Something else is among them, or sockets of several namespaces.
        NotASocketRequest: An HTTP request is among them.
    """
    given = [sockets] if _is_one(sockets) else list(sockets)
    namespaces = set()
    sids = []
    for one in given:
        if isinstance(one, str):
            sids.append(_socket_id(one))
        else:
            asking = _socket_request(one)
            sids.append(asking.sid)
            namespaces.add(asking.namespace)
    if namespace is not None:
        namespaces = {_namespace(namespace)} | namespaces
    if len(namespaces) > 1:
        raise InvalidSocket(
            f"One call is for the sockets of one namespace, not of {', '.join(sorted(namespaces))}:"
            " call once for each."
        )
    return (namespaces.pop() if namespaces else namespace_of_call(None)), tuple(dict.fromkeys(sids))


def sockets_or_user(
    sockets: Any, user: Any, namespace: str | None
) -> tuple[str, tuple[str, ...], User | None]:
    """Return the namespace of a call, and the sockets or the user that it is for."""
    if user is None:
        if sockets is NOT_GIVEN:
            raise InvalidSocket("Give a socket, or `user=` for all sockets of a user.")
        return (*socket_ids(sockets, namespace), None)
    if sockets is not NOT_GIVEN:
        raise InvalidSocket("Give either a socket or `user=`, not both.")
    return namespace_of_call(namespace), (), user_id(user)


def room_or_user(room: Any, user: Any) -> str | User:
    """Return the room or the user that a question is about."""
    if user is None:
        if room is NOT_GIVEN:
            raise InvalidRoom("Give a room, or `user=` for the sockets of a user.")
        return room_name(room)
    if room is not NOT_GIVEN:
        raise InvalidRoom("Give either a room or `user=`, not both.")
    return user_id(user)


def room_or_sockets(given: Any, namespace: str | None) -> tuple[str, tuple[str, ...], str | None]:
    """
    Return the namespace of a call, and the sockets or the room whose members it is for.

    A string of the form of a socket ID is that socket, any other one a room.
    """
    if isinstance(given, str) and not is_sid(given):
        return namespace_of_call(namespace), (), room_name(given)
    return (*socket_ids(given, namespace), None)


def room_prefix(prefix: Any) -> str:
    """Return *prefix*, which has to be the beginning of rooms' names, or raise InvalidRoom."""
    if not isinstance(prefix, str) or len(prefix) > ROOM_LENGTH or not _is_text(prefix):
        raise InvalidRoom(f"A prefix is a string of at most {ROOM_LENGTH} characters.")
    return _plain(prefix)


def seconds(timeout: Any) -> float | None:
    """Return *timeout*, which has to be None or a number of seconds, or raise InvalidArgument."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout >= 0):
        raise InvalidArgument("A timeout is a number of seconds, 0 or more, or None.")
    return timeout  # type: ignore[no-any-return]  # one of these two, as was just checked


def namespace_of_call(namespace: Any) -> str:
    """Return the namespace given, else the current socket request's, else the default one."""
    if namespace is not None:
        return _namespace(namespace)
    if has_request_context() and getattr(request, "is_socket", False):
        return str(request.namespace)  # type: ignore[attr-defined]  # set on socket requests
    return "/"


def user_id(user: Any) -> User:
    """Return the user with this ID, a string or a number, or raise InvalidArgument."""
    text = str(user) if type(user) is int else user
    if not isinstance(text, str) or not text or len(text) > ROOM_LENGTH or not _is_text(text):
        raise InvalidArgument(
            "A user's ID is a number, or a string that is not empty and has at most "
            f"{ROOM_LENGTH} characters, not {_type_of(user)}."
        )
    return User(_plain(text))


def asking_socket() -> str:
    """Return the ID of the socket whose request or event is being handled here, or nothing."""
    if has_request_context() and getattr(request, "is_socket", False):
        return str(request.sid)  # type: ignore[attr-defined]  # set on socket requests
    return ""


def event_name(event: Any) -> str:
    """Return *event*, which has to be the name of an event, or raise InvalidArgument."""
    if not isinstance(event, str) or not event:
        raise InvalidArgument(
            f"An event is named by a string that is not empty, not by {_type_of(event)}."
        )
    if event in _RESERVED_EVENTS:
        raise InvalidArgument(f"{event!r} is Socket.IO's own event: name yours otherwise.")
    return _plain(event)


def check_callback(callback: Any) -> Callable[[BaseException | None], object] | None:
    """Return *callback*, which has to be None or callable, or raise InvalidArgument."""
    if callback is not None and not callable(callback):
        raise InvalidArgument(
            "A callback is a function that takes the error or None, "
            f"not {_type_of(callback)}: pass none to use the future that is returned."
        )
    return callback  # type: ignore[no-any-return]  # callable, which is all one can see


def _is_one(value: Any) -> bool:
    if isinstance(value, LocalProxy | str | bytes | Mapping | Request):
        return True
    return not isinstance(value, Iterable)


def _socket_id(value: str) -> str:
    if not is_sid(value):
        raise InvalidSocket(
            "This string does not have the form of a socket ID (and a room is never taken for "
            "a socket): pass `request`, or the ID that `request.sid` gave."
        )
    return _plain(value)


def _socket_request(value: Any) -> Any:
    if isinstance(value, LocalProxy):
        try:
            value = value._get_current_object()
        except RuntimeError:
            raise InvalidSocket(
                "There is no request here, as in a thread or a task: pass the socket ID."
            ) from None
    if not isinstance(value, Request):
        raise InvalidSocket(
            f"A socket is `request` in a socket request, or a socket ID, not {_type_of(value)}."
        )
    if not getattr(value, "is_socket", False):
        raise NotASocketRequest(
            "This request came over HTTP and has no socket: check `request.is_socket` first."
        )
    return value


def _namespace(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not _is_text(value):
        raise InvalidArgument('A namespace is a string that starts with "/".')
    return _plain(value)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # lone surrogates, which JSON lets through
    return True


def _plain(value: str) -> str:
    # A member of a string enumeration prints as its name, and travels as its value.
    return str.__str__(value)


def _type_of(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
