"""Adapts a Flask application: it keeps each environment as it came, and knows socket requests."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from flask import Flask, Request

from flask_rooms.socket_requests.environ import ORIGINAL, socket_of


class SocketRequest(Request):
    """
    The application's request class, extended: it knows whether a request came over a socket.

    `sid` and `namespace` are set here in socket requests, and in Socket.IO event handlers by
    Flask-SocketIO.
    """

    # Unset over HTTP. With None, Flask-SocketIO's emit() would send to all clients.
    sid: str
    namespace: str

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        if (socket := socket_of(environ)) is not None:
            self.sid, self.namespace = socket

    @property
    def is_socket(self) -> bool:
        """True in a socket request and in a Socket.IO event handler, False over HTTP."""
        return "sid" in self.__dict__


class _Adapted(Flask):
    """What an application's own class is extended with."""

    def __init_subclass__(cls, **options: Any) -> None:
        pass

    @property
    def request_class(self) -> type[Request]:
        """The application's own class, whenever that is set, extended."""
        own: type[Request] = vars(self).get("request_class") or super().request_class
        return _extended(own)  # type: ignore[arg-type]  # classes are hashable

    @request_class.setter
    def request_class(self, given: type[Request]) -> None:
        vars(self)["request_class"] = given

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # A socket request passes through the middleware in `wsgi_app` as well, so it has to begin
        # with what the handshake was before that.
        if socket_of(environ) is None:
            environ[ORIGINAL] = dict(environ)
        return super().__call__(environ, start_response)


def adapt(app: Flask) -> None:
    """
    Extend the class of an application, in place.

    A class of its own is the one seam that no later middleware, `request_class` or agent that
    patches `Flask.__call__` can come before.
    """
    own = type(app)
    # Past the metaclass and __init_subclass__ of the application, which are about its own classes.
    names = {"__module__": own.__module__, "__qualname__": own.__qualname__}
    app.__class__ = type.__new__(type(own), own.__name__, (_Adapted, own), names)


@lru_cache(maxsize=64)
def _extended(own: type[Request]) -> type[Request]:
    if issubclass(own, SocketRequest):
        return own
    if issubclass(SocketRequest, own):
        return SocketRequest
    return type(own.__name__, (SocketRequest, own), {})
