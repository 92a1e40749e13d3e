"""One worker of a test cluster."""

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

# A room that nobody is in; leaving it changes nothing, and shows that all before it is done.
_FENCE = "flask_rooms.testing.fence"


class Worker:
    """
    One worker: an application, joined to the others, and its clients.

    Args:
        app: The application, as its factory made it.
        backend: Its connection.
        fence: Returns when all that was sent to the worker that it is given has arrived.
        settle: Returns when the workers hear each other.
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
        """What the others call it; new for each life of it."""
        return self._parts.cluster.name

    @property
    def sockets(self) -> Sockets:
        """The application's `sockets`, without an application context."""
        if self._crashed:
            raise RuntimeError("This worker has crashed: it makes no calls any more.")
        return self._parts.sockets

    def connect(self, namespace: str = "/", **options: Any) -> Client:
        """
        Connect a new client to this worker.

        Args:
            namespace: Where.
            options: `auth`, `headers`, `query_string` and `flask_test_client`, as
                Flask-SocketIO's test client takes them.

        Raises:
            ConnectionRefusedError: The application's `connect` handler has said no.
        """
        if self._crashed:
            raise ConnectionRefusedError("This worker has crashed.")
        client = Client(
            self.app, self._parts.socketio, lambda: self._fence(self), namespace, **options
        )
        self._clients.append(client)
        return client

    # -- what goes wrong with it ----------------------------------------------------------

    def crash(self) -> None:
        """End this worker without a goodbye: its sockets are gone, and so is what it had to say."""
        if not self._crashed:
            self._crashed = self._backend.mute = True
            self.stop(0)  # for nobody hears its goodbye

    def cut(self) -> None:
        """Cut its connection to the broker, until restore(); its own sockets stay."""
        self._backend.cut = True

    def restore(self) -> None:
        """
        Let it connect again, and return when it and the others hear each other.

        If the others have counted it as dead meanwhile, it has disconnected its sockets.
        """
        self._backend.cut = False
        self._settle()

    # -- what the cluster needs of it -----------------------------------------------------

    @property
    def reachable(self) -> bool:
        """Whether it lives, and has a way to the others."""
        return not self._crashed and self._backend.reachable

    @property
    def refused(self) -> str:
        """Why it could not take what another worker said, or empty."""
        return next(iter(self._parts.cluster.dropped), "")

    def start(self) -> None:
        """Join the cluster."""
        self._parts.cluster.start()

    def knows(self, others: set[str]) -> bool:
        """Whether it counts these as alive, and all its sockets are of its present life."""
        return self._parts.cluster.peers >= others - {self.name} and all(
            owner_of(client.sid) == self.name for client in self._clients if client.connected
        )

    def ask(self, other: Worker) -> Callable[[], object]:
        """Ask another worker for a sign; what is returned waits until that has come."""
        return self.sockets.leave(new_sid(other.name), _FENCE, namespace="/").result

    def stop(self, timeout: float = 2.0) -> None:
        """
        Leave nothing behind: no thread, no socket, and no client in Flask-SocketIO's list.

        Args:
            timeout: Seconds in which the others may hear its goodbye.
        """
        self._parts.cluster.stop(timeout)
        for client in self._clients:
            client.vanish()
        forget_clients(self._parts.socketio)
        # A Rooms that is shared with other tests must not go on counting this application.
        self.app.extensions["rooms"]._apps.discard(self.app)
