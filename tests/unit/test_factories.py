"""A factory that is called for each test makes applications that have nothing of each other."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIO, emit, join_room

from flask_rooms import ConfigurationError, Outcome, Refused, Rooms, sockets, testing
from flask_rooms.backends import MemoryBackend, from_url
from flask_rooms.globals import parts_of
from tests.support.apps import PATIENCE, LocalCluster, make_app

pytestmark = pytest.mark.every_python


class Project:
    """
    A project as its module has it: the extensions are global, and a factory makes applications.

    Args:
        own: Whether it has a SocketIO of its own, and not the one of Rooms.
    """

    def __init__(self, own: bool) -> None:
        self.own = SocketIO() if own else None
        self.rooms = Rooms(socketio=self.own)
        io = self.own or self.rooms.socketio
        io.on_event("join", self._join)

    @staticmethod
    def _join(room: str) -> None:
        join_room(room)
        emit("joined", room)

    def create_app(self) -> Flask:
        """Make an application, as each test does."""
        app = make_app()
        self.rooms.init_app(app)
        return app

    def connect(self, app: Flask) -> Any:
        """Return Flask-SocketIO's test client."""
        io = self.own or app.extensions["socketio"]
        return io.test_client(app)

    def service(self, what: str) -> None:
        """Do what a function of the project does outside any context."""
        self.rooms.sockets.broadcast("lobby", "news", what)
        (self.own or self.rooms.socketio).emit("news", what, to="lobby")


@pytest.fixture(params=["a SocketIO of its own", "that of Rooms"])
def project(request: pytest.FixtureRequest) -> Project:
    return Project(own=request.param == "a SocketIO of its own")


def news(client: Any) -> list[Any]:
    """Return what a client has heard of the project's service."""
    return [one["args"] for one in client.get_received() if one["name"] == "news"]


def test_a_test_sees_no_sockets_of_the_tests_before_it(project: Project) -> None:
    """Nobody disconnects at the end of a test, and nobody needs to."""
    kept = []
    for number in range(3):
        app = project.create_app()
        client = project.connect(app)
        client.emit("join", "lobby")
        kept.append((app, client))

        with app.app_context():
            answer = sockets.count("lobby")
            assert (answer.value, answer.complete) == (1, True)
            assert sockets.workers().value == {parts_of(app).cluster.name}
        project.service(str(number))
        assert news(client) == [[str(number)]] * 2
        for _, earlier in kept[:-1]:
            assert news(earlier) == []


def test_no_question_waits_for_workers_that_there_are_not(project: Project) -> None:
    """With the usual heartbeat, of which a first question would otherwise wait for one."""
    app = project.create_app()
    client = project.connect(app)

    with app.app_context():
        # Longer than nothing: it is known at once that there is nobody to ask.
        answer = sockets.count("lobby", timeout=0.001)
        assert answer.complete
        assert sockets.join(client_sid(app, client), "red").result(0) == Outcome(1)
        assert sockets.leave(client_sid(app, client), "red").result(0) == Outcome(1)
        assert sockets.members("red", timeout=0.001).complete


def client_sid(app: Flask, client: Any) -> str:
    """Return the ID of a client's socket."""
    manager = app.extensions["socketio"].server.manager
    return str(manager.sid_from_eio_sid(client.eio_sid, "/"))


def test_no_thread_is_left_behind(project: Project) -> None:
    """Nor is there one while the test runs: nothing has to be received."""
    before = set(threading.enumerate())

    for number in range(3):
        app = project.create_app()
        client = project.connect(app)
        client.emit("join", "lobby")
        app.test_client().get("/")
        project.service(str(number))

        assert set(threading.enumerate()) <= before


def test_an_application_that_nobody_has_any_more_is_gone(project: Project) -> None:
    """With all that it had: a test suite makes thousands. The SocketIO of Rooms has the first."""
    project.create_app()
    app = project.create_app()
    with app.app_context():
        sockets.blast("hello")
    gone = weakref.ref(app)
    project.create_app()

    del app
    gc.collect()

    assert gone() is None


def test_outside_a_context_the_latest_application_counts(project: Project) -> None:
    """As in Flask-SocketIO; in a context it is the one of that."""
    first = project.create_app()
    assert project.rooms.sockets is parts_of(first).sockets
    second = project.create_app()

    assert project.rooms.sockets is parts_of(second).sockets
    with first.app_context():
        assert project.rooms.sockets is parts_of(first).sockets
        assert sockets._get_current_object() is parts_of(first).sockets  # type: ignore[attr-defined]


def test_when_the_latest_is_gone_none_of_the_others_is_taken_for_it() -> None:
    """Whoever asks is told, and does not speak to clients of another application."""
    project = Project(own=False)
    first = project.create_app()
    second: Flask | None = project.create_app()
    assert project.rooms.sockets is not parts_of(first).sockets

    del second
    gc.collect()

    with pytest.raises(ConfigurationError, match="init_app"):
        _ = project.rooms.sockets
    with first.app_context():
        assert project.rooms.sockets is parts_of(first).sockets


def test_in_a_test_cluster_a_context_is_needed() -> None:
    """There the applications live side by side, and the latest is as good as any other."""
    project = Project(own=False)
    with testing.cluster(project.create_app, workers=2) as workers:
        with pytest.raises(ConfigurationError, match="app_context"):
            _ = project.rooms.sockets
        with workers[0].app.app_context():
            assert project.rooms.sockets is parts_of(workers[0].app).sockets


class Tenants:
    """Applications of one factory, whose functions know which of them they are for."""

    def __init__(self, early: bool) -> None:
        self.early = early
        self.rooms = Rooms()
        self.calls: list[tuple[str, str]] = []

    def create_app(self, tenant: str = "acme") -> Flask:
        app = make_app()
        if not self.early:
            self.rooms.init_app(app)
        self.register(tenant)
        if self.early:
            self.rooms.init_app(app)
        return app

    def register(self, tenant: str) -> None:
        @self.rooms.user_loader
        def load(auth: Any) -> str:
            return f"{tenant}'s {auth}"

        @self.rooms.guard("team:<name>")
        def admit(name: str) -> bool:
            return name == tenant

        for _ in range(2):  # of one application all count, also where the same lines have made them

            @self.rooms.before_connect
            def connecting(auth: Any) -> None:
                self.calls.append((tenant, "before_connect"))

        @self.rooms.after_disconnect
        def gone(reason: str, rooms: frozenset[Any]) -> None:
            self.calls.append((tenant, "after_disconnect"))

        @self.rooms.on_tell("news")
        def told(data: Any) -> None:
            self.calls.append((tenant, "on_tell"))

    def calls_of(self, app: Flask) -> list[tuple[str, str]]:
        """Return what is called when a client comes and goes, and the application tells itself."""
        self.calls.clear()
        with app.app_context():
            client = self.rooms.socketio.test_client(app, auth="ann")
            self.rooms.tell("news").result(PATIENCE)
            client.disconnect()
        return sorted(self.calls)


@pytest.mark.parametrize("early", [True, False], ids=["before init_app()", "after init_app()"])
def test_what_a_factory_registers_is_of_the_application_that_it_makes(early: bool) -> None:
    tenants = Tenants(early)
    names = ("acme", "other", "third")
    apps = {name: tenants.create_app(name) for name in names}
    for name, app in apps.items():
        calls = [*["before_connect"] * 2, "after_disconnect", "on_tell"]
        assert tenants.calls_of(app) == sorted((name, call) for call in calls)
        with app.app_context():
            client = tenants.rooms.socketio.test_client(app, auth="ann")
            (sid,) = parts_of(app).registry.sockets_in("/", None, ())
            found = sockets.describe(sid).value
            assert found is not None
            assert found.user == f"{name}'s ann"
            for team in names:
                future = sockets.join(sid, f"team:{team}")
                error = future.exception(PATIENCE)
                assert (type(error) is Refused) == (team != name)
            client.disconnect()


def test_what_is_registered_later_is_of_all_applications() -> None:
    """As by a module of views that the factory imports at its first call."""
    rooms, calls = Rooms(), list[Any]()
    apps = [make_app(), make_app()]
    for app in apps:
        rooms.init_app(app)

    rooms.before_connect(calls.append)
    rooms.guard("*")(lambda room: False)
    apps.append(make_app())
    rooms.init_app(apps[-1])

    for app in apps:
        with app.app_context():
            client = rooms.socketio.test_client(app, auth="ann")
            (sid,) = parts_of(app).registry.sockets_in("/", None, ())
            assert type(sockets.join(sid, "red").exception(PATIENCE)) is Refused
            client.disconnect()
    assert calls == ["ann"] * 3


def test_a_function_that_no_further_application_follows_is_of_the_latest_one() -> None:
    """Though the same lines have registered one for it before."""
    rooms, calls = Rooms(), list[Any]()

    def plug_in(name: str) -> None:
        rooms.before_connect(lambda auth: calls.append(name))

    plug_in("one")
    app = make_app()
    rooms.init_app(app)
    plug_in("two")

    with app.app_context():
        rooms.socketio.test_client(app)
    assert calls == ["one", "two"]


def test_each_application_has_the_options_of_the_socketio() -> None:
    rooms = Rooms()
    rooms.socketio.server_options.update(max_http_buffer_size=4321)
    for _ in range(2):
        app = make_app()
        rooms.init_app(app)
        assert parts_of(app).socketio.server.eio.max_http_buffer_size == 4321


def test_the_factory_of_a_test_cluster_may_register_with_the_socketio() -> None:
    rooms = Rooms()

    def create_app() -> Flask:
        app = make_app()
        rooms.init_app(app)
        rooms.socketio.on("who")(lambda: parts_of(app).cluster.name)
        return app

    with testing.cluster(create_app, workers=2) as workers:
        for worker in workers:
            assert worker.connect().emit("who") == worker.name


# -- memory:// ------------------------------------------------------------------------------------


def test_without_a_name_each_worker_is_alone_and_with_one_they_meet() -> None:
    """`memory://name` connects the workers of a process that are to be connected."""
    with LocalCluster() as cluster:
        alone = [cluster.worker(backend_url="memory://") for _ in range(2)]
        together = [cluster.worker() for _ in range(2)]

        for (one, other), complete in ((alone, False), (together, True)):
            client = other.connect()
            outcome = one.sockets.join(client.sid, "red").result(PATIENCE)
            assert bool(outcome.changed) is complete
            assert other.rooms_of(client) == ({"red"} if complete else set())


def test_a_name_is_told_from_none() -> None:
    """Also in how a backend says what it is."""
    options: dict[str, Any] = {"channel": "flask-rooms", "options": {}}
    private, shared = from_url("memory://", **options), from_url("memory://shop", **options)

    assert (private.private, shared.private) == (True, False)
    assert repr(private) == "<MemoryBackend 'flask-rooms' on memory://>"
    assert repr(shared) == "<MemoryBackend 'flask-rooms' on memory://shop>"
    assert not MemoryBackend("flask-rooms").private
