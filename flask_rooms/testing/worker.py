"""Worker, one worker of a test cluster: an application and its clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from flask_rooms.api.sockets import Sockets
from flask_rooms.globals import parts_of
from flask_rooms.protocol.ids import new_sid, owner_of
from flask_rooms.testing.bus import BusBackend
from flask_rooms.testing.client import Client, forget_clients

# An empty room: a confirmed leave of it changes nothing, and confirms every earlier message.
_FENCE = "flask_rooms.testing.fence"


class Worker:
    """
    One worker: an application, and the clients that are connected to it.

    Args:
        app: The application.
        backend: The backend of its cluster.
        fence: Called with a worker; returns when every message sent to it so far has arrived.
        settle: Returns when all reachable workers know each other.
    """

    def __init__(
        self,
        app: Flask,
        backend: BusBackend,
        fence: Callable[[Worker], None],
        settle: Callable[[], None],
    ) -> None:
        #: The application.
        self.app = app
        #: Flask's test client of this worker.
        self.http: FlaskClient = app.test_client()
        self._parts = parts_of(app)
        self._backend = backend
        self._fence = fence
        self._settle = settle
        self._clients: list[Client] = []
        self._crashed = False

    def __repr__(self) -> str:
        return f"<Worker {self.name}>"

    @property
    def name(self) -> str:
        """The worker's name in the cluster; a worker that restarts has a new one."""
        return self._parts.cluster.name

    @property
    def sockets(self) -> Sockets:
        """The application's `sockets`, without an application context."""
        if self._crashed:
            raise RuntimeError("This worker has crashed, and can make no calls.")
        return self._parts.sockets

    def connect(self, namespace: str = "/", **options: Any) -> Client:
        """
        Connect a new client to this worker.

        Args:
            namespace: The namespace to connect to.
            options: `answer`, a function of the name and the data of an event that the client is
                asked, which returns its answer; and `auth`, `headers`, `query_string` and
                `flask_test_client`, as for Flask-SocketIO's test client.

        Raises:
            ConnectionRefusedError: The application has refused the connection, or the worker
                has crashed.
        """
        if self._crashed:
            raise ConnectionRefusedError("This worker has crashed.")
        client = Client(
            self.app, self._parts.socketio, lambda: self._fence(self), namespace, **options
        )
        self._clients.append(client)
        return client

    # -- faults ---------------------------------------------------------------------------

    def crash(self) -> None:
        """Stop this worker without a goodbye: its sockets and its unsent messages are lost."""
        if not self._crashed:
            self._crashed = self._backend.mute = True
            self.stop(0)  # a mute worker need not wait for its goodbye to arrive

    def cut(self) -> None:
        """Cut this worker off from the broker until restore(); its sockets stay connected."""
        self._backend.cut = True

    def restore(self) -> None:
        """
        Let this worker reconnect, and return when it and the others know each other.

        If the others have declared it dead meanwhile, it disconnects its sockets.
        """
        self._backend.cut = False
        self._settle()

    # -- used by LocalCluster -------------------------------------------------------------

    @property
    def reachable(self) -> bool:
        """Whether the worker is alive and can reach the broker."""
        return not self._crashed and self._backend.reachable

    @property
    def drop_reason(self) -> str:
        """Why the worker has dropped messages of other workers; "" if it has not."""
        return next(iter(self._parts.cluster.dropped), "")

    def start(self) -> None:
        """Join the cluster."""
        self._parts.cluster.start()

    def knows(self, others: set[str]) -> bool:
        """Whether these are its live peers, and none of its sockets is from before a restart."""
        return self._parts.cluster.peers >= others - {self.name} and all(
            owner_of(client.sid) == self.name for client in self._clients if client.connected
        )

    def send_fence(self, other: Worker) -> Callable[[], object]:
        """Send a fence to another worker, and return a function that waits until it arrives."""
        return self.sockets.leave(new_sid(other.name), _FENCE, namespace="/").result

    def stop(self, timeout: float = 2.0) -> None:
        """
        Stop the worker's threads, and remove its clients from Flask-SocketIO's global list.

        Args:
            timeout: Seconds to wait until its goodbye has been sent.
        """
        self._parts.cluster.stop(timeout)
        for client in self._clients:
            client.vanish()
        forget_clients(self._parts.socketio)
        # A Rooms that other tests share must not keep this application.
        self.app.extensions["rooms"]._apps.discard(self.app)
