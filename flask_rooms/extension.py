"""Rooms, the Flask extension."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import fields
from datetime import datetime
from inspect import signature
from typing import Any, TypeVar

from engineio import Server as EngineIOServer
from flask import Flask, current_app, has_app_context
from flask_socketio import SocketIO
from socketio import Server as SocketIOServer

import flask_rooms
from flask_rooms.api.arguments import finite_seconds
from flask_rooms.api.builder import Builder
from flask_rooms.api.parts import Parts
from flask_rooms.api.registrations import Registered, Registrations
from flask_rooms.api.sockets import Callback, Sockets, checked_callback, when_done
from flask_rooms.backends import MemoryBackend, from_url, split_urls
from flask_rooms.backends.base import Backend
from flask_rooms.backends.overrides import current_overrides
from flask_rooms.cli import add_commands
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.shutdown import register
from flask_rooms.config import Config
from flask_rooms.errors import ConfigurationError, InvalidArgument
from flask_rooms.globals import keep_parts, parts_of
from flask_rooms.history import SCHEMES, Bounds, HistoryStore, MemoryHistory
from flask_rooms.history import from_url as history_from_url
from flask_rooms.history.keeper import Keeper
from flask_rooms.membership.guards import Guard
from flask_rooms.membership.names import message_name, type_of
from flask_rooms.membership.rules import Rules, require_rule
from flask_rooms.membership.users import Loader
from flask_rooms.presence.tracker import Describe
from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.signing import Signer
from flask_rooms.results import Health, Outcome, Told
from flask_rooms.server.hooks import AfterDisconnect, BeforeConnect
from flask_rooms.server.manager import RoomsManager
from flask_rooms.server.notices import Patch, of_request
from flask_rooms.server.reusable import ReusableSocketIO
from flask_rooms.server.tells import TellHandler
from flask_rooms.server.web_servers import attach, log_notices
from flask_rooms.socket_requests.application import adapt
from flask_rooms.socket_requests.assets import serve

L = TypeVar("L", bound=Loader)
G = TypeVar("G", bound=Guard)
P = TypeVar("P", bound=Describe)
B = TypeVar("B", bound=BeforeConnect)
A = TypeVar("A", bound=AfterDisconnect)
H = TypeVar("H", bound=TellHandler)


class Rooms:
    """
    Rooms for the sockets of a Flask application, over all its workers.

    Args:
        app: The application; with a factory, leave it out and call init_app().
        socketio: A Flask-SocketIO that is not initialised yet. Without one, `rooms.socketio`
            is created.
        backend: Carries bytes between the workers, in place of `backend_url`.
        history_store: Keeps the history of rooms, in place of `history_url`.
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
        history_store: HistoryStore | None = None,
        **options: Any,
    ) -> None:
        _require_socketio(socketio)
        _refuse_options_of_socketio(options, socketio)
        self._socketio = ReusableSocketIO() if socketio is None else socketio
        self._backend = backend
        self._history_store = history_store
        self._options = options
        self._registrations = Registrations()
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._latest: weakref.ref[Flask] | None = None
        self._side_by_side = False  # whether the applications are those of a test cluster
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        return f"<Rooms of {len(self._apps)} application(s)>"

    def init_app(self, app: Flask) -> None:
        """
        Set up an application; its configuration is read now, and not again.

        The worker joins the cluster later, so that servers may fork after this: when
        Flask-SocketIO's run(), `flask run`, gunicorn or uWSGI begins to serve, else with start(),
        the first request or the first call.

        Raises:
            ConfigurationError: Something is not set up right; the message says what to change.
        """
        if not isinstance(app, Flask):
            raise ConfigurationError(
                f"Rooms takes the application, not {type_of(app)}: give the URL of the broker as "
                "Rooms(app, backend_url=...)."
            )
        if "rooms" in app.extensions:
            raise ConfigurationError(
                "Rooms is registered with this application already: call init_app() once, or "
                "give the application to Rooms(), not both."
            )
        config = self._read_config(app)
        socketio = self._choose_socketio()
        backend, codec = self._make_transport(app, config)
        registered = self._registrations.for_app(app)
        keeper = self._make_keeper(app, config, registered.history)
        parts = Builder(
            *(app, config, socketio, backend, codec, flask_rooms.__version__, registered, keeper)
        ).build()
        adapt(app)
        serve(app, config)
        patch = Patch()
        join = _JoinOnRequest(app.wsgi_app, parts.cluster, patch)
        app.wsgi_app = join  # type: ignore[method-assign]
        app.extensions["rooms"] = self
        keep_parts(app, parts)
        self._apps.add(app)
        self._latest = weakref.ref(app)
        self._side_by_side = current_overrides.get() is not None
        add_commands(app)
        register(parts.serving)
        attach(parts.socketio, parts.serving, patch)

    def user_loader(self, loader: L) -> L:
        """
        Register the function that returns the user of a connecting socket: a decorator.

        It is called with the client's `auth` (None if it has sent none), in the context of the
        handshake, so that `flask.session` and its like are those of the client. It returns the
        ID of the user, a string or an integer, or None. If it raises, the client is refused.

        Without a loader, Flask-Login is asked where the application uses it.

        Raises:
            ConfigurationError: *loader* is not a function.
        """
        _require_callable(loader, "user_loader takes a function of one argument, `auth`.")

        def set_loader(to: Registered) -> None:
            to.users.loader = loader

        self._registrations.add("user_loader", loader, set_loader)
        return loader

    def before_connect(self, hook: B) -> B:
        """
        Register a function that decides whether a client may connect: a decorator.

        It is called with the client's `auth` (None if it has sent none), in the context of the
        handshake, before the user is loaded. It refuses the client by returning False, or by
        raising ConnectionRefusedError(reason), whose reason the client gets. Any other error
        refuses it, too; that one is logged, and not sent. So is what Flask takes for a response:
        a Response, a string, bytes, a dictionary, a list or a tuple. None, True and whatever else
        it returns let the client in.

        Raises:
            ConfigurationError: *hook* is not a function.
        """
        _require_callable(hook, "before_connect takes a function of one argument, `auth`.")
        self._registrations.append("connect", hook, lambda of: of.hooks.before_connect)
        return hook

    def after_disconnect(self, hook: A) -> A:
        """
        Register a function that is called after a socket has disconnected: a decorator.

        It is called with the reason, as Flask-SocketIO names it, and the names of the rooms that
        the socket was in, without the room of its own ID. `request.sid`, `request.namespace` and
        `session` are those of the socket, including a login over it. Changes of the session are
        saved.

        Raises:
            ConfigurationError: *hook* is not a function.
        """
        _require_callable(hook, "after_disconnect takes a function of a reason and rooms.")
        self._registrations.append("disconnect", hook, lambda of: of.hooks.after_disconnect)
        return hook

    def guard(self, rule: str) -> Callable[[G], G]:
        """
        Register the function that decides who may join rooms of some names: a decorator.

        It is called on the worker that holds the socket, with the values that the rule has
        matched in the name, in a context of its own: `request.sid`, `request.namespace` and
        `session` are what the next request of the socket would see. It returns whether the
        socket may join: any true value is a yes, a string as well, but no Response and no tuple.
        If it raises, the join is refused.

        Args:
            rule: As in `app.route()`, over the whole name and with Werkzeug's own converters:
                `"team:<int:id>"`. The rule `"*"` is for the names that no other rule matches; its
                guard is called with `room`.

        Raises:
            ConfigurationError: *rule* is not a rule or has another guard, or the guard is not a
                function.
        """

        require_rule(rule)

        def register(guard: G) -> G:
            _require_callable(guard, "A guard is a function that returns a bool.")
            self._registrations.add(("guard", rule), guard, lambda to: to.guards.add(rule, guard))
            return guard

        return register

    def presence(self, rule: str) -> Callable[[P], P]:
        """
        Track who is present in rooms of some names: a decorator of a function that describes.

        The function is called on the worker that holds a socket when the socket has joined, as a
        guard is. It returns what others are to know of the socket, a dictionary of JSON of at
        most ROOMS_PRESENCE_BYTES, or None. If it raises, the socket is present without data.

        Args:
            rule: As in guard().

        Raises:
            ConfigurationError: *rule* is not a rule or has another function, or what is decorated
                is not a function.
        """

        require_rule(rule)

        def register(describe: P) -> P:
            _require_callable(describe, "presence takes a function that returns a dictionary.")
            key = "presence", rule
            self._registrations.add(key, describe, lambda to: to.presence.add(rule, describe))
            return describe

        return register

    def history(
        self, rule: str, *, messages: int = 100, seconds: float = 300, max_bytes: int = 2**20
    ) -> None:
        """
        Keep what is sent to rooms of some names, for clients that come back: see `catch_up()`.

        Each bound is of one room; what comes first applies.

        Args:
            rule: As in guard().
            messages: How many events are kept.
            seconds: For how many seconds each of them.
            max_bytes: How many bytes, of all events together.

        Raises:
            ConfigurationError: *rule* is not a rule or has other bounds, a bound is not a number
                greater than 0 and at most 2**31, or there is nothing to keep it: see
                `ROOMS_HISTORY_URL`.
        """
        bounds = Bounds(messages, seconds, max_bytes)
        are_numbers = type(messages) is type(max_bytes) is int and type(seconds) in (int, float)
        if not (are_numbers and all(0 < bound <= 2**31 for bound in bounds)):  # nor infinite
            raise ConfigurationError(
                "history() takes whole numbers of `messages` and `max_bytes`, and a number of "
                "`seconds`, all greater than 0 and at most 2**31."
            )
        key = "history", rule
        self._registrations.add(key, bounds, lambda to: to.history.add(rule, bounds))
        for app in list(self._apps):
            parts_of(app).history.require_store()

    def on_tell(self, event: str) -> Callable[[H], H]:
        """
        Register a function for the messages of workers about *event*: a decorator.

        It is called with the data, on every worker, the one that has sent the message included,
        in a context of the application of its own. One message after the other: those of a worker
        in the order sent. An error of it is logged.

        Args:
            event: What the messages are about.

        Raises:
            ConfigurationError: *event* is not a name, or what is decorated not a function.
        """
        try:
            name = message_name(event)
        except InvalidArgument as error:
            raise ConfigurationError(str(error)) from None

        def register(handler: H) -> H:
            _require_callable(handler, "on_tell takes a function of one argument, the data.")
            key = "tell", name
            self._registrations.append(key, handler, lambda of: of.handlers.setdefault(name, []))
            return handler

        return register

    def tell(self, event: str, data: Any = None, callback: Callback | None = None) -> Future[Told]:
        """
        Send a message to every worker, this one included, for the functions of on_tell().

        Args:
            event: What it is about.
            data: What JSON and bytes can express.
            callback: Called exactly once, with None or the error, when the outcome is known.

        Returns:
            The future of an Outcome whose `workers` are the names of those that have the message.
            Their functions are called later, or have been called.

        Raises:
            InvalidArgument: *event*, *data* or *callback* is not valid, or the message is too
                large.
            BackendUnavailable: The outbox for the other workers is full.
        """
        name, callback = message_name(event), checked_callback(callback)
        parts = self._parts()
        return when_done(parts.tells.tell(parts.cluster, name, data), callback)

    def recheck(
        self, room: str, callback: Callback | None = None, *, namespace: str | None = None
    ) -> Future[Outcome]:
        """
        Ask the guard of a room about all its members, on every worker, and remove those refused.

        Args:
            room: A name.
            callback: Called exactly once, with None or the error, when the outcome is known.
            namespace: The namespace of the room.

        Returns:
            The future of an Outcome: `changed` counts the members that were removed.

        Raises:
            InvalidRoom: *room* is not a name.
            InvalidArgument: *callback* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        return self.sockets._recheck(room, callback, namespace)

    def start(self) -> None:
        """
        Join the cluster, and move the clients when a signal asks this process to end.

        To be called by a process that serves, after all forks, under a web server that is not
        supported by itself. Returns when the other workers can hear this one, or at once if the
        broker is down. Calling it again has no effect.
        """
        self._parts().serving.begin()

    def drain(self, timeout: float | None = None) -> bool:
        """
        Move all clients of this worker to other workers, and leave the cluster.

        New connections are refused with status 503. The clients are disconnected a few at a time,
        in a way that lets them connect again, and their disconnect handlers run. Afterwards the
        worker says goodbye to the others and cannot come back: end the process.

        Args:
            timeout: Seconds to wait for the handlers; by default `ROOMS_DRAIN_TIMEOUT`.

        Returns:
            Whether all handlers have returned in time.

        Raises:
            InvalidArgument: *timeout* is not a number of seconds.
        """
        return self._parts().serving.drain(finite_seconds(timeout))

    def health(self) -> Health:
        """
        Return whether this worker can serve clients.

        It neither joins the cluster nor waits for the broker.
        """
        return self._parts().serving.health

    @property
    def socketio(self) -> SocketIO:
        """The Flask-SocketIO of the current application, else of the one made last."""
        return self._parts().socketio if self._apps else self._socketio

    @property
    def sockets(self) -> Sockets:
        """The `sockets` of the current application, else of the one made last."""
        if not self._apps:
            raise ConfigurationError("Rooms has no application yet: call init_app(app) first.")
        return self._parts().sockets

    def login_expires(self, when: float | datetime | None) -> None:
        """
        Set when the login of the current socket expires; then it is disconnected.

        It is the socket that is connecting, in `before_connect`, `user_loader` or a `connect`
        handler, or the one whose request or event is handled: a later time renews the login.
        `disconnect` handlers get the reason `login expired`, within a second of that time.

        Args:
            when: Seconds since 1970, as `exp` of a JWT; or a datetime with a time zone; or None
                for never.

        Raises:
            InvalidArgument: *when* is none of these.
            NotASocketRequest: There is no current socket.
        """
        self._parts().logins.expire(when)

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often clients have reached each limit, by its name, on this worker; read-only."""
        return self._parts().refusals.counts

    def _parts(self) -> Parts:
        if has_app_context() and current_app.extensions.get("rooms") is self:
            return parts_of(current_app)
        apps = list(self._apps)
        is_making = current_overrides.get() is not None  # in the factory of a test cluster
        if len(apps) > 1 and self._side_by_side and not is_making:
            raise ConfigurationError(
                "Rooms serves several applications, and none of them is current: use "
                "`with app.app_context():`."
            )
        # Where a factory is called again, as for each test, the former application is no more.
        latest = self._latest() if self._latest is not None else None
        if latest is None:
            raise ConfigurationError("Rooms has no application: call init_app(app) first.")
        return parts_of(latest)

    def _read_config(self, app: Flask) -> Config:
        overrides = current_overrides.get()
        return Config.of(app, {**self._options, **(overrides.options if overrides else {})})

    def _make_transport(self, app: Flask, config: Config) -> tuple[Backend, Codec]:
        """Make the backend, which is opened later so that a wrong URL is an error at the start."""
        overrides = current_overrides.get()
        if self._backend is not None and self._apps and overrides is None:
            raise ConfigurationError(
                "One backend= connects one worker: give each application a Rooms of its own, or "
                "use backend_url=."
            )
        backend = self._backend or from_url(
            config.backend_url, channel=config.channel, options=config.backend_options or {}
        )
        keys = config.keys(app, in_process=type(backend) is MemoryBackend)
        if overrides is not None:  # after all checks, so that a test fails where production would
            backend = overrides.connect(app, config.channel)
        # Room for the operations' framing and for a heartbeat that names a large cluster.
        return backend, Codec(keys, config.channel, 2 * config.message_bytes + 2**16)

    def _make_keeper(self, app: Flask, config: Config, rules: Rules[Bounds]) -> Keeper:
        """Make what keeps the history of rooms; its store connects later."""
        overrides = current_overrides.get()
        url, store = config.history_url, self._history_store
        scheme = split_urls(config.backend_url)[0].partition("://")[0]
        if url is None and store is None and self._backend is None and scheme in SCHEMES:
            url = config.backend_url
        if url is not None and store is None:
            options = config.backend_options or {}
            store = history_from_url(url, channel=config.channel, options=options)
        in_process = store is None or type(store) is MemoryHistory
        keys = config.keys(app, in_process=in_process)
        signer = Signer(keys, f"flask-rooms.history.{config.channel}")
        keeper = Keeper(rules, store, signer)
        keeper.require_store()
        # After all checks, as for the backend.
        return keeper if overrides is None else Keeper(rules, overrides.history, signer)

    def _choose_socketio(self) -> SocketIO:
        """Return the Flask-SocketIO of a new application: with a factory, each has its own."""
        socketio = self._socketio
        _refuse_message_queue(socketio)
        if isinstance(socketio, ReusableSocketIO):
            return socketio if socketio.server is None else socketio.copy()
        if socketio.server is not None:
            _check_former(socketio)
        return socketio


def _require_callable(given: Any, message: str) -> None:
    if not callable(given):
        raise ConfigurationError(message)


class _JoinOnRequest:
    """WSGI middleware: the worker joins with the first request, in the process that serves."""

    def __init__(
        self, wsgi_app: Callable[..., Iterable[bytes]], cluster: Cluster, patch: Patch
    ) -> None:
        self._wsgi_app = wsgi_app
        self._cluster = cluster
        self._patch = patch
        self._is_first = True

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._is_first:
            self._is_first = False
            log_notices([*self._patch.notices(), *of_request()])
        self._cluster.start()
        return self._wsgi_app(environ, start_response)


def _require_socketio(given: Any) -> None:
    if given is not None and not isinstance(given, SocketIO):
        raise ConfigurationError(
            f"Rooms takes the application and a SocketIO, not {type_of(given)}: give the URL of "
            "the broker as Rooms(app, backend_url=...)."
        )


def _refuse_options_of_socketio(options: Mapping[str, Any], socketio: SocketIO | None) -> None:
    """Raise where Rooms is given what SocketIO takes; the configuration checks the others."""
    if "message_queue" in options:
        raise ConfigurationError("Rooms takes the place of message_queue=: use backend_url=.")
    known = {"manage_session", "path", "resource"}  # of Flask-SocketIO itself
    for server in (EngineIOServer, SocketIOServer):
        known.update(signature(server.__init__).parameters)
    given = sorted((options.keys() & known) - {one.name for one in fields(Config)})
    if given:
        shown = ", ".join(f"{name}=..." for name in given)
        advice = f"pass Rooms(app, SocketIO({shown}))"
        if socketio is not None:  # in whose place another one would have none of its handlers
            advice = f"create yours as SocketIO({shown}), or call"
            advice += f" socketio.server_options.update({shown}) before Rooms()"
        raise ConfigurationError(
            f"Rooms() does not take {', '.join(given)}, which SocketIO does: {advice}."
        )


def _refuse_message_queue(socketio: SocketIO) -> None:
    if socketio.server_options.get("message_queue") or "channel" in socketio.server_options:
        raise ConfigurationError(
            "Rooms takes the place of message_queue= and channel=: leave them out, and give them "
            "as ROOMS_BACKEND_URL and ROOMS_CHANNEL."
        )


def _check_former(socketio: SocketIO) -> None:
    """Raise where the next application of a factory cannot have the same SocketIO."""
    if not isinstance(socketio.server.manager, RoomsManager):
        raise ConfigurationError(
            "This SocketIO was initialised before, with another client manager: create it as "
            "SocketIO() without the application, and let Rooms initialise it."
        )
    if current_overrides.get() is not None:
        raise ConfigurationError(
            "A SocketIO serves the application that was made last, and here several live side by "
            "side: each application needs its own, or the one that Rooms makes."
        )
