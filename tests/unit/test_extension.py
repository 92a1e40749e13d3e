"""Rooms is a Flask extension as others are: factories, several applications, clear errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import flask_socketio
import pytest
from flask import Flask, current_app, request
from flask_socketio import SocketIO

from flask_rooms import ConfigurationError, Outcome, Rooms, sockets, testing
from flask_rooms.api.sockets import Sockets
from flask_rooms.backends import MemoryBackend
from flask_rooms.globals import parts_of
from flask_rooms.protocol.ids import new_sid
from tests.support.apps import HEARTBEAT, PATIENCE, LocalCluster, Worker, in_thread, make_app

pytestmark = pytest.mark.every_python


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


# -- registering ------------------------------------------------------------------------------


@pytest.mark.parametrize("deferred", [False, True])
def test_an_application_is_registered_by_rooms_or_by_init_app(deferred: bool) -> None:
    app = make_app()
    if deferred:
        rooms = Rooms()
        rooms.init_app(app)
    else:
        rooms = Rooms(app)

    assert app.extensions["rooms"] is rooms
    assert app.extensions["socketio"] is rooms.socketio
    assert isinstance(rooms.sockets, Sockets)


def test_a_socketio_that_is_given_is_used() -> None:
    app, socketio = make_app(), SocketIO(cors_allowed_origins="https://shop.example")

    rooms = Rooms(app, socketio)

    assert rooms.socketio is app.extensions["socketio"] is socketio
    assert socketio.server.eio.cors_allowed_origins == "https://shop.example"


def test_it_says_how_many_applications_it_has() -> None:
    rooms = Rooms()
    assert "0" in repr(rooms)

    apps = [make_app(), make_app()]
    for app in apps:
        rooms.init_app(app)

    assert repr(rooms) == "<Rooms of 2 application(s)>"


@pytest.mark.parametrize("second", ["the same", "another"])
def test_registering_twice_is_refused(second: str) -> None:
    app = make_app()
    rooms = Rooms(app)

    with pytest.raises(ConfigurationError, match=r"call init_app\(\) once"):
        (rooms if second == "the same" else Rooms()).init_app(app)

    assert app.extensions["rooms"] is rooms


@pytest.mark.parametrize(
    "call",
    [
        lambda: Rooms("redis://:hunter2@localhost"),  # type: ignore[arg-type]
        lambda: Rooms().init_app("redis://:hunter2@localhost"),  # type: ignore[arg-type]
        lambda: Rooms(None, "redis://:hunter2@localhost"),
    ],
    ids=["Rooms", "init_app", "the second argument"],
)
def test_a_url_in_place_of_the_application_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"takes the .*backend_url=") as caught:
        call()

    assert "hunter2" not in str(caught.value)


def test_a_socketio_that_was_initialised_before_is_refused() -> None:
    app = make_app()
    socketio = SocketIO(app, async_mode="threading")

    with pytest.raises(ConfigurationError, match=r"SocketIO\(\) without the application"):
        Rooms(app, socketio)


def test_init_app_after_rooms_is_refused_and_the_first_server_goes_on(
    cluster: LocalCluster,
) -> None:
    """Else there would be a second server without handlers, to which no client can connect."""
    app, socketio = make_app(), SocketIO()
    rooms = Rooms(app, socketio, backend_url=cluster.hub)
    socketio.on_event("who", lambda: "the first")

    with pytest.raises(ConfigurationError, match=r"remove your own call of init_app\(\)"):
        socketio.init_app(app, cors_allowed_origins="*")

    assert cluster.adopt(app, rooms).connect().emit("who") == "the first"


def test_a_socketio_serves_the_application_that_was_made_last(cluster: LocalCluster) -> None:
    """As in Flask-SocketIO: tests call a factory often, and its SocketIO is a global."""
    socketio = SocketIO()

    @socketio.on("who")
    def who() -> str:
        flask_socketio.emit("said", current_app.name)
        return str(current_app.name)

    for name in ("first", "second"):
        app = make_app(name)
        client = cluster.adopt(app, Rooms(app, socketio, backend_url=cluster.hub)).connect()
        assert client.emit("who") == name
        socketio.emit("said", "by the extension", to=client.sid)
        assert client.received() == [("said", [name]), ("said", ["by the extension"])]
        assert client.ask("get", "/")["statusCode"] == 404


def test_in_a_testing_cluster_each_application_has_a_socketio_of_its_own() -> None:
    """They live side by side there."""
    socketio = SocketIO()

    def create_app() -> Flask:
        app = make_app()
        Rooms(app, socketio)
        return app

    with (
        pytest.raises(ConfigurationError, match="each application needs its own"),
        testing.cluster(create_app, workers=2),
    ):
        pytest.fail("There is no such cluster.")


def test_a_backend_object_serves_one_application_only() -> None:
    """Opened by the second worker it would close the connection of the first."""
    rooms = Rooms(backend=MemoryBackend("flask-rooms"))
    first = make_app()
    rooms.init_app(first)

    with pytest.raises(ConfigurationError, match="backend"):
        rooms.init_app(make_app())


@pytest.mark.parametrize("option", [{"message_queue": "redis://localhost"}, {"channel": "mine"}])
def test_a_message_queue_is_refused(option: dict[str, str]) -> None:
    socketio = SocketIO(async_mode="threading", **option)

    with pytest.raises(ConfigurationError, match="ROOMS_BACKEND_URL and ROOMS_CHANNEL"):
        Rooms(make_app(), socketio)


@pytest.mark.parametrize("url", ["nonsense", "", 42, [], "no-such-broker://localhost"])
def test_a_wrong_url_is_an_error_at_the_start(url: Any) -> None:
    with pytest.raises(ConfigurationError):
        Rooms(make_app(), backend_url=url)


# -- finding the sockets ----------------------------------------------------------------------


def test_sockets_is_that_of_the_current_application() -> None:
    apps = [make_app("first"), make_app("second")]
    found = []
    for app in apps:
        rooms = Rooms(app)
        with app.app_context():
            assert sockets._get_current_object() is rooms.sockets  # type: ignore[attr-defined]
        found.append(rooms.sockets)

    assert found[0] is not found[1]


def test_sockets_outside_of_a_context_is_refused() -> None:
    app = make_app()
    Rooms(app)

    with pytest.raises(ConfigurationError, match=r"rooms\.sockets.*app_context"):
        sockets.blast(1)
    with app.app_context(), pytest.raises(ConfigurationError, match=r"rooms\.sockets"):
        in_thread(lambda: sockets.blast(1)).result(PATIENCE)


def test_sockets_of_an_application_without_rooms_is_refused() -> None:
    with make_app().app_context(), pytest.raises(ConfigurationError, match=r"call Rooms\(app\)"):
        sockets.blast(1)


def test_sockets_without_an_application_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"init_app\(app\) first"):
        _ = Rooms().sockets


def test_of_several_applications_the_current_one_counts() -> None:
    rooms = Rooms()
    apps = [make_app("first"), make_app("second")]
    for app in apps:
        rooms.init_app(app)

    for app in apps:
        with app.app_context():
            assert rooms.sockets is sockets._get_current_object()  # type: ignore[attr-defined]
            assert rooms.socketio is app.extensions["socketio"]
    # As with a SocketIO, outside a context it is the one that was made last.
    assert rooms.socketio is apps[1].extensions["socketio"]
    assert rooms.sockets is parts_of(apps[1]).sockets


def test_the_context_of_another_application_does_not_count() -> None:
    app, other = make_app("first"), make_app("other")
    rooms = Rooms(app)
    Rooms(other)

    with app.app_context():
        expected = rooms.sockets
    with other.app_context():
        assert rooms.sockets is expected


# -- a factory --------------------------------------------------------------------------------


def test_one_rooms_serves_every_application_of_a_factory(cluster: LocalCluster) -> None:
    rooms = Rooms(backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    errors = []

    @rooms.socketio.on("who")
    def who() -> str:
        return str(current_app.name)

    @rooms.socketio.on("*", namespace="/any")
    def any_event(event: str) -> list[str]:
        return [event, current_app.name]

    @rooms.socketio.event
    def named() -> str:
        return "named"

    @rooms.socketio.on("fail")
    def fail() -> None:
        raise ZeroDivisionError

    rooms.socketio.on_error()(lambda error: errors.append((current_app.name, type(error))))

    class Chat(flask_socketio.Namespace):
        def on_join(self) -> list[Any]:
            outcome = sockets.join(request, "red").result(0)
            self.emit("joined", current_app.name, room=sockets.get_id(request))
            return [current_app.name, outcome.changed]

    rooms.socketio.on_namespace(Chat("/chat"))

    def create_app(name: str) -> Worker:
        app = make_app(name)
        rooms.init_app(app)
        app.add_url_rule("/who", view_func=lambda: str(current_app.name))
        return cluster.adopt(app, rooms)

    workers = [create_app(name) for name in ("first", "second", "third")]
    for worker in (*workers, *workers):
        name = worker.app.name
        client, chatting = worker.connect(), worker.connect("/chat")
        assert client.emit("who") == name
        assert client.emit("named") == "named"
        assert worker.connect("/any").emit("thing") == ["thing", name]
        assert client.ask("get", "/who")["body"] == name
        assert chatting.emit("join") == [name, 1]
        assert chatting.received() == [("joined", [name])]
        assert worker.rooms_of(chatting) == {"red"}
        client.emit("fail")
    assert errors == [(worker.app.name, ZeroDivisionError) for worker in (*workers, *workers)]


def test_a_handler_registered_later_is_with_the_current_application() -> None:
    rooms = Rooms()
    app = make_app()
    rooms.init_app(app)

    @rooms.socketio.on("late")
    def late() -> str:
        return "late"

    with LocalCluster() as cluster:
        assert cluster.adopt(app, rooms).connect().emit("late") == "late"


def test_several_rooms_are_apart_on_channels_of_their_own(cluster: LocalCluster) -> None:
    first, second = cluster.worker(channel="first"), cluster.worker(channel="second")
    heard = first.connect(), second.connect()

    assert first.sockets.leave(heard[1].sid, "red").result(PATIENCE).unknown == (heard[1].sid,)
    first.sockets.blast("event", 1)
    second.sockets.blast("event", 2)

    # Whatever came from the first would have come before what its own third worker says.
    third = cluster.worker(channel="second")
    third.sockets.leave(heard[1].sid, "red").result(PATIENCE)
    assert [client.received() for client in heard] == [[("event", [1])], [("event", [2])]]
    assert second.cluster.dropped == {}


# -- joining the cluster ----------------------------------------------------------------------


def test_a_worker_joins_with_its_first_use_and_not_before(cluster: LocalCluster) -> None:
    wire = cluster.listen()
    idle, used = cluster.worker(), cluster.worker()

    used.sockets.blast(1)

    assert wire.next_sender() == used.name
    assert idle.name != used.name


def test_an_http_request_is_a_first_use(cluster: LocalCluster) -> None:
    wire = cluster.listen()
    worker = cluster.worker()

    worker.app.test_client().get("/")

    assert wire.next_sender() == worker.name


# -- who is heard -----------------------------------------------------------------------------


def with_keys(cluster: LocalCluster, *keys: str, **options: Any) -> Worker:
    app = Flask("application")
    app.config.update(SECRET_KEY=keys[0], SECRET_KEY_FALLBACKS=list(keys[1:]))
    return cluster.worker(app, **options)


def test_workers_understand_each_other_while_keys_rotate(cluster: LocalCluster) -> None:
    before, after = with_keys(cluster, "old", "new"), with_keys(cluster, "new", "old")
    clients = before.connect(), after.connect()

    for worker in (before, after):
        both = [client.sid for client in clients]
        assert worker.sockets.join(both, worker.name).result(PATIENCE) == Outcome(2)
    assert before.cluster.dropped == after.cluster.dropped == {}


def test_workers_with_different_keys_do_not_hear_each_other_and_say_so_once(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = with_keys(cluster, "foreign")
    first, second = with_keys(cluster, "own"), with_keys(cluster, "own")
    client, colleague = first.connect(), second.connect()
    foreign.cluster.start()

    with caplog.at_level(logging.WARNING, "flask_rooms"):
        for number in range(3):
            foreign.sockets.blast("event", number)
        unknown = foreign.sockets.leave(client.sid, "red").result(PATIENCE)
        # When the first has this answer it has come past whatever the foreigner has said.
        first.sockets.leave(colleague.sid, "red").result(PATIENCE)

    assert unknown == Outcome(0, 0, (client.sid,))
    assert client.received() == []
    assert first.cluster.dropped["unsigned"] >= 4
    assert first.cluster.dropped.keys() == {"unsigned"}
    # Each of the three workers refuses the others' messages, and says so once.
    warnings = [record.message for record in caplog.records if "SECRET_KEY" in record.message]
    assert 1 <= len(warnings) <= 3


def test_noise_on_the_channel_is_dropped(cluster: LocalCluster) -> None:
    worker, colleague = cluster.worker(), cluster.worker()
    client = colleague.connect()
    worker.cluster.start()
    noise = MemoryBackend("flask-rooms", hub=cluster.hub.removeprefix("memory://"))
    noise.open()

    for payload in (b"", b"noise", b"\x00" * 2**22):
        noise.publish(payload)

    assert worker.sockets.leave(client.sid, "red").result(PATIENCE) == Outcome(0, 1)
    assert worker.cluster.dropped == {"unsigned": 2, "oversized": 1}


def test_in_memory_without_any_secret_key_workers_hear_each_other(cluster: LocalCluster) -> None:
    first, second = cluster.worker(Flask("first")), cluster.worker(Flask("second"))
    client = second.connect()

    assert first.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)
    assert first.sockets.leave(new_sid(second.name), "red").result(PATIENCE).unknown
