"""Client, a client of one worker without a network: it misses no event sent before a read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from engineio.socket import Socket
from flask import Flask
from flask_socketio import SocketIO
from flask_socketio.test_client import SocketIOTestClient
from socketio.packet import ACK, BINARY_EVENT, EVENT

from flask_rooms.server.private import hand_over, tap_test_clients

#: The clients of all workers by their connections, for what the server sends to them.
_clients: WeakValueDictionary[str, Client] = WeakValueDictionary()


@dataclass(frozen=True)
class Response:
    """
    The response to a socket request.

    Args:
        status_code: The status code, as in HTTP.
        body: A JSON value, a string, or bytes.
        headers: The headers, with names in lower case.
    """

    status_code: int
    body: Any
    headers: Mapping[str, str]


class Client:
    """
    One socket of a worker; made by `Worker.connect()`.

    Args:
        app: The worker's application.
        socketio: Its Flask-SocketIO.
        fence: Returns when every message sent to this worker so far has arrived.
        namespace: The namespace to connect to.
        answer: Called with the name and the data of an event that the application has asked the
            client, and returns the answer. Without it the client does not answer.
        options: `auth`, `headers`, `query_string` and `flask_test_client`, as for Flask-SocketIO's
            test client.

    Raises:
        ConnectionRefusedError: The application has refused the connection.
    """

    def __init__(
        self,
        app: Flask,
        socketio: SocketIO,
        fence: Callable[[], None],
        namespace: str,
        answer: Callable[[str, Any], Any] | None = None,
        **options: Any,
    ) -> None:
        self.namespace = namespace
        self._fence = fence
        self._server = socketio.server
        self._client = SocketIOTestClient(app, socketio, namespace=namespace, **options)
        self._answer = answer
        self._unfinished: Any = None  # a packet of Socket.IO that waits for its attachments
        eio_sid = self._client.eio_sid
        _clients[eio_sid] = self
        tap_test_clients(self._server, _receive)
        sid = self._server.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None:
            forget_clients(socketio, eio_sid)
            raise ConnectionRefusedError("The application has refused the connection.")
        #: The socket ID.
        self.sid: str = sid
        self._connection = _Connection(self._server.eio, eio_sid)
        self._server.eio.sockets[eio_sid] = self._connection

    def __repr__(self) -> str:
        return f"<Client {self.sid} in {self.namespace}>"

    @property
    def connected(self) -> bool:
        """Whether the socket is connected; the worker may have disconnected it."""
        if self._connection.closed or not self._client.is_connected(self.namespace):
            return False
        # The packet that tells the client follows a confirmed disconnect in the background.
        return bool(self._server.manager.is_connected(self.sid, self.namespace))

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms of the socket, without the room of its ID."""
        return frozenset(self._server.manager.get_rooms(self.sid, self.namespace)) - {self.sid}

    def request(
        self, verb: str, url: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """
        Make a socket request, and return its response.

        Args:
            verb: `get`, `post`, `put`, `patch`, `delete`, `options` or `head`.
            url: A path, optionally with a query string.
            data: A JSON value; None sends no data.
            headers: The headers of the request.
        """
        payload: dict[str, Any] = {"url": url}
        if data is not None:
            payload["data"] = data
        if headers is not None:
            payload["headers"] = dict(headers)
        answer = self.emit(verb, payload)
        return Response(answer["statusCode"], answer["body"], answer["headers"])

    def emit(self, event: str, *args: Any) -> Any:
        """Send an event, and return the result of its handler."""
        self._check()
        return self._client.emit(event, *args, namespace=self.namespace, callback=True)

    def received(self) -> list[tuple[str, Any]]:
        """
        Return the events received since the last call, as pairs of name and data.

        The call first waits for every event that a reachable worker has sent before it. Workers
        that are cut off, or all of them while the broker is down, are not waited for. The data
        of an event is None if it has none, and a list if it has several arguments.
        """
        if self.connected:
            self._fence()
        queue = self._client.queue
        # Popped one by one, because the worker's receiver thread may append meanwhile.
        return [_event(queue.pop(0)) for _ in range(len(queue))]

    def disconnect(self) -> None:
        """Close the connection, as a browser that leaves the page does."""
        self._check()
        self._connection.close(reason=self._server.eio.reason.CLIENT_DISCONNECT)

    def vanish(self) -> None:
        """Mark the connection as closed without calling a handler, as when its worker crashes."""
        self._connection.closed = True

    def _receive(self, packet: Any) -> None:
        """Answer the event that a packet of Engine.IO completes, if it is asked."""
        if self._answer is None:
            return
        if packet.binary:
            asked, complete = self._unfinished, self._unfinished.add_attachment(packet.data)
        else:
            asked = self._unfinished = self._server.packet_class(encoded_packet=packet.data)
            complete = asked.attachment_count == 0
        if complete and asked.packet_type in (EVENT, BINARY_EVENT) and asked.id is not None:
            self._server.start_background_task(self._answer_to, asked)

    def _answer_to(self, asked: Any) -> None:
        assert self._answer is not None
        name, *data = asked.data
        answer = self._answer(name, data[0] if len(data) == 1 else data or None)
        arguments = list(answer) if isinstance(answer, tuple) else [answer]
        packet = self._server.packet_class(
            ACK, namespace=asked.namespace, id=asked.id, data=arguments
        )
        encoded = packet.encode()
        for part in encoded if isinstance(encoded, list) else [encoded]:
            hand_over(self._server, self._connection.sid, part)

    def _check(self) -> None:
        if not self.connected:
            raise ConnectionError("This client is no longer connected.")


def _receive(eio_sid: str, packet: Any) -> None:
    client = _clients.get(eio_sid)
    if client is not None:
        client._receive(packet)


class _Connection(Socket):  # type: ignore[misc]  # python-engineio is not typed
    """The connection's entry in the server, through which the server can close it."""

    def close(self, wait: bool = True, abort: bool = False, reason: Any = None) -> None:
        """Close the connection, without the packet that says so."""
        super().close(wait=False, abort=True, reason=reason)
        self.server.sockets.pop(self.sid, None)


def forget_clients(socketio: SocketIO, eio_sid: str | None = None) -> None:
    """Remove one or all of a server's test clients from Flask-SocketIO's global list."""
    clients = SocketIOTestClient.clients
    for key, client in list(clients.items()):
        if client.socketio is socketio and eio_sid in (None, key):
            del clients[key]


def _event(entry: Mapping[str, Any]) -> tuple[str, Any]:
    name, data = entry["name"], entry["args"]
    if name in ("message", "json"):
        return name, data  # Flask-SocketIO has unpacked the arguments
    return name, (data or [None])[0] if len(data) < 2 else list(data)
