"""Connects sockets: every step from a CONNECT packet to an accepted socket, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from socketio.packet import CONNECT_ERROR

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.driver import Cluster
from flask_rooms.membership.attempts import Attempt
from flask_rooms.membership.names import is_namespace
from flask_rooms.membership.namespace import Origin
from flask_rooms.membership.registry import Registry
from flask_rooms.membership.worker import LocalWorker
from flask_rooms.protocol.ids import is_sid, new_sid
from flask_rooms.protocol.messages import User
from flask_rooms.server.connections import Connections
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.hooks import HookRunner
from flask_rooms.server.logins import has_expired, of_attempt
from flask_rooms.server.private import ServerInternals

logger = logging.getLogger("flask_rooms.server")

#: What python-socketio answers a client that cannot connect.
_UNABLE = "Unable to connect"
_EXPIRED = "The login has expired"

#: Loads the user of a connecting socket, given its handshake and what it has sent as `auth`.
LoadUser = Callable[[dict[str, Any], Any], "User | None"]


class Connecting:
    """
    Takes each CONNECT packet through the steps in handle(), one attempt of a client at a time.

    Args:
        registry: The sockets of this worker, and the attempts.
        worker: Lets a new socket into the rooms of its user.
        cluster: Has the name of this worker.
        delivery: Sends refusals.
        disconnects: Ends what is refused.
        hooks: The application's `before_connect` functions.
        load_user: The application's user loader.
        connections: Ends the connection of a client that is refused everywhere.
        internals: The server.
    """

    def __init__(
        self,
        registry: Registry,
        worker: LocalWorker,
        cluster: Cluster,
        delivery: Delivery,
        disconnects: Disconnects,
        hooks: HookRunner,
        load_user: LoadUser,
        connections: Connections,
        internals: ServerInternals,
    ) -> None:
        self._registry = registry
        self._worker = worker
        self._cluster = cluster
        self._delivery = delivery
        self._disconnects = disconnects
        self._hooks = hooks
        self._load_user = load_user
        self._connections = connections
        self._internals = internals

    def handle(self, eio_sid: str, namespace: str | None, auth: Any) -> None:
        """Handle a CONNECT packet, in place of python-socketio."""
        try:
            self._handle(eio_sid, namespace, auth)
        finally:
            self._connections.on_decided(eio_sid)

    def _handle(self, eio_sid: str, namespace: str | None, auth: Any) -> None:
        # Such as "*", its handler for all of them; a comma can come in msgpack alone.
        if not is_namespace(namespace or "/"):
            self._refuse(eio_sid, namespace, _UNABLE)
            return
        attempt = self._registry.begin(namespace or "/", eio_sid)
        if attempt is None:  # the connect handler is still deciding about this client
            self._refuse(eio_sid, namespace, _UNABLE)
            return
        try:
            refusal = self._connections.refusal(attempt)  # before any function is called
            if refusal is None:
                refusal = self._ask_hooks(attempt, auth)
            if refusal is None:
                refusal = self._load(attempt, auth) or self._connections.refusal(attempt)
            if refusal is None:
                self._ask_connect_handler(attempt, auth)  # calls register() and accept()
            else:
                self._refuse(eio_sid, namespace, refusal)
        finally:
            self._registry.finish(attempt)

    # -- the steps, in order --------------------------------------------------------------

    def _ask_hooks(self, attempt: Attempt, auth: Any) -> Any:
        """Return what to answer a client that a `before_connect` hook refuses, else None."""
        handshake = self._internals.handshake(attempt.eio_sid)
        if handshake is None:
            return _UNABLE
        return self._hooks.refusal(of_attempt(handshake, attempt), auth)

    def _load(self, attempt: Attempt, auth: Any) -> Any:
        """Load the user; return what to answer a client whose user cannot be loaded."""
        handshake = self._internals.handshake(attempt.eio_sid)
        if handshake is None:
            return _UNABLE
        try:
            attempt.user = self._load_user(of_attempt(handshake, attempt), auth)
        except BaseException:  # of the application, such as SystemExit
            with safe_logging():
                logger.exception("The user of a socket could not be loaded: it is refused.")
            return _UNABLE
        return _EXPIRED if has_expired(attempt) else None

    def _ask_connect_handler(self, attempt: Attempt, auth: Any) -> None:
        try:
            self._internals.handle_connect(attempt.eio_sid, attempt.namespace, auth)
            if self._registers_late(attempt):
                self.accept(attempt.sid, attempt.namespace)
        except BaseException:
            if attempt.sid:
                self._disconnects.forget(attempt.sid, attempt.namespace)
            raise

    def register(self, eio_sid: str, namespace: str) -> str | None:
        """Register the socket, before its connect handler runs; return its ID, or None."""
        attempt = self._registry.attempt(namespace, eio_sid)
        if attempt is None:
            return None
        self._cluster.wait_until_heard()  # it may have just restarted
        name = self._cluster.name
        sid = new_sid(name)
        joins = self._registry.admit(attempt, sid)
        if joins is None:
            return None
        for join in joins:  # one by one, as a guard may refuse one of them
            self._worker.join_or_recheck(join.change, join, Origin("call", name))
        if self._disconnects.has_ended(eio_sid) or name != self._cluster.name:
            self._registry.remove(namespace, sid)  # the client has left, or the worker restarted
            return None
        return sid

    def accept(self, sid: str, namespace: str) -> str | None:
        """Accept the socket, after its connect handler has said so; return its ID, or None."""
        socket = self._registry.accept(namespace, sid)
        if socket is None and not is_sid(sid):
            return self._register_and_accept(sid, namespace)
        if socket is None:
            return None  # the client has left while the connect handler was running
        if socket.ended:  # by a call or by the client, while the connect handler was running
            attempt = self._registry.attempt(namespace, socket.eio_sid)
            by_client = attempt is not None and attempt.withdrawn
            reason = self._internals.reasons.CLIENT_DISCONNECT if by_client else None
            self._disconnects.disconnect_in_background([socket], namespace, reason)
        return sid

    # -- python-socketio before 5.18 ------------------------------------------------------

    def _register_and_accept(self, eio_sid: str, namespace: str) -> str | None:
        """Register a socket that python-socketio names by its connection, all in one step."""
        sid = self.register(eio_sid, namespace)
        if sid is None or not self._internals.server.always_connect:
            return sid  # _ask_connect_handler() accepts it
        return self.accept(sid, namespace)

    def _registers_late(self, attempt: Attempt) -> bool:
        """Whether the connect handler has accepted a socket, and python-socketio has not."""
        socket = self._registry.get(attempt.namespace, attempt.sid)
        return socket is not None and not socket.accepted

    def _refuse(self, eio_sid: str, namespace: str | None, why: Any) -> None:
        packet = self._internals.packet(CONNECT_ERROR, data=why, namespace=namespace or "/")
        self._delivery.send_packet(eio_sid, packet)
