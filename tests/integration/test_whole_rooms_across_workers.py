"""Whole rooms, disconnects and queries over three worker processes, with real brokers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from flask_rooms.protocol.ids import new_sid, new_worker_name
from tests.support.brokers import Broker
from tests.support.clients import Client
from tests.support.workers import Connect, Worker, cluster, outcome

callers = pytest.mark.parametrize("caller", [0, 1, 2], ids=["owner", "second", "third"])


def heard(clients: list[Client], room: str, workers: list[Worker]) -> list[list[str]]:
    """Return what each client receives of each worker's broadcast; a fence ends the waiting."""
    received: list[list[str]] = [[] for _ in clients]
    for worker in workers:
        worker.post("/broadcast", rooms=room, say=["said", worker.name])
        for client, events in zip(clients, received, strict=True):
            worker.post("/broadcast", rooms=client.sid, say=["fence", worker.name])
            while (event := client.receive()) != ["fence", worker.name]:
                events.append(event[1])
    return received


# -- whole rooms ----------------------------------------------------------------------------------


@callers
def test_all_members_of_a_room_join_others_and_leave(
    workers: list[Worker], connect: Connect, room: str, caller: int
) -> None:
    """For every caller, and every later sender."""
    one, two, outsider = connect(workers[0]), connect(workers[1]), connect(workers[1])
    calling, other, names = workers[caller], f"{room}, other", [worker.name for worker in workers]
    workers[2].post("/join", sids=[one.sid, two.sid], rooms=room)
    workers[2].post("/join", sids=outsider.sid, rooms=f"{room}, outside")

    added = calling.post("/add-members", source=room, rooms=[other])
    assert added == outcome(changed=2)
    assert calling.post("/add-members", source=room, rooms=other) == outcome(unchanged=2)
    assert heard([one, two, outsider], other, workers) == [names, names, []]

    removed = calling.post("/remove-members", source=room, rooms=[other, f"{room}, outside"])
    assert removed == outcome(changed=2, unchanged=2)
    assert heard([one, two, outsider], other, workers) == [[], [], []]

    calling.post("/add-members", source=room, rooms=other)
    assert calling.post("/leave-all", rooms=room) == outcome(changed=4)
    for each in (room, other):
        assert heard([one, two, outsider], each, workers) == [[], [], []]
    assert heard([one, two, outsider], f"{room}, outside", workers) == [[], [], names]


def test_leave_all_by_request_by_id_and_by_list(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """The room of the socket's own ID stays, by which the fences come."""
    clients = [connect(worker) for worker in workers]
    unknown = new_sid(new_worker_name())
    sids = [client.sid for client in clients]
    workers[0].post("/join", sids=sids, rooms=[room, f"{room}, other"])

    assert clients[0].request("post", "/leave-all") == outcome(changed=2)
    assert workers[2].post("/leave-all", sids=sids[1]) == outcome(changed=2)
    left = workers[1].post("/leave-all", sids=[*sids, unknown])
    assert left == outcome(changed=2, unknown=[unknown])
    assert heard(clients, room, workers) == [[], [], []]


@callers
def test_leave_all_then_broadcast_reaches_no_socket(
    workers: list[Worker], connect: Connect, room: str, caller: int
) -> None:
    """In program order, and without waiting."""
    clients = [connect(workers[0]), connect(workers[1])]
    sids = [client.sid for client in clients]

    workers[caller].post(
        "/leave-all-then-broadcast", source=f"{room}, source", sids=sids, rooms=room, times=100
    )

    expected = [[said, number] for number in range(100) for said in ("in", "fence")]
    for client in clients:
        assert [client.receive() for _ in range(200)] == expected


@contextmanager
def stopped(worker: Worker) -> Iterator[None]:
    """Hold a process, as a debugger or an overloaded machine does."""
    worker.pause()
    try:
        yield
    finally:
        worker.resume()


def test_a_stopped_worker_is_missing_and_a_dead_one_is_not_waited_for(
    redis_broker: Broker, connect: Connect, room: str
) -> None:
    """A worker that did not answer a query answers a later one; a dead one is gone."""
    with cluster(redis_broker.url, 2) as (here, there):
        mine, other = connect(here), connect(there)
        here.post("/join", sids=[mine.sid, other.sid], rooms=room)
        everything = here.post("/ask", room=room, sid=other.sid)
        assert (everything["complete"], everything["count"]) == (True, 2)

        with stopped(there):
            incomplete = here.post("/ask", room=room, sid=other.sid, timeout=0.2)

        assert (incomplete["complete"], incomplete["missing"]) == (False, [there.name])
        assert (incomplete["count"], incomplete["rooms_of"]) == (1, [])
        assert here.post("/ask", room=room, sid=other.sid) == everything
        there.kill()
        assert here.post("/add-members", source=room, rooms=f"{room}, too") == outcome(changed=1)
        alone = here.post("/ask", room=room, sid=other.sid)
        assert (alone["complete"], alone["members"]) == (True, [mine.sid])
        assert here.post("/leave-all", sids=other.sid) == outcome(unknown=[other.sid])


# -- disconnecting --------------------------------------------------------------------------------


@callers
def test_a_client_is_disconnected_and_its_worker_sees_it_off(
    workers: list[Worker], connect: Connect, room: str, caller: int
) -> None:
    """The client gets a packet, the handler sees its rooms, and no other socket is affected."""
    client, stays, watcher = connect(workers[0]), connect(workers[0]), connect(workers[1])
    workers[2].post("/join", sids=watcher.sid, rooms=f"watchers of {room}")
    workers[2].post("/join", sids=[client.sid, stays.sid], rooms=room)

    assert workers[caller].post("/disconnect", sids=client.sid) == outcome(changed=1)
    workers[caller].post("/broadcast", rooms=room, say=["late", 1])

    assert client.receive() == ["disconnect"]
    assert stays.receive() == ["late", 1]
    rooms = sorted([client.sid, room])
    assert watcher.receive() == ["gone", client.sid, rooms, "server disconnect"]
    gone = workers[caller].post("/disconnect", sids=client.sid)
    assert gone == outcome(unknown=[client.sid])
    workers[0].post("/broadcast", rooms=watcher.sid, say=["fence", 1])
    assert watcher.receive() == ["fence", 1]


def test_a_client_may_ask_for_its_own_end(workers: list[Worker], connect: Connect) -> None:
    client, watcher = connect(workers[0]), connect(workers[1])
    workers[2].post("/join", sids=watcher.sid, rooms=f"watchers of {client.sid}")

    client.send("post", {"url": "/disconnect", "data": {}})

    assert client.receive() == ["disconnect"]
    assert watcher.receive() == ["gone", client.sid, [client.sid], "server disconnect"]


def test_the_other_namespaces_of_a_connection_stay(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    client = connect(workers[0], "/", "/chat")
    client.request("post", "/join", rooms=room)

    ended = workers[1].post("/disconnect", sids=client.sid_in("/chat"), namespace="/chat")

    assert ended == outcome(changed=1)
    assert client.receive("/chat") == ["disconnect"]
    workers[1].post("/broadcast", rooms=room, say=["still", "here"])
    assert client.receive() == ["still", "here"]
    assert client.request("post", "/leave", rooms=room) == outcome(changed=1)


def test_each_disconnect_handler_runs_once_though_many_leave_at_the_same_time(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """Clients close their connection when they are disconnected, or by themselves just then."""
    watcher = connect(workers[2])
    watcher.request("post", "/join", rooms=f"watchers of {room}")
    clients = [connect(worker) for worker in workers[:2] * 10]
    sids = [client.sid for client in clients]
    workers[2].post("/join", sids=sids, rooms=room)

    with ThreadPoolExecutor(8) as threads:
        leaving = [threads.submit(client.leave) for client in clients[::4]]
        ended = threads.submit(workers[1].post, "/disconnect", sids=sids).result()
        for each in leaving:
            each.result()

    assert ended["changed"] + len(ended["unknown"]) == len(sids)
    gone = [watcher.receive() for _ in sids]
    assert sorted(sid for _, sid, _, _ in gone) == sorted(sids)
    assert all(where == sorted([sid, room]) for _, sid, where, _ in gone)
    for worker in workers[:2]:
        last = connect(worker)
        last.request("post", "/join", rooms=room)
        worker.post("/disconnect", sids=last.sid)
        assert watcher.receive()[:2] == ["gone", last.sid]


# -- queries --------------------------------------------------------------------------------------


@callers
def test_every_worker_knows_the_members_of_each_room(
    workers: list[Worker], connect: Connect, room: str, caller: int
) -> None:
    clients = [connect(worker) for worker in workers[:2] * 2]
    sids = [client.sid for client in clients]
    other = f"{room}, other"
    workers[2].post("/join", sids=sids, rooms=room)
    workers[2].post("/join", sids=sids[:1], rooms=other)

    expected = {
        "members": sorted(sids),
        "count": 4,
        "rooms": {room: 4, other: 1},
        "rooms_of": sorted([room, other]),
        "complete": True,
        "missing": [],
    }
    assert workers[caller].post("/ask", room=room, sid=sids[0]) == expected
    assert clients[0].request("post", "/ask", room=room) == expected
