"""How sockets go: each is seen off once, by whoever comes first, and none waits for another."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.packet import DISCONNECT

from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.registry import Registry

logger = logging.getLogger("flask_rooms")


class Disconnects:
    """
    Runs the application's disconnect handlers, and forgets the sockets afterwards.

    Three may want to at once: a call that disconnects a socket, its client that leaves, and its
    connection that ends. The handler needs the environment of the connection, and the rooms, so
    both are kept until it has returned, whatever happens to the connection meanwhile.

    Args:
        registry: The sockets of this worker.
        send: Sends a client, by its Engine.IO session, the parts of a packet.
        forget: Forgets a socket, given its ID and namespace.
        spawn: Runs a function in the background.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        send: Callable[[str, list[EnginePacket]], object],
        forget: Callable[[str, str], object],
        spawn: Callable[..., object],
    ) -> None:
        self._registry = registry
        self._send = send
        self._forget = forget
        self._spawn = spawn
        #: python-socketio's server: set by who knows it.
        self.server: Any = None
        #: Called with a socket that is gone, its namespace and the reason; does not raise.
        self.after: Callable[[Socket, str, Any], object] = lambda socket, namespace, reason: None
        self.forked()

    def forked(self) -> None:
        """Begin afresh in a forked child."""
        self._lock = threading.Lock()
        self._going: Counter[str] = Counter()  # Engine.IO session -> who needs it
        self._over: set[str] = set()  # sessions that have ended, and are needed

    def dismiss_all(self, sockets: list[Socket], namespace: str) -> None:
        """Dismiss sockets in the background, each on its own: a handler may hang."""
        self._spawn(self._spawn_each, sockets, namespace)

    def _spawn_each(self, sockets: list[Socket], namespace: str) -> None:
        for socket in sockets:
            self._spawn(self._dismiss_safely, socket, namespace)

    def _dismiss_safely(self, socket: Socket, namespace: str) -> None:
        try:
            self.dismiss(socket, namespace)
        except Exception:  # the application's own, and no business of the other sockets
            logger.exception("A disconnect handler has failed.")

    def dismiss(self, socket: Socket, namespace: str) -> None:
        """Tell the client of a socket that it is disconnected, and then the application."""
        if self._claim(socket, namespace):
            packet = self.server.packet_class(DISCONNECT, namespace=namespace)
            self._send(socket.eio_sid, [EnginePacket(MESSAGE, packet.encode())])
            self._see_off(socket, namespace, self.server.reason.SERVER_DISCONNECT)

    def client_left(self, eio_sid: str, namespace: str | None, reason: Any = None) -> None:
        """Take notice that a client has left a namespace."""
        space = namespace or "/"
        socket = self._registry.get_by_eio_sid(space, eio_sid)
        if socket is not None and self._claim(socket, space):
            self._see_off(socket, space, reason or self.server.reason.CLIENT_DISCONNECT)

    def session_ended(self, eio_sid: str, reason: Any) -> None:
        """Take notice that a connection has ended, and its sockets in all namespaces with it."""
        with self._lock:
            self._going[eio_sid] += 1
            self._over.add(eio_sid)
        with ExitStack() as stack:  # which does all of it, and then raises what a handler raised
            stack.callback(self._gone, eio_sid)
            for namespace in self._registry.namespaces():
                stack.callback(self.turn_away, eio_sid, namespace)
                stack.callback(self.client_left, eio_sid, namespace, reason)

    def turn_away(self, eio_sid: str, namespace: str) -> None:
        """Forget a socket whose connect handler has not accepted it."""
        socket = self._registry.get_by_eio_sid(namespace, eio_sid)
        if socket is not None:
            self._forget(socket.sid, namespace)

    def is_over(self, eio_sid: str) -> bool:
        """Whether a connection has ended."""
        return eio_sid in self._over or eio_sid not in self.server.environ

    def _claim(self, socket: Socket, namespace: str) -> bool:
        # Counted first, so that the session cannot end between the two.
        with self._lock:
            self._going[socket.eio_sid] += 1
        claimed = self._registry.claim(namespace, socket.sid)
        if not claimed:
            self._gone(socket.eio_sid)
        return claimed

    def _see_off(self, socket: Socket, namespace: str, reason: Any) -> None:
        try:
            self.server._trigger_event("disconnect", namespace, socket.sid, reason)
        finally:
            self._forget(socket.sid, namespace)
            self.after(socket, namespace, reason)
            self._gone(socket.eio_sid)

    def _gone(self, eio_sid: str) -> None:
        with self._lock:
            self._going[eio_sid] -= 1
            if self._going[eio_sid]:
                return
            del self._going[eio_sid]
            if eio_sid in self._over:
                self._over.remove(eio_sid)
                self.server._binary_packet.pop(eio_sid, None)
                self.server.environ.pop(eio_sid, None)
