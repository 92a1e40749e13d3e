"""Memberships that end by themselves, on the worker that holds the socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_rooms import InvalidArgument, Outcome, Rooms
from flask_rooms.globals import parts_of
from flask_rooms.membership.expiries import Expiries
from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.timers import Timers
from flask_rooms.signals import left
from flask_rooms.testing import Client, LocalCluster, cluster
from tests.support.apps import PATIENCE
from tests.unit.api.test_arguments import UntouchedWorkers
from tests.unit.api.test_arguments import network as network

pytestmark = pytest.mark.every_python

#: Seconds; as short as it makes sense, and longer than any test.
SOON, LATE = 0.05, 3600.0


def create_app() -> Flask:
    app = Flask("application")
    app.config["SECRET_KEY"] = "of the tests"
    rooms = Rooms(app)
    rooms.user_loader(lambda auth: auth)
    rooms.guard("vip")(lambda: True)
    return app


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with cluster(create_app, 2) as workers:
        yield workers


def until_left(client: Client, room: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while room in client.rooms:
        assert time.monotonic() < deadline, "it has not ended"
        time.sleep(0)


@pytest.mark.parametrize("holder", [0, 1])
@pytest.mark.parametrize("room", ["red", "vip"])
def test_a_membership_ends_by_itself_and_the_signal_says_so(
    workers: LocalCluster, holder: int, room: str
) -> None:
    reasons: list[str] = []
    told = threading.Event()

    def on_left(app: Flask, reason: str, **about: Any) -> None:
        reasons.append(reason)
        told.set()

    client = workers[holder].connect()
    with left.connected_to(on_left, workers[holder].app):
        workers[0].sockets.join(client.sid, "stays", expires=LATE).result(PATIENCE)
        joined = workers[0].sockets.join(client.sid, room, expires=SOON)
        assert joined.result(PATIENCE) == Outcome(1)

        assert told.wait(PATIENCE)

    assert reasons == ["expired"]
    assert client.rooms == {"stays"}
    assert workers[0].sockets.leave(client.sid, room).result(PATIENCE) == Outcome(unchanged=1)


@pytest.mark.mode_independent
def test_memberships_end_one_after_another(workers: LocalCluster) -> None:
    """Whichever is made first, and also if none has been waiting for a while."""
    client, sockets = workers[0].connect(), workers[0].sockets
    for _ in range(2):
        for room, expires in (("second", 2 * SOON), ("first", SOON), ("third", 3 * SOON)):
            sockets.join(client.sid, room, expires=expires).result(PATIENCE)
        for room in ("first", "second", "third"):
            until_left(client, room)


@pytest.mark.mode_independent
def test_a_later_join_sets_another_time_or_makes_it_last(workers: LocalCluster) -> None:
    client, sockets = workers[1].connect(), workers[0].sockets
    sockets.join(client.sid, ["lasts", "later", "sooner", "fence"], expires=LATE)

    sockets.join(client.sid, "lasts").result(PATIENCE)
    assert sockets.join(client.sid, "later", expires=LATE).result(PATIENCE) == Outcome(unchanged=1)
    sockets.join(client.sid, ["sooner", "fence"], expires=SOON).result(PATIENCE)

    until_left(client, "sooner")
    until_left(client, "fence")
    assert client.rooms == {"lasts", "later"}
    socket = parts_of(workers[1].app).registry.get("/", client.sid)
    assert socket is not None
    assert set(socket.expiring) == {"later"}


@pytest.mark.mode_independent
def test_a_socket_that_left_and_joined_again_is_not_removed_for_the_first_time(
    workers: LocalCluster,
) -> None:
    client, sockets = workers[0].connect(), workers[0].sockets
    sockets.join(client.sid, ["red", "fence"], expires=SOON).result(PATIENCE)
    sockets.leave(client.sid, "red").result(PATIENCE)
    sockets.join(client.sid, "red").result(PATIENCE)

    until_left(client, "fence")

    assert client.rooms == {"red"}


@pytest.mark.mode_independent
def test_the_sockets_of_a_user_join_for_a_time(workers: LocalCluster) -> None:
    tabs = [worker.connect(auth="ann") for worker in workers]

    joined = workers[0].sockets.join(user="ann", room="red", expires=SOON)

    assert joined.result(PATIENCE) == Outcome(2)
    for tab in tabs:
        until_left(tab, "red")


@pytest.mark.mode_independent
def test_one_that_is_connecting_joins_for_a_time_as_well(workers: LocalCluster) -> None:
    loading, go_on = threading.Event(), threading.Event()
    here, there = workers

    def load(auth: Any) -> Any:
        loading.set()
        assert go_on.wait(PATIENCE)
        return auth

    there.app.extensions["rooms"].user_loader(load)
    clients: list[Client] = []
    connecting = threading.Thread(target=lambda: clients.append(there.connect(auth="ann")))
    connecting.start()
    assert loading.wait(PATIENCE)
    here.sockets.join(user="ann", room="red", expires=SOON).result(PATIENCE)
    go_on.set()
    connecting.join(PATIENCE)

    until_left(clients[0], "red")
    registry = parts_of(there.app).registry
    assert registry.next_expiry is None


@pytest.mark.mode_independent
def test_joining_again_and_again_takes_no_more_memory() -> None:
    expiries, socket = Expiries(), Socket("sid", "eio")
    for number in range(10_000):
        expiries.add(LATE + number, "/", socket, "red")

    assert len(expiries._heap) <= 200
    assert expiries.take(2 * 10**4) == [("/", socket, "red")]


@pytest.mark.mode_independent
def test_timers_call_in_the_order_of_their_times_whatever_fails() -> None:
    called: list[str] = []
    done = threading.Event()

    def start_loop(function: Callable[..., object], *args: object) -> bool:
        threading.Thread(target=function, args=args, daemon=True).start()
        return True

    timers = Timers(start_loop)
    timers.after(LATE, lambda: called.append("late"))
    timers.after(0.2, done.set)
    timers.after(0.1, lambda: called.append("second"))
    timers.after(0, lambda: called.append(1 / 0))  # type: ignore[arg-type]
    timers.after(0.02, lambda: called.append("first"))

    assert done.wait(PATIENCE)
    assert called == ["first", "second"]


def test_a_time_of_centuries_holds_up_no_other(workers: LocalCluster) -> None:
    """No thread can wait for so long."""
    client = workers[0].connect()
    join = workers[0].sockets.join
    assert join(client.sid, "red", expires=1e300).result(PATIENCE) == Outcome(changed=1)

    join(client.sid, "blue", expires=SOON).result(PATIENCE)

    until_left(client, "blue")
    assert client.rooms == {"red"}


@pytest.mark.mode_independent
@pytest.mark.parametrize(
    "bad",
    ["1", 0, -1, True, float("nan"), float("inf"), pytest.param(10**400, id="huge"), [1]],
)
def test_a_time_is_a_number_of_seconds(network: UntouchedWorkers, bad: Any) -> None:
    network.refuses(
        InvalidArgument,
        lambda: network.sockets.join(network.mine.sid, "blue", expires=bad),
    )
