"""Runs the disconnect handler of each socket exactly once, whichever side ends it first."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from socketio.packet import DISCONNECT

from flask_rooms.backends.logs import safe_logging
from flask_rooms.membership.namespace import Origin, Socket
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.registry import Registry
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.hooks import HookRunner
from flask_rooms.server.private import ServerInternals

logger = logging.getLogger("flask_rooms.server")

#: Characters of what a client calls itself that are passed on.
MAX_CLIENT = 500

_LEFT, _REFUSED = Origin("disconnect"), Origin("disconnect", refused=True)


class Disconnects:
    """
    Runs the application's disconnect handlers, and forgets the sockets afterwards.

    Three events may end a socket at the same time: a call that disconnects it, its client that
    leaves, and its connection that ends. The handler needs the handshake and the rooms, so both
    are kept until it has returned, whatever happens to the connection meanwhile.

    Handlers, hooks and receivers of signals run in a thread and contexts of their own: what a
    caller has in its own is not seen there, nor torn down. Without a handler and without a hook
    there is nothing to run apart: receivers have a thread anyway.

    Args:
        registry: The sockets of this worker.
        signals: Sends the signals of the changes that *registry* reports.
        delivery: Sends to clients, and releases the callbacks that wait for them.
        internals: The server.
        hooks: Told of sockets that have left.
    """

    def __init__(
        self,
        registry: Registry,
        signals: SignalQueue,
        delivery: Delivery,
        internals: ServerInternals,
        hooks: HookRunner,
    ) -> None:
        self._registry = registry
        self._signals = signals
        self._delivery = delivery
        self._internals = internals
        self._hooks = hooks
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, the connections of the parent."""
        self._lock = threading.Lock()
        self._users: Counter[str] = Counter()  # Engine.IO session -> handlers that need it
        self._ended: set[str] = set()  # sessions that have ended, and are still needed

    @property
    def are_done(self) -> bool:
        """Whether no handler is running, and no socket is waiting for one."""
        return not self._users

    # -- called by the application --------------------------------------------------------

    def disconnect_in_background(
        self, sockets: list[Socket], namespace: str, reason: Any = None
    ) -> None:
        """Disconnect sockets, each on its own: a handler may hang."""
        self._internals.spawn(self._spawn_each, sockets, namespace, reason)

    def _spawn_each(self, sockets: list[Socket], namespace: str, reason: Any) -> None:
        for socket in sockets:
            self._internals.spawn(self._disconnect_safely, socket, namespace, reason, kind=None)

    def _disconnect_safely(self, socket: Socket, namespace: str, reason: Any) -> None:
        try:
            self._disconnect(socket, namespace, reason)
        except BaseException:  # of the application, such as SystemExit; the other sockets go on
            with safe_logging():
                logger.exception("A disconnect handler has failed.")

    def disconnect(self, socket: Socket, namespace: str) -> None:
        """Tell the client that it is disconnected, then run the application's handler."""
        self._run(partial(self._disconnect, socket, namespace))

    def _disconnect(self, socket: Socket, namespace: str, reason: Any = None) -> None:
        if socket.reconnects:
            if socket.accepted:  # else accept() calls this again
                self.hang_up(socket.eio_sid)
        elif self._claim(socket, namespace):
            packet = self._internals.packet(DISCONNECT, namespace=namespace)
            try:
                self._delivery.send_packet(socket.eio_sid, packet)
            finally:  # the Timeout of a green caller may end it anywhere
                reason = reason or self._internals.reasons.SERVER_DISCONNECT
                self._run_handler(socket, namespace, reason)

    def origin_of(self, eio_sid: str) -> tuple[str, str]:
        """Return the address of a client, and how its program describes itself."""
        handshake = self._internals.handshake(eio_sid) or {}
        address, client = handshake.get("REMOTE_ADDR"), handshake.get("HTTP_USER_AGENT")
        return str(address or ""), str(client or "")[:MAX_CLIENT]

    def hang_up(self, eio_sid: str) -> None:
        """End a connection, so that its client may connect again."""
        # Not with a DISCONNECT packet: clients take that as final and stay away.
        if not self._internals.close(eio_sid):
            self.on_session_end(eio_sid, self._internals.reasons.SERVER_DISCONNECT)

    # -- called by the server -------------------------------------------------------------

    def on_client_left(self, eio_sid: str, namespace: str | None, reason: Any) -> None:
        """Run the handler of a socket whose client has left a namespace."""
        self._run(partial(self._client_left, eio_sid, namespace, reason))

    def _client_left(self, eio_sid: str, namespace: str | None, reason: Any) -> None:
        name = namespace or "/"
        socket = self._registry.get_by_eio_sid(name, eio_sid)
        if socket is not None and self._claim(socket, name):
            self._run_handler(socket, name, reason)
        elif self._registry.withdraw(name, eio_sid, _LEFT):
            self._signals.flush()  # the handler runs if the connect handler accepts the socket

    def on_session_end(self, eio_sid: str, reason: Any) -> None:
        """Run the handlers of the sockets, in all namespaces, of a connection that has ended."""
        self._run(partial(self._session_ended, eio_sid, reason))

    def _session_ended(self, eio_sid: str, reason: Any) -> None:
        with self._lock:
            self._users[eio_sid] += 1
            self._ended.add(eio_sid)
        with ExitStack() as stack:  # which calls all of it, then raises what a handler raised
            stack.callback(self._release, eio_sid)
            for namespace in self._registry.namespaces():
                stack.callback(self._forget_session, eio_sid, namespace)
                stack.callback(self._client_left, eio_sid, namespace, reason)

    def has_ended(self, eio_sid: str) -> bool:
        """Whether a connection has ended."""
        return eio_sid in self._ended or self._internals.handshake(eio_sid) is None

    def forget(self, sid: str, namespace: str) -> None:
        """Forget a socket that was not let in, and release the callbacks that wait for it."""
        self._run(partial(self._forget, sid, namespace, _REFUSED))

    def _run(self, function: Callable[[], object]) -> None:
        """Run what may run functions of the application apart, and anything else here."""
        has_handler = partial(self._internals.has_handler, "disconnect")
        if self._hooks.has_after_disconnect or any(map(has_handler, self._registry.namespaces())):
            self._internals.run_apart(function)
        else:
            function()

    # -- one socket -----------------------------------------------------------------------

    def _forget_session(self, eio_sid: str, namespace: str) -> None:
        """Forget the socket of a connection that has ended before it was accepted."""
        socket = self._registry.get_by_eio_sid(namespace, eio_sid)
        if socket is not None:
            self._forget(socket.sid, namespace)

    def _forget(self, sid: str, namespace: str, origin: Origin = _LEFT) -> None:
        self._registry.remove(namespace, sid, origin)
        self._delivery.cancel_acknowledgements(sid)
        self._signals.flush()

    def _claim(self, socket: Socket, namespace: str) -> bool:
        # Counted first, so that the session cannot be forgotten between the two.
        with self._lock:
            self._users[socket.eio_sid] += 1
        claimed = self._registry.claim(namespace, socket.sid)
        if not claimed:
            self._release(socket.eio_sid)
        return claimed

    def _run_handler(self, socket: Socket, namespace: str, reason: Any) -> None:
        with ExitStack() as stack:  # the last one is called first, and each of them
            stack.callback(self._release, socket.eio_sid)
            stack.callback(self._hooks.after_disconnect, socket, namespace, reason)
            stack.callback(self._forget, socket.sid, namespace)
            self._internals.run_disconnect_handler(namespace, socket.sid, reason)

    def _release(self, eio_sid: str) -> None:
        with self._lock:
            self._users[eio_sid] -= 1
            if self._users[eio_sid]:
                return
            del self._users[eio_sid]
            if eio_sid in self._ended:
                self._ended.remove(eio_sid)
                self._internals.forget_connection(eio_sid)
