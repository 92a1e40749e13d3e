"""A handler of the application's logging that raises ends nothing that has to go on."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIO

from flask_rooms import Outcome, Rooms, Unconfirmed
from flask_rooms.backends import MemoryBackend
from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.confirmation import Confirmation, unseen
from flask_rooms.cluster.receiver import Receiver
from flask_rooms.cluster.shutdown import _stop_all, register
from flask_rooms.cluster.statistics import CallStatistics
from flask_rooms.errors import BackendError
from flask_rooms.globals import parts_of
from flask_rooms.membership.refusals import Refusals
from flask_rooms.protocol.events import Event, Evicted, PeerLeft
from flask_rooms.protocol.messages import FENCE, Change
from flask_rooms.results import WorkerInfo
from flask_rooms.server import tasks
from flask_rooms.server.web_servers import log_notices
from flask_rooms.signals import joined, worker_gone
from flask_rooms.testing import LocalCluster, cluster
from tests.support.apps import PATIENCE, fence, in_thread
from tests.support.apps import LocalCluster as Hub
from tests.unit.presence.test_presence import until

pytestmark = pytest.mark.every_python


class _Away(logging.Handler):
    """A handler whose server is away, and whose author has not thought of that."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.called.set()
        raise OSError("the server of the log is away")


@contextmanager
def log_server_away(name: str = "flask_rooms") -> Iterator[_Away]:
    handler = _Away()
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


def create_app() -> Flask:
    app = Flask("application")
    app.config["SECRET_KEY"] = "of the tests"
    Rooms(app)
    return app


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with cluster(create_app, 1) as workers:
        yield workers


def test_the_error_of_a_handler_is_reported_as_logging_reports_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("flask_rooms")
    with log_server_away():
        with safe_logging():
            logger.warning("what there was to say")
        assert "OSError: the server of the log is away" in capsys.readouterr().err

        monkeypatch.setattr(logging, "raiseExceptions", False)
        with safe_logging():
            logger.warning("what there was to say")
        assert capsys.readouterr().err == ""


def test_a_worker_receives_on() -> None:
    with Hub() as hub:
        here, there = hub.worker(), hub.worker()
        client = here.connect()
        fence(there, client)
        stranger = MemoryBackend("flask-rooms", hub=hub.hub.removeprefix("memory://"))
        stranger.open()
        with log_server_away() as log:
            stranger.publish(b"not signed")  # which both warn of
            assert log.called.wait(PATIENCE)
        assert there.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)


class _Fails:
    """What cannot handle anything."""

    def __init__(self) -> None:
        self.times = 0

    def poll_timeout(self) -> float:
        return 0.001

    def on_payload(self, payload: bytes | None, reconnected: bool) -> bool:
        self.times += 1
        raise OSError

    def on_disconnect(self, error: BackendError) -> None: ...

    def on_idle(self) -> None:
        self.times += 1
        raise OSError


@pytest.mark.parametrize("error", [None, BackendError("lost"), AttributeError("of a driver")])
def test_a_receiver_goes_on_whatever_cannot_be_logged(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, handler = MemoryBackend("channel", private=True), _Fails()
    backend.open()

    def receive(timeout: float) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(backend, "receive", receive)
    receiver = Receiver(handler, backend, opened=True, longest=0.001)
    with log_server_away():
        running = in_thread(receiver.run)
        until(lambda: handler.times > 2 or running.done())
        receiver.stopping.set()
        running.result(PATIENCE)


def test_a_call_that_has_been_made_does_not_raise_for_a_warning(workers: LocalCluster) -> None:
    (worker,) = workers
    client = worker.connect()
    parts_of(worker.app).cluster._transport.warn("kind", "%s", "what there was to say")

    with log_server_away() as log:
        worker.sockets.join(client.sid, "red").result()
        worker.sockets.broadcast("red", "Hello")
        assert log.called.wait(PATIENCE)

    assert client.received() == [("message", "Hello")]


def test_a_limit_is_enforced_that_cannot_be_warned_of() -> None:
    limits = Refusals()

    with log_server_away() as log:
        limits.count("unread_bytes")

    assert log.called.is_set()
    assert limits.counts == {"unread_bytes": 1}


def test_a_client_is_answered_although_neither_its_request_nor_that_can_be_logged() -> None:
    """Over HTTP its server would answer."""
    app = create_app()

    @app.get("/fails")
    def fail() -> str:
        raise ValueError("of the application")

    with Hub() as hub:
        client = hub.adopt(app, app.extensions["rooms"]).connect()
        with log_server_away(""):
            assert client.ask("get", "/fails")["statusCode"] == 500


@pytest.mark.parametrize("register", ["user_loader", "before_connect"])
def test_a_client_is_refused_although_it_cannot_be_logged_why(register: str) -> None:
    app = create_app()

    def fail(auth: Any) -> None:
        raise ValueError("of the application")

    getattr(app.extensions["rooms"], register)(fail)
    with Hub() as hub, log_server_away():
        worker = hub.adopt(app, app.extensions["rooms"])
        assert not worker.socketio.test_client(app).is_connected()


def test_a_caller_that_waits_for_long_gets_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, workers: LocalCluster
) -> None:
    monkeypatch.setattr(tasks, "SLOW", 0.0)
    (worker,) = workers
    internals = parts_of(worker.app).disconnects._internals

    def late() -> str:
        assert log.called.wait(PATIENCE)
        return "late"

    with log_server_away() as log:
        assert internals.run_apart(late) == "late"


@pytest.mark.slow
def test_a_worker_that_cannot_say_what_is_unsent_leaves_all_the_same() -> None:
    with cluster(create_app, 2) as workers:
        leaving = parts_of(workers[0].app).cluster
        workers.down()
        until(lambda: not leaving.hears_itself)
        workers[0].sockets.broadcast("red", "Hello")
        with log_server_away() as log:
            leaving.stop(0)
        assert log.called.is_set()
        assert not leaving.is_member


def test_what_cannot_work_keeps_no_server_from_its_start() -> None:
    with log_server_away() as log:
        log_notices(["what there was to say"])
        assert log.called.is_set()
        log.called.clear()
        Rooms(Flask("application"), SocketIO(cors_allowed_origins="*"), secret_keys=["key"])
        assert log.called.is_set()


def test_what_an_operator_has_done_is_kept(workers: LocalCluster) -> None:
    (worker,) = workers
    audit_log = parts_of(worker.app).audit_log

    with log_server_away():
        audit_log.add("ann", "disconnect", "bob", "done")

    assert [one["who"] for one in audit_log.latest(1)] == ["ann"]


def test_what_follows_a_restart_is_told() -> None:
    gone = SimpleQueue[str]()

    def on_gone(app: Flask, worker: WorkerInfo, **about: Any) -> None:
        gone.put(str(worker))

    with cluster(create_app, 2) as workers, worker_gone.connected_to(on_gone, workers[0].app):
        here, there = (parts_of(worker.app).cluster for worker in workers)
        here.calls.query(FENCE, None)
        events: list[Event] = [Evicted(there.name, True), PeerLeft(there.name, True)]
        with log_server_away() as log:
            here._handle(events, here._shared.node)
        assert log.called.is_set()
        assert gone.get(timeout=PATIENCE) == there.name


def test_timers_go_on(workers: LocalCluster) -> None:
    (worker,) = workers
    client = worker.connect()

    def fail() -> None:
        raise OSError("of what was to be done")

    timers = parts_of(worker.app).cluster._worker._timers  # type: ignore[attr-defined]
    with log_server_away() as log:
        timers.after(0, fail)
        assert log.called.wait(PATIENCE)
    worker.sockets.join(client.sid, "red", expires=0.01).result()
    until(lambda: "red" not in client.rooms)


def test_a_receiver_of_a_signal_is_called_again(workers: LocalCluster) -> None:
    (worker,) = workers
    client, rooms = worker.connect(), []

    def on_joined(app: Flask, room: str, **about: Any) -> None:
        rooms.append(room)
        raise ValueError("of the application")

    with joined.connected_to(on_joined, worker.app):
        with log_server_away():
            worker.sockets.join(client.sid, "red").result()
        worker.sockets.join(client.sid, "blue").result()

    assert rooms == ["red", "blue"]


def _unconfirmed() -> None:
    """Make a call that is not confirmed, and drop its future."""
    future = Confirmation(
        Change("leave", "/", (), ("red",)),
        1,
        PATIENCE,
        lambda function, *args, **options: function(*args),
        lambda future: None,
        CallStatistics(),
    )
    future.fail(Unconfirmed((), 0.0))
    del future
    gc.collect()


def test_failures_that_nothing_looks_at_are_logged_on(caplog: pytest.LogCaptureFixture) -> None:
    with log_server_away() as log:
        _unconfirmed()
        assert log.called.wait(PATIENCE)
    until(lambda: not unseen._logging)
    caplog.clear()

    _unconfirmed()

    until(lambda: any("was not looked at" in line for line in caplog.messages))


class _Member:
    """A worker that is to leave when its process ends."""

    is_member = True

    def __init__(self, fails: bool) -> None:
        self.fails, self.has_left = fails, False

    def move_clients(self) -> None: ...

    def stop(self) -> None:
        self.has_left = True
        if self.fails:
            raise OSError("of the broker")


def test_one_worker_that_cannot_leave_keeps_no_other_from_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a log that fails, too."""
    members = [_Member(True) for _ in range(3)]
    monkeypatch.setattr("flask_rooms.cluster.shutdown._registered", set())
    for member in members:
        register(member)

    with log_server_away():
        _stop_all()

    assert [member.has_left for member in members] == [True] * 3
