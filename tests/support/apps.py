"""Applications with Rooms, their clients, and clusters of them, all inside this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

from flask import Flask

from flask_rooms import Rooms
from flask_rooms.api.sockets import Sockets
from flask_rooms.backends import MemoryBackend
from flask_rooms.protocol.codec import Codec, decode_operation
from flask_rooms.protocol.messages import Emit, Frame, Operation

T = TypeVar("T")

#: Seconds that a test waits for what must come.
PATIENCE = 20.0

#: Seconds; short, because an ID of a worker that never was is unknown only after one of them.
HEARTBEAT = 0.2

SECRET = "of the tests"

_FENCE = "fence"


class Client:
    """
    One socket of a worker, by Flask-SocketIO's own test client.

    Args:
        worker: The worker to connect to.
        namespace: Where.
        options: As Flask-SocketIO's test client takes them.
    """

    def __init__(self, worker: Worker, namespace: str = "/", **options: Any) -> None:
        self.namespace = namespace
        self._client = worker.socketio.test_client(worker.app, namespace=namespace, **options)
        self._manager = worker.socketio.server.manager
        #: The Engine.IO session of its connection.
        self.eio_sid: str = self._client.eio_sid
        self.sid = self.sid_in(namespace)

    def sid_in(self, namespace: str) -> str:
        """Return the ID of the socket that its connection has in a namespace."""
        sid: str = self._manager.sid_from_eio_sid(self.eio_sid, namespace)
        return sid

    def is_connected(self, namespace: str | None = None) -> bool:
        """Whether it has received no packet that says it is disconnected."""
        return bool(self._client.is_connected(namespace or self.namespace))

    def connect(self, namespace: str) -> None:
        """Connect to a namespace, over the same connection."""
        self._client.connect(namespace)

    def emit(self, event: str, *args: Any) -> Any:
        """Send an event, and return what the worker acknowledges."""
        return self._client.emit(event, *args, namespace=self.namespace, callback=True)

    def send(self, event: str, *args: Any) -> None:
        """Send an event without asking for an acknowledgement, also after a disconnect."""
        was_connected = self.is_connected()
        self._client.connected[self.namespace] = True  # or Flask-SocketIO's client would refuse
        assert self._client.emit(event, *args, namespace=self.namespace) is None
        if not was_connected:
            self._client.connected[self.namespace] = False

    def ask(self, verb: str, url: str, data: Any = None, **headers: str) -> Any:
        """Make a socket request, and return its acknowledgement."""
        payload: dict[str, Any] = {"url": url}
        if data is not None:
            payload["data"] = data
        if headers:
            payload["headers"] = headers
        return self.emit(verb, payload)

    def received(self) -> list[tuple[str, Any]]:
        """Return the events that came since the last call, each with its arguments."""
        events = self._client.get_received(self.namespace)
        return [(event["name"], event["args"]) for event in events]

    def inbox(self) -> list[tuple[str, Any]]:
        """Return all events that it has received in any namespace, even if disconnected."""
        return [(event["name"], event["args"]) for event in self._client.queue]

    def disconnect(self) -> None:
        """Leave the namespace, as a client does by itself."""
        self._client.disconnect(self.namespace)


class Worker:
    """One worker of a cluster in this process: an application with its Rooms."""

    def __init__(self, app: Flask, rooms: Rooms) -> None:
        self.app = app
        self.rooms = rooms
        self.cluster = app.extensions["rooms_parts"].cluster
        self.socketio = app.extensions["socketio"]

    @property
    def name(self) -> str:
        return str(self.cluster.name)

    @property
    def sockets(self) -> Sockets:
        with self.app.app_context():
            return self.rooms.sockets

    def connect(self, namespace: str = "/", **options: Any) -> Client:
        """Return a new socket of this worker."""
        return Client(self, namespace, **options)

    def rooms_of(self, client: Client) -> set[str]:
        """Return where a socket of this worker is a member, the room of its own ID apart."""
        rooms = self.socketio.server.rooms(client.sid, client.namespace)
        return set(rooms) - {client.sid}


class LocalCluster:
    """Workers in this process, connected with each other; they stop at the end of the context."""

    def __init__(self) -> None:
        self.hub = f"memory://{uuid4().hex}"
        self.workers: list[Worker] = []

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.cluster.stop()

    def worker(self, app: Flask | None = None, **options: Any) -> Worker:
        """Return a new worker; *options* are those of Rooms."""
        app = app or make_app()
        options = {"backend_url": self.hub, "heartbeat_interval": HEARTBEAT, **options}
        return self.adopt(app, Rooms(app, **options))

    def adopt(self, app: Flask, rooms: Rooms) -> Worker:
        """Add the worker of an application that a test has made, and return it."""
        self.workers.append(Worker(app, rooms))
        return self.workers[-1]

    def listen(self) -> Wire:
        """Return a receiver of what the workers publish from now on."""
        return Wire(self.hub)


class _EveryAddress(str):
    """The address of a backend that receives also what is for a single other one."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True


class Wire:
    """Receives what the workers of a cluster publish, to all and to one."""

    def __init__(self, hub: str) -> None:
        self._codec = Codec([SECRET], "flask-rooms", 2**24)
        self._backend = MemoryBackend("flask-rooms", hub=hub.removeprefix("memory://"))
        self._backend.address = _EveryAddress()
        self._backend.open()
        # (sender, receiver or nothing for all) -> its last operation, which may be repeated
        self._heard: dict[tuple[str, str], int] = {}

    def next_sender(self) -> str:
        """Return the name of the worker that publishes next."""
        payload = self._backend.receive(PATIENCE)
        assert payload is not None, "no worker has published anything"
        return self._codec.decode(payload).sender

    def published_by(self, worker: Worker) -> list[Operation]:
        """Return the operations that *worker* has published since the last call."""
        return self.published_by_all(worker)[0]

    def published_by_all(self, *workers: Worker) -> list[list[Operation]]:
        """Return the operations that each of the workers has published since the last call."""
        for worker in workers:
            worker.sockets.broadcast(_FENCE, None)
        published: dict[str, list[Operation]] = {worker.name: [] for worker in workers}
        unfinished = set(published)
        while unfinished:
            payload = self._backend.receive(PATIENCE)
            assert payload is not None, "a worker has not published the fence"
            frame = self._codec.decode(payload)
            for operation in self._new_operations(frame):
                if frame.sender not in unfinished:
                    continue
                if isinstance(operation, Emit) and operation.rooms == (_FENCE,):
                    unfinished.remove(frame.sender)
                else:
                    published[frame.sender].append(operation)
        return list(published.values())

    def _new_operations(self, frame: Frame) -> Iterator[Operation]:
        # What is repeated to one worker alone has its number in the stream to all.
        numbered = [("", number, data) for number, data in enumerate(frame.operations, frame.first)]
        if frame.direct is not None:
            answers = enumerate(frame.direct.answers, frame.direct.first)
            numbered += [(frame.to, number, data) for number, data in answers]
        for receiver, number, data in numbered:
            operation = decode_operation(data)
            if operation is not None and number > self._heard.get((frame.sender, receiver), 0):
                self._heard[frame.sender, receiver] = number
                yield operation


def make_app(name: str = "application") -> Flask:
    """Return an application that Rooms does not know yet."""
    app = Flask(name)
    app.config["SECRET_KEY"] = SECRET
    return app


def as_a_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs an async function to its end; for Flask's `async_to_sync`."""

    def run(*args: Any, **options: Any) -> Any:
        return asyncio.run(function(*args, **options))

    return run


def fence(speaker: Worker, listener: Client) -> None:
    """Return when *listener*, of another worker, has all that *speaker* has sent so far."""
    speaker.sockets.leave(listener.sid, _FENCE, namespace=listener.namespace).result(PATIENCE)


def eventually(worker: Worker, condition: Callable[[], object]) -> None:
    """Return when *condition* is met, which something in the background of *worker* does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not come to this"
        worker.socketio.sleep(0)


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run *function* in a thread of its own, outside of any context."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised by result()
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
