"""
Nothing of the application is called while Flask-Rooms holds a lock.

A handler of logging that shows the log to clients makes calls itself, and one that writes to a
network may hang: under a lock the first would wait for itself, and the second hold up everybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_rooms import signals
from flask_rooms.membership import notifications
from tests.support.apps import PATIENCE, LocalCluster, Worker, eventually, in_thread, make_app
from tests.support.faults import FaultyBackend
from tests.support.locks import held, watched
from tests.unit.cluster.test_cluster import AwayBackend, LostBackend

pytestmark = pytest.mark.mode_independent


class Spectator(logging.Handler):
    """Shows the log to clients, and notes which locks are held where the application is called."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.worker: Worker | None = None
        self.told: list[str] = []
        self.locked: list[tuple[str, list[str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record of the log."""
        self.note(record.getMessage())
        if self.worker is not None:
            self.worker.sockets.broadcast("logs", record.getMessage())

    def note(self, what: str) -> None:
        """Note a call."""
        self.told.append(what)
        if held():
            self.locked.append((what, held()))

    def has_told(self, words: str) -> bool:
        """Whether something with these words was logged."""
        return any(words in what for what in self.told)


@pytest.fixture
def spectator() -> Iterator[Spectator]:
    """The one to whom the library logs, and whom its signals reach."""
    spectator = Spectator()

    def receive(app: Any, **about: Any) -> None:
        spectator.note("a signal")

    logger = logging.getLogger("flask_rooms")
    logger.addHandler(spectator)
    with watched(), signals.joined.connected_to(receive), signals.left.connected_to(receive):
        yield spectator
    logger.removeHandler(spectator)


@pytest.fixture(name="cluster")
def _cluster(spectator: Spectator) -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster
    assert not spectator.locked


def _with(cluster: LocalCluster, backend: FaultyBackend) -> Worker:
    return cluster.worker(make_app(), backend=backend, backend_url="memory://")


def _until(worker: Worker, condition: Callable[[], bool]) -> None:
    in_thread(lambda: eventually(worker, condition)).result(PATIENCE)


def test_a_worker_that_starts_over_says_so_to_whoever_listens(
    cluster: LocalCluster, spectator: Spectator
) -> None:
    """It logs, ends its memberships and answers calls when it is itself again."""
    here = _with(cluster, backend := FaultyBackend(cluster.hub))
    spectator.worker = here
    there = cluster.worker()
    client = here.connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)
    assert there.sockets.count("red").value == 1
    backend.mute = True  # the others count it as dead
    _until(here, lambda: here.name not in there.cluster.peers)
    backend.mute = False
    _until(here, lambda: spectator.has_told("Disconnecting all sockets"))
    in_thread(lambda: here.sockets.broadcast("red", "still here")).result(PATIENCE)


def test_a_broker_that_is_away_at_the_start_is_logged(
    cluster: LocalCluster, spectator: Spectator
) -> None:
    """The worker that logs it has joined by then, as far as it can."""
    backend = AwayBackend(cluster.hub)
    backend.down = True
    spectator.worker = here = _with(cluster, backend)
    assert in_thread(lambda: here.name).result(PATIENCE)  # it joins
    assert spectator.has_told("The broker cannot be reached")


def test_a_broker_that_goes_away_is_logged(cluster: LocalCluster, spectator: Spectator) -> None:
    """Neither a caller nor the receiver holds a lock when it says so."""
    here = _with(cluster, backend := LostBackend(cluster.hub))
    spectator.worker = here
    backend.down = True
    in_thread(lambda: here.sockets.broadcast("red", "lost")).result(PATIENCE)
    _until(here, lambda: spectator.has_told("The broker cannot be reached"))
    backend.down = False
    assert here.connect().sid


def test_what_is_dropped_is_logged(cluster: LocalCluster, spectator: Spectator) -> None:
    """A message that is not signed is counted and warned of, by a receiver without a lock."""
    here = cluster.worker()
    spectator.worker = here
    assert here.name  # it has joined
    stranger = FaultyBackend(cluster.hub)
    stranger.open()
    stranger.publish(b"not signed")
    _until(here, lambda: spectator.has_told("Dropped a message"))
    stranger.close()


def test_signals_that_are_dropped_are_logged(
    cluster: LocalCluster, spectator: Spectator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry, which reports what happens under its lock, has been left by then."""
    monkeypatch.setattr(notifications, "WAITING", 1)
    here = cluster.worker()
    spectator.worker = here
    client = here.connect()
    here.sockets.join(client.sid, ["red", "green", "blue"]).result(PATIENCE)
    assert spectator.has_told("dropping signals")
    assert spectator.told.count("a signal") > 0


def test_the_watch_sees_a_lock() -> None:
    """A module of Flask-Rooms that holds a lock is seen, and no other."""
    with watched():
        space: dict[str, Any] = {"__name__": "flask_rooms.example"}
        exec("import threading\nlock = threading.Lock()", space)
    with space["lock"]:
        assert held() == ["flask_rooms.example"]
    assert held() == []
