"""Users test their applications with cluster(): each fault is one, and the promises survive it."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask, request
from flask_socketio import SocketIO
from flask_socketio import emit as emit_event
from flask_socketio.test_client import SocketIOTestClient

from flask_rooms import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    Outcome,
    Rooms,
    Unconfirmed,
    sockets,
)
from flask_rooms.backends import Backend, MemoryBackend, memory
from flask_rooms.testing import (
    BackendContract,
    BreakConnection,
    Client,
    LocalCluster,
    MakeBackend,
    ReconnectContract,
    Worker,
    cluster,
)
from flask_rooms.testing.bus import Bus, BusBackend
from tests.support.apps import PATIENCE, in_thread

pytestmark = pytest.mark.oldest_dependencies

DOCUMENT = Path(__file__).parents[2].joinpath("docs/testing.md").read_text(encoding="utf-8")


def make_app() -> Flask:
    """Return an application with Rooms."""
    app = Flask("fun")
    app.config.update(SECRET_KEY="of the tests", ROOMS_REQUEST_HEADERS=["X-Tag"])
    rooms = Rooms(app)
    gone: list[str] = []
    app.extensions["gone"] = gone

    @app.put("/rooms/<room>")
    def join(room: str) -> tuple[dict[str, Any], int]:
        sockets.join(request, room)
        return {"data": request.get_json(silent=True), "tag": request.headers.get("X-Tag")}, 201

    @rooms.socketio.on("connect", namespace="/private")
    def connect(auth: Any) -> bool:
        return bool(auth == {"token": "good"})

    @rooms.socketio.on("disconnect")
    def disconnect(*reason: Any) -> None:
        gone.append(request.sid)  # type: ignore[attr-defined]

    @rooms.socketio.on("echo")
    def echo(*args: Any) -> list[Any]:
        emit_event("echoed", args)
        return list(args)

    return app


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test of this file does, it leaves no thread, client or hub behind."""
    threads, clients = set(threading.enumerate()), dict(SocketIOTestClient.clients)
    hubs = {key: len(inboxes) for key, inboxes in memory._hubs.items()}
    yield
    # What has done its work may need a moment to end; gevent's threads cannot be joined.
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if set(threading.enumerate()) <= threads:
            break
        pause.wait(0.01)
    assert set(threading.enumerate()) <= threads
    assert SocketIOTestClient.clients == clients
    assert all(len(memory._hubs[key]) <= hubs.get(key, 0) for key in memory._hubs)


@pytest.fixture
def workers() -> Iterator[LocalCluster]:
    with cluster(make_app, workers=3) as workers:
        yield workers


@pytest.fixture
def two(workers: LocalCluster) -> tuple[Client, Client]:
    """A client of the first worker and one of the second, in one room."""
    return connect_two(workers)


def connect_two(workers: LocalCluster) -> tuple[Client, Client]:
    alice, bob = workers[0].connect(), workers[1].connect()
    for client in (alice, bob):
        assert client.request("put", "/rooms/fun").status_code == 201
    return alice, bob


# -- the document -----------------------------------------------------------------------------


APPLICATION, TESTS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
RIGHT = """        left = sockets.leave(sid, room)
        sockets.broadcast(room, "left", sid)
"""


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Run the document's tests on an application, and return the names of those that fail."""

    def run(application: str) -> list[str]:
        fun = ModuleType("fun")
        exec(application, fun.__dict__)
        monkeypatch.setitem(sys.modules, "fun", fun)
        example: dict[str, Any] = {}
        exec(TESTS, example)
        failed = []
        for name in [name for name in example if name.startswith("test_")]:
            with contextmanager(example["workers"].__wrapped__)() as workers:
                two = example["two"].__wrapped__(workers)
                try:
                    example[name](workers, two)
                except AssertionError:
                    failed.append(name)
        return failed

    return run


def test_the_example_of_the_document_passes(run_example: Callable[[str], list[str]]) -> None:
    assert run_example(APPLICATION) == []


def test_the_example_finds_the_mistake_that_it_names(
    run_example: Callable[[str], list[str]],
) -> None:
    wrong = "".join(reversed(RIGHT.splitlines(keepends=True)))
    assert RIGHT in APPLICATION

    assert "test_who_is_kicked_hears_no_more" in run_example(APPLICATION.replace(RIGHT, wrong))


def test_the_names_in_the_document_exist(workers: LocalCluster) -> None:
    things = {"workers": workers, "worker": workers[0], "client": workers[0].connect()}
    named = re.findall(r"`(workers|worker|client)\.([a-z_.]+)", DOCUMENT)

    assert len(named) > 20
    for thing, path in named:
        found: Any = things[thing]
        for name in path.split("."):
            found = getattr(found, name)


# -- what clients do --------------------------------------------------------------------------


def test_a_client_makes_requests_of_its_worker(workers: LocalCluster) -> None:
    client = workers[1].connect()

    answer = client.request("put", "/rooms/fun", {"a": [1]}, {"X-Tag": "yes"})

    assert (answer.status_code, answer.body) == (201, {"data": {"a": [1]}, "tag": "yes"})
    assert answer.headers["content-type"] == "application/json"
    assert client.rooms == {"fun"}


def test_a_client_sends_and_receives_events(two: tuple[Client, Client]) -> None:
    client, _ = two

    assert client.emit("echo", 1, [2]) == [1, [2]]
    client.emit("echo", [3])
    client.emit("echo")

    assert client.received() == [("echoed", [1, [2]]), ("echoed", [3]), ("echoed", None)]
    assert client.received() == []


def test_a_client_hears_what_every_worker_has_said(
    workers: LocalCluster, two: tuple[Client, Client]
) -> None:
    workers.faults.delay = 0.05
    for worker in workers:
        for number in range(10):
            worker.sockets.broadcast("fun", number)

    for client in two:
        heard = client.received()
        assert sorted(heard) == sorted([("message", number) for number in range(10)] * 3)


def test_the_application_may_refuse_a_client(workers: LocalCluster) -> None:
    known = set(SocketIOTestClient.clients)
    with pytest.raises(ConnectionRefusedError):
        workers[0].connect("/private", auth={"token": "bad"})
    assert set(SocketIOTestClient.clients) == known

    client = workers[0].connect("/private", auth={"token": "good"})
    workers[1].sockets.blast("hello", namespace="/private")
    assert client.received() == [("message", "hello")]


def test_a_client_that_goes_away_is_gone(workers: LocalCluster, two: tuple[Client, Client]) -> None:
    alice, bob = two
    bob.disconnect()

    assert workers[1].app.extensions["gone"] == [bob.sid]
    assert not bob.connected
    with pytest.raises(ConnectionError):
        bob.emit("echo")
    left = workers[0].sockets.leave([alice.sid, bob.sid], "fun").result(PATIENCE)
    assert left == Outcome(1, 0, (bob.sid,))


# -- what goes wrong --------------------------------------------------------------------------


def test_messages_are_late_by_the_delay() -> None:
    bus = Bus()
    backend = BusBackend(bus, "channel")
    backend.open()
    bus.faults.delay = 3600
    backend.publish(b"late")
    bus.faults.delay = 0
    backend.publish(b"not before it")

    assert backend.receive(0.05) is None


def test_messages_are_lost_and_doubled() -> None:
    bus = Bus()
    backend = BusBackend(bus, "channel")
    backend.open()

    bus.faults.loss = 1
    for number in range(6):
        backend.publish(b"%d" % number)
    bus.faults.loss, bus.faults.doubling = 0, 1
    backend.publish(b"fence")

    # Never two in a row, or a worker would count as dead.
    heard = [backend.receive(PATIENCE) for _ in range(5)]
    assert heard == [b"1", b"3", b"5", b"fence", b"fence"]
    assert (bus.faults.lost, bus.faults.doubled) == (3, 1)


def test_what_is_under_way_on_a_cut_connection_is_lost() -> None:
    bus = Bus()
    here, there = BusBackend(bus, "channel"), BusBackend(bus, "channel")
    here.open()
    there.open()
    here.publish(b"under way")
    there.cut = True
    here.publish(b"meanwhile")
    for _ in range(2):
        with pytest.raises(BackendError):
            there.receive(PATIENCE)
    with pytest.raises(BackendError):
        there.publish(b"refused")
    there.cut = False
    with pytest.raises(BackendError):
        there.receive(PATIENCE)
    here.publish(b"fence")

    assert there.receive(PATIENCE) == b"fence"
    assert [here.receive(PATIENCE) for _ in range(3)] == [b"under way", b"meanwhile", b"fence"]


def test_the_same_seed_loses_the_same() -> None:
    def lost(seed: int) -> list[bool]:
        bus = Bus(seed)
        backend = BusBackend(bus, "channel")
        backend.open()
        bus.faults.loss = 0.5
        backend.publish(b"")
        fates = []
        for _ in range(50):
            before = bus.faults.lost
            backend.publish(b"")
            fates.append(bus.faults.lost > before)
        return fates

    assert lost(1) == lost(1) != lost(2)


def test_leaves_are_confirmed_and_fenced_although_messages_are_lost(
    workers: LocalCluster, two: tuple[Client, Client]
) -> None:
    alice, bob = two
    workers.faults.loss = workers.faults.doubling = 0.3
    workers.faults.delay = 0.01
    for number in range(20):
        room, calls = f"room {number}", workers[number % 3].sockets
        calls.join([alice.sid, bob.sid], room).result(PATIENCE)
        calls.broadcast(room, f"{number} in")
        calls.leave(bob.sid, room).result(PATIENCE)
        for worker in workers:
            worker.sockets.broadcast(room, f"{number} out")

    assert [data for _, data in bob.received()] == [f"{number} in" for number in range(20)]
    assert len(alice.received()) == 80
    assert workers.faults.lost > 10
    assert workers.faults.doubled > 10


def test_without_a_broker_own_sockets_are_served_and_the_rest_waits_in_order(
    workers: LocalCluster, two: tuple[Client, Client]
) -> None:
    alice, bob = two
    workers.down()
    calls = workers[0].sockets
    calls.broadcast("fun", "before")
    leave = calls.leave([alice.sid, bob.sid], "fun")
    calls.broadcast("fun", "between")
    join = calls.join([alice.sid, bob.sid], "fun")
    calls.broadcast("fun", "after")

    events = [("message", "before"), ("message", "after")]
    assert alice.received() == events
    assert bob.received() == []
    assert not leave.done()
    workers.up()
    assert leave.result(PATIENCE) == join.result(PATIENCE) == Outcome(2)
    assert bob.received() == events
    assert alice.received() == []


def test_the_outbox_is_bounded() -> None:
    with cluster(make_app, outbox_bytes=2000) as workers:
        alice, bob = connect_two(workers)
        workers.down()
        with pytest.raises(BackendUnavailable):
            broadcast_a_lot(workers[0])
        assert len(alice.received()) > 5
        workers.up()
        assert 0 < len(bob.received()) < 20


def broadcast_a_lot(worker: Worker) -> None:
    for _ in range(100):
        worker.sockets.broadcast("fun", "x" * 100)


def test_a_wait_ends_without_a_broker() -> None:
    with cluster(make_app, confirm_timeout=0.3) as workers:
        _, bob = connect_two(workers)
        name = workers[1].name
        workers.down()
        with pytest.raises(Unconfirmed) as caught:
            workers[0].sockets.leave(bob.sid, "fun").result()

    assert caught.value.workers == (name,)


def test_a_crashed_worker_is_gone_without_a_word(
    workers: LocalCluster, two: tuple[Client, Client]
) -> None:
    alice, bob = two
    waits = workers[1].sockets.leave(alice.sid, "elsewhere")
    waits.result(PATIENCE)
    workers[0].sockets.broadcast("fun", "last")
    heard = bob.received()
    workers[1].crash()
    workers[1].crash()

    assert heard == [("message", "last")]
    assert not bob.connected
    assert bob.received() == []
    assert workers[1].app.extensions["gone"] == []  # no worker was left to handle it
    assert workers[0].sockets.leave(bob.sid, "fun").result(PATIENCE) == Outcome(unknown=(bob.sid,))
    with pytest.raises(RuntimeError, match="crashed"):
        workers[1].sockets.leave(alice.sid, "fun")
    with pytest.raises(ConnectionRefusedError):
        workers[1].connect()


def test_a_crash_is_not_announced() -> None:
    # By its heartbeats it would be missed only after minutes.
    with cluster(make_app, heartbeat_interval=60, confirm_timeout=0.5) as workers:
        _, bob = connect_two(workers)
        workers[1].crash()
        with pytest.raises(Unconfirmed):
            workers[0].sockets.leave(bob.sid, "fun").result()


def test_another_worker_takes_the_place_of_a_crashed_one(
    workers: LocalCluster, two: tuple[Client, Client]
) -> None:
    workers[1].crash()
    carol = workers.add().connect()

    assert workers[0].sockets.join(carol.sid, "fun").result(PATIENCE) == Outcome(1)
    workers[2].sockets.broadcast("fun", "hello")
    assert carol.received() == [("message", "hello")]
    assert len(workers) == 4


def test_a_short_cut_loses_nothing(workers: LocalCluster, two: tuple[Client, Client]) -> None:
    alice, bob = two
    workers[1].cut()
    workers[1].sockets.broadcast("fun", "from within")
    workers[0].sockets.broadcast("fun", "from without")
    heard = (alice.received(), bob.received())
    workers[1].restore()

    assert heard == ([("message", "from without")], [("message", "from within")])
    assert alice.received() == [("message", "from within")]
    assert bob.received() == [("message", "from without")]


def test_a_worker_that_was_counted_dead_disconnects_its_sockets(
    workers: LocalCluster, two: tuple[Client, Client]
) -> None:
    alice, bob = two
    former = workers[1].name
    workers[1].cut()
    gone = workers[0].sockets.leave(bob.sid, "fun").result(PATIENCE)
    connected = bob.connected
    workers[1].restore()

    assert gone == Outcome(unknown=(bob.sid,))
    assert connected
    assert not bob.connected
    assert workers[1].name != former
    again = workers[1].connect()
    assert workers[0].sockets.join([alice.sid, again.sid], "x").result(PATIENCE) == Outcome(2)


# -- what it refuses --------------------------------------------------------------------------


def test_workers_with_different_keys_are_found_out() -> None:
    def create_app() -> Flask:
        app = make_app_with(SECRET_KEY=secrets.token_hex())
        Rooms(app)
        return app

    with pytest.raises(ConfigurationError, match="same SECRET_KEY"), cluster(create_app):
        pytest.fail("They cannot have understood each other.")


def test_an_application_that_is_no_factory_is_refused() -> None:
    app = make_app()
    made = [make_app_with(), make_app_with()]

    for create_app in (lambda: app, made.pop):
        with pytest.raises(ConfigurationError, match="factory"), cluster(create_app):
            pytest.fail("These are no workers.")


def test_a_factory_that_gives_the_same_application_twice_is_refused() -> None:
    made: list[Flask] = []

    def create_app() -> Flask:
        if not made:
            made.append(make_app())
        return made[0]

    with pytest.raises(ConfigurationError, match="factory"), cluster(create_app):
        pytest.fail("This is one worker.")


def test_an_unknown_option_is_refused() -> None:
    with (
        pytest.raises(ConfigurationError, match="outbox_size"),
        cluster(make_app, outbox_size=3),
    ):
        pytest.fail("There is no such option.")


# -- whose application it is ------------------------------------------------------------------


def make_app_with(**config: Any) -> Flask:
    """Return an application that Rooms does not know yet."""
    app = Flask("configured")
    app.config.update({"SECRET_KEY": "of the tests", **config})
    return app


def test_the_configured_broker_is_left_alone() -> None:
    def create_app() -> Flask:
        app = make_app_with(
            ROOMS_BACKEND_URL="redis://broker.invalid:1", ROOMS_HEARTBEAT_INTERVAL=3600
        )
        Rooms(app)
        return app

    assert_two_workers_speak(create_app)


def test_a_configuration_that_production_refuses_is_refused() -> None:
    def create_app() -> Flask:
        app = make_app_with(ROOMS_BACKEND_URL="redis://broker.invalid:1", SECRET_KEY=None)
        Rooms(app)
        return app

    with pytest.raises(ConfigurationError, match="SECRET_KEY"), cluster(create_app):
        pytest.fail("It cannot be signed.")


def test_one_rooms_may_serve_all_workers() -> None:
    rooms = Rooms(backend=MemoryBackend("flask-rooms"))

    @rooms.socketio.on("shout")
    def shout(word: str) -> None:
        sockets.blast("shouted", word)

    def create_app() -> Flask:
        app = make_app_with()
        rooms.init_app(app)
        return app

    with cluster(create_app) as workers:
        one, other = workers[0].connect(), workers[1].connect()
        one.emit("shout", "hey")
        assert one.received() == other.received() == [("shouted", "hey")]
    rooms.init_app(app := make_app_with())
    assert rooms.sockets is app.extensions["rooms_parts"].sockets


def test_an_application_may_have_a_socketio_of_its_own() -> None:
    def create_app() -> Flask:
        app = make_app_with()
        Rooms(app, SocketIO())
        return app

    assert_two_workers_speak(create_app)


def assert_two_workers_speak(create_app: Callable[[], Flask]) -> None:
    with cluster(create_app) as workers:
        client = workers[1].connect()
        assert workers[0].sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)
        workers[0].sockets.broadcast("red", "hello")
        assert client.received() == [("message", "hello")]


# -- what is left -----------------------------------------------------------------------------


def test_nothing_is_left_at_the_end() -> None:
    with cluster(make_app, workers=3) as workers:
        connect_two(workers)
        workers[0].app.extensions["rooms"].socketio.test_client(workers[0].app)
        workers[0].crash()
        workers[1].cut()
        workers.down()


def test_nothing_is_left_when_the_test_fails() -> None:
    with pytest.raises(ZeroDivisionError), cluster(make_app) as workers:
        connect_two(workers)[1 // 0].received()


def test_an_application_made_beside_a_cluster_is_not_part_of_it(workers: LocalCluster) -> None:
    beside = make_app()

    workers[0].sockets.blast("hello")

    assert beside.extensions["rooms_parts"].cluster.name not in {one.name for one in workers}
    assert beside.extensions["rooms_parts"].cluster.peers == set()
    beside.extensions["rooms_parts"].cluster.stop()


def test_clusters_do_not_hear_each_other(workers: LocalCluster) -> None:
    client = workers[0].connect()
    with cluster(make_app) as others:
        others[0].sockets.blast("hello")
        others[1].connect().received()
        assert client.received() == []


def test_threads_of_a_test_may_share_a_cluster(
    workers: LocalCluster, two: tuple[Client, Client]
) -> None:
    def speak(number: int) -> None:
        for step in range(20):
            workers[number].sockets.broadcast("fun", [number, step])

    for future in [in_thread(lambda n=n: speak(n)) for n in range(3)]:  # type: ignore[misc]
        future.result(PATIENCE)

    for client in two:
        heard = [data for _, data in client.received()]
        assert len(heard) == 60
        for number in range(3):
            assert [step for who, step in heard if who == number] == list(range(20))


def test_a_cluster_does_without_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; from flask_rooms.testing import cluster"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# -- the bus is a backend ---------------------------------------------------------------------


class _OnABus:
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        bus = Bus()
        return lambda channel: BusBackend(bus, channel)

    @pytest.fixture
    def break_connection(self) -> BreakConnection:
        def cut(backend: Backend) -> None:
            assert isinstance(backend, BusBackend)
            backend.cut = True
            backend.cut = False

        return cut


class TestBus(_OnABus, BackendContract):
    pass


class TestBusThatBreaks(_OnABus, ReconnectContract):
    pass
