"""What a client is made with, checked where it is made."""

from __future__ import annotations

import threading
from typing import Any

import socketio

from flask_rooms.errors import InvalidArgument

#: Which clients of python-socketio each of ours works with.
CLIENTS = {
    "RoomsClient": (socketio.Client, socketio.SimpleClient),
    "AsyncRoomsClient": (socketio.AsyncClient, socketio.AsyncSimpleClient),
}


def require_client(sio: Any, name: str) -> None:
    """Raise InvalidArgument unless *sio* is a client that *name*, one of CLIENTS, works with."""
    if isinstance(sio, CLIENTS[name]):
        return
    takes = f"{name} takes a " + " or a ".join(f"socketio.{one.__name__}" for one in CLIENTS[name])
    for other, kinds in CLIENTS.items():
        if isinstance(sio, kinds):
            raise InvalidArgument(f"{takes}. For a socketio.{type(sio).__name__}, use {other}.")
    raise InvalidArgument(
        f"{takes}, not a {type(sio).__name__}. Make one, and connect it to the URL of the server."
    )


def require_seconds(timeout: Any) -> float:
    """Return *timeout* if it is a number of seconds to wait, else raise InvalidArgument."""
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not (is_number and 0 <= timeout <= threading.TIMEOUT_MAX):  # nor a NaN
        raise InvalidArgument(
            "The timeout of a client or of a request is a finite number of seconds, 0 or more, "
            f"not {timeout!r}."
        )
    return float(timeout)
