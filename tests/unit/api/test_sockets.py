"""The calls do what they say, on sockets of this worker and of others, and in that order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from flask import Flask, request
from flask_socketio import SocketIO

from flask_rooms import InvalidSocket, Outcome, Rooms, sockets
from tests.support.apps import (
    PATIENCE,
    Client,
    LocalCluster,
    Worker,
    fence,
    in_thread,
    make_app,
)

pytestmark = pytest.mark.every_python


class WorkersWithoutRooms:
    """Three workers: two with a socket each, and one without any, as a Celery task is."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.here = cluster.worker(make_app_with_routes())
        self.there, self.third = cluster.worker(make_app_with_routes()), cluster.worker()
        self.mine, self.other = self.here.connect(), self.there.connect()
        self.both = [self.mine.sid, self.other.sid]

    def received(self, speaker: Worker) -> tuple[Any, Any]:
        """Return what each socket got of all that *speaker* has sent so far."""
        for client in (self.mine, self.other):
            fence(speaker, client)
        return self.mine.received(), self.other.received()


def make_app_with_routes() -> Flask:
    """Return an application whose routes do with their socket what the client says."""
    app = make_app()

    @app.put("/<any(join, leave):action>/<room>")
    def act(action: str, room: str) -> dict[str, Any]:
        outcome = getattr(sockets, action)(request, room).result(0)
        return {"changed": outcome.changed, "unchanged": outcome.unchanged}

    @app.get("/id")
    def tell_id() -> dict[str, str]:
        return {"id": sockets.get_id(request), "sid": request.sid}  # type: ignore[attr-defined]

    @app.put("/leave-with-others")
    def leave_with_others() -> dict[str, int]:
        given = [request, *request.get_json()]
        return {"changed": sockets.leave(given, "red").result(PATIENCE).changed}

    @app.post("/tell-others")
    def tell_others() -> dict[str, bool]:
        sockets.broadcast("red", "told", "others", omit=request)
        sockets.blast("told", "all others", omit=[request])
        return {"told": True}

    @app.put("/leave-in/<path:namespace>")
    def leave_in(namespace: str) -> tuple[str, int]:
        try:
            sockets.leave(request, "red", namespace="/" + namespace)
        except InvalidSocket:
            return "refused", 409
        return "done", 200

    return app


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def network(cluster: LocalCluster) -> WorkersWithoutRooms:
    return WorkersWithoutRooms(cluster)


# -- whose sockets, from where ----------------------------------------------------------------


def test_by_request_a_socket_joins_and_leaves_and_it_is_done_on_return(
    network: WorkersWithoutRooms,
) -> None:
    for action, members in (("join", {"red"}), ("leave", set())):
        first, second = (network.mine.ask("put", f"/{action}/red")["body"] for _ in range(2))

        assert first == {"changed": 1, "unchanged": 0}
        assert second == {"changed": 0, "unchanged": 1}
        assert network.here.rooms_of(network.mine) == members


@pytest.mark.parametrize("caller", ["here", "there", "third"])
def test_by_id_sockets_join_and_leave_whichever_worker_holds_them(
    network: WorkersWithoutRooms, caller: str
) -> None:
    calls = getattr(network, caller).sockets

    assert calls.join(network.both, "red").result(PATIENCE) == Outcome(2, 0)
    assert network.here.rooms_of(network.mine) == network.there.rooms_of(network.other) == {"red"}
    assert calls.leave(network.both, "red").result(PATIENCE) == Outcome(2, 0)
    assert network.here.rooms_of(network.mine) == network.there.rooms_of(network.other) == set()


def test_requests_and_ids_come_together_in_one_list(network: WorkersWithoutRooms) -> None:
    network.here.sockets.join(network.both, "red").result(PATIENCE)

    answer = network.mine.ask("put", "/leave-with-others", network.both)

    assert answer["body"] == {"changed": 2}


def test_other_sockets_and_rooms_are_left_alone(network: WorkersWithoutRooms) -> None:
    second = network.there.connect()
    sids = [*network.both, second.sid]
    network.here.sockets.join(sids, ["red", "blue"]).result(PATIENCE)

    network.here.sockets.leave(network.other.sid, "red").result(PATIENCE)

    assert network.there.rooms_of(network.other) == {"blue"}
    assert network.there.rooms_of(second) == {"red", "blue"}
    assert network.here.rooms_of(network.mine) == {"red", "blue"}


def test_the_calls_work_in_a_thread_without_any_context(network: WorkersWithoutRooms) -> None:
    def leave() -> Outcome:
        return network.here.rooms.sockets.leave(network.both, "red").result(PATIENCE)

    network.third.sockets.join(network.both, "red").result(PATIENCE)

    assert in_thread(leave).result(PATIENCE) == Outcome(2, 0)


def test_threads_call_together(network: WorkersWithoutRooms) -> None:
    def come_and_go(room: str) -> Outcome:
        joined = network.here.rooms.sockets.join(network.both, room).result(PATIENCE)
        return joined + network.here.rooms.sockets.leave(network.both, room).result(PATIENCE)

    outcomes = [in_thread(partial(come_and_go, f"room {n}")) for n in range(8)]

    assert [outcome.result(PATIENCE) for outcome in outcomes] == [Outcome(4, 0)] * 8
    assert network.here.rooms_of(network.mine) == network.there.rooms_of(network.other) == set()


def test_get_id_is_the_id_of_the_request(network: WorkersWithoutRooms) -> None:
    expected = {"id": network.mine.sid, "sid": network.mine.sid}

    assert network.mine.ask("get", "/id")["body"] == expected
    assert network.here.sockets.get_id(network.mine.sid) == network.mine.sid


def test_event_handlers_call_with_their_request(cluster: LocalCluster) -> None:
    worker = cluster.worker()
    ids = []

    @worker.socketio.on("connect")
    def connect() -> None:
        sockets.join(request, "connected")

    @worker.socketio.on("swap")
    def swap() -> list[int]:
        ids.append(sockets.get_id(request))
        left = sockets.leave(request, "connected").result(0)
        return [left.changed, sockets.join(request, "swapped").result(0).changed]

    @worker.socketio.on("disconnect")
    def disconnect(reason: str) -> None:
        ids.append(sockets.get_id(request))
        sockets.leave(request, "swapped")

    client = worker.connect()
    assert worker.rooms_of(client) == {"connected"}
    assert client.emit("swap") == [1, 1]
    assert worker.rooms_of(client) == {"swapped"}
    client.disconnect()
    assert ids == [client.sid, client.sid]


# -- rooms of IDs -----------------------------------------------------------------------------


def test_every_socket_is_in_the_room_of_its_own_id(network: WorkersWithoutRooms) -> None:
    for sid in network.both:
        assert network.here.sockets.join(sid, sid).result(PATIENCE) == Outcome(0, 1)

        network.here.sockets.broadcast(sid, "event", "for you")

    assert network.received(network.here) == ([("event", ["for you"])],) * 2


def test_a_socket_may_leave_the_room_of_its_own_id_as_in_sails(
    network: WorkersWithoutRooms,
) -> None:
    for sid in network.both:
        assert network.here.sockets.leave(sid, sid).result(PATIENCE) == Outcome(1)

        network.here.sockets.broadcast(sid, "event", "for no socket")

    assert network.received(network.here) == ([], [])


def test_a_socket_id_is_never_taken_for_a_room_of_that_name(network: WorkersWithoutRooms) -> None:
    """In Sails a room given as a socket takes its members out of it."""
    network.here.sockets.join(network.both, "red").result(PATIENCE)

    with pytest.raises(InvalidSocket):
        network.here.sockets.leave("red", "red")

    assert network.here.rooms_of(network.mine) == network.there.rooms_of(network.other) == {"red"}


# -- namespaces -------------------------------------------------------------------------------


@pytest.fixture
def chatting(network: WorkersWithoutRooms) -> Client:
    for worker in (network.here, network.there):
        worker.socketio.on("hello", namespace="/chat")(print)
    return network.there.connect("/chat")


def test_rooms_of_the_same_name_are_one_in_each_namespace(
    network: WorkersWithoutRooms, chatting: Client
) -> None:
    calls = network.here.sockets
    calls.join(network.both, "red").result(PATIENCE)
    calls.join(chatting.sid, "red", namespace="/chat").result(PATIENCE)

    calls.broadcast("red", "event", 1)
    calls.broadcast("red", "event", 2, namespace="/chat")
    calls.blast("event", 3, namespace="/chat")

    fence(network.here, chatting)
    assert network.received(network.here) == ([("event", [1])],) * 2
    assert chatting.received() == [("event", [2]), ("event", [3])]


def test_a_request_brings_its_namespace(network: WorkersWithoutRooms, chatting: Client) -> None:
    chatting.ask("put", "/join/red")

    assert network.there.rooms_of(chatting) == {"red"}
    network.here.sockets.broadcast("red", "event", 1, namespace="/chat")
    chatting.ask("post", "/tell-others")

    fence(network.here, chatting)
    assert chatting.received() == [("event", [1])]
    assert network.received(network.there) == ([], [])


def test_a_request_of_another_namespace_is_refused(
    network: WorkersWithoutRooms, chatting: Client
) -> None:
    assert chatting.ask("put", "/leave-in/chat")["statusCode"] == 200
    assert chatting.ask("put", "/leave-in/other")["statusCode"] == 409


# -- broadcast and blast ----------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["here", "there", "third"])
def test_a_broadcast_reaches_the_members_on_every_worker_once(
    network: WorkersWithoutRooms, caller: str
) -> None:
    speaker: Worker = getattr(network, caller)
    outsider = network.there.connect()
    speaker.sockets.join(network.both, ["red", "blue"]).result(PATIENCE)

    speaker.sockets.broadcast(["red", "blue", "red", "empty"], "event", {"a": [1, b"bytes"]})

    assert network.received(speaker) == ([("event", [{"a": [1, b"bytes"]}])],) * 2
    assert outsider.received() == []


@pytest.mark.parametrize("caller", ["here", "there", "third"])
def test_a_blast_reaches_every_socket(network: WorkersWithoutRooms, caller: str) -> None:
    speaker: Worker = getattr(network, caller)

    speaker.sockets.blast("event", "all")

    assert network.received(speaker) == ([("event", ["all"])],) * 2


def test_without_an_event_it_is_message(network: WorkersWithoutRooms) -> None:
    network.here.sockets.broadcast(network.both, "to both")
    network.here.sockets.blast("to all")

    assert network.received(network.here) == ([("message", "to both"), ("message", "to all")],) * 2


def test_a_tuple_is_several_arguments_and_a_list_is_one(network: WorkersWithoutRooms) -> None:
    network.here.sockets.blast("event", (1, "b", [3]))
    network.here.sockets.blast("event", [1, "b"])

    assert (
        network.received(network.here) == ([("event", [1, "b", [3]]), ("event", [[1, "b"]])],) * 2
    )


@pytest.mark.parametrize("bytes_like", [b"\x00\xff", bytearray(b"\x00\xff")])
def test_bytes_arrive_as_bytes(network: WorkersWithoutRooms, bytes_like: Any) -> None:
    network.here.sockets.blast("event", {"deep": [bytes_like]})

    assert network.received(network.here) == ([("event", [{"deep": [b"\x00\xff"]}])],) * 2


def test_omit_leaves_sockets_out_on_every_worker(network: WorkersWithoutRooms) -> None:
    calls = network.here.sockets
    calls.join(network.both, "red").result(PATIENCE)

    calls.broadcast("red", "event", 1, omit=network.other.sid)
    calls.broadcast("red", "event", 2, omit=[network.mine.sid])
    calls.broadcast("red", "event", 3, omit=network.both)
    calls.blast("event", 4, omit=iter(network.both))

    assert network.received(network.here) == ([("event", [1])], [("event", [2])])


def test_a_request_leaves_itself_out(network: WorkersWithoutRooms) -> None:
    network.here.sockets.join(network.both, "red").result(PATIENCE)

    network.mine.ask("post", "/tell-others")

    told = [("told", ["others"]), ("told", ["all others"])]
    assert network.received(network.here) == ([], told)


def test_a_room_without_members_and_no_room_at_all_reach_no_socket(
    network: WorkersWithoutRooms,
) -> None:
    network.here.sockets.broadcast("empty", "event", 1)
    network.here.sockets.broadcast([], "event", 1)

    assert network.received(network.here) == ([], [])


# -- the promises -----------------------------------------------------------------------------


@pytest.mark.parametrize("speaker", ["here", "there", "third"])
def test_after_a_confirmed_leave_no_worker_reaches_the_socket_in_the_room(
    network: WorkersWithoutRooms, speaker: str
) -> None:
    network.third.sockets.join(network.both, "red").result(PATIENCE)

    network.here.sockets.leave(network.both, "red").result(PATIENCE)
    getattr(network, speaker).sockets.broadcast("red", "event", "too late")

    assert network.received(getattr(network, speaker)) == ([], [])


def test_what_one_caller_does_happens_in_that_order_without_waiting(
    network: WorkersWithoutRooms,
) -> None:
    calls = network.here.sockets
    expected = []

    for number in range(50):
        calls.join(network.both, "red")
        calls.broadcast("red", "event", number)
        calls.leave(network.both, "red")
        calls.broadcast("red", "event", "never")
        expected.append(("event", [number]))

    assert network.received(network.here) == (expected, expected)


def test_a_reply_to_a_broadcast_comes_after_it(network: WorkersWithoutRooms) -> None:
    """A reply to an event arrives at every socket after the event."""
    calls = network.here.sockets
    calls.join(network.both, "red").result(PATIENCE)

    calls.broadcast("red", "event", "question")
    fence(network.here, network.other)
    network.there.sockets.broadcast("red", "event", "answer")

    fence(network.there, network.mine)
    assert network.mine.received() == [("event", ["question"]), ("event", ["answer"])]


def test_an_application_with_its_own_socketio_works_the_same(cluster: LocalCluster) -> None:
    app = make_app()
    rooms = Rooms(app, SocketIO(), backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)
    client = worker.connect()

    assert rooms.sockets.join(client.sid, "red").result() == Outcome(1, 0)
