"""What `flask rooms check` finds where a broker carries messages; the command has the rest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

import flask_rooms
from flask_rooms import BackendError
from flask_rooms.api.check import check
from flask_rooms.backends import MemoryBackend
from flask_rooms.backends.base import Backend
from flask_rooms.globals import parts_of
from flask_rooms.history import MemoryHistory
from flask_rooms.history.keeper import Keeper
from tests.support.apps import SECRET, LocalCluster, Worker, eventually, fence
from tests.support.signing import signed

pytestmark = pytest.mark.mode_independent


class Carrier(Backend):
    """A backend of the application's own, which is no memory:// to the check."""

    def __init__(self, hub: str) -> None:
        self._inner = MemoryBackend("flask-rooms", hub=hub.removeprefix("memory://"))
        self.down = False

    def open(self) -> None:
        self._inner.open()

    def publish(self, payload: bytes) -> None:
        if self.down:
            raise BackendError("It is being repaired.")
        self._inner.publish(payload)

    def receive(self, timeout: float) -> bytes | None:
        return self._inner.receive(timeout)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def new_worker(cluster: LocalCluster, **options: Any) -> tuple[Worker, Carrier]:
    """Return a new worker and its backend."""
    backend = Carrier(cluster.hub)
    return cluster.worker(backend=backend, **options), backend


def history_of(worker: Worker) -> Keeper:
    return parts_of(worker.app).history


def kind_of(worker: Worker) -> str:
    """Return what a check on a worker finds."""
    return check(worker.cluster, worker.sockets, history_of(worker)).kind


def test_nothing_is_wrong_when_every_worker_answers(cluster: LocalCluster) -> None:
    (here, _), (there, _) = new_worker(cluster), new_worker(cluster)
    fence(here, there.connect())

    eventually(here, lambda: kind_of(here) == "ok")
    assert check(here.cluster, here.sockets, history_of(here)).workers == {here.name, there.name}


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (signed(msgpack.packb([0, "w", "", 1, [], None, None]), SECRET, "flask-rooms"), "version"),
        (bytes(3_000_000), "size"),
        (signed(msgpack.packb(["?"]), "another", "flask-rooms"), "key"),
    ],
    ids=["version", "size", "key"],
)
def test_messages_that_are_dropped_tell_why(
    cluster: LocalCluster, payload: bytes, kind: str
) -> None:
    worker, _ = new_worker(cluster)
    worker.cluster.start()
    intruder = Carrier(cluster.hub)
    intruder.open()

    intruder.publish(payload)

    eventually(worker, lambda: kind_of(worker) == kind)
    intruder.close()


def test_a_worker_of_another_version_is_named(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = new_worker(cluster)
    with monkeypatch.context() as patch:
        patch.setattr(flask_rooms, "__version__", "0.0.1")
        there, _ = new_worker(cluster)
    fence(here, there.connect())

    found = check(here.cluster, here.sockets, history_of(here))

    assert found.kind == "version"
    assert there.name in found.message
    assert "0.0.1" in found.message


def test_a_time_that_is_too_short_to_discover_all_is_named(cluster: LocalCluster) -> None:
    """A worker knows all others only after one of its heartbeat intervals."""
    there, _ = new_worker(cluster, heartbeat_interval=20)
    client = there.connect()
    here, _ = new_worker(cluster, heartbeat_interval=20, confirm_timeout=0.2)
    fence(here, client)

    assert kind_of(here) == "incomplete"


def test_a_broker_that_fails_for_a_reason_of_its_own(cluster: LocalCluster) -> None:
    worker, backend = new_worker(cluster)
    worker.cluster.start()
    backend.down = True
    worker.sockets.broadcast("red", "news")

    found = check(worker.cluster, worker.sockets, history_of(worker))

    assert found.kind == "broker"
    assert "It is being repaired." in found.message


def test_a_broker_that_does_not_answer(cluster: LocalCluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}"
        worker = cluster.worker(backend_url=url)
        worker.cluster.start()

        assert kind_of(worker) == "timeout"


def test_a_history_that_cannot_be_reached_is_told(cluster: LocalCluster) -> None:
    class Down(MemoryHistory):
        def ping(self) -> None:
            raise BackendError("down")

    worker, _ = new_worker(cluster, history_store=Down())
    worker.cluster.start()
    assert kind_of(worker) != "history"
    worker.rooms.history("chat:<id>")

    found = check(worker.cluster, worker.sockets, history_of(worker))
    assert found.kind == "history"
    assert "ROOMS_HISTORY_URL" in found.message
    assert "down" in found.message
