"""LocalApp, an application in this process, and clients that have no network."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from engineio.socket import Socket as EngineSocket
from flask import Flask, request
from flask_socketio import SocketIO

from flask_rooms import Rooms

#: What the handshake of each client has, as a browser sends it.
_HANDSHAKE = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/socket.io/",
    "QUERY_STRING": "EIO=4&transport=websocket",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "localhost",
    "HTTP_ORIGIN": "http://localhost",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "HTTP_ACCEPT_LANGUAGE": "en",
    "HTTP_COOKIE": "theme=dark",
    "wsgi.url_scheme": "http",
}


class LocalApp:
    """
    An application, with Flask-Rooms or with Flask-SocketIO alone, and its connected clients.

    What a client sends goes in where python-engineio hands over a message, and what it gets is
    taken out of its queue. Between these is all that users run.

    Args:
        with_rooms: Whether it has Flask-Rooms.
        clients: How many clients are connected.
        options: Of Rooms.
    """

    def __init__(self, with_rooms: bool, clients: int, **options: Any) -> None:
        self.app = Flask(__name__)
        self.app.config["SECRET_KEY"] = "of the benchmarks"
        # Handlers run in the caller, so that their time is the caller's.
        self.socketio = SocketIO(async_mode="threading", async_handlers=False)
        if with_rooms:
            Rooms(self.app, socketio=self.socketio, **options)
        else:
            self.socketio.init_app(self.app)
        self.socketio.on_event("run", lambda name: self._in_handler[name]())
        self.socketio.on_event("echo", lambda data: {"n": data["n"]})
        self.app.add_url_rule("/echo", "echo", lambda: {"n": request.json["n"]}, methods=["PUT"])
        self._in_handler: dict[str, Callable[[], object]] = {}
        self.manager = self.socketio.server.manager
        self._engine = self.socketio.server.eio
        self._engine.ping_timeout = 10**6  # these clients answer no pings
        self.clients = [self._connect(f"client-{number}") for number in range(clients)]
        self.take_all()
        self.sids = [self.manager.sid_from_eio_sid(one.sid, "/") for one in self.clients]

    def _connect(self, eio_sid: str) -> EngineSocket:
        client = self._engine.sockets[eio_sid] = EngineSocket(self._engine, eio_sid)
        client.connected = True
        environ = {**_HANDSHAKE, "flask.app": self.app}
        self._engine._trigger_event("connect", eio_sid, environ, run_async=False)
        self.send(client, "0")
        return client

    def send(self, client: EngineSocket, packet: str) -> None:
        """Let a client send a packet of Socket.IO."""
        self._engine._trigger_event("message", client.sid, packet, run_async=False)

    def run_in_handler(self, function: Callable[[], object]) -> None:
        """Run a function in an event handler of the first client."""
        self._in_handler["run"] = function
        self.send(self.clients[0], '2["run","run"]')

    def take_all(self) -> int:
        """Take what waits for the clients, encoded as it would be sent; return how much it was."""
        return sum(self._take(client) for client in self.clients)

    def _take(self, client: Any) -> int:
        taken = 0
        while True:
            try:
                packet = client.queue.get(block=False)
            except queue.Empty:
                return taken
            client.queue.task_done()
            packet.encode()
            taken += 1
