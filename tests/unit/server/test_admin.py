"""`instrument()` from within: whose joins are reported, under which name, and what stays of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flask_rooms.protocol.messages import Emit
from flask_rooms.signals import joined, left
from tests.support.apps import PATIENCE, LocalCluster, Wire, Worker

pytestmark = pytest.mark.mode_independent


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def worker(cluster: LocalCluster) -> Worker:
    """A worker; a test that instruments it takes that back."""
    return cluster.worker()


def published(wire: Wire, worker: Worker) -> tuple[list[Any], list[Emit]]:
    """Return what a worker has reported to admins, and what it has told other workers."""
    said = [one for one in wire.published_by(worker) if isinstance(one, Emit)]
    packets = [str(one.packet[0]) for one in said if one.namespace == "/admin"]
    reports = [json.loads(packet.partition(",")[2]) for packet in packets]
    return reports, [one for one in said if one.namespace == ""]


def what_is_in_place(worker: Worker) -> list[Any]:
    """Return what instrument() replaces in a worker, and who listens to its joins and leaves."""
    manager = worker.socketio.server.manager
    return [
        manager.emit,
        manager.basic_enter_room,
        manager.basic_leave_room,
        [list(signal.receivers_for(worker.app)) for signal in (joined, left)],
    ]


def test_joins_and_leaves_of_its_own_application_are_reported(
    cluster: LocalCluster, worker: Worker
) -> None:
    """Once each, and nothing is told to other workers that is for newly connected admins."""
    client, wire = worker.connect(), cluster.listen()
    with LocalCluster() as elsewhere:
        stranger = elsewhere.worker()
        strange = stranger.connect()
        admin = worker.socketio.server.instrument(auth=False)
        try:
            for calls, sid in ((stranger.sockets, strange.sid), (worker.sockets, client.sid)):
                calls.join(sid, "red").result(PATIENCE)
                calls.leave(sid, "red").result(PATIENCE)
            worker.socketio.server.enter_room(client.sid, "blue")
            worker.socketio.server.leave_room(client.sid, "blue")
            reports, told = published(wire, worker)
        finally:
            admin.uninstrument()

    assert [report[:-1] for report in reports] == [
        ["room_joined", "/", "red", client.sid],
        ["room_left", "/", "red", client.sid],
        ["room_joined", "/", "blue", client.sid],
        ["room_left", "/", "blue", client.sid],
    ]
    assert told == []


@pytest.mark.parametrize("mode", ["development", "production"])
def test_nothing_is_left_of_what_is_taken_back(worker: Worker, mode: str) -> None:
    """Also if it is taken back twice, as by two teardowns."""
    before = what_is_in_place(worker)
    admin = worker.socketio.server.instrument(auth=False, mode=mode)
    assert what_is_in_place(worker) != before

    admin.uninstrument()
    admin.uninstrument()

    assert what_is_in_place(worker) == before
    assert admin._on_newcomers not in admin._delivery.on_worker_message.values()


@pytest.mark.parametrize("given", ["", "the first"])
def test_a_worker_is_shown_under_the_name_that_was_given_or_its_own(
    worker: Worker, given: str
) -> None:
    admin = worker.socketio.server.instrument(auth=False, server_id=given)
    try:
        assert admin.server_id == (given or worker.name)
    finally:
        admin.uninstrument()
