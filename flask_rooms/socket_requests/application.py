"""Adapts a Flask application: it notes how each request came in, and knows socket requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import lru_cache
from inspect import getattr_static
from typing import Any, TypeAlias

from flask import Flask, Request
from werkzeug.exceptions import HTTPException
from werkzeug.local import LocalProxy

from flask_rooms.errors import ConfigurationError
from flask_rooms.server.context import socket_of_request
from flask_rooms.socket_requests.environ import ARRIVAL, Arrival, socket_of
from flask_rooms.socket_requests.error_stream import error_stream

_WSGI: TypeAlias = "Callable[..., Iterable[bytes]]"

#: What is on its way through middleware, the latest first: besides the key in the environment, as
#: middleware may drop that, or ask another application before.
_arriving: ContextVar[tuple[Arrival, ...]] = ContextVar("flask_rooms.arriving", default=())


class _OfASocket:
    """
    An attribute that a request has over a socket alone: one that is set comes before this.

    Args:
        index: Which part of what is known of the socket it is.
    """

    def __init__(self, index: int) -> None:
        self._index = index

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Request | None, owner: type) -> Any:
        if instance is None:
            return self
        socket: tuple[str, str] | None = vars(instance).get("_rooms_socket")
        if socket is not None:
            return socket[self._index]
        raise AttributeError(
            f"There is no `{self._name}`, as this request came over HTTP and not over a socket: "
            "check `request.is_socket` first."
        )


class SocketRequest(Request):
    """
    The application's request class, extended: it knows whether a request came over a socket.

    `sid` and `namespace` are set here in socket requests, and in Socket.IO event handlers by
    Flask-SocketIO.
    """

    # Unset over HTTP. With None, Flask-SocketIO's emit() would send to all clients.
    sid: str = _OfASocket(0)  # type: ignore[assignment]  # an instance has the string
    namespace: str = _OfASocket(1)  # type: ignore[assignment]
    _routing_exception: HTTPException | None = None

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self._rooms_socket = socket_of(environ)  # the constructor of the own class may ask
        super().__init__(environ, *args, **kwargs)
        if self._rooms_socket is not None:
            self.sid, self.namespace = self._rooms_socket

    @property
    def is_socket(self) -> bool:
        """True in a socket request and in a Socket.IO event handler, False over HTTP."""
        return socket_of_request(self) is not None

    # Every event of Socket.IO has one, as no route has the URL of its connection.
    @property
    def routing_exception(self) -> HTTPException | None:
        """Why no route was found, or None; without a traceback before it is raised."""
        return self._routing_exception

    @routing_exception.setter
    def routing_exception(self, error: HTTPException | None) -> None:
        # Flask's frame that has caught it is in the traceback, and has this request: what its
        # callers have on their stacks would stay until the garbage collector comes by.
        if error is not None:
            error.__traceback__ = error.__context__ = None
        self._routing_exception = error


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
        _check_request_class(given)
        vars(self)["request_class"] = given

    @request_class.deleter
    def request_class(self) -> None:
        if vars(self).pop("request_class", None) is None:
            raise AttributeError("request_class")

    @property
    def wsgi_app(self) -> _WSGI:
        """The outermost middleware of the application, which may be served in its place."""
        outermost: _WSGI = vars(self)["wsgi_app"]
        return outermost

    @wsgi_app.setter
    def wsgi_app(self, given: _WSGI) -> None:
        is_own = type(given) is _EntryPoint and given._rooms_app is self
        vars(self)["wsgi_app"] = given if is_own else _EntryPoint(self, given)

    @wsgi_app.deleter
    def wsgi_app(self) -> None:
        self.wsgi_app = super().wsgi_app  # Flask's own, without any middleware

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if socket_of(environ) is not None:  # it has arrived with its handshake
            return super().__call__(environ, start_response)
        arrival = Arrival(self, self, dict(environ))
        return _pass(arrival, super().__call__, environ, start_response)


class _EntryPoint(LocalProxy[_WSGI]):
    """
    What an application has as its `wsgi_app`, and where requests come in if that is served.

    It is like the middleware itself to all that looks at it.

    Args:
        app: The application.
        middleware: What is called.
    """

    __slots__ = ("_rooms_app",)  # a name that no middleware has
    _rooms_app: Flask

    def __init__(self, app: Flask, middleware: _WSGI) -> None:
        super().__init__(lambda: middleware)
        object.__setattr__(self, "_rooms_app", app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if socket_of(environ) is not None:
            return self._get_current_object()(environ, start_response)
        app, arrived, arriving = self._rooms_app, environ.get(ARRIVAL), _arriving.get()
        if arriving and arriving[0] is arrived and arrived.app is app:  # right through the class
            return self._get_current_object()(environ, start_response)
        arrivals = [one for one in (arrived, *arriving) if one is not None and one.app is app]
        arrival = arrivals[0] if arrivals else Arrival(app, self, dict(environ))
        return _pass(arrival, self._get_current_object(), environ, start_response)


def _pass(
    arrival: Arrival, application: _WSGI, environ: dict[str, Any], start_response: Any
) -> Iterable[bytes]:
    """Call *application* with what has arrived, and let those inside it know."""
    environ[ARRIVAL] = arrival
    error_stream(arrival.app).follow(environ.get("wsgi.errors"))
    token = _arriving.set((arrival, *_arriving.get()))
    try:
        return application(environ, start_response)
    finally:
        _arriving.reset(token)


def adapt(app: Flask) -> None:
    """
    Extend the class of an application, in place.

    A class of its own is the one seam that no later middleware, `request_class` or agent that
    patches `Flask.__call__` can come before.
    """
    own, wsgi_app = type(app), app.wsgi_app
    _check_request_class(app.request_class)
    # Past the metaclass and __init_subclass__ of the application, which are about its own classes.
    names = {"__module__": own.__module__, "__qualname__": own.__qualname__}
    app.__class__ = type.__new__(type(own), own.__name__, (_Adapted, own), names)
    app.wsgi_app = wsgi_app  # type: ignore[method-assign]


def _check_request_class(given: object) -> None:
    if not isinstance(given, type):
        raise ConfigurationError(
            f"`app.request_class` is {given!r}, which is no class: derive one from flask.Request. "
            "It is extended with `is_socket` and `sid`, as a function cannot be."
        )
    for name in ("is_socket", "sid", "namespace"):
        if _is_computed(given, name):
            raise ConfigurationError(
                f"`{given.__name__}.{name}` is computed, but over a socket Flask-SocketIO and "
                f"Flask-Rooms set `request.{name}`: give yours another name."
            )


def _is_computed(given: type, name: str) -> bool:
    """Whether a class has a property or a method of its own, and no default that may be set."""
    own = getattr_static(given, name, None)
    is_ours = own is vars(SocketRequest)[name]
    return not is_ours and hasattr(own, "__get__") and getattr(own, "fset", None) is None


@lru_cache(maxsize=64)
def _extended(own: type[Request]) -> type[Request]:
    if issubclass(own, SocketRequest):
        return own
    if issubclass(SocketRequest, own):
        return SocketRequest
    # What it has of these is there over HTTP, too: a default, or a property with a setter.
    bases = [vars(base) for base in reversed(own.__mro__)]
    kept = {name: base[name] for base in bases for name in ("sid", "namespace") if name in base}
    return type(own.__name__, (SocketRequest, own), kept)
