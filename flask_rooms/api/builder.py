"""Builds the parts of one application, each from those below it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from flask_rooms.api.parts import Parts
from flask_rooms.api.registrations import Registered
from flask_rooms.api.sockets import Sockets
from flask_rooms.backends.base import Backend
from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.interfaces import Timing
from flask_rooms.config import Config
from flask_rooms.history.keeper import Keeper
from flask_rooms.membership.guarded import GuardedChanges
from flask_rooms.membership.namespace import MembershipEvent, Origin
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.refusals import Refusals
from flask_rooms.membership.registry import Registry
from flask_rooms.membership.timers import Timers
from flask_rooms.membership.worker import LocalWorker
from flask_rooms.presence.feed import Feed
from flask_rooms.presence.tracker import Tracker
from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.presence import Replica
from flask_rooms.protocol.stream import Limits
from flask_rooms.server.acknowledgements import Acknowledgements
from flask_rooms.server.admin import ClusterAdmin
from flask_rooms.server.asking import Asking
from flask_rooms.server.async_mode import choose_mode
from flask_rooms.server.audit_log import AuditLog
from flask_rooms.server.catching_up import CatchingUp
from flask_rooms.server.connecting import Connecting
from flask_rooms.server.connections import Connections
from flask_rooms.server.decoding import Decoder
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.drain import Drain
from flask_rooms.server.emitter import Emitter
from flask_rooms.server.hooks import HookRunner
from flask_rooms.server.incoming import Incoming
from flask_rooms.server.logins import Logins
from flask_rooms.server.manager import RoomsManager
from flask_rooms.server.packet_class import checked
from flask_rooms.server.polls import Polls
from flask_rooms.server.private import ServerHandlers, ServerInternals
from flask_rooms.server.serving import Serving
from flask_rooms.server.tells import Tells
from flask_rooms.socket_requests.context import SocketContext
from flask_rooms.socket_requests.handler import SocketRequests, guard_http

logger = logging.getLogger("flask_rooms.api")

_ANY_ORIGIN = (
    "cors_allowed_origins=%r lets every page on the web connect as its visitor, and read what any "
    "GET route returns: name the origins that may."
)


@dataclass(eq=False)
class Builder:
    """
    Builds the parts of one application.

    Each part is made when another one first needs it, so those below come first.

    Args:
        app: The application.
        config: Its configuration.
        socketio: Its Flask-SocketIO, which is initialised with the parts.
        backend: Carries bytes between the workers.
        codec: Encodes and signs what they send.
        version: The version of Flask-Rooms.
        registered: What the application has registered.
        keeper: Keeps the history of rooms.
    """

    app: Flask
    config: Config
    socketio: SocketIO
    backend: Backend
    codec: Codec
    version: str
    registered: Registered
    keeper: Keeper

    def __post_init__(self) -> None:
        self._internals = ServerInternals(self.config.unread_bytes)
        self._refusals = Refusals()
        # No properties, which take longer: each change of a membership looks at them.
        self._signals = SignalQueue(self.app, self._internals, self._tracker)
        self._registry = Registry(self._note, self.config.rooms_per_socket, self._listens)
        self._delivery = Delivery(self._registry, self._internals, self._acknowledgements)

    def build(self) -> Parts:
        """Build everything, and initialise Flask-SocketIO with it."""
        self._tracker.connect(self._cluster, self._feed, self._context.call, self._signals)
        self._initialise()
        return Parts(
            self.socketio,
            self._cluster,
            self._sockets,
            self._registry,
            self._disconnects,
            self._acknowledgements,
            self._refusals,
            self._serving,
            Logins(self._registry),
            self._signals,
            AuditLog(self._emitter, self._delivery),
            self._tells,
            self.keeper,
        )

    def _initialise(self) -> None:
        """Initialise Flask-SocketIO, which makes its server now."""
        _warn_of_any_origin(self.socketio)
        mode = choose_mode(self.socketio.server_options.get("async_mode"))
        self.socketio.init_app(self.app, client_manager=self._manager, async_mode=mode)
        server = self.socketio.server
        server.instrument = partial(
            ClusterAdmin, self.app, self._cluster, self._emitter, self._delivery, server
        )

    # -- memberships ----------------------------------------------------------------------

    def _listens(self) -> bool:
        """Whether _note() has anything to take in, now."""
        return self._signals.listens or self._delivery.holds.listens

    def _note(self, events: list[MembershipEvent], origin: Origin) -> bool:
        """Take in changes of memberships; called under the lock of the registry."""
        self._delivery.holds.note(events)
        return self._signals.add(events, origin)

    @cached_property
    def _tracker(self) -> Tracker:
        config = self.config
        return Tracker(
            self.app,
            self.registered.presence,
            Replica(config.presence_grace, config.presence_members),
            self._refusals,
            self._internals,
            config.presence_bytes,
            config.presence_members,
            config.message_bytes,
        )

    @cached_property
    def _timers(self) -> Timers:
        return Timers(self._internals.start_loop)

    @cached_property
    def _worker(self) -> LocalWorker:
        return LocalWorker(
            self._registry,
            GuardedChanges(self._registry, self.registered.guards, self._context.call),
            self._signals,
            Incoming(self._delivery, self._asking, self._tells),
            self._disconnects,
            self._refusals,
            self._tracker,
            self._internals,
            self._timers,
        )

    # -- the other workers ----------------------------------------------------------------

    @cached_property
    def _cluster(self) -> Cluster:
        config = self.config
        timing = Timing(config.heartbeat_interval, config.confirm_timeout)
        limits = Limits(config.outbox_bytes, config.repair_log_bytes, config.message_bytes)
        return Cluster(self.backend, self.codec, timing, limits, self._worker, self.version)

    @cached_property
    def _tells(self) -> Tells:
        return Tells(self.registered.handlers, self._signals, self._internals)

    # -- what is sent to clients ----------------------------------------------------------

    @cached_property
    def _acknowledgements(self) -> Acknowledgements:
        return Acknowledgements(self._refusals)

    @cached_property
    def _feed(self) -> Feed:
        return Feed(self._registry, self._delivery, self._internals)

    @cached_property
    def _catching_up(self) -> CatchingUp:
        return CatchingUp(
            self.keeper,
            self._registry,
            self._delivery,
            self._internals,
            self.config.message_bytes,
        )

    @cached_property
    def _emitter(self) -> Emitter:
        return Emitter(
            self._cluster,
            self._delivery,
            self._acknowledgements,
            self._catching_up,
            self._internals,
        )

    @cached_property
    def _asking(self) -> Asking:
        config = self.config
        polls = Polls(
            self._registry,
            self._delivery,
            self._acknowledgements,
            self._internals,
            self._timers,
            config.answers_bytes,
        )
        message = config.message_bytes // 2
        return Asking(polls, self._internals, self._timers, config.answers_bytes, message)

    # -- the server -----------------------------------------------------------------------

    @cached_property
    def _context(self) -> SocketContext:
        return SocketContext(self.app, self._registry, self._internals, self.config)

    @cached_property
    def _hook_runner(self) -> HookRunner:
        return HookRunner(self.app, self.registered.hooks, self._internals, self._context.environ)

    @cached_property
    def _disconnects(self) -> Disconnects:
        return Disconnects(
            self._registry, self._signals, self._delivery, self._internals, self._hook_runner
        )

    @cached_property
    def _connections(self) -> Connections:
        return Connections(
            self.config,
            self._registry,
            self._refusals,
            self._internals,
            self._disconnects.disconnect_in_background,
        )

    @cached_property
    def _connecting(self) -> Connecting:
        return Connecting(
            self._registry,
            self._worker,
            self._cluster,
            self._delivery,
            self._disconnects,
            self._hook_runner,
            partial(self.registered.users.load, self.app),
            self._connections,
            self._internals,
        )

    @cached_property
    def _drain(self) -> Drain:
        return Drain(self._internals, self._disconnects, self._signals)

    @cached_property
    def _serving(self) -> Serving:
        timeout = self.config.drain_timeout
        return Serving(self._cluster, self._drain, self._internals, timeout, self.keeper)

    @cached_property
    def _manager(self) -> RoomsManager:
        return RoomsManager(
            self._registry,
            self._worker,
            self._cluster,
            self._emitter,
            self._acknowledgements,
            self._connecting,
            self._disconnects,
            self._server_handlers,
            self._internals,
        )

    @cached_property
    def _server_handlers(self) -> ServerHandlers:
        connections, disconnects, requests = self._connections, self._disconnects, self._requests
        decoder = Decoder(
            self._registry, disconnects, self._internals, requests.refuse, self._refusals
        )
        return ServerHandlers(
            connect=self._drain.guard_connect(self._connecting.handle),
            event=requests.handle,
            message=connections.paced(decoder.handle),
            client_left=disconnects.on_client_left,
            session_begun=connections.on_begin,
            session_ended=disconnects.on_session_end,
            session_closed=connections.on_end,
            unread=connections.on_unread,
            refused=self._refusals.count,
            pace=connections.keep_pace,
            http=self._guard_http,
            packet_class=partial(checked, self.app, self._json_of_socketio),
        )

    def _json_of_socketio(self) -> Any:
        """Return the JSON module that Flask-SocketIO was given, or None."""
        return self.socketio.server_options.get("json")

    def _guard_http(self, handle_request: Callable[..., Any]) -> Callable[..., Any]:
        """Return the server's WSGI application, asked by all that may refuse a request."""
        limited = self._connections.limited(self._connections.in_turn(handle_request))
        guarded = guard_http(self.app, self._internals, self._refusals, limited)
        return self._drain.guard_http(guarded)

    @cached_property
    def _requests(self) -> SocketRequests:
        return SocketRequests(
            self.app,
            self._registry,
            self._delivery,
            self._context,
            self._internals,
            self.config,
            self._refusals,
            self._connections,
        )

    # -- the calls ------------------------------------------------------------------------

    @cached_property
    def _sockets(self) -> Sockets:
        return Sockets(
            self._cluster,
            self._emitter,
            self._registry,
            self._asking,
            self.config.confirm_timeout,
            self._tracker,
            self._catching_up,
        )


def _warn_of_any_origin(socketio: SocketIO) -> None:
    allowed = socketio.server_options.get("cors_allowed_origins")
    origins = allowed if isinstance(allowed, list | tuple | set) else [allowed]
    # To python-engineio an empty list means the same as "*". Any page has a frame with the origin
    # "null" if it wants one.
    if allowed == [] or "*" in origins or "null" in origins:
        with safe_logging():
            logger.warning(_ANY_ORIGIN, allowed)
