"""Validation of the arguments of the API: sockets, users, rooms, timeouts and callbacks."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeAlias

from flask import Request
from werkzeug.local import LocalProxy

from flask_rooms.errors import InvalidArgument, InvalidRoom, InvalidSocket, NotASocketRequest
from flask_rooms.membership.names import (
    NOT_GIVEN,
    SINGLE_VALUES,
    namespace_name,
    plain,
    room_name,
    type_of,
    user_id,
)
from flask_rooms.protocol.ids import is_sid
from flask_rooms.protocol.messages import Audience, User
from flask_rooms.server.context import current_socket, socket_of_request

_SINGLE_VALUES = (*SINGLE_VALUES, Request)

#: Seconds for which answers may be awaited: about what a thread can wait for on every system.
MAX_SECONDS = 4_000_000

#: `flask.request` in a socket request or event handler, or a socket ID.
OneSocket: TypeAlias = "Request | str"


def socket_ids(sockets: Any, namespace: str | None) -> tuple[str, tuple[str, ...]]:
    """
    Return the namespace of a call and the IDs of its sockets, without duplicates.

    Args:
        sockets: A socket request, a socket ID, or an iterable of these.
        namespace: As the caller has given it.

    Raises:
        InvalidSocket: *sockets* contains anything else, or sockets of several namespaces.
        NotASocketRequest: *sockets* contains an HTTP request.
    """
    if _is_one(sockets):
        sid, space = _located(sockets)
        if namespace is None or namespace == space:  # as nearly always
            return space or namespace_of_call(None), (sid,)
        found = [(sid, space)]
    else:
        found = [_located(one) for one in sockets]
    namespaces = {space for _, space in found if space is not None}
    if namespace is not None:
        namespaces.add(namespace_name(namespace))
    if len(namespaces) > 1:
        raise InvalidSocket(
            f"One call is for the sockets of one namespace, not of {', '.join(sorted(namespaces))}:"
            " call once for each."
        )
    space = namespaces.pop() if namespaces else namespace_of_call(None)
    return space, tuple(dict.fromkeys([sid for sid, _ in found]))


def sockets_or_user(
    sockets: Any, user: Any, namespace: str | None
) -> tuple[str, tuple[str, ...], User | None]:
    """Return the namespace of a call, and its sockets or its user."""
    if type(sockets) is str and user is None and namespace is None:  # as so often
        return namespace_of_call(None), (_socket_id(sockets),), None
    if user is None:
        if sockets is NOT_GIVEN:
            raise InvalidSocket("Give a socket, or `user=` for all sockets of a user.")
        space, sids = socket_ids(sockets, namespace)
        return space, sids, None
    if sockets is not NOT_GIVEN:
        raise InvalidSocket("Give either a socket or `user=`, not both.")
    return namespace_of_call(namespace), (), user_id(user)


def room_or_user(room: Any, user: Any) -> str | User:
    """Return the room or the user that a query is about."""
    if user is None:
        if room is NOT_GIVEN:
            raise InvalidRoom("Give a room, or `user=` for the sockets of a user.")
        return room_name(room)
    if room is not NOT_GIVEN:
        raise InvalidRoom("Give either a room or `user=`, not both.")
    return user_id(user)


def room_or_sockets(given: Any, namespace: str | None) -> tuple[str, tuple[str, ...], str | None]:
    """
    Return the namespace of a call, and its sockets or the room whose members it is for.

    A string that has the form of a socket ID is that socket, any other string a room.
    """
    if isinstance(given, str) and not is_sid(given):
        return namespace_of_call(namespace), (), room_name(given)
    return (*socket_ids(given, namespace), None)


def omitted(
    omit: Any, omit_user: Any, namespace: str
) -> tuple[tuple[str, ...], tuple[Audience, ...]]:
    """
    Return what a call leaves out: the IDs of sockets, and the rooms and users.

    Args:
        omit: A socket, a room's name, or an iterable of these; None for nothing. A string that
            has the form of a socket ID is that socket.
        omit_user: The ID of a user, or an iterable of these; None for nothing.
        namespace: The namespace of the call.

    Raises:
        InvalidSocket: *omit* contains anything else, or a socket of another namespace.
        NotASocketRequest: *omit* contains an HTTP request.
        InvalidRoom: *omit* contains a string that cannot name a room.
        InvalidArgument: *omit_user* contains what is no ID of a user.
    """
    given = [] if omit is None else [omit] if _is_one(omit) else list(omit)
    rooms: list[str] = []
    sockets: list[Any] = []
    for one in given:
        (rooms if isinstance(one, str) and not is_sid(one) else sockets).append(one)
    _, sids = socket_ids(sockets, namespace)
    users = [] if omit_user is None else [omit_user] if _is_one(omit_user) else list(omit_user)
    return sids, (*map(room_name, dict.fromkeys(rooms)), *map(user_id, users))


def socket_of_user(socket: Any, user: User | None, namespace: str | None) -> tuple[str, str]:
    """
    Return the namespace and the ID of the socket that others of that user are older than.

    Raises:
        InvalidArgument: There is no user.
        InvalidSocket: It is no socket.
        NotASocketRequest: It is an HTTP request.
    """
    if user is None:
        raise InvalidArgument("`older_than=` is about the sockets of a user: give `user=`, too.")
    space, (sid,) = socket_ids((socket,), namespace)
    return space, sid


def seconds(timeout: Any) -> float | None:
    """Return *timeout* if it is None or a number of seconds, else raise InvalidArgument."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout >= 0):
        raise InvalidArgument("A timeout is a number of seconds, 0 or more, or None.")
    return timeout  # type: ignore[no-any-return]  # checked above


def finite_seconds(timeout: Any) -> float | None:
    """Return *timeout* as seconds() does, and raise InvalidArgument also if it has no end."""
    wait = seconds(timeout)
    if wait is not None and wait > MAX_SECONDS:
        raise InvalidArgument(
            f"This timeout is a finite number of seconds, {MAX_SECONDS:,} at most."
        )
    return wait


def lifetime(expires: Any) -> float:
    """Return how many seconds a membership lasts, or raise InvalidArgument."""
    number = isinstance(expires, int | float) and not isinstance(expires, bool)
    if not (number and 0 < expires <= sys.float_info.max):
        raise InvalidArgument("`expires=` is a number of seconds greater than 0, or None.")
    return float(expires)


def namespace_of_call(namespace: Any) -> str:
    """Return *namespace*, else the one of the current socket request, else "/"."""
    if namespace is not None:
        return namespace_name(namespace)
    current = current_socket()
    return "/" if current is None else current[1]


def _is_one(value: Any) -> bool:
    return isinstance(value, _SINGLE_VALUES) or not isinstance(value, Iterable)


def _located(socket: Any) -> tuple[str, str | None]:
    """Return the ID of a socket, and its namespace if it is given as a request."""
    if isinstance(socket, LocalProxy):  # which is slow to say what it stands for
        socket = _represented(socket)
    if isinstance(socket, str):
        return _socket_id(socket), None
    return _requesting(socket)


def _socket_id(value: str) -> str:
    if not is_sid(value):
        raise InvalidSocket(
            "This string does not have the form of a socket ID (and a room name is never accepted "
            "as a socket): pass `request`, or the value of `request.sid`."
        )
    return plain(value)


def _represented(proxy: LocalProxy[Any]) -> Any:
    try:
        return proxy._get_current_object()
    except RuntimeError:
        raise InvalidSocket(
            "There is no request in this context, such as a thread or a task: pass the socket ID."
        ) from None


def _requesting(value: Any) -> tuple[str, str]:
    """Return the ID and the namespace of the socket that has sent a request."""
    if not isinstance(value, Request):
        raise InvalidSocket(
            f"A socket is `request` in a socket request, or a socket ID, not {type_of(value)}."
        )
    socket = socket_of_request(value)
    if socket is None:
        raise NotASocketRequest(
            "This request came over HTTP and has no socket: check `request.is_socket` first."
        )
    return socket
