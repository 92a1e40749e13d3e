"""What applications set up in Flask-SocketIO, or look into, is there; and run() and stop()."""

from __future__ import annotations

import datetime
import enum
import json
import logging
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import flask
import pytest
from flask_socketio import Namespace, SocketIO
from socketio.packet import ACK, CONNECT, EVENT, Packet

from flask_rooms import InvalidArgument, InvalidRoom, Rooms
from flask_rooms.server.decoding import BEFORE_CONNECT_BYTES
from flask_rooms.server.engine_io import is_packet
from tests.support.apps import LocalCluster, Worker, eventually, fence, make_app
from tests.support.brokers import Broker, free_port
from tests.support.clients import Client
from tests.support.polling import PollingClient
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
    from flask_socketio import Namespace, SocketIO

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


def test_keys_of_msgpack_that_are_no_strings_are_those_of_json(redis_broker: Broker) -> None:
    """Python's msgpack encodes them, and decodes them nowhere: not in a client, nor a worker."""
    with processes(redis_broker.url, 2, "tests.support.msgpack_app") as workers:
        one, two = (
            Client(worker.url, serializer="msgpack", answer=lambda _, data: {7: data})
            for worker in workers
        )
        for client in (one, two):
            client.call("join", "fun")
        pairs, data = [[7, "Ann"], [None, {"deep": 1}]], {"7": "Ann", "null": {"deep": 1}}

        one.call("send keys", "fun", pairs)
        answers = one.call("ask keys", "fun", pairs)
        called = [one.call("call keys", client.sid, pairs) for client in (one, two)]
        one.call("tell keys", pairs)
        response = one.call("put", {"url": "/echo", "data": {7: "Ann"}})

        assert answers == called == [{"7": data}] * 2
        assert response["body"] == {"got": {"7": "Ann"}}
        for client in (one, two):
            assert [client.receive() for _ in range(4)] == [["keys", data]] * 3 + [["told", data]]
            client.disconnect()


class AsJSON(Packet):
    """A packet that is an object of JSON as a whole, as other parsers of Socket.IO have it."""

    uses_binary_events = False

    def encode(self) -> str:
        names = {"type": self.packet_type, "nsp": self.namespace, "id": self.id}
        return json.dumps(names | {"data": self.data})

    def decode(self, encoded_packet: Any) -> int:
        # python-engineio reads JSON by itself.
        packet = json.loads(encoded_packet) if isinstance(encoded_packet, str) else encoded_packet
        self.packet_type, self.namespace = packet["type"], packet["nsp"]
        self.data, self.id = packet["data"], packet["id"]
        return 0


def test_a_serializer_of_the_applications_own_decides_what_text_is(cluster: LocalCluster) -> None:
    worker = worker_with(cluster, serializer=AsJSON)
    worker.socketio.on("echo")(lambda text: text)
    client = PollingClient(worker.app)

    def ask(kind: int, data: Any) -> Any:
        client.send("4" + json.dumps({"type": kind, "nsp": "/", "id": 1, "data": data}))
        packet = json.loads(client.receive()[1:])
        return packet["type"], packet["data"]

    assert ask(CONNECT, None)[0] == CONNECT
    for hostile in ("[1]", "true", "no JSON", '{"type": "x", "nsp": 1, "id": 2, "data": 3}'):
        client.send(f"4{hostile}")
    assert ask(EVENT, ["echo", "NaN"]) == (ACK, ["NaN"])
    assert worker.rooms.refusals["malformed_packets"] == 4


@pytest.mark.parametrize("start", ["[", '{"a":'])
def test_what_python_engineio_could_not_read_as_json_ends_nothing(
    cluster: LocalCluster, start: str
) -> None:
    """It would raise a RecursionError where nothing catches it, before any login."""
    worker = worker_with(cluster, serializer=AsJSON)
    client = PollingClient(worker.app)

    assert client.send("4" + start * 10_000).status_code == 400

    assert worker.rooms.refusals["malformed_packets"] == 1
    assert client.send('4{"type": 0, "nsp": "/", "id": 1, "data": null}').status_code == 200
    large = json.dumps({"type": 0, "nsp": "/", "id": 1, "data": "x" * BEFORE_CONNECT_BYTES})
    assert PollingClient(worker.app).send(f"4{large}").status_code == 200
    assert worker.rooms.refusals["before_connect_bytes"] == 1


@pytest.mark.parametrize(
    ("serializer", "any_text"), [("default", False), ("msgpack", False), (AsJSON, True)]
)
def test_only_the_applications_own_serializer_may_read_any_text(
    cluster: LocalCluster, serializer: Any, any_text: bool
) -> None:
    worker = worker_with(cluster, serializer=serializer)

    assert worker.socketio.server.packet_class.any_text is any_text
    assert is_packet("4{}", any_text) is any_text
    assert is_packet("4" + "[" * 501 + "]" * 501, True) is False
    assert is_packet("4" + "[]" * 501, True) is True


#: Of events for which the application below has no function.
WRONG_NAMES: list[Any] = [6, True, None, [[]]]


def test_an_event_may_be_named_by_a_number(cluster: LocalCluster) -> None:
    """JavaScript's client sends that."""
    worker = cluster.worker()
    worker.socketio.on(5)(lambda *args: args)
    worker.socketio.on_namespace(Namespace("/"))  # which has no name for it
    client = PollingClient(worker.app).connect()

    assert client.emit(5, "a", "b") == ["a", "b"]
    assert [client.emit(wrong)[0]["statusCode"] for wrong in WRONG_NAMES] == [400] * 4


def test_the_log_has_the_events_that_come(caplog: pytest.LogCaptureFixture) -> None:
    with LocalCluster() as cluster:
        logger = logging.getLogger("tests.of.the.log")
        worker = worker_with(cluster, logger=logger)
        client = worker.connect()

        with caplog.at_level(logging.INFO, logger.name):
            client.emit("said", 1)

    assert f'received event "said" from {client.sid} [/]' in caplog.messages


def test_all_clients_may_call_back(cluster: LocalCluster) -> None:
    """Flask-SocketIO calls all back without a queue, and refuses to with one."""
    here, there = cluster.worker(), cluster.worker()
    clients = [PollingClient(one.app).connect() for one in (here, here, there)]
    answers: list[str] = []

    here.socketio.emit("ask", callback=answers.append)
    for client in clients:
        id, _, event = client.receive().removeprefix("42").partition("[")
        assert event == '"ask"]'
        client.send(f'43{id}["{client.sid}"]')

    eventually(here, lambda: len(answers) == 3)
    assert sorted(answers) == sorted(client.sid for client in clients)


def test_members_of_enumerations_are_numbers_of_rooms(cluster: LocalCluster) -> None:
    class Level(enum.IntEnum):
        LOBBY = 1

    worker = cluster.worker()
    server, client = worker.socketio.server, worker.connect()

    server.enter_room(client.sid, Level.LOBBY)
    assert set(server.rooms(client.sid)) == {client.sid, 1}
    worker.socketio.emit("said", to=Level.LOBBY)
    worker.socketio.emit("said", to=[1])
    server.leave_room(client.sid, Level.LOBBY)

    assert client.received() == [("said", [])] * 2
    assert worker.rooms_of(client) == set()
    for wrong in (True, 1.0, 2**63):
        with pytest.raises(InvalidRoom):
            server.enter_room(client.sid, wrong)


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


def test_the_managers_rooms_are_shown_with_their_members(cluster: LocalCluster) -> None:
    """Applications print them, to see who is where."""
    worker = cluster.worker()
    rooms = worker.socketio.server.manager.rooms
    assert str(rooms) == "{}"
    client = worker.connect()
    worker.sockets.join(client.sid, ["red", "blue"])

    here = {client.sid: client.eio_sid}
    assert repr(rooms["/"]) == repr({None: here, client.sid: here, "red": here, "blue": here})
    assert str(rooms) == f"{{'/': {rooms['/']}}}"


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
