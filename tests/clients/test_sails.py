"""
What Sails does with sockets and rooms, on five workers, and what we do where Sails slips.

The order is that of Sails' own documentation: leave and join, the calls for whole rooms, then
broadcast and blast. Nothing pauses between a callback and what is checked after it.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from flask import Flask, request

from flask_rooms import (
    InvalidArgument,
    InvalidRoom,
    InvalidSocket,
    NotASocketRequest,
    Outcome,
    Unconfirmed,
    sockets,
)
from flask_rooms.api.events import DEFAULT_EVENT
from flask_rooms.protocol.ids import new_sid, new_worker_name
from flask_rooms.protocol.messages import Change, Done
from tests.support.apps import PATIENCE, LocalCluster, Wire, Worker, fence, make_app
from tests.support.brokers import Broker
from tests.support.clients import Client as RealClient
from tests.support.faults import FaultyBackend
from tests.support.workers import Worker as Process
from tests.support.workers import cluster as processes

pytestmark = pytest.mark.mode_independent

each_worker = pytest.mark.parametrize("caller", range(5))
each_way = pytest.mark.parametrize("action", ["join", "leave"])

#: What is neither a room's name nor a list of them.
NO_ROOM = [
    pytest.param(None, id="undefined"),
    pytest.param(42, id="number"),
    pytest.param(True, id="boolean"),
    pytest.param(b"fun", id="bytes"),
    pytest.param({"fun": 1}, id="object"),
    pytest.param("", id="empty"),
    pytest.param(["fun", None], id="undefined in a list"),
    pytest.param(["fun", 42], id="number in a list"),
]


class Five:
    """Five workers with a new socket each, all of them in the room "lobby"."""

    def __init__(self, cluster: LocalCluster, workers: list[Worker]) -> None:
        self.cluster, self.workers = cluster, workers
        self.clients = [worker.connect() for worker in workers]
        self.sids = [client.sid for client in self.clients]
        called_back(partial(self.workers[0].sockets.join, self.sids, "lobby"))

    def where(self) -> list[set[str]]:
        """Return the rooms of each socket, but "lobby" and that of its own ID."""
        pairs = zip(self.workers, self.clients, strict=True)
        return [worker.rooms_of(client) - {"lobby"} for worker, client in pairs]

    def received(self, speaker: Worker) -> list[Any]:
        """Return what each socket has received of what *speaker* has sent so far."""
        for client in self.clients:
            fence(speaker, client)
        return [client.received() for client in self.clients]

    def published(self, wire: Wire) -> list[list[type]]:
        """Return the kinds of the messages that each worker has published."""
        return [[type(one) for one in sent] for sent in wire.published_by_all(*self.workers)]


def called_back(call: Callable[..., object]) -> None:
    """Return when *call* has called its callback, without an error."""
    called: queue.Queue[BaseException | None] = queue.Queue()
    call(callback=called.put)
    assert called.get(timeout=PATIENCE) is None


def make_five_app() -> Flask:
    """Return an application with the controller actions that Sails' documentation shows."""
    app = make_app()

    @app.put("/<any(join, leave):action>/<room>")
    def act(action: str, room: str) -> dict[str, Any]:
        getattr(sockets, action)(request, room)
        return {"message": f"{action} {room}"}

    @app.post("/tell/<room>")
    def tell(room: str) -> dict[str, Any]:
        sockets.broadcast(room, {"hello": "others"}, omit=request)
        sockets.blast({"hello": "all others"}, omit=request)
        return {"id": sockets.get_id(request)}

    @app.post("/tell-as-in-sails/<room>")
    def tell_as_in_sails(room: str) -> dict[str, Any]:
        for data in ({"hello": "others"}, "hello"):
            with pytest.raises(InvalidArgument):
                sockets.broadcast(room, data, request)
            with pytest.raises(InvalidArgument):
                sockets.blast(data, request)
        return {}

    return app


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def wire(cluster: LocalCluster) -> Wire:
    """Hears all that the workers publish, so that it knows an answer of an earlier test again."""
    return cluster.listen()


@pytest.fixture(scope="module")
def workers(cluster: LocalCluster, wire: Wire) -> list[Worker]:
    """Five workers that know each other, each heard by the wire from the beginning."""
    assert wire
    workers = [cluster.worker(make_five_app()) for _ in range(5)]
    for worker in workers:
        worker.sockets.count("lobby")
    return workers


@pytest.fixture
def five(cluster: LocalCluster, workers: list[Worker]) -> Iterator[Five]:
    five = Five(cluster, workers)
    yield five
    for client in five.clients:
        client.disconnect()


# == 1. leave and join ============================================================================
# -- sockets --------------------------------------------------------------------------------------


def test_a_socket_request_joins_and_leaves_its_socket(five: Five) -> None:
    for worker, client in zip(five.workers, five.clients, strict=True):
        assert client.ask("put", "/join/fun")["body"] == {"message": "join fun"}
        assert worker.rooms_of(client) == {"lobby", "fun"}

        assert client.ask("put", "/leave/fun")["body"] == {"message": "leave fun"}
        assert worker.rooms_of(client) == {"lobby"}


@each_worker
def test_a_socket_of_any_worker_joins_and_leaves_by_its_id(five: Five, caller: int) -> None:
    calls, asked = five.workers[caller].sockets, five.workers[caller - 1].sockets
    for number, sid in enumerate(five.sids):
        called_back(partial(calls.join, sid, "fun"))
        assert asked.members("fun").value == {sid}
        assert five.where()[number] == {"fun"}

        called_back(partial(calls.leave, sid, "fun"))
        assert asked.members("fun").value == frozenset()
        assert five.where()[number] == set()


@each_worker
def test_a_list_is_taken_one_by_one(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets

    called_back(partial(calls.join, five.sids, "fun"))
    assert five.where() == [{"fun"}] * 5
    called_back(partial(calls.leave, five.sids[1:4], "fun"))
    assert five.where() == [{"fun"}, set(), set(), set(), {"fun"}]


def test_a_socket_of_this_worker_is_done_on_return(five: Five) -> None:
    """The callback has been called by then, too."""
    for number, worker in enumerate(five.workers):
        called: list[BaseException | None] = []

        worker.sockets.join(five.sids[number], "fun", called.append)
        assert (five.where()[number], called) == ({"fun"}, [None])
        worker.sockets.leave(five.sids[number], "fun", called.append)
        assert (five.where()[number], called) == (set(), [None, None])


def test_slip_an_http_request_is_an_error_and_no_warning(five: Five) -> None:
    for worker in five.workers:
        with worker.app.test_request_context("/"):
            for action in ("join", "leave"):
                for given in (request, [five.sids[0], request]):
                    with pytest.raises(NotASocketRequest, match=r"check `request.is_socket`"):
                        getattr(sockets, action)(given, "lobby")
    assert five.workers[0].sockets.count("lobby").value == 5


@each_way
@pytest.mark.parametrize("value", [None, 42, True, {"id": 1}, object(), 1.5, b"id"])
def test_slip_what_is_no_socket_is_an_error_and_never_nothing(
    five: Five, action: str, value: Any
) -> None:
    """Also in a list, of which then nothing is done: not half of it."""
    for given in (value, [*five.sids, value]):
        with pytest.raises(InvalidSocket):
            getattr(five.workers[0].sockets, action)(given, ["fun", "lobby"])

    assert five.where() == [set()] * 5
    assert five.workers[0].sockets.count("lobby").value == 5


@each_way
@each_worker
def test_slip_a_room_is_never_taken_for_a_socket(five: Five, action: str, caller: int) -> None:
    """In Sails, leave("lobby", "lobby") removes all its members."""
    for given in ("lobby", ["lobby"], [*five.sids, "lobby"]):
        with pytest.raises(InvalidSocket, match="a room name is never accepted"):
            getattr(five.workers[caller].sockets, action)(given, "lobby")

    assert five.workers[caller].sockets.count("lobby").value == 5


@each_way
@each_worker
def test_slip_ids_that_no_worker_holds_are_reported(five: Five, action: str, caller: int) -> None:
    """And they are no error: who is gone is in no room."""
    unknown = [new_sid(worker.name) for worker in five.workers] + [new_sid(new_worker_name())]

    future = getattr(five.workers[caller].sockets, action)([*five.sids, *unknown], "lobby")

    outcome = future.result(PATIENCE)
    assert set(outcome.unknown) == set(unknown)
    assert outcome.changed + outcome.unchanged == 5


# -- the callback ---------------------------------------------------------------------------------


@each_way
@each_worker
def test_the_callback_is_called_exactly_once(five: Five, action: str, caller: int) -> None:
    calls = five.workers[caller].sockets
    called: queue.Queue[tuple[int, BaseException | None]] = queue.Queue()
    unknown = new_sid(new_worker_name())
    given: list[Any] = [*five.sids, five.sids, [], unknown, [*five.sids, unknown]]

    def tell(number: int) -> Callable[[BaseException | None], object]:
        return lambda error: called.put((number, error))

    for number, sids in enumerate(given):
        getattr(calls, action)(sids, "fun", tell(number))

    errors = [called.get(timeout=PATIENCE) for _ in given]
    assert sorted(errors) == [(number, None) for number in range(len(given))]
    called_back(partial(calls.leave, five.sids[caller - 1], "fun"))
    assert called.empty()


def test_slip_the_callback_gets_the_error() -> None:
    """In Sails it is called without arguments, whatever has happened."""
    with LocalCluster() as cluster:
        backend = FaultyBackend(cluster.hub)
        here = cluster.worker(heartbeat_interval=0.5, confirm_timeout=0.3)
        there = cluster.worker(backend=backend, heartbeat_interval=0.5)
        client = there.connect()
        fence(here, client)
        backend.mute = True

        errors: queue.Queue[BaseException | None] = queue.Queue()
        here.sockets.leave(client.sid, "fun", errors.put)

        error = errors.get(timeout=PATIENCE)
        assert isinstance(error, Unconfirmed)
        assert error.workers == (there.name,)


@each_worker
def test_slip_the_callback_waits_for_the_workers_that_hold_the_sockets(
    five: Five, caller: int
) -> None:
    """In Sails it comes at once, with the change still under way; hence no pause here."""
    calls = five.workers[caller].sockets

    for number in range(20):
        called_back(partial(calls.join, five.sids, f"room {number}"))
        assert five.where() == [{f"room {number}"}] * 5
        called_back(partial(calls.leave, five.sids, f"room {number}"))
        assert five.where() == [set()] * 5


# -- rooms ----------------------------------------------------------------------------------------


@each_worker
def test_slip_a_list_of_rooms_works_alike_for_join_and_leave_here_and_there(
    five: Five, caller: int
) -> None:
    """In Sails a local socket leaves none of them, and a remote one all."""
    calls = five.workers[caller].sockets

    called_back(partial(calls.join, five.sids, ["a", "b", "c"]))
    assert five.where() == [{"a", "b", "c"}] * 5
    called_back(partial(calls.leave, five.sids, ["a", "c", "d"]))
    assert five.where() == [{"b"}] * 5


@each_way
@pytest.mark.parametrize("room", NO_ROOM)
def test_slip_what_is_no_room_is_an_error_and_changes_nothing(
    five: Five, action: str, room: Any
) -> None:
    """In Sails undefined is a room of that name, or none, and each server warns of the others."""
    for worker in five.workers:
        with pytest.raises(InvalidRoom):
            getattr(worker.sockets, action)(five.sids, room)

    assert five.where() == [set()] * 5
    assert five.workers[0].sockets.rooms().value == {"lobby": 5}


@each_worker
def test_leaving_without_being_a_member_is_nothing(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids[:2], "fun"))

    called_back(partial(calls.leave, five.sids[2:], "fun"))
    called_back(partial(calls.leave, five.sids, "empty"))

    assert five.where() == [{"fun"}] * 2 + [set()] * 3


@each_worker
def test_joining_twice_is_joining_once(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets
    for _ in range(2):
        called_back(partial(calls.join, five.sids, "fun"))

    calls.broadcast("fun", "event", 1)
    assert five.received(five.workers[caller]) == [[("event", [1])]] * 5
    called_back(partial(calls.leave, five.sids, "fun"))
    assert five.where() == [set()] * 5


@each_worker
def test_a_socket_may_leave_the_room_of_its_own_id(five: Five, caller: int) -> None:
    """Nothing that is sent to its ID reaches it then."""
    calls = five.workers[caller].sockets
    for sid in five.sids:
        calls.broadcast(sid, "event", "before")
        called_back(partial(calls.leave, sid, sid))
        calls.broadcast(sid, "event", "after")

    assert five.received(five.workers[caller]) == [[("event", ["before"])]] * 5


@each_worker
def test_every_socket_is_in_the_room_of_its_own_id(five: Five, caller: int) -> None:
    for number, sid in enumerate(five.sids):
        five.workers[caller].sockets.broadcast(sid, "event", number)

    received = five.received(five.workers[caller])
    assert received == [[("event", [number])] for number in range(5)]


# -- the order ------------------------------------------------------------------------------------


@each_worker
def test_slip_an_event_after_a_leave_never_reaches_the_socket_that_left(
    five: Five, caller: int
) -> None:
    """In Sails the two go different ways, and may overtake each other."""
    calls = five.workers[caller].sockets

    for number in range(40):
        calls.join(five.sids, "fun")
        calls.broadcast("fun", "event", number)
        calls.leave(five.sids, "fun")
        calls.broadcast("fun", "event", "late")

    expected = [("event", [number]) for number in range(40)]
    assert five.received(five.workers[caller]) == [expected] * 5


@each_worker
@pytest.mark.parametrize("speaker", [1, 2])
def test_slip_after_the_callback_every_worker_has_it(five: Five, caller: int, speaker: int) -> None:
    """Sails' documentation warns that a broadcast right after a join may miss it."""
    calls, speaking = five.workers[caller].sockets, five.workers[caller - speaker]

    called_back(partial(calls.join, five.sids, "fun"))
    speaking.sockets.broadcast("fun", "event", "in time")
    assert five.received(speaking) == [[("event", ["in time"])]] * 5
    called_back(partial(calls.leave, five.sids, "fun"))
    speaking.sockets.broadcast("fun", "event", "too late")
    assert five.received(speaking) == [[]] * 5


# == 2. whole rooms ===============================================================================


@each_worker
def test_members_are_added_to_a_room_and_to_several(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets

    called_back(partial(calls.add_room_members_to_rooms, "lobby", "fun"))
    assert five.where() == [{"fun"}] * 5
    called_back(partial(calls.add_room_members_to_rooms, "fun", ["a", "b"]))
    assert five.where() == [{"fun", "a", "b"}] * 5


@each_worker
def test_members_are_removed_from_a_room_and_from_several(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids, ["fun", "a", "b"]))

    called_back(partial(calls.remove_room_members_from_rooms, "lobby", "fun"))
    assert five.where() == [{"a", "b"}] * 5
    called_back(partial(calls.remove_room_members_from_rooms, "a", ["a", "b"]))
    assert five.where() == [set()] * 5


@each_worker
def test_only_the_members_are_meant(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids[1:3], "some"))

    called_back(partial(calls.add_room_members_to_rooms, "some", "fun"))
    called_back(partial(calls.remove_room_members_from_rooms, "empty", "fun"))

    assert five.where() == [set(), {"some", "fun"}, {"some", "fun"}, set(), set()]


@pytest.mark.parametrize("call", ["add_room_members_to_rooms", "remove_room_members_from_rooms"])
@pytest.mark.parametrize("source", [None, 42, True, ["lobby"], object(), b"lobby", ""])
def test_whose_members_is_named_by_a_string(five: Five, call: str, source: Any) -> None:
    for worker in five.workers:
        with pytest.raises(InvalidRoom):
            getattr(worker.sockets, call)(source, "lobby")

    assert five.workers[0].sockets.rooms().value == {"lobby": 5}


@pytest.mark.parametrize("call", ["add_room_members_to_rooms", "remove_room_members_from_rooms"])
@pytest.mark.parametrize("rooms", NO_ROOM)
def test_slip_rooms_that_are_none_are_an_error_and_change_nothing(
    five: Five, call: str, rooms: Any
) -> None:
    """In Sails those that are none are skipped, with a warning that names the wrong call."""
    for worker in five.workers:
        with pytest.raises(InvalidRoom):
            getattr(worker.sockets, call)("lobby", rooms)

    assert five.workers[0].sockets.rooms().value == {"lobby": 5}


def test_the_id_of_a_socket_here_needs_no_message(five: Five, wire: Wire) -> None:
    five.published(wire)
    for number, worker in enumerate(five.workers):
        calls, sid = worker.sockets, five.sids[number]
        called: list[BaseException | None] = []
        calls.add_room_members_to_rooms(sid, ["a", "b"], called.append)
        calls.remove_room_members_from_rooms(sid, "a", called.append)
        assert five.where()[number] == {"b"}
        calls.leave_all(sid, called.append)
        assert five.where()[number] == set()
        assert called == [None] * 3

    assert five.published(wire) == [[]] * 5


@each_worker
def test_the_id_of_a_socket_elsewhere_is_a_room_of_one(five: Five, caller: int) -> None:
    calls, number = five.workers[caller].sockets, caller - 1
    called_back(partial(calls.add_room_members_to_rooms, five.sids[number], ["a", "b"]))
    called_back(partial(calls.remove_room_members_from_rooms, five.sids[number], "a"))

    where = five.where()
    assert where.pop(number) == {"b"}
    assert where == [set()] * 4


@each_worker
@pytest.mark.parametrize("call", ["add", "remove", "leave_all"])
def test_slip_a_room_is_one_message_and_one_answer_from_each_other_worker(
    five: Five, wire: Wire, caller: int, call: str
) -> None:
    """In Sails each server that hears of it asks all others: about 25 messages for five."""
    calls = five.workers[caller].sockets
    five.published(wire)

    called_back(
        {
            "add": partial(calls.add_room_members_to_rooms, "lobby", "fun"),
            "remove": partial(calls.remove_room_members_from_rooms, "lobby", "fun"),
            "leave_all": partial(calls.leave_all, "lobby"),
        }[call]
    )

    sent = five.published(wire)
    assert sent.pop(caller) == [Change]
    assert sent == [[Done]] * 4


@each_worker
def test_slip_the_callback_of_a_room_waits_for_every_worker(five: Five, caller: int) -> None:
    """In Sails it comes when the server that was called has done its own part."""
    calls = five.workers[caller].sockets

    for number in range(10):
        called_back(partial(calls.add_room_members_to_rooms, "lobby", f"room {number}"))
        assert five.where() == [{f"room {number}"}] * 5
        called_back(partial(calls.leave_all, "lobby"))
        assert five.where() == [set()] * 5
        called_back(partial(calls.join, five.sids, "lobby"))


# -- leave_all ------------------------------------------------------------------------------------


@each_worker
def test_leave_all_takes_the_members_of_a_room_out_of_all_rooms(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids[:3], ["some", "a"]))
    called_back(partial(calls.join, five.sids, "b"))

    called_back(partial(calls.leave_all, "some"))

    assert five.where() == [set()] * 3 + [{"b"}] * 2
    assert calls.members("lobby").value == set(five.sids[3:])


@each_worker
def test_leave_all_keeps_the_room_of_the_own_id(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets

    called_back(partial(calls.leave_all, "lobby"))

    for number, sid in enumerate(five.sids):
        calls.broadcast(sid, "event", number)
    received = five.received(five.workers[caller])
    assert received == [[("event", [number])] for number in range(5)]


@each_worker
def test_leave_all_takes_an_id_as_well(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids, ["a", "b"]))
    for sid in five.sids[::2]:
        called_back(partial(calls.leave_all, sid))

    assert five.where() == [set(), {"a", "b"}, set(), {"a", "b"}, set()]
    assert calls.members("lobby").value == set(five.sids[1::2])


@pytest.mark.parametrize("option", ["includeSocketRooms", "includeSourceRoom"])
def test_slip_leave_all_has_no_options_that_other_workers_do_not_hear_of(
    five: Five, option: str
) -> None:
    options: Any = {option: True}
    with pytest.raises(TypeError):
        five.workers[0].sockets.leave_all("lobby", **options)
    with pytest.raises(InvalidArgument):
        five.workers[0].sockets.leave_all("lobby", options)

    assert five.workers[0].sockets.count("lobby").value == 5


# -- broadcast and blast --------------------------------------------------------------------------


@each_worker
def test_a_broadcast_reaches_the_members_on_every_worker(five: Five, caller: int) -> None:
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids[1:4], "fun"))

    calls.broadcast("fun", "event", {"with": ["data"]})

    got = [("event", [{"with": ["data"]}])]
    assert five.received(five.workers[caller]) == [[], got, got, got, []]


@each_worker
def test_a_blast_reaches_every_socket(five: Five, caller: int) -> None:
    five.workers[caller].sockets.blast("event", {"with": ["data"]})

    assert five.received(five.workers[caller]) == [[("event", [{"with": ["data"]}])]] * 5


def test_without_an_event_it_is_message(five: Five) -> None:
    calls = five.workers[2].sockets

    calls.broadcast("lobby", {"an": "object"})
    calls.blast(["a", "list"])
    calls.broadcast(["lobby"], "a string is data, too")

    assert DEFAULT_EVENT == "message"
    sent = [{"an": "object"}, ["a", "list"], "a string is data, too"]
    assert five.received(five.workers[2]) == [[("message", data) for data in sent]] * 5


@each_worker
def test_slip_a_socket_in_several_of_the_rooms_gets_one_copy(five: Five, caller: int) -> None:
    """In Sails there is one for each room."""
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids[:3], ["a", "b", "c"]))

    calls.broadcast(["a", "b", "c", "a", five.sids[0], five.sids[4]], "event", 1)

    got = [("event", [1])]
    assert five.received(five.workers[caller]) == [got, got, got, [], got]


@each_worker
def test_slip_the_sender_is_left_out_without_an_event_as_well(five: Five, caller: int) -> None:
    """In Sails broadcast(room, data, req) and blast(data, req) leave no socket out."""
    speaker = five.clients[caller]

    assert speaker.ask("post", "/tell/lobby")["body"] == {"id": speaker.sid}

    got = [("message", {"hello": "others"}), ("message", {"hello": "all others"})]
    received = five.received(five.workers[caller])
    assert received.pop(caller) == []
    assert received == [got] * 4


def test_slip_the_sender_as_a_third_argument_is_an_error_and_nothing_is_sent(five: Five) -> None:
    """What Sails takes and forgets has to be written as omit=."""
    answer = five.clients[0].ask("post", "/tell-as-in-sails/lobby")

    assert answer["statusCode"] == 200
    assert five.received(five.workers[0]) == [[]] * 5


@each_worker
def test_slip_an_id_is_left_out_wherever_it_is(five: Five, caller: int) -> None:
    """In Sails only a request or a socket is, and an ID is ignored."""
    calls = five.workers[caller].sockets

    calls.broadcast("lobby", "event", 1, omit=five.sids[0])
    calls.blast("event", 2, omit=[five.sids[1], five.sids[4]])

    one, two = ("event", [1]), ("event", [2])
    received = five.received(five.workers[caller])
    assert received == [[two], [one], [one, two], [one, two], [one]]


def test_slip_an_http_request_cannot_be_left_out_and_that_is_said(five: Five) -> None:
    """In Sails it is ignored, and the sender hears itself."""
    worker = five.workers[0]
    with worker.app.test_request_context("/"):
        for call in (partial(sockets.broadcast, "lobby"), sockets.blast):
            with pytest.raises(NotASocketRequest, match=r"check `request.is_socket`"):
                call("event", 1, omit=request)

    assert five.received(worker) == [[]] * 5


# -- get_id, and what else there is ---------------------------------------------------------------


def test_get_id_is_the_id_that_the_client_knows(five: Five) -> None:
    for client in five.clients:
        assert client.ask("post", "/tell/empty")["body"] == {"id": client.sid}


def test_slip_get_id_of_an_http_request_is_an_error_and_not_undefined(five: Five) -> None:
    with five.workers[0].app.test_request_context("/"), pytest.raises(NotASocketRequest):
        sockets.get_id(request)


@each_worker
def test_slip_what_sails_removed_since_it_was_wrong_in_a_cluster_is_right(
    five: Five, caller: int
) -> None:
    """Its rooms, socketRooms and subscribers knew of one server only."""
    calls = five.workers[caller].sockets
    called_back(partial(calls.join, five.sids[1:], "fun"))

    assert calls.rooms().value == {"lobby": 5, "fun": 4}
    assert calls.members("fun").value == set(five.sids[1:])
    assert [calls.rooms_of(sid).value for sid in five.sids[:2]] == [
        {"lobby"},
        {"lobby", "fun"},
    ]


def test_slip_a_worker_does_not_repeat_what_it_receives(five: Five, wire: Wire) -> None:
    """Sails sees to it with a flag that each call of its own has to pass on."""
    five.published(wire)

    called_back(partial(five.workers[0].sockets.leave, five.sids[1:], "lobby"))
    called_back(partial(five.workers[0].sockets.disconnect, new_sid(five.workers[3].name)))

    assert five.published(wire) == [[Change, Change], [Done], [Done], [Done] * 2, [Done]]


def test_slip_applications_with_channels_of_their_own_do_not_hear_each_other(five: Five) -> None:
    """In Sails a key of one's own makes the names of two different things the same."""
    other = LocalCluster().worker(backend_url=five.cluster.hub, channel="another")
    client = other.connect()
    other.sockets.join(client.sid, "lobby").result(0)

    assert other.sockets.leave_all("lobby").result(PATIENCE) == Outcome(changed=1)
    other.sockets.blast("event", 1)
    five.workers[0].sockets.blast("event", 2)

    assert other.sockets.count("lobby").value == 0
    assert five.workers[0].sockets.count("lobby").value == 5
    assert five.received(five.workers[0]) == [[("event", [2])]] * 5
    assert client.received() == [("event", [1])]
    other.cluster.stop()


# == with a broker, and real clients ==============================================================


@pytest.fixture(scope="module")
def five_processes(redis_broker: Broker) -> Iterator[list[Process]]:
    """Five workers that are processes."""
    with processes(redis_broker.url, 5) as workers:
        yield workers


@pytest.fixture
def real(five_processes: list[Process]) -> Iterator[list[RealClient]]:
    """A client of each of them."""
    clients = [RealClient(worker.url) for worker in five_processes]
    yield clients
    for client in clients:
        client.disconnect()


def heard(process: Process, real: list[RealClient]) -> list[list[Any]]:
    """Return what each client has got before a fence that *process* sends it."""
    received: list[list[Any]] = []
    for client in real:
        process.post("/broadcast", rooms=client.sid, say=["fence", 1])
        received.append([])
        while (event := client.receive()) != ["fence", 1]:
            received[-1].append(event)
    return received


def test_with_redis_each_worker_takes_out_the_sockets_of_each_other(
    five_processes: list[Process], real: list[RealClient]
) -> None:
    """When the callback has been called, the worker asked next says so, too."""
    sids = [client.sid for client in real]
    for number, process in enumerate(five_processes):
        process.post("/join", sids=sids, rooms="fun")
        asked = five_processes[number - 1]
        assert asked.post("/ask", room="fun", sid=sids[0])["members"] == sorted(sids)

        called = process.post("/leave-with-callbacks", sids=sids, rooms="fun", times=1)

        assert called == {"errors": [None], "again": 0}
        assert asked.post("/ask", room="fun", sid=sids[0])["members"] == []
        asked.post("/broadcast", rooms="fun", say=["late", 1])
        assert heard(asked, real) == [[]] * 5


def test_with_redis_an_event_after_a_leave_never_reaches_the_socket_that_left(
    five_processes: list[Process], real: list[RealClient]
) -> None:
    sids = [client.sid for client in real]
    for process in five_processes:
        process.post("/leave-all-then-broadcast", source="source", sids=sids, rooms="fun", times=20)

        expected = [[sent, number] for number in range(20) for sent in ("in", "fence")]
        for client in real:
            assert [client.receive() for _ in range(40)] == expected


def test_with_redis_a_change_of_a_whole_room_is_done_when_it_is_confirmed(
    five_processes: list[Process], real: list[RealClient]
) -> None:
    sids = [client.sid for client in real]
    for number, process in enumerate(five_processes):
        other = five_processes[number - 2]
        process.post("/join", sids=sids, rooms="lobby")
        added = process.post("/add-members", source="lobby", rooms=["a", "b"])
        assert added["changed"] == 10
        other.post("/broadcast", rooms=["a", "b", "lobby"], say=["once", 1], omit=sids[:1])
        assert heard(other, real) == [[], *[[["once", 1]]] * 4]
        assert process.post("/remove-members", source="a", rooms="b")["changed"] == 5
        assert other.post("/ask", room="b", sid=sids[0])["count"] == 0
        assert process.post("/leave-all", rooms="lobby")["changed"] == 10
        assert other.post("/ask", room="a", sid=sids[0])["rooms"] == {}
