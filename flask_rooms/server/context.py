"""The socket whose request or event is being handled."""

from __future__ import annotations

from typing import Any

from flask import has_request_context, request

#: Set in the environment of each connection, in which Flask-SocketIO runs event handlers.
HANDSHAKE = "flask_rooms.handshake"


def socket_of_request(current: Any) -> tuple[str, str] | None:
    """
    Return the socket ID and the namespace of a request, which is no proxy; None over HTTP.

    They come from the environment, as an application may set a `request.sid` of its own.
    """
    socket: tuple[str, str] | None = vars(current).get("_rooms_socket")
    if socket is None and current.environ.get(HANDSHAKE) and hasattr(current, "sid"):
        return current.sid, current.namespace  # set by Flask-SocketIO
    return socket


def current_socket() -> tuple[str, str] | None:
    """Return the ID and the namespace of the socket whose request or event is being handled."""
    if not has_request_context():
        return None
    # The request itself: its proxy looks it up for each attribute.
    return socket_of_request(request._get_current_object())  # type: ignore[attr-defined]


def calling_socket() -> str:
    """Return the ID of the socket whose request or event is being handled, or an empty string."""
    socket = current_socket()
    return "" if socket is None else socket[0]
