"""The parts of the current application, and the proxies `sockets` and `request`."""

from __future__ import annotations

from typing import Any

import flask
from flask import Flask, current_app
from werkzeug.local import LocalProxy

from flask_rooms.api.parts import Parts
from flask_rooms.api.sockets import Sockets
from flask_rooms.errors import OutsideContext
from flask_rooms.socket_requests.application import SocketRequest

# The key in app.extensions.
_PARTS = "rooms_parts"


def keep_parts(app: Flask, parts: Parts) -> None:
    """Store the parts of an application, for parts_of()."""
    app.extensions[_PARTS] = parts


def parts_of(app: Flask) -> Parts:
    """Return the parts of an application that has Rooms."""
    parts: Parts = app.extensions[_PARTS]
    return parts


def current_parts() -> Parts:
    """
    Return the parts of the current application.

    Raises:
        OutsideContext: There is no current application, or it has no Rooms.
    """
    try:
        # The application itself: its proxy looks it up for each attribute.
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    except RuntimeError:
        raise OutsideContext(
            "Working outside of an application context, such as in a thread or a task: use "
            "`rooms.sockets`, or `with app.app_context():`."
        ) from None
    parts: Parts | None = app.extensions.get(_PARTS)
    if parts is None:
        raise OutsideContext(
            "This application has no Rooms: call Rooms(app), or init_app(app) in its factory."
        )
    return parts


def _current_sockets() -> Sockets:
    return current_parts().sockets


class SocketsProxy(LocalProxy[Sockets]):
    """A proxy that has the documentation of Sockets even outside of an application context."""

    __slots__ = ()
    __doc__ = Sockets.__doc__
    #: help() and pydoc document this class in place of the proxy's own.
    __origin__ = Sockets
    #: LocalProxy has every special method, and unittest.mock replaces an awaitable by an AsyncMock.
    __await__ = None

    def __getattr__(self, name: str) -> Any:
        # As LocalProxy does, which takes three functions more for each attribute.
        return getattr(_current_sockets(), name)

    def __dir__(self) -> list[str]:
        return dir(Sockets)

    # It is the sockets of no application in particular, so a copy would be the same.
    def __copy__(self) -> SocketsProxy:
        return self

    def __deepcopy__(self, memo: object) -> SocketsProxy:
        return self


#: The `Sockets` of the current application, as `flask.current_app` is the application.
sockets: Sockets = SocketsProxy(_current_sockets)  # type: ignore[assignment]  # as Flask types its own

#: Flask's own `request`, with the type that it has in an application with Rooms.
request: SocketRequest = flask.request  # type: ignore[assignment]  # Flask knows its own class
