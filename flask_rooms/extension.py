"""Rooms, the Flask extension: makes the parts of one application and puts them together."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app, has_app_context
from flask_socketio import SocketIO
from werkzeug.local import LocalProxy

from flask_rooms.backends import MemoryBackend, from_url
from flask_rooms.backends.base import Backend
from flask_rooms.cluster import Cluster, Timing
from flask_rooms.config import Config
from flask_rooms.errors import ConfigurationError
from flask_rooms.farewell import attend
from flask_rooms.manager import RoomsManager
from flask_rooms.messages import Codec
from flask_rooms.modes import choose_mode
from flask_rooms.registry import Registry
from flask_rooms.rehearsal import rehearsal
from flask_rooms.requests import SocketRequest, SocketRequests
from flask_rooms.sockets import Sockets
from flask_rooms.stream import Limits
from flask_rooms.template import TemplateSocketIO

# Where a Flask application keeps what belongs to it alone.
_PARTS = "rooms_parts"


@dataclass(frozen=True)
class _Parts:
    socketio: SocketIO
    cluster: Cluster
    sockets: Sockets


class Rooms:
    """
    Rooms for the sockets of a Flask application, over all its workers.

    Args:
        app: The application; with a factory, leave it out and call init_app().
        socketio: A Flask-SocketIO that is not initialised yet. Without one, `rooms.socketio`
            is made.
        backend: What carries bytes between the workers, in place of `backend_url`.
        options: The configuration; takes precedence over `ROOMS_...` of the application.
            See flask_rooms.config.Config for the names.

    Raises:
        ConfigurationError: Something is not set up right; the message says what to change.
    """

    def __init__(
        self,
        app: Flask | None = None,
        socketio: SocketIO | None = None,
        *,
        backend: Backend | None = None,
        **options: Any,
    ) -> None:
        self._socketio = TemplateSocketIO() if socketio is None else socketio
        self._backend = backend
        self._options = options
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        return f"<Rooms of {len(self._apps)} application(s)>"

    def init_app(self, app: Flask) -> None:
        """
        Set up an application; its configuration is read now, and not again.

        The worker joins the cluster later, with the first request or call, so that servers
        may fork after this.

        Raises:
            ConfigurationError: Something is not set up right; the message says what to change.
        """
        if "rooms" in app.extensions:
            raise ConfigurationError(
                "Rooms is registered with this application already: call init_app() once, or "
                "give the application to Rooms(), not both."
            )
        cluster = self._make_cluster(app)
        manager = RoomsManager(Registry(), cluster)
        socketio = self._initialise(app, manager)
        app.request_class = _request_class(app)
        SocketRequests(app, socketio)
        app.wsgi_app = _Joining(app.wsgi_app, cluster)  # type: ignore[method-assign]
        app.extensions["rooms"] = self
        app.extensions[_PARTS] = _Parts(socketio, cluster, Sockets(cluster, manager))
        self._apps.add(app)
        attend(cluster)

    @property
    def socketio(self) -> SocketIO:
        """The Flask-SocketIO of the current application, or of the only one."""
        return self._parts().socketio if self._apps else self._socketio

    @property
    def sockets(self) -> Sockets:
        """The `sockets` of the current application, or of the only one, without a context."""
        if not self._apps:
            raise ConfigurationError("Rooms has no application yet: call init_app(app) first.")
        return self._parts().sockets

    def _parts(self) -> _Parts:
        if has_app_context() and current_app.extensions.get("rooms") is self:
            return parts_of(current_app)
        apps = list(self._apps)
        if len(apps) == 1:
            return parts_of(apps[0])
        raise ConfigurationError(
            "Rooms serves several applications, and none of them is current: use "
            "`with app.app_context():`."
        )

    def _make_cluster(self, app: Flask) -> Cluster:
        rehearsed = rehearsal.get()
        config = Config.of(app, {**self._options, **(rehearsed.options if rehearsed else {})})
        # Made now and only opened later, so that a wrong URL is an error at the start.
        if self._backend is not None and self._apps and rehearsed is None:
            raise ConfigurationError(
                "One backend= connects one worker: give each application a Rooms of its own, or "
                "use backend_url=."
            )
        backend = self._backend or from_url(
            config.backend_url, channel=config.channel, options=config.backend_options or {}
        )
        keys = config.keys(app, in_process=type(backend) is MemoryBackend)
        if rehearsed is not None:  # after all checks, so that a test finds what production would
            backend = rehearsed.connect(app, config.channel)
        # Room for the operations' framing and for a heartbeat that names a large cluster.
        codec = Codec(keys, config.channel, 2 * config.message_bytes + 2**16)
        timing = Timing(config.heartbeat_interval, config.confirm_timeout)
        limits = Limits(config.outbox_bytes, config.repair_log_bytes, config.message_bytes)
        return Cluster(backend, codec, timing, limits)

    def _initialise(self, app: Flask, manager: RoomsManager) -> SocketIO:
        socketio = self._socketio
        if socketio.server_options.get("message_queue"):
            raise ConfigurationError(
                "Rooms takes the place of message_queue=: leave it out, and give its URL as "
                "ROOMS_BACKEND_URL."
            )
        if socketio.server is not None:
            if not isinstance(socketio, TemplateSocketIO):
                raise ConfigurationError(
                    "This SocketIO was initialised before, with another client manager: create "
                    "it as SocketIO() without the application, and let Rooms initialise it; "
                    "each application needs its own."
                )
            socketio = socketio.copy()
        mode = choose_mode(socketio.server_options.get("async_mode"))
        socketio.init_app(app, client_manager=manager, async_mode=mode)
        return socketio


class _Joining:
    """WSGI middleware: with the first request a worker joins, in the process that serves."""

    def __init__(self, wsgi_app: Callable[..., Iterable[bytes]], cluster: Cluster) -> None:
        self._wsgi_app = wsgi_app
        self._cluster = cluster

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._cluster.start()
        return self._wsgi_app(environ, start_response)


def _request_class(app: Flask) -> type[SocketRequest]:
    """Return the application's own request class with what socket requests need."""
    own = app.request_class
    if issubclass(SocketRequest, own):
        return SocketRequest
    return type(own.__name__, (SocketRequest, own), {})


def parts_of(app: Flask) -> _Parts:
    """Return what an application that Rooms knows is made of."""
    parts: _Parts = app.extensions[_PARTS]
    return parts


def _current_sockets() -> Sockets:
    if not has_app_context():
        raise ConfigurationError(
            "There is no application here, as in a thread or a task: use `rooms.sockets`, or "
            "`with app.app_context():`."
        )
    if "rooms" not in current_app.extensions:
        raise ConfigurationError(
            "This application has no Rooms: call Rooms(app), or init_app(app) in its factory."
        )
    return parts_of(current_app).sockets


#: The `Sockets` of the current application, as `flask.current_app` is the application.
sockets: Sockets = LocalProxy(_current_sockets)  # type: ignore[assignment]  # as Flask types its own
