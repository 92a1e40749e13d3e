"""The context of a socket: what Flask-SocketIO's event handlers run in."""

from __future__ import annotations

from collections.abc import Callable

from flask import has_request_context, request
from flask_socketio import SocketIO


def call_in_context(
    socketio: SocketIO, function: Callable[[], object], namespace: str, sid: str
) -> object:
    """
    Call a function as Flask-SocketIO calls the handler of an event of a socket.

    Returns:
        What the function returns; None if the socket is gone, and the function was not called.
    """
    returned: list[object] = []
    raised: list[Exception] = []

    def call() -> None:
        try:
            returned.append(function())
        except Exception as error:  # noqa: BLE001 - raised below, past the application's handler
            raised.append(error)  # of errors, which would answer in place of the function

    socketio._handle_event(call, "guard", namespace, sid)
    if raised:
        raise raised[0]
    return returned[0] if returned else None


def asking_socket() -> str:
    """Return the ID of the socket whose request or event is being handled here, or nothing."""
    if has_request_context() and getattr(request, "is_socket", False):
        return str(request.sid)  # type: ignore[attr-defined]  # set on socket requests
    return ""
