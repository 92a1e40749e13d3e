"""Builds the parts of one application, each from those below it."""

from __future__ import annotations

import logging
from functools import partial

from flask import Flask
from flask_socketio import SocketIO

from flask_rooms.api.parts import Parts
from flask_rooms.api.sockets import Sockets
from flask_rooms.backends.base import Backend
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.interfaces import Timing
from flask_rooms.config import Config
from flask_rooms.history.keeper import Keeper
from flask_rooms.membership.guarded import GuardedChanges
from flask_rooms.membership.guards import Guards
from flask_rooms.membership.namespace import MembershipEvent, Origin
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.refusals import Refusals
from flask_rooms.membership.registry import Registry
from flask_rooms.membership.rules import Rules
from flask_rooms.membership.timers import Timers
from flask_rooms.membership.users import Users
from flask_rooms.membership.worker import LocalWorker
from flask_rooms.presence.feed import Feed
from flask_rooms.presence.tracker import Describe, Tracker
from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.presence import Replica
from flask_rooms.protocol.stream import Limits
from flask_rooms.server.acknowledgements import Acknowledgements
from flask_rooms.server.acts import ActLog
from flask_rooms.server.admin import ClusterAdmin
from flask_rooms.server.asking import Asking
from flask_rooms.server.async_mode import choose_mode
from flask_rooms.server.catching_up import CatchingUp
from flask_rooms.server.connecting import Connecting
from flask_rooms.server.connections import Connections
from flask_rooms.server.decoding import Decoder
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.drain import Drain
from flask_rooms.server.emitter import Emitter
from flask_rooms.server.hooks import HookRunner, Hooks
from flask_rooms.server.incoming import Incoming
from flask_rooms.server.logins import Logins
from flask_rooms.server.manager import RoomsManager
from flask_rooms.server.packet_class import checked
from flask_rooms.server.polls import Polls
from flask_rooms.server.private import ServerHandlers, ServerInternals
from flask_rooms.server.serving import Serving
from flask_rooms.server.tells import TellHandler, Tells
from flask_rooms.socket_requests.context import SocketContext
from flask_rooms.socket_requests.handler import SocketRequests, guard_http

logger = logging.getLogger("flask_rooms.api")


class Builder:
    """
    Builds the parts of one application, each from those below it.

    Args:
        app: The application.
        config: Its configuration.
        guards: The guards of its Rooms.
        users: The user loader.
        hooks: The hooks.
        presence: The rules of the rooms whose presence is tracked.
        handlers: The handlers of messages between workers.
        keeper: Keeps the history of rooms.
    """

    def __init__(
        self,
        app: Flask,
        config: Config,
        guards: Guards,
        users: Users,
        hooks: Hooks,
        presence: Rules[Describe],
        handlers: dict[str, list[TellHandler]],
        keeper: Keeper,
    ) -> None:
        self._app = app
        self._config = config
        self._guards = guards
        self._users = users
        self._hooks = hooks
        self._keeper = keeper
        self._internals = ServerInternals(config.unread_bytes)
        self._refusals = Refusals()
        self._tracker = Tracker(
            app,
            presence,
            Replica(config.presence_grace, config.presence_members),
            self._refusals,
            self._internals,
            config.presence_bytes,
            config.presence_members,
            config.message_bytes,
        )
        self._signals = SignalQueue(app, self._internals, self._tracker)
        self._tells = Tells(handlers, self._signals, self._internals)
        self._registry = Registry(self._note, config.rooms_per_socket, self._listens)
        self._acknowledgements = Acknowledgements(self._refusals)
        self._delivery = Delivery(self._registry, self._internals, self._acknowledgements)
        self._context = SocketContext(app, self._registry, self._internals, config)

    def _listens(self) -> bool:
        """Whether _note() has anything to take in, now."""
        return self._signals.listens or self._delivery.holds.listens

    def _note(self, events: list[MembershipEvent], origin: Origin) -> bool:
        """Take in changes of memberships; called under the lock of the registry."""
        self._delivery.holds.note(events)
        return self._signals.add(events, origin)

    def parts(self, socketio: SocketIO, backend: Backend, codec: Codec, version: str) -> Parts:
        """Build everything, and initialise *socketio* with it."""
        config, internals, delivery = self._config, self._internals, self._delivery
        runner = HookRunner(self._app, self._hooks, internals, self._context.environ)
        disconnects = Disconnects(self._registry, self._signals, delivery, internals, runner)
        connections = Connections(
            config,
            self._registry,
            self._refusals,
            internals,
            disconnects.disconnect_in_background,
        )
        guarded = GuardedChanges(self._registry, self._guards, self._context.call)
        timers = Timers(internals.start_loop)
        polls = Polls(
            self._registry,
            delivery,
            self._acknowledgements,
            internals,
            timers,
            config.answers_bytes,
        )
        asking = Asking(polls, internals, timers, config.answers_bytes, config.message_bytes // 2)
        worker = LocalWorker(
            self._registry,
            guarded,
            self._signals,
            Incoming(delivery, asking, self._tells),
            disconnects,
            self._refusals,
            self._tracker,
            internals,
            timers,
        )
        timing = Timing(config.heartbeat_interval, config.confirm_timeout)
        limits = Limits(config.outbox_bytes, config.repair_log_bytes, config.message_bytes)
        cluster = Cluster(backend, codec, timing, limits, worker, version)
        feed = Feed(self._registry, delivery, internals)
        self._tracker.connect(cluster, feed, self._context.call, self._signals)
        catching_up = CatchingUp(
            self._keeper, self._registry, delivery, internals, config.message_bytes
        )
        emitter = Emitter(cluster, delivery, self._acknowledgements, catching_up, internals)
        connecting = Connecting(
            self._registry,
            worker,
            cluster,
            delivery,
            disconnects,
            runner,
            partial(self._users.load, self._app),
            connections,
            internals,
        )
        drain = Drain(internals, disconnects, self._signals)
        serving = Serving(cluster, drain, internals, config.drain_timeout, self._keeper)
        manager = RoomsManager(
            self._registry,
            worker,
            cluster,
            emitter,
            self._acknowledgements,
            connecting,
            disconnects,
            self._handlers(socketio, connecting, disconnects, connections, drain),
            internals,
        )
        _warn_of_any_origin(socketio)
        mode = choose_mode(socketio.server_options.get("async_mode"))
        socketio.init_app(self._app, client_manager=manager, async_mode=mode)
        admin = partial(ClusterAdmin, self._app, cluster, emitter, delivery, socketio.server)
        socketio.server.instrument = admin
        sockets = Sockets(
            cluster,
            emitter,
            self._registry,
            asking,
            config.confirm_timeout,
            self._tracker,
            catching_up,
        )
        return Parts(
            socketio,
            cluster,
            sockets,
            self._registry,
            disconnects,
            self._acknowledgements,
            self._refusals,
            serving,
            Logins(self._registry),
            self._signals,
            ActLog(emitter, delivery),
            self._tells,
            self._keeper,
        )

    def _handlers(
        self,
        socketio: SocketIO,
        connecting: Connecting,
        disconnects: Disconnects,
        connections: Connections,
        drain: Drain,
    ) -> ServerHandlers:
        """Return what takes the place of the server's own methods."""
        requests = SocketRequests(
            self._app,
            self._registry,
            self._delivery,
            self._context,
            self._internals,
            self._config,
            self._refusals,
            connections,
        )
        decoder = Decoder(
            self._registry, disconnects, self._internals, requests.refuse, self._refusals
        )
        return ServerHandlers(
            connect=drain.guard_connect(connecting.handle),
            event=requests.handle,
            message=connections.paced(decoder.handle),
            client_left=disconnects.on_client_left,
            session_begun=connections.on_begin,
            session_ended=disconnects.on_session_end,
            session_closed=connections.on_end,
            unread=connections.on_unread,
            refused=self._refusals.count,
            pace=connections.keep_pace,
            http=lambda handle: drain.guard_http(
                guard_http(
                    self._app,
                    self._internals,
                    self._refusals,
                    connections.limited(connections.in_turn(handle)),
                )
            ),
            packet_class=partial(checked, self._app, lambda: socketio.server_options.get("json")),
        )


def _warn_of_any_origin(socketio: SocketIO) -> None:
    allowed = socketio.server_options.get("cors_allowed_origins")
    origins = allowed if isinstance(allowed, list | tuple | set) else [allowed]
    # To python-engineio an empty list means the same as "*". Any page has a frame with the origin
    # "null" if it wants one.
    if allowed == [] or "*" in origins or "null" in origins:
        logger.warning(
            "cors_allowed_origins=%r lets every page on the web connect as its visitor, and read "
            "what any GET route returns: name the origins that may.",
            allowed,
        )
