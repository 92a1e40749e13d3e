"""A client of one worker, without a network: Flask-SocketIO's test client with a fence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engineio.socket import Socket
from flask import Flask
from flask_socketio import SocketIO
from flask_socketio.test_client import SocketIOTestClient


@dataclass(frozen=True)
class Response:
    """
    The answer to a socket request.

    Args:
        status_code: As in HTTP.
        body: What JSON said, or the text or bytes.
        headers: With names in lower case.
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
        fence: Returns when all that was sent to this worker so far has arrived.
        namespace: Where to connect.
        options: `auth`, `headers`, `query_string` and `flask_test_client`, as Flask-SocketIO's
            test client takes them.

    Raises:
        ConnectionRefusedError: The application's `connect` handler has said no.
    """

    def __init__(
        self,
        app: Flask,
        socketio: SocketIO,
        fence: Callable[[], None],
        namespace: str,
        **options: Any,
    ) -> None:
        self.namespace = namespace
        self._fence = fence
        self._server = socketio.server
        self._client = SocketIOTestClient(app, socketio, namespace=namespace, **options)
        eio_sid = self._client.eio_sid
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
        """Whether the socket is still connected; the worker may have closed it."""
        return not self._connection.closed and bool(self._client.is_connected(self.namespace))

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that its worker has it in, less the room of its own ID."""
        return frozenset(self._server.manager.get_rooms(self.sid, self.namespace)) - {self.sid}

    def request(
        self, verb: str, url: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """
        Make a socket request, and return its answer.

        Args:
            verb: `get`, `post`, `put`, `patch`, `delete`, `options` or `head`.
            url: Path and query.
            data: What JSON can express; None sends none.
            headers: Of the request.
        """
        payload: dict[str, Any] = {"url": url}
        if data is not None:
            payload["data"] = data
        if headers is not None:
            payload["headers"] = dict(headers)
        answer = self.emit(verb, payload)
        return Response(answer["statusCode"], answer["body"], answer["headers"])

    def emit(self, event: str, *args: Any) -> Any:
        """Send an event, and return what its handler returned."""
        self._check()
        return self._client.emit(event, *args, namespace=self.namespace, callback=True)

    def received(self) -> list[tuple[str, Any]]:
        """
        Return the events that came since the last call, each with its data.

        Whatever any worker sent before this call is there, if it is to come at all; workers
        that are cut off, or all when the broker is down, are not waited for. An event
        without data has None, one with several arguments a list of them.
        """
        if self.connected:
            self._fence()
        queue = self._client.queue
        # Popped one by one: the listener of the worker may be adding to it.
        return [_event(queue.pop(0)) for _ in range(len(queue))]

    def disconnect(self) -> None:
        """Close the connection, as a browser does that goes away."""
        self._check()
        self._connection.close(reason=self._server.eio.reason.CLIENT_DISCONNECT)

    def vanish(self) -> None:
        """Be gone, and no handler hears of it: the worker itself is no more."""
        self._connection.closed = True

    def _check(self) -> None:
        if not self.connected:
            raise ConnectionError("This client is not connected any more.")


class _Connection(Socket):  # type: ignore[misc]  # python-engineio is not typed
    """What the server knows of the connection, so that it can close it."""

    def close(self, wait: bool = True, abort: bool = False, reason: Any = None) -> None:
        """Close it, without a last packet that nobody would read."""
        super().close(wait=False, abort=True, reason=reason)
        self.server.sockets.pop(self.sid, None)


def forget_clients(socketio: SocketIO, eio_sid: str | None = None) -> None:
    """Take one or all of a server's test clients out of Flask-SocketIO's list of them."""
    clients = SocketIOTestClient.clients
    for key, client in list(clients.items()):
        if client.socketio is socketio and eio_sid in (None, key):
            del clients[key]


def _event(entry: Mapping[str, Any]) -> tuple[str, Any]:
    name, data = entry["name"], entry["args"]
    if name in ("message", "json"):
        return name, data  # Flask-SocketIO has unpacked it
    return name, (data or [None])[0] if len(data) < 2 else list(data)
