"""One tab of a user stays, others are left out by room or by user, and clients may come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import pytest
from flask import request

from flask_rooms import Outcome, Rooms, sockets
from flask_rooms.globals import parts_of
from flask_rooms.signals import left
from tests.support.apps import (
    HEARTBEAT,
    PATIENCE,
    Client,
    LocalCluster,
    Worker,
    eventually,
    fence,
    make_app,
)

pytestmark = pytest.mark.every_python

HOUR = 3_600_000_000  # microseconds


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def make_worker(cluster: LocalCluster, connect: Callable[[Any], object] | None = None) -> Worker:
    """Return a worker whose users are what clients send as `auth`."""
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    rooms.user_loader(lambda auth: auth)
    if connect is not None:
        rooms.socketio.on("connect")(connect)
    return cluster.adopt(app, rooms)


# -- one tab only ---------------------------------------------------------------------------------


def keep_newest(auth: Any) -> None:
    sockets.disconnect(user=auth, older_than=request)


def settle(workers: list[Worker]) -> None:
    """Return when every worker has applied what the others have called so far."""
    for worker in workers:
        worker.sockets.leave(user="nobody", room="fence").result(PATIENCE)


def test_of_several_that_connect_at_once_on_several_workers_one_stays(
    cluster: LocalCluster,
) -> None:
    barrier = threading.Barrier(3)

    def connect(auth: Any) -> None:
        barrier.wait(PATIENCE)  # all are there before the first has the others disconnected
        keep_newest(auth)

    workers = [make_worker(cluster, connect) for _ in range(3)]
    parts_of(workers[0].app).registry.note_newer(HOUR * 10**6)  # its clock is far ahead
    settle(workers)
    with ThreadPoolExecutor(3) as pool:
        for number in range(10):
            user = f"ann{number}"
            list(pool.map(lambda worker, user=user: worker.connect(auth=user), workers))
            settle(workers)

            answer = workers[0].sockets.members(user=user)
            assert (len(answer.value), answer.complete) == (1, True)


@pytest.mark.mode_independent
def test_the_newest_tab_stays_and_the_others_are_told(cluster: LocalCluster) -> None:
    here, there = (make_worker(cluster, keep_newest) for _ in range(2))
    bob = here.connect(auth="bob")
    tabs = [worker.connect(auth="ann") for worker in (here, there, here, there)]
    settle([here, there])

    assert here.sockets.members(user="ann").value == {tabs[-1].sid}
    eventually(here, lambda: not any(tab.is_connected() for tab in tabs[:-1]))
    assert tabs[-1].is_connected()
    assert bob.is_connected()


@pytest.mark.mode_independent
def test_a_tab_gives_way_to_a_newer_one_that_its_worker_had_not_heard_of(
    cluster: LocalCluster,
) -> None:
    """As one that has just started, whose clock is behind; its next tab is the newest."""
    there = make_worker(cluster, keep_newest)
    parts_of(there.app).registry.note_newer(HOUR * 10**6)
    stays = there.connect(auth="ann")
    here = make_worker(cluster, keep_newest)
    gone: Queue[tuple[str, str, str]] = Queue()
    go_on = threading.Event()
    here.socketio.on("disconnect")(lambda *_: go_on.wait(2 * PATIENCE))

    def note(app: Any, *, sid: str, reason: str, by: str, **about: Any) -> None:
        gone.put((sid, reason, by))

    with left.connected_to(note, here.app):
        late = here.connect(auth="ann")
        # The handler need not have returned.
        assert gone.get(timeout=PATIENCE) == (late.sid, "disconnect", late.sid)
    go_on.set()
    eventually(here, lambda: not late.is_connected())
    assert stays.is_connected()

    newest = here.connect(auth="ann")

    eventually(there, lambda: not stays.is_connected())
    assert here.sockets.members(user="ann").value == {newest.sid}


@pytest.mark.mode_independent
def test_older_tabs_are_disconnected_on_request_and_newer_ones_stay(
    cluster: LocalCluster,
) -> None:
    here, there = make_worker(cluster), make_worker(cluster)
    settle([here, there])
    older, middle, newer = (worker.connect(auth="7") for worker in (there, here, there))

    assert here.sockets.disconnect(user=7, older_than=middle.sid).result(PATIENCE) == Outcome(1)

    assert here.sockets.members(user=7).value == {middle.sid, newer.sid}
    eventually(there, lambda: not older.is_connected())


@pytest.mark.mode_independent
def test_nothing_is_done_in_favour_of_a_socket_that_has_left(cluster: LocalCluster) -> None:
    here, there = make_worker(cluster), make_worker(cluster)
    stays, gone = there.connect(auth="ann"), here.connect(auth="ann")
    gone.disconnect()

    outcome = here.sockets.disconnect(user="ann", older_than=gone.sid).result(PATIENCE)

    assert outcome == Outcome(unknown=(gone.sid,))
    assert here.sockets.members(user="ann").value == {stays.sid}


@pytest.mark.mode_independent
def test_nor_of_one_that_has_left_as_its_worker_has_restarted(cluster: LocalCluster) -> None:
    """It is called otherwise now, and was the worker of that socket."""
    here, there = make_worker(cluster), make_worker(cluster)
    stays, gone = there.connect(auth="ann"), here.connect(auth="ann")
    here.cluster.restart("it was evicted")
    eventually(here, lambda: parts_of(here.app).registry.get("/", gone.sid) is None)

    outcome = here.sockets.disconnect(user="ann", older_than=gone.sid).result(PATIENCE)

    assert outcome == Outcome(unknown=(gone.sid,))
    assert stays.is_connected()


# -- whose sockets are left out -------------------------------------------------------------------


class Tabs:
    """Ann's tabs on two workers, of which one is in the room "muted", and Bob's."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.here, self.there = make_worker(cluster), make_worker(cluster)
        self.one, self.two = self.here.connect(auth="ann"), self.there.connect(auth="ann")
        self.muted, self.bob = self.there.connect(auth="ann"), self.there.connect(auth="bob")
        self.all = [self.one, self.two, self.muted, self.bob]
        self.here.sockets.join([one.sid for one in self.all], "red").result(PATIENCE)
        self.here.sockets.join(self.muted.sid, "muted").result(PATIENCE)

    def heard(self) -> list[Client]:
        """Return who has received what this worker has sent since the last call."""
        for client in self.all:
            fence(self.here, client)
        return [client for client in self.all if client.received()]

    def in_red(self) -> list[Client]:
        sids = self.here.sockets.members("red").value
        return [client for client in self.all if client.sid in sids]


@pytest.fixture(name="tabs")
def _tabs(cluster: LocalCluster) -> Tabs:
    return Tabs(cluster)


@pytest.mark.mode_independent
def test_an_event_leaves_out_sockets_rooms_and_users(tabs: Tabs) -> None:
    say = tabs.here.sockets

    say.broadcast("red", "said", 1, omit="muted")
    assert tabs.heard() == [tabs.one, tabs.two, tabs.bob]
    say.broadcast("red", "said", 1, omit_user="ann")
    assert tabs.heard() == [tabs.bob]
    say.broadcast("red", "said", 1, omit=["muted", tabs.two.sid], omit_user=["bob", "carl"])
    assert tabs.heard() == [tabs.one]
    say.broadcast("said", 1, user="ann", omit=iter(["muted", tabs.one.sid]))
    assert tabs.heard() == [tabs.two]
    say.blast("said", 1, omit="muted", omit_user="bob")
    assert tabs.heard() == [tabs.one, tabs.two]


@pytest.mark.mode_independent
def test_a_leave_leaves_out_sockets_rooms_and_users(tabs: Tabs) -> None:
    say = tabs.here.sockets
    sids = [client.sid for client in tabs.all]

    left = say.leave(user="ann", room="red", omit=[tabs.one.sid, "muted"])
    assert left.result(PATIENCE) == Outcome(1)
    assert tabs.in_red() == [tabs.one, tabs.muted, tabs.bob]
    assert say.leave(sids, "red", omit_user="ann").result(PATIENCE) == Outcome(1)
    assert tabs.in_red() == [tabs.one, tabs.muted]
    assert say.leave(user="ann", room="red", omit_user="ann").result(PATIENCE) == Outcome()


@pytest.mark.mode_independent
def test_a_disconnect_leaves_out_sockets_rooms_and_users(tabs: Tabs) -> None:
    gone = tabs.here.sockets.disconnect(user="ann", omit=["muted", tabs.two.sid])

    assert gone.result(PATIENCE) == Outcome(1)
    assert tabs.in_red() == [tabs.two, tabs.muted, tabs.bob]


@pytest.mark.mode_independent
def test_who_is_in_the_omitted_room_is_as_the_caller_has_left_it(tabs: Tabs) -> None:
    say = tabs.here.sockets

    say.join(tabs.two.sid, "muted")
    say.broadcast("red", "said", 1, omit="muted")

    assert tabs.heard() == [tabs.one, tabs.bob]


@pytest.mark.mode_independent
def test_a_user_that_is_left_out_may_be_connecting(cluster: LocalCluster) -> None:
    loading, go_on = threading.Event(), threading.Event()
    here, there = make_worker(cluster), make_worker(cluster)

    def load(auth: Any) -> Any:
        loading.set()
        assert go_on.wait(PATIENCE)
        return auth

    there.rooms.user_loader(load)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(there.connect, auth="ann")
        assert loading.wait(PATIENCE)
        here.sockets.disconnect(user="ann", omit_user="ann").result(PATIENCE)
        go_on.set()

        assert connecting.result(PATIENCE).is_connected()


# -- a disconnect that lets the client come back --------------------------------------------------


@pytest.mark.parametrize("holder", ["here", "there"])
def test_a_client_may_come_back_if_its_connection_is_closed(tabs: Tabs, holder: str) -> None:
    worker, client = (tabs.here, tabs.one) if holder == "here" else (tabs.there, tabs.bob)
    reasons: list[Any] = []
    worker.socketio.on("disconnect")(reasons.append)

    gone = tabs.here.sockets.disconnect(client.sid, reconnect=True)

    assert gone.result(PATIENCE) == Outcome(1)
    assert client not in tabs.in_red()
    eventually(worker, lambda: reasons)
    assert reasons == [worker.socketio.reason.SERVER_DISCONNECT]
    assert client.is_connected()  # no packet has told it to stay away
    registry = parts_of(worker.app).registry
    eventually(worker, lambda: registry.get("/", client.sid) is None)


@pytest.mark.mode_independent
def test_a_socket_that_is_connecting_may_come_back(cluster: LocalCluster) -> None:
    """It is closed when its connect handler has returned, so its disconnect handler runs."""

    def connect(auth: Any) -> None:
        sockets.disconnect(request, reconnect=True)
        for _ in range(20):  # enough for what could close it at once
            other = threading.Event()
            worker.socketio.start_background_task(other.set)
            assert other.wait(PATIENCE)

    worker = make_worker(cluster, connect)
    reasons: list[Any] = []
    worker.socketio.on("disconnect")(reasons.append)
    worker.connect(auth="ann")

    # Its connection is closed in the background, before or after it has been told of its socket.
    registry = parts_of(worker.app).registry
    eventually(worker, lambda: not registry.namespaces())
    assert reasons == [worker.socketio.reason.SERVER_DISCONNECT]
