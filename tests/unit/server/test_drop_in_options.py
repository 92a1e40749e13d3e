"""What applications set up in Flask-SocketIO, or look into, is there; and run() and stop()."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import flask
import pytest
from flask_socketio import SocketIO

from flask_rooms import InvalidArgument, Rooms
from tests.support.apps import LocalCluster, Worker, fence, make_app
from tests.support.brokers import Broker, free_port
from tests.support.clients import Client
from tests.support.workers import cluster as processes
from tests.unit.server.test_async_mode import PATCH, needs, run

pytestmark = pytest.mark.every_python

#: Serves until it stops itself, as a client in the same process asks for.
STOP = """
    import sys
    from urllib.error import URLError
    from urllib.request import urlopen
    from flask import Flask
    from flask_rooms import Rooms
    from flask_socketio import SocketIO

    app = Flask("application")
    socketio = Rooms(app, SocketIO()).socketio
    url = f"http://127.0.0.1:{sys.argv[1]}/stop"

    @app.get("/stop")
    def stop():
        print(app.extensions["rooms_parts"].cluster.is_member)
        socketio.stop()
        return "stopped"

    def ask():
        while True:
            try:
                urlopen(url, timeout=20)
                return
            except URLError:
                socketio.sleep(0.01)  # it is not listening yet

    socketio.start_background_task(ask)
    socketio.run(app, port=int(sys.argv[1]))
    print("ended")
"""


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Workers in this process."""
    with LocalCluster() as cluster:
        yield cluster


def worker_with(cluster: LocalCluster, **options: Any) -> Worker:
    """Return a worker whose SocketIO has these options."""
    app = make_app()
    return cluster.adopt(app, Rooms(app, SocketIO(**options), backend_url=cluster.hub))


def test_the_applications_json_is_what_clients_of_every_worker_get(cluster: LocalCluster) -> None:
    """SocketIO(json=...) encodes once, and workers pass that on."""
    here, there = (worker_with(cluster, json=flask.json) for _ in range(2))
    clients = here.connect(), there.connect()

    here.socketio.emit("said", {"on": datetime.date(1969, 7, 20)})
    fence(here, clients[1])

    expected = [("said", [{"on": "Sun, 20 Jul 1969 00:00:00 GMT"}])]
    assert [client.received() for client in clients] == [expected] * 2


def test_msgpack_reaches_clients_of_every_worker(redis_broker: Broker) -> None:
    """SocketIO(serializer="msgpack"), whose packets are bytes, with answers of other workers."""
    with processes(redis_broker.url, 2, "tests.support.msgpack_app") as workers:
        one, two = (
            Client(worker.url, serializer="msgpack", answer=lambda _, *args: args)
            for worker in workers
        )
        for client in (one, two):
            assert client.call("join", "fun") == "done"

        assert one.call("say", {"to": "fun"}, b"\x00", {"nested": [1, b"\xff"]}) == "done"
        answer = one.call("call", two.sid, b"\x01", "two")

        event = ["said", b"\x00", {"nested": [1, b"\xff"]}]
        assert [two.receive(), two.receive()] == [event, ["question", b"\x01", "two"]]
        assert one.receive() == event
        assert list(answer) == [b"\x01", "two"]
        for client in (one, two):
            client.disconnect()


def test_data_that_no_client_can_be_sent_is_a_type_error(cluster: LocalCluster) -> None:
    """As in Flask-SocketIO, and an error of ours at the same time."""
    worker = cluster.worker()
    client = worker.connect()

    for error in (TypeError, InvalidArgument):
        with pytest.raises(error, match="cannot be sent"):
            worker.socketio.emit("said", {"an": object()}, to=client.sid)
    assert client.received() == []


def test_the_managers_rooms_are_those_of_this_worker(cluster: LocalCluster) -> None:
    """Applications look into `socketio.server.manager.rooms`, which is no public name."""
    here, there = cluster.worker(), cluster.worker()
    rooms = here.socketio.server.manager.rooms
    assert "/" not in rooms
    client, neighbour, elsewhere = here.connect(), here.connect(), there.connect()
    for worker, one in ((here, client), (here, neighbour), (there, elsewhere)):
        worker.sockets.join(one.sid, "red").result()

    here.sockets.join(client.sid, "blue")

    assert list(rooms) == ["/"]
    assert set(rooms["/"]) == {None, "red", "blue", client.sid, neighbour.sid}
    assert set(rooms["/"]["red"]) == set(rooms["/"][None]) == {client.sid, neighbour.sid}
    assert dict(rooms["/"]["blue"]) == {client.sid: client.eio_sid}
    here.sockets.leave([client.sid, neighbour.sid], ["red", "blue"])
    assert "red" not in rooms["/"]
    assert len(rooms["/"].get("blue", ())) == 0
    assert len(rooms["/"]) == 3


def test_an_instrumented_server_forgets_sockets_in_any_case(cluster: LocalCluster) -> None:
    """instrument() replaces python-socketio's handlers, and must not lose what ours do."""
    worker = cluster.worker()
    admin = worker.socketio.server.instrument(auth=False, mode="production")
    try:
        client = worker.connect()

        @worker.socketio.on("disconnect")
        def disconnect(*_: Any) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            worker.socketio.server.eio.handlers["disconnect"](client.eio_sid, "gone")
        assert "/" not in worker.socketio.server.manager.rooms
    finally:
        admin.uninstrument()


@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_run_serves_until_stop(library: str) -> None:
    """And the process ends, as nothing that listens to other workers holds it up."""
    needs(library)
    program = PATCH[library] + dedent(STOP).replace("sys.argv[1]", str(free_port()))

    assert run(program) == ["True", "ended"]
