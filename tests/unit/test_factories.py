"""A factory that is called for each test makes applications that have nothing of each other."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIO, emit, join_room

from flask_rooms import ConfigurationError, Outcome, Rooms, sockets, testing
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
