"""Every private name of python-socketio and python-engineio that Flask-Rooms uses, in one place."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from queue import Queue
from typing import Any

from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from engineio.payload import Payload
from engineio.socket import Socket as EngineSocket
from socketio.packet import BINARY_EVENT, CONNECT, DISCONNECT, EVENT

from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.refusals import Limit
from flask_rooms.server import upgrading
from flask_rooms.server.context import HANDSHAKE
from flask_rooms.server.engine_io import MAX_POLLED_PACKETS
from flask_rooms.server.output import Measured, Output, ThreadQueue
from flask_rooms.server.pace import Pauses
from flask_rooms.server.tasks import Tasks
from flask_rooms.server.websocket import WebSocket


@dataclass(frozen=True)
class ServerHandlers:
    """
    What takes the place of the server's own methods, with the same arguments.

    Args:
        connect: Handles a CONNECT packet.
        event: Handles an event.
        message: Handles a message of Engine.IO before it is decoded.
        client_left: Handles a DISCONNECT packet.
        session_begun: Called with a connection that begins, and what waits for its client.
        session_ended: Handles the end of a connection.
        session_closed: Called before that.
        unread: Called with a connection whose client leaves too much unread.
        refused: Called with the name of a limit, the connection that has reached it, and the
            address of its client.
        pace: Called with a connection for each frame that is no message; waits until more may be
            read.
        http: Takes the server's WSGI application, and returns the one that replaces it.
        packet_class: Takes the server's class of packets, and returns the one that replaces it.
    """

    connect: Callable[[str, str | None, Any], None]
    event: Callable[[str, str | None, int | None, Any], None]
    message: Callable[[str, Any], None]
    client_left: Callable[[str, str | None, Any], None]
    session_begun: Callable[[str, Output], object]
    session_ended: Callable[[str, Any], None]
    session_closed: Callable[[str], object]
    unread: Callable[[str], object]
    refused: Callable[[Limit, str, str], object]
    pace: Callable[[str], object]
    http: Callable[[Callable[..., Any]], Callable[..., Any]]
    packet_class: Callable[[Any], Any]


class ServerInternals(Tasks):
    """
    python-socketio's server, as the parts of Flask-Rooms need it.

    Tested with python-socketio 5.15.0 to 5.18.1 and python-engineio 4.13.0 to 4.15.1. A server
    is made by Flask-SocketIO after the parts, and bound by the client manager: python-socketio
    hands it over in Manager.set_server().

    Args:
        unread_bytes: How much a client may leave unread, in bytes.
    """

    _handlers: ServerHandlers

    def __init__(self, unread_bytes: int) -> None:
        super().__init__()
        self._unread_bytes = unread_bytes
        self._testing = threading.Lock()

    def bind(self, server: Any, handlers: ServerHandlers) -> None:
        """Take a server, and put *handlers* in the place of its own methods."""
        self.server = server
        self._handlers = handlers
        self.handle_connect, server._handle_connect = server._handle_connect, handlers.connect
        server._handle_event = handlers.event
        server._handle_eio_message = handlers.message
        server.eio.on("message", handlers.message)
        server._handle_disconnect = handlers.client_left
        server._handle_eio_disconnect = self._session_ended  # what instrument() restores
        server.eio.on("disconnect", self._session_ended)
        self._session_begun, server._handle_eio_connect = (
            server._handle_eio_connect,
            self._begin_session,
        )
        server.eio.on("connect", self._begin_session)
        server.eio.disconnect = self._close_sessions
        self._replace_queues(server.eio)
        server.handle_request = handlers.http(server.handle_request)
        server.packet_class = handlers.packet_class(server.packet_class)
        Payload.max_decode_packets = max(Payload.max_decode_packets, MAX_POLLED_PACKETS)

    def _replace_queues(self, eio: Any) -> None:
        """Have each connection know what waits for its client, and over which WebSocket."""
        drivers = eio._async  # of the mode, and shared by all servers of the process
        make, empty, limit = drivers["queue"], drivers["queue_empty"], self._unread_bytes
        if make is Queue:  # the modes of green threads have their own
            make = ThreadQueue
        eio._async = drivers | {"queue": lambda: Output(make(), empty, limit)}
        if drivers["websocket"] is not None:
            eio._async["websocket"] = partial(_Upgrade, self, drivers["websocket"])

    def upgrade(self, eio_sid: str, environ: dict[str, Any]) -> WebSocket:
        """
        Make a request the WebSocket of a connection.

        Raises:
            NoWebSocket: It is no request for one, or its server has none.
            OSError: The client has gone.
        """
        upgraded = upgrading.upgrade(environ)
        client = _Client(self, self._handlers, eio_sid)
        return WebSocket(upgraded.tcp, upgraded.read, self.message_bytes, client, self.any_text)

    @property
    def any_text(self) -> bool:
        """Whether a serializer of the application decides what clients may send as text."""
        return bool(self.server.packet_class.any_text)

    @property
    def message_bytes(self) -> int:
        """How large a message of a client may be, in bytes."""
        return int(self.server.eio.max_http_buffer_size)

    def _begin_session(self, eio_sid: str, environ: dict[str, Any]) -> Any:
        environ[HANDSHAKE] = True
        session = self.server.eio.sockets.get(eio_sid)
        if session is not None:
            session.queue.eio_sid, session.queue.on_full = eio_sid, self._handlers.unread
            self._handlers.session_begun(eio_sid, session.queue)
        return self._session_begun(eio_sid, environ)

    def _session_ended(self, eio_sid: str, reason: Any) -> None:
        session = self.server.eio.sockets.get(eio_sid)
        own = "" if session is None else session.queue.reason
        self._handlers.session_closed(eio_sid)
        self._handlers.session_ended(eio_sid, own or reason)

    # -- connections ----------------------------------------------------------------------

    def handshake(self, eio_sid: str) -> dict[str, Any] | None:
        """Return the WSGI environment in which a client has connected, or None if it left."""
        environ: dict[str, Any] | None = self.server.environ.get(eio_sid)
        return environ

    def address(self, eio_sid: str) -> str:
        """Return the address of a client; empty if there is no such connection."""
        return str((self.handshake(eio_sid) or {}).get("REMOTE_ADDR", ""))

    def unread(self, eio_sid: str) -> int:
        """Return how much waits for a client to read it, in bytes."""
        session = self.server.eio.sockets.get(eio_sid)
        return 0 if session is None else int(session.queue.unread)

    def note_life(self, eio_sid: str) -> None:
        """Count a client as alive although its answer to the last ping was not read yet."""
        session = self.server.eio.sockets.get(eio_sid)
        if session is not None:
            session.last_ping = None

    def note_silence(self, eio_sid: str) -> None:
        """Note that a client has answered no ping; python-engineio is told of its end alone."""
        session = self.server.eio.sockets.get(eio_sid)
        if session is not None:
            session.queue.reason = self.reasons.PING_TIMEOUT

    def send_to(self, eio_sids: Iterable[str], packets: list[EnginePacket]) -> None:
        """Send the clients of connections the same packets of Engine.IO."""
        self.send([_Carried(one) for one in eio_sids], packets)

    def send(self, sockets: Iterable[_Carried | Socket], packets: list[EnginePacket]) -> None:
        """
        Send clients the same packets of Engine.IO; those that have left do not get them.

        A packet is measured once. It goes into each queue as by python-engineio's Socket.send(),
        but not through it and three functions above it: there may be thousands of clients.
        """
        eio = self.server.eio
        measured = [Measured(packet) for packet in packets]
        latest = time.time() - eio.ping_timeout
        is_logged, half = eio.logger.isEnabledFor(logging.INFO), self._unread_bytes // 2
        for one in sockets:
            session = one.connection
            if session is None:
                session = one.connection = self._connection(one.eio_sid)
            if type(session) is not EngineSocket:  # it has left, or is that of a test client
                self._send_to_test_client(one.eio_sid, packets)
            elif session.closed:
                continue
            elif (ping := session.last_ping) and ping < latest:
                # Engine.IO would close it here and now, and run the application's handler for that.
                self.spawn(session.close, False, False, self.reasons.PING_TIMEOUT)
            else:
                waits = session.queue.add(measured)
                if is_logged:
                    self._log(one.eio_sid, packets)
                if waits > half:
                    # Its writer may be a green thread that our caller has not let run.
                    self.sleep(0)

    def answer(self, eio_sid: str, packets: list[EnginePacket]) -> None:
        """Send one client packets as send() does, but at once if nothing else waits for it."""
        session = self._connection(eio_sid)
        is_open = type(session) is EngineSocket and session.upgraded and not session.closed
        if is_open and session.queue.send_now(packets):
            if self.server.eio.logger.isEnabledFor(logging.INFO):
                self._log(eio_sid, packets)
            return
        self.send_to([eio_sid], packets)

    def run_before_reading(self, eio_sid: str) -> None:
        """
        Let what a client has just started run before its connection is read again.

        Where nothing more of it is here to be handled, the thread that reads would first find out
        that there is nothing to read, while the client waits for its answer.
        """
        session = self.server.eio.sockets.get(eio_sid)
        transport = None if session is None else session.queue.transport
        if isinstance(transport, WebSocket) and transport.has_handled_all:
            self.sleep(0)

    def _connection(self, eio_sid: str) -> Any:
        """Return the connection of a client; its ID if it has left, or is a test client's."""
        return self.server.eio.sockets.get(eio_sid, eio_sid)

    def _log(self, eio_sid: str, packets: list[EnginePacket]) -> None:
        """Log as python-engineio does that packets are sent."""
        for packet in packets:
            shown = "<binary>" if packet.binary else packet.data
            self.server.eio.logger.info("%s: Sending packet MESSAGE data %s", eio_sid, shown)

    def _send_to_test_client(self, eio_sid: str, packets: list[EnginePacket]) -> None:
        """Send to a test client of Flask-SocketIO, which replaces this method of the server."""
        if "_send_eio_packet" in vars(self.server):
            with self._testing:  # it has one place for the parts of a packet
                for packet in packets:
                    self.server._send_eio_packet(eio_sid, packet)

    def close(self, eio_sid: str) -> bool:
        """
        Close a connection, and run the handlers; return False when it is closed already.

        The client may never read what waits for it, and a handler may hang: neither keeps the
        connection. It ends without a CLOSE packet, after which python-socketio's own client would
        not connect again.
        """
        session = self.server.eio.sockets.get(eio_sid)
        if session is None:
            return False
        if not session.closing and not session.closed:
            session.closing = session.closed = True
            session.queue.put(None)  # ends the transport, after what waits
            reason = self.reasons.SERVER_DISCONNECT
            self.server.eio._trigger_event("disconnect", eio_sid, reason, run_async=False)
        return True

    def _close_sessions(self, sid: str | None = None) -> None:
        """
        Close one connection, or all: in place of python-engineio's disconnect().

        That waits until the client has read everything. It is called for what a polling client
        has sent, and one that never polls again would keep a thread for ever.
        """
        for one in list(self.server.eio.sockets) if sid is None else [sid]:
            self.close(one)

    @property
    def has_served(self) -> bool:
        """Whether there are connections over the network, not only those of test clients."""
        return bool(self.server.eio.sockets)

    def connections(self) -> list[str]:
        """Return the connections that are not closed."""
        sessions = list(self.server.eio.sockets.items())
        closed = {eio_sid for eio_sid, session in sessions if session.closed}
        # One without a handshake has not come as far as python-socketio.
        known = dict.fromkeys([*list(self.server.environ), *dict(sessions)])
        return [eio_sid for eio_sid in known if eio_sid not in closed]

    def forget_all_connections(self) -> None:
        """
        Forget, in a forked child, the connections of the parent.

        When the child leaves, it would move their clients away: both have the same TCP connections.
        """
        self.server.eio.sockets.clear()
        self.server.environ.clear()

    def end(self, eio_sid: str, reason: str) -> None:
        """
        End a connection, although its client may not read: what waits for it is dropped.

        Args:
            eio_sid: The connection.
            reason: What disconnect handlers are told.
        """
        session = self.server.eio.sockets.get(eio_sid)
        if session is None:
            return
        session.queue.reason = reason
        # Else the thread that sends would stay for as long as the client does not read. The one
        # that receives may now be the first to close the connection.
        _shut_down(session.queue.transport)
        session.queue.discard()
        session.close(wait=False, abort=True)

    @property
    def unfinished(self) -> dict[str, Any]:
        """The packets of clients that wait for their binary attachments, by connection."""
        unfinished: dict[str, Any] = self.server._binary_packet
        return unfinished

    def cut(self, output: Output) -> None:
        """Shut down the WebSocket of a connection, which its client would keep open."""
        _shut_down(output.transport)

    def forget_session(self, eio_sid: str) -> bool:
        """
        Forget a session of Engine.IO that is closed; return False while it is not.

        python-engineio forgets it when its transport returns, but not where that was before the
        disconnect handlers had returned, nor where the server is left by an exception. Then it
        would be kept for up to `ping_timeout`.
        """
        if not self.is_closed(eio_sid):
            return False
        self.server.eio.sockets.pop(eio_sid, None)
        return True

    def is_closed(self, eio_sid: str) -> bool:
        """Whether a session of Engine.IO is closed, or forgotten already."""
        session = self.server.eio.sockets.get(eio_sid)
        return session is None or session.closed

    def forget_connection(self, eio_sid: str) -> None:
        """Forget everything about a connection."""
        self.unfinished.pop(eio_sid, None)
        self.server.environ.pop(eio_sid, None)

    # -- packets and handlers -------------------------------------------------------------

    def packet(self, kind: int, **fields: Any) -> Any:
        """Return a new packet of Socket.IO."""
        return self.server.packet_class(kind, **fields)

    def handle_packet(self, eio_sid: str, packet: Any) -> None:
        """Hand the packet of a client to the handler of its type."""
        kind, namespace = packet.packet_type, packet.namespace
        if kind == CONNECT:
            self.server._handle_connect(eio_sid, namespace, packet.data)
        elif kind == DISCONNECT:
            self.server._handle_disconnect(eio_sid, namespace, self.reasons.CLIENT_DISCONNECT)
        elif kind in (EVENT, BINARY_EVENT):
            self.server._handle_event(eio_sid, namespace, packet.id, packet.data)
        else:
            self.server._handle_ack(eio_sid, namespace, packet.id, packet.data)

    @property
    def packet_class(self) -> Any:
        """The class of packets, as the application's serializer has it."""
        return self.server.packet_class

    @property
    def reasons(self) -> Any:
        """The reasons of disconnects, as python-socketio names them."""
        return self.server.reason

    def log_event(self, event: object, sid: str, namespace: str) -> None:
        """Log as python-socketio does that an event has come."""
        self.server.logger.info('received event "%s" from %s [%s]', event, sid, namespace)

    def has_own_handler(self, event: str, namespace: str) -> bool:
        """Whether the application has a handler of this very event, none for all events."""
        for space in (namespace, "*"):
            handler = self.server.namespace_handlers.get(space)
            if event in self.server.handlers.get(space, ()) or hasattr(handler, f"on_{event}"):
                return True
        return False

    def has_function(self, event: object, namespace: str) -> bool:
        """Whether the application has a function for this event, or for all, in no class."""
        return bool(self.server._get_event_handler(event, namespace, ())[0])

    def has_handler(self, event: str, namespace: str) -> bool:
        """Whether the application has a handler of this event, or one for all events."""
        return bool(
            self.has_function(event, namespace)
            or self.server._get_namespace_handler(namespace, ())[0]
        )

    def run_event_handler(
        self, sid: str, eio_sid: str, namespace: str, id: int | None, data: Any
    ) -> None:
        """Run the application's handler of an event, and acknowledge what it returns."""
        self.server._handle_event_internal(self.server, sid, eio_sid, data, namespace, id)

    def run_disconnect_handler(self, namespace: str, sid: str, reason: Any) -> None:
        """Run the application's disconnect handler for a socket."""
        self.server._trigger_event("disconnect", namespace, sid, reason)

    # -- tasks ----------------------------------------------------------------------------

    @property
    def bare_sleep(self) -> Callable[[float], object]:
        """What lets other tasks run for so many seconds, and holds no server meanwhile."""
        sleep: Callable[[float], object] = self.server.eio._async["sleep"]
        return sleep

    @property
    def runs_events_in_background(self) -> bool:
        """Whether each event gets a task of its own."""
        return bool(self.server.async_handlers)


class _Client(Pauses):
    """How fast one client may send; one object for each, as there may be many clients."""

    pause = Pauses.__call__

    def __init__(self, internals: ServerInternals, handlers: ServerHandlers, eio_sid: str) -> None:
        super().__init__(internals.sleep)
        self._internals = internals
        self._handlers = handlers
        self._eio_sid = eio_sid

    def pace(self) -> None:
        self._handlers.pace(self._eio_sid)

    def refuse(self, limit: Limit) -> None:
        address = self._internals.address(self._eio_sid)
        self._handlers.refused(limit, self._eio_sid, address)

    def is_silent(self) -> None:
        self._internals.note_silence(self._eio_sid)


class _Upgrade:
    """
    What python-engineio makes to upgrade a request: its own, but with our frames.

    Args:
        internals: Upgrades.
        make: Its own, for the servers whose connections are not known.
        handler: Called with the WebSocket.
        eio: Its server.
    """

    __slots__ = ("_eio", "_handler", "_internals", "_make")

    def __init__(
        self, internals: ServerInternals, make: Callable[..., Any], handler: Any, eio: Any
    ) -> None:
        self._internals = internals
        self._make = make
        self._handler = handler
        self._eio = eio

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        # uWSGI reads frames itself, if it has green threads.
        if not upgrading.can_upgrade(environ) and self._eio.async_mode != "threading":
            return self._make(self._handle, self._eio)(environ, start_response)
        try:
            websocket = self._internals.upgrade(self._handler.__self__.sid, environ)
        except upgrading.NoWebSocket:
            start_response("400 Bad Request", [("Connection", "close")])
            return ()  # for a list python-engineio would begin a second response
        try:
            self._handle(websocket)
        finally:
            websocket.drain()
        return upgrading.finish(environ, start_response)

    def _handle(self, websocket: Any) -> Any:
        output = self._handler.__self__.queue
        output.transport = websocket
        try:
            return self._handler(websocket)
        finally:
            output.transport = None


@dataclass
class _Carried:
    """The part of a socket that send() needs."""

    eio_sid: str
    connection: Any = None


def engine_packets(parts: tuple[str | bytes, ...] | list[str | bytes]) -> list[EnginePacket]:
    """Return the parts of an encoded packet as packets of Engine.IO."""
    return [EnginePacket(MESSAGE, part) for part in parts]


def tap_test_clients(server: Any, seen: Callable[[str, EnginePacket], object]) -> None:
    """Call *seen* with the connection and each packet that goes to a test client from now on."""
    send = server._send_eio_packet

    def send_and_tell(eio_sid: str, packet: EnginePacket) -> None:
        send(eio_sid, packet)
        seen(eio_sid, packet)

    server._send_eio_packet = send_and_tell


def hand_over(server: Any, eio_sid: str, part: str | bytes) -> None:
    """Have a server handle what a test client sends: a packet of Socket.IO, or an attachment."""
    server._handle_eio_message(eio_sid, part)


def _shut_down(websocket: Any) -> None:
    """Shut down the TCP connection below a WebSocket of python-engineio, if there is one."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # it is closed already
        if isinstance(websocket, WebSocket):
            websocket.shut_down()
        else:  # uWSGI has the number of the file
            with socket.socket(fileno=os.dup(websocket._sock)) as copy:
                copy.shutdown(socket.SHUT_RDWR)
