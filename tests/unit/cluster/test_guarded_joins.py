"""A join that waits for its guards on another worker keeps its place in its caller's order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from flask_rooms import Outcome
from tests.support.apps import PATIENCE, LocalCluster, Worker

pytestmark = [pytest.mark.every_python]


class Guard:
    """Lets everybody into "vip", once it is told to."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        self.asked.set()
        assert self.may_answer.wait(PATIENCE)
        return True


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(name="guard")
def _guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.may_answer.set()


def guarded(cluster: LocalCluster, guard: Guard, confirm_timeout: float = PATIENCE) -> Worker:
    """Return a worker with a guard for "vip"."""
    worker = cluster.worker(confirm_timeout=confirm_timeout)
    worker.rooms.guard("vip")(guard)
    return worker


def test_what_a_caller_does_after_its_guarded_join_comes_after_it(
    cluster: LocalCluster, guard: Guard
) -> None:
    here, there = cluster.worker(confirm_timeout=PATIENCE), guarded(cluster, guard)
    client = there.connect()
    joins = here.sockets.join(client.sid, "vip")
    here.sockets.broadcast("vip", "first")
    moves = here.sockets.add_room_members_to_rooms("vip", "lounge")
    here.sockets.broadcast("lounge", "second")
    assert guard.asked.wait(PATIENCE)

    guard.may_answer.set()

    assert joins.result(PATIENCE) == Outcome(changed=1)
    assert moves.result(PATIENCE) == Outcome(changed=1)
    here.sockets.leave(client.sid, "vip").result(PATIENCE)  # a fence
    assert [arguments for _, arguments in client.received()] == ["first", "second"]


def test_what_has_nothing_to_do_with_a_guarded_join_does_not_wait(
    cluster: LocalCluster, guard: Guard
) -> None:
    here, there = cluster.worker(confirm_timeout=PATIENCE), guarded(cluster, guard)
    client = there.connect()
    joins = here.sockets.join(client.sid, "vip")
    assert guard.asked.wait(PATIENCE)

    assert here.sockets.join(client.sid, "lounge").result(PATIENCE) == Outcome(changed=1)
    assert not joins.done()


def test_guards_here_take_no_time_from_the_deadline_of_the_others(
    cluster: LocalCluster, guard: Guard
) -> None:
    """The others have their part before the guards here answer."""
    here, there = guarded(cluster, guard), cluster.worker(confirm_timeout=PATIENCE)
    mine, other = here.connect(), there.connect()
    assert here.sockets.join(other.sid, "lounge").result(PATIENCE) == Outcome(changed=1)
    call = threading.Thread(target=here.sockets.join, args=([mine.sid, other.sid], "vip"))
    call.start()
    assert guard.asked.wait(PATIENCE)

    # A fence: what is sent from here later is applied there later.
    here.sockets.leave(other.sid, "lounge").result(PATIENCE)
    assert there.rooms_of(other) == {"vip"}
    guard.may_answer.set()
    call.join(PATIENCE)


def test_a_guard_that_hangs_holds_up_others_no_longer_than_its_caller_waits(
    cluster: LocalCluster, guard: Guard
) -> None:
    here = cluster.worker(confirm_timeout=PATIENCE)
    there = guarded(cluster, guard, confirm_timeout=0.3)
    client = there.connect()
    joins = here.sockets.join(client.sid, "vip")
    assert guard.asked.wait(PATIENCE)

    moves = here.sockets.add_room_members_to_rooms("vip", "lounge")

    assert moves.result(PATIENCE) == Outcome()
    guard.may_answer.set()
    assert joins.result(PATIENCE) == Outcome(changed=1)
