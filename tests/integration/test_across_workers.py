"""
Sockets and rooms over three worker processes, with real brokers and real clients.

That something does not arrive is shown by a fence: it is sent afterwards by the same worker, to
the socket alone, and has to be what arrives first.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_rooms.protocol.ids import new_sid, new_worker_name
from tests.support.clients import Client
from tests.support.workers import Connect, Worker, cluster, outcome

pytestmark = pytest.mark.every_python


def hears(client: Client, room: str, workers: list[Worker]) -> bool:
    """Whether what each worker sends to *room* reaches the client; a fence ends the waiting."""
    return [_next_from(client, room, worker) for worker in workers] == ["said"] * len(workers)


def is_deaf(client: Client, room: str, workers: list[Worker]) -> bool:
    """Whether nothing of what any worker sends to *room* reaches the client."""
    return [_next_from(client, room, worker) for worker in workers] == ["fence"] * len(workers)


def heard_too(client: Client, workers: list[Worker]) -> bool:
    """Whether this client has received all *workers*, whose messages may overtake each other."""
    received = [client.receive() for _ in workers]
    return sorted(received) == sorted(["said", worker.name] for worker in workers)


def _next_from(client: Client, room: str, worker: Worker) -> str:
    """Return "said" or "fence", whichever of a worker's two messages reaches the client first."""
    worker.post("/broadcast", rooms=room, say=["said", worker.name])
    worker.post("/broadcast", rooms=client.sid, say=["fence", worker.name])
    first = client.receive()
    assert first[1:] == [worker.name]
    if first[0] != "fence":
        assert client.receive() == ["fence", worker.name]
    return str(first[0])


# -- leaving --------------------------------------------------------------------------------------


def test_a_client_leaves_by_its_own_request(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """A socket request names the socket; afterwards no worker reaches it in the room."""
    client = connect(workers[0])
    assert client.request("post", "/join", rooms=room) == outcome(changed=1)
    assert hears(client, room, workers)

    assert client.request("post", "/leave", rooms=room) == outcome(changed=1)

    assert is_deaf(client, room, workers)


@pytest.mark.parametrize("caller", [0, 1, 2], ids=["owner", "second worker", "third worker"])
def test_a_socket_leaves_by_its_id(
    workers: list[Worker], connect: Connect, room: str, caller: int
) -> None:
    """Any worker takes a socket out that another put in; afterwards no worker reaches it."""
    client, stays = connect(workers[0]), connect(workers[0])
    sids = [client.sid, stays.sid]
    assert workers[1].post("/join", sids=sids, rooms=room) == outcome(changed=2)
    assert hears(client, room, workers)
    assert heard_too(stays, workers)

    left = workers[caller].post("/leave", sids=client.sid, rooms=room)

    assert left == outcome(changed=1)
    assert is_deaf(client, room, workers)
    assert heard_too(stays, workers)


def test_a_list_of_sockets_leaves_several_workers(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """One call takes sockets of all workers out of several rooms, and no other sockets."""
    clients = [connect(worker) for worker in workers * 2]
    *leaving, stays = clients
    rooms = [room, f"{room}, too"]
    sids_of_all = [client.sid for client in clients]
    assert workers[0].post("/join", sids=sids_of_all, rooms=rooms) == outcome(changed=12)

    sids = [client.sid for client in leaving]
    assert workers[1].post("/leave", sids=sids, rooms=rooms) == outcome(changed=10)

    for each in rooms:
        assert hears(stays, each, workers)
        assert all(is_deaf(client, each, workers) for client in leaving)
        assert heard_too(stays, workers * len(leaving))


def test_many_calls_are_waited_for_together(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """Each of many calls under way at once has its own outcome."""
    clients = [connect(worker) for worker in workers * 2]
    members = [client.sid for client in clients[:3]]
    workers[2].post("/join", sids=members, rooms=room)
    unknown = new_sid(new_worker_name())

    sids = [*(client.sid for client in clients), unknown]
    outcomes = workers[1].post("/leave-one-by-one", sids=sids, rooms=room)

    expected = [outcome(changed=1)] * 3 + [outcome(unchanged=1)] * 3
    assert outcomes == [*expected, outcome(unknown=[unknown])]
    assert all(is_deaf(client, room, workers) for client in clients)


def test_an_unknown_id_is_no_error(workers: list[Worker], connect: Connect, room: str) -> None:
    """An ID that no worker holds is listed in the outcome; the other sockets have left."""
    client = connect(workers[0])
    client.request("post", "/join", rooms=room)
    of_nobody = new_sid(new_worker_name())
    not_there = [new_sid(worker.name) for worker in workers]

    for worker in workers:
        for sid in (of_nobody, *not_there):
            assert worker.post("/leave", sids=sid, rooms=room) == outcome(unknown=[sid])
    left = workers[1].post("/leave", sids=[of_nobody, client.sid, *not_there], rooms=room)

    assert (left["changed"], left["unchanged"]) == (1, 0)
    assert sorted(left["unknown"]) == sorted([of_nobody, *not_there])
    assert is_deaf(client, room, workers)


@pytest.mark.parametrize("end", [Worker.stop, Worker.kill], ids=["stopped", "killed"])
def test_a_socket_is_gone_with_its_worker(
    workers: list[Worker], connect: Connect, room: str, end: Callable[[Worker], None]
) -> None:
    """A leave for a socket of a worker that has ended completes: no worker holds it any more."""
    with cluster(workers[0].backend, 1, channel=workers[0].channel) as (ending,):
        client = connect(ending)
        assert workers[0].post("/join", sids=client.sid, rooms=room) == outcome(changed=1)

        end(ending)

        for worker in workers:
            left = worker.post("/leave", sids=client.sid, rooms=room)
            assert left == outcome(unknown=[client.sid])


def test_a_socket_that_is_no_member_stays_as_it_is(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """Leaving a room without being in it changes nothing, for any caller."""
    client, member = connect(workers[0]), connect(workers[0])
    member.request("post", "/join", rooms=room)

    assert client.request("post", "/leave", rooms=room) == outcome(unchanged=1)
    for worker in workers:
        assert worker.post("/leave", sids=client.sid, rooms=room) == outcome(unchanged=1)

    assert is_deaf(client, room, workers)
    assert heard_too(member, workers)


def test_leaving_one_namespace_is_not_leaving_another(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """A client that is connected twice has two sockets, whose rooms have nothing in common."""
    client = connect(workers[0], "/", "/chat")
    in_chat = client.sid_in("/chat")
    client.request("post", "/join", rooms=room)
    client.request("post", "/join", rooms=room, namespace="/chat")

    left = workers[1].post("/leave", sids=in_chat, rooms=room, namespace="/chat")
    elsewhere = workers[1].post("/leave", sids=in_chat, rooms=room)

    assert (left, elsewhere) == (outcome(changed=1), outcome(unknown=[in_chat]))
    assert hears(client, room, workers)
    workers[1].post("/broadcast", rooms=room, say=["late", 1], namespace="/chat")
    workers[1].post("/broadcast", rooms=in_chat, say=["fence", 1], namespace="/chat")
    assert client.receive("/chat") == ["fence", 1]


# -- callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 100])
def test_a_callback_is_called_exactly_once(
    workers: list[Worker], connect: Connect, room: str, times: int
) -> None:
    """Once and without an error, for sockets of any worker and for unknown ones."""
    clients = [connect(worker) for worker in workers]
    for client in clients:
        client.request("post", "/join", rooms=room)
    sids = [*(client.sid for client in clients), new_sid(new_worker_name())]

    for some in ([sids[0]], sids[1:2], sids[2:3], sids[3:], sids):
        called = workers[1].post("/leave-with-callbacks", sids=some, rooms=room, times=times)

        assert called == {"errors": [None] * times, "again": 0}
    assert all(is_deaf(client, room, workers) for client in clients)


# -- speaking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [0, 1, 2], ids=["owner", "second worker", "third worker"])
def test_leave_then_broadcast_never_reaches_the_socket(
    workers: list[Worker], connect: Connect, room: str, caller: int
) -> None:
    """Program order needs no wait: what a caller sends after its leave does not arrive."""
    client = connect(workers[0])

    workers[caller].post("/leave-then-broadcast", sids=client.sid, rooms=room, times=300)

    received = [client.receive() for _ in range(2 * 300)]
    assert received == [[said, number] for number in range(300) for said in ("in", "fence")]


def test_leave_then_broadcast_keeps_its_order_among_many_callers(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """Callers on all workers, several on each, do not get into each other's order."""
    clients = [connect(worker) for worker in workers * 2]
    times = 100

    def call(number: int) -> Any:
        arguments = {"sids": clients[number].sid, "rooms": f"{room} {number}", "times": times}
        return workers[number // 2].post("/leave-then-broadcast", **arguments)

    with ThreadPoolExecutor(len(clients)) as threads:
        assert list(threads.map(call, range(len(clients)))) == [{}] * len(clients)

    expected = [[said, number] for number in range(times) for said in ("in", "fence")]
    for client in clients:
        assert [client.receive() for _ in range(2 * times)] == expected


def test_leave_then_broadcast_by_the_socket_itself(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """It holds for the socket of the request as well."""
    client = connect(workers[0])

    client.request("post", "/leave-then-broadcast", rooms=room, times=100)

    received = [client.receive() for _ in range(2 * 100)]
    assert received == [[said, number] for number in range(100) for said in ("in", "fence")]


def test_broadcasts_of_a_worker_arrive_in_order(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """Every member receives the messages of one worker in the order in which they were sent."""
    clients = [connect(worker) for worker in workers]
    workers[0].post("/join", sids=[client.sid for client in clients], rooms=room)

    workers[1].post("/count", rooms=room, times=500)

    for client in clients:
        assert [client.receive() for _ in range(500)] == [["count", n] for n in range(500)]


def test_a_broadcast_to_several_rooms_arrives_once(
    workers: list[Worker], connect: Connect, room: str
) -> None:
    """A member of two of the rooms gets one copy, and an omitted socket gets none."""
    both, first, left_out = (connect(worker) for worker in workers)
    other = f"{room}, other"
    for client in (both, first, left_out):
        client.request("post", "/join", rooms=[room, other] if client is not first else room)

    workers[1].post("/broadcast", rooms=[room, other], say=["hello"], omit=left_out.sid)
    for client in (both, first, left_out):
        workers[1].post("/broadcast", rooms=client.sid, say=["fence", 1])

    for client in (both, first):
        assert [client.receive(), client.receive()] == [["message", "hello"], ["fence", 1]]
    assert left_out.receive() == ["fence", 1]


def test_a_blast_reaches_every_socket_of_the_namespace(
    workers: list[Worker], connect: Connect
) -> None:
    """Every socket of the namespace on every worker receives it, except the omitted ones."""
    clients = [connect(worker) for worker in workers]
    left_out, elsewhere = connect(workers[0]), connect(workers[0], "/chat")

    workers[1].post("/blast", say=["news", {"of": "today"}], omit=[left_out.sid])
    workers[1].post("/broadcast", rooms=left_out.sid, say=["fence", 1])
    workers[1].post("/broadcast", rooms=elsewhere.sid, say=["fence", 2], namespace="/chat")

    assert [client.receive() for client in clients] == [["news", {"of": "today"}]] * 3
    assert left_out.receive() == ["fence", 1]
    assert elsewhere.receive() == ["fence", 2]


def test_a_socket_request_knows_its_socket(workers: list[Worker], connect: Connect) -> None:
    """get_id() is the ID that the client knows itself by, and names the worker that it is on."""
    for worker in workers:
        client = connect(worker)

        assert client.request("get", "/id") == {"sid": client.sid, "is_socket": True}
        assert client.sid.startswith(f"{worker.name}_")
