"""Calls for whole rooms: the members on every worker leave all, join or leave other rooms."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import flask_socketio
import pytest
from flask import Flask, request

from flask_rooms import (
    InvalidArgument,
    InvalidRoom,
    InvalidSocket,
    NotASocketRequest,
    Outcome,
    Refused,
    Rooms,
    Unconfirmed,
    sockets,
)
from flask_rooms.api.sockets import Sockets
from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.ids import new_sid, new_worker_name
from flask_rooms.protocol.messages import Change, Done, Emit
from tests.support.apps import HEARTBEAT, PATIENCE, Client, LocalCluster, Worker, fence, make_app
from tests.support.faults import FaultyBackend
from tests.support.networks import ThreeWorkers
from tests.unit.api.test_arguments import (
    BAD_NAMESPACES,
    BAD_ROOMS,
    BAD_SOCKETS,
    UntouchedWorkers,
)

pytestmark = pytest.mark.mode_independent

#: Seconds; long enough for a worker that is mute not to be dead when the waiting is over.
SLOW_HEARTBEAT = 0.5

#: What a call for a room returns, by the three calls that there are.
CALLS: dict[str, Callable[[Sockets, str], Future[Outcome]]] = {
    "leave_all": lambda calls, room: calls.leave_all(room),
    "add": lambda calls, room: calls.add_room_members_to_rooms(room, "new"),
    "remove": lambda calls, room: calls.remove_room_members_from_rooms(room, "red"),
}


def make_app_with_routes() -> Flask:
    """Return an application whose routes and events act for the socket that asks."""
    app = make_app()

    @app.put("/leave-all")
    def leave_all() -> dict[str, int]:
        return {"changed": sockets.leave_all(request).result(0).changed}

    @app.put("/leave-all-with")
    def leave_all_with() -> dict[str, int]:
        outcome = sockets.leave_all([request, *request.get_json()]).result(PATIENCE)
        return {"changed": outcome.changed}

    return app


def speak(omit: str, data: Any) -> None:
    """Say something to two rooms and to all, without the socket itself, however it is given."""
    me: Any = {"request": request, "own id": sockets.get_id(request), "list": [request]}[omit]
    sockets.broadcast(["red", "blue"], "said", data, omit=me)
    sockets.blast("blasted", data, omit=me)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_workers() -> Iterator[LocalCluster]:
    """A cluster of three workers."""
    with LocalCluster() as cluster:
        for _ in range(3):
            worker = cluster.worker(make_app_with_routes())
            worker.socketio.on("event", namespace="/chat")(print)
            worker.socketio.on_event("speak", speak)
        yield cluster


@pytest.fixture
def network(three_workers: LocalCluster) -> Iterator[ThreeWorkers]:
    network = ThreeWorkers(three_workers)
    network.join(network.both, "lobby")
    yield network
    network.close()


callers = pytest.mark.parametrize("caller", [0, 1, 2], ids=["here", "there", "third"])


# -- what the outcome says ------------------------------------------------------------------------


@callers
def test_all_members_of_a_room_leave_all_rooms(network: ThreeWorkers, caller: int) -> None:
    network.join(network.both, "red")
    network.join([network.mine.sid, network.elsewhere.sid], "blue")

    outcome = network.workers[caller].sockets.leave_all("lobby").result(PATIENCE)

    assert outcome == Outcome(changed=5)
    assert network.rooms == [set(), set(), set(), {"blue"}]
    assert network.workers[caller].sockets.leave_all("lobby").result(PATIENCE) == Outcome()


@callers
def test_all_members_of_a_room_join_others(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets
    network.join([network.mine.sid, network.elsewhere.sid], "red")

    outcome = calls.add_room_members_to_rooms("lobby", ["red", "blue"]).result(PATIENCE)

    assert outcome == Outcome(changed=3, unchanged=1)
    members = {"lobby", "red", "blue"}
    assert network.rooms == [members, set(), members, {"red"}]
    again = calls.add_room_members_to_rooms("lobby", {"blue"}).result(PATIENCE)
    assert again == Outcome(unchanged=2)


@callers
def test_all_members_of_a_room_leave_others(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets
    network.join([network.mine.sid, network.elsewhere.sid], ["red", "blue"])

    outcome = calls.remove_room_members_from_rooms("lobby", iter(["red", "blue"])).result(PATIENCE)

    assert outcome == Outcome(changed=2, unchanged=2)
    assert network.rooms == [{"lobby"}, set(), {"lobby"}, {"red", "blue"}]
    again = calls.remove_room_members_from_rooms("lobby", "red").result(PATIENCE)
    assert again == Outcome(unchanged=2)


@callers
def test_a_room_is_emptied_by_its_own_name(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets

    assert calls.remove_room_members_from_rooms("lobby", "lobby").result(PATIENCE) == Outcome(2)

    assert network.rooms == [set()] * 4


@callers
@pytest.mark.parametrize("call", CALLS)
def test_a_room_without_members_changes_nothing(
    network: ThreeWorkers, caller: int, call: str
) -> None:
    calls = network.workers[caller].sockets

    assert CALLS[call](calls, "empty").result(PATIENCE) == Outcome()
    assert network.rooms == [{"lobby"}, set(), {"lobby"}, set()]


@callers
def test_one_socket_is_a_room_of_its_own(network: ThreeWorkers, caller: int) -> None:
    """As in Sails, whose calls take an ID where a room is wanted."""
    calls = network.workers[caller].sockets
    for sid in network.both:
        added = calls.add_room_members_to_rooms(sid, ["red", "blue"])
        removed = calls.remove_room_members_from_rooms(sid, ["red", "green"])
        left = calls.leave_all(sid)

        assert added.result(PATIENCE) == Outcome(changed=2)
        assert removed.result(PATIENCE) == Outcome(changed=1, unchanged=1)
        assert left.result(PATIENCE) == Outcome(changed=2)
    assert network.rooms == [set()] * 4


@callers
@pytest.mark.parametrize("call", CALLS)
def test_an_id_that_no_worker_holds_is_unknown(
    network: ThreeWorkers, caller: int, call: str
) -> None:
    calls = network.workers[caller].sockets
    unknown_sids = [new_sid(worker.name) for worker in network.workers]

    for unknown in (*unknown_sids, new_sid(new_worker_name())):
        assert CALLS[call](calls, unknown).result(PATIENCE) == Outcome(unknown=(unknown,))


def test_leave_all_takes_requests_and_ids_one_or_many(network: ThreeWorkers) -> None:
    unknown = new_sid(network.there.name)
    network.join([client.sid for client in network.clients], ["red", "blue"])

    assert network.mine.ask("put", "/leave-all")["body"] == {"changed": 3}
    assert network.mine.ask("put", "/leave-all")["body"] == {"changed": 0}
    both = [network.elsewhere.sid, unknown]
    assert network.third.sockets.leave_all(both).result(PATIENCE) == Outcome(2, 0, (unknown,))
    answer = network.idle.ask("put", "/leave-all-with", [network.other.sid])
    assert answer["body"] == {"changed": 5}
    assert network.rooms == [set()] * 4
    assert network.third.sockets.leave_all([]).result(0) == Outcome()


def test_another_namespace_is_another_matter(network: ThreeWorkers) -> None:
    chatting = network.there.connect("/chat")
    calls = network.here.sockets
    calls.join(chatting.sid, ["lobby", "red"], namespace="/chat").result(PATIENCE)
    network.join(network.both, "red")

    removed = calls.remove_room_members_from_rooms("lobby", "red", namespace="/chat")
    assert removed.result(PATIENCE) == Outcome(changed=1)
    assert network.there.rooms_of(chatting) == {"lobby"}
    added = calls.add_room_members_to_rooms("lobby", "blue", namespace="/chat")
    assert added.result(PATIENCE) == Outcome(changed=1)
    assert calls.leave_all("lobby", namespace="/chat").result(PATIENCE) == Outcome(changed=2)
    assert calls.leave_all("lobby", namespace="/none").result(PATIENCE) == Outcome()
    unknown = calls.leave_all(network.both, namespace="/chat").result(PATIENCE).unknown
    assert set(unknown) == set(network.both)
    assert network.rooms == [{"lobby", "red"}, set(), {"lobby", "red"}, set()]


def test_a_request_brings_its_namespace(network: ThreeWorkers) -> None:
    chatting = network.there.connect("/chat")
    network.there.sockets.join(chatting.sid, "lobby", namespace="/chat").result(0)

    assert chatting.ask("put", "/leave-all")["body"] == {"changed": 1}
    assert network.there.rooms_of(chatting) == set()
    assert network.rooms == [{"lobby"}, set(), {"lobby"}, set()]


# -- a callback -----------------------------------------------------------------------------------


@callers
def test_a_callback_is_called_once_with_none(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets
    called: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()

    def tell(name: str) -> Callable[[BaseException | None], object]:
        return lambda error: called.put((name, error))

    calls.add_room_members_to_rooms("lobby", "red", tell("add")).result(PATIENCE)
    calls.remove_room_members_from_rooms("lobby", "red", tell("remove")).result(PATIENCE)
    calls.leave_all("lobby", tell("leave_all")).result(PATIENCE)

    errors = [called.get(timeout=PATIENCE) for _ in range(3)]
    names = ["add", "leave_all", "remove"]
    assert sorted(errors) == [(name, None) for name in names]
    for client in (network.idle, network.elsewhere):
        calls.leave(client.sid, "red", tell("fence")).result(PATIENCE)
    assert [called.get(timeout=PATIENCE) for _ in range(2)] == [("fence", None)] * 2
    assert called.empty()


# -- while workers come and go --------------------------------------------------------------------


class FaultyNetwork:
    """Two workers, of which the second can fall silent, with a member in the rooms of each."""

    def __init__(self, cluster: LocalCluster, **options: Any) -> None:
        self.backend = FaultyBackend(cluster.hub)
        self.here = cluster.worker(heartbeat_interval=SLOW_HEARTBEAT, **options)
        self.there = cluster.worker(backend=self.backend, heartbeat_interval=SLOW_HEARTBEAT)
        self.mine = {call: self.here.connect() for call in CALLS}
        for call, client in self.mine.items():
            both = [client.sid, self.there.connect().sid]
            self.there.sockets.join(both, [call, "red"]).result(PATIENCE)
        self.here.sockets.count("red")  # returns when it has discovered every worker

    def call_all(self) -> list[Future[Outcome]]:
        """Make each of the calls for a room of its own."""
        return [make(self.here.sockets, room) for room, make in CALLS.items()]


def test_a_worker_that_is_mute_is_named(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=0.3)
    errors: queue.Queue[BaseException | None] = queue.Queue()
    network.backend.mute = True

    futures = network.call_all()
    for future in futures:
        future.add_done_callback(lambda done: errors.put(done.exception()))

    for future in futures:
        with pytest.raises(Unconfirmed) as caught:
            future.result()
        assert caught.value.workers == (network.there.name,)
        error = errors.get(timeout=PATIENCE)
        assert isinstance(error, Unconfirmed)
        assert error.workers == (network.there.name,)
    # What it could do here it has done at once.
    rooms = {call: network.here.rooms_of(client) for call, client in network.mine.items()}
    assert rooms == {"leave_all": set(), "add": {"add", "red", "new"}, "remove": {"remove"}}


def test_what_waits_for_a_worker_ends_with_it(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=PATIENCE)
    network.backend.deaf = network.backend.mute = True

    outcomes = [future.result() for future in network.call_all()]

    assert outcomes == [Outcome(changed=2), Outcome(changed=1), Outcome(changed=1)]


@pytest.mark.parametrize("call", CALLS)
def test_a_worker_in_its_first_moment_reaches_every_socket(
    network: ThreeWorkers, call: str
) -> None:
    with LocalCluster() as cluster:
        cluster.hub = network.hub
        outcome = CALLS[call](cluster.worker().sockets, "lobby").result(PATIENCE)

    assert outcome == Outcome(*{"leave_all": (2, 0), "add": (2, 0), "remove": (0, 2)}[call])


@pytest.mark.parametrize("call", CALLS)
def test_a_worker_that_has_just_joined_is_reached_by_every_other(
    network: ThreeWorkers, call: str
) -> None:
    """Ten times, since it is about the moment between its hello and the others' hearing it."""
    for _ in range(10):
        newcomer = LocalCluster().worker(backend_url=network.hub)
        client = newcomer.connect()
        newcomer.sockets.join(client.sid, ["new lobby", "red"]).result(0)

        outcome = CALLS[call](network.here.sockets, "new lobby").result(PATIENCE)

        assert outcome == Outcome({"leave_all": 2, "add": 1, "remove": 1}[call])
        newcomer.cluster.stop()


# -- the order of what one caller does ------------------------------------------------------------


@callers
def test_an_event_after_a_leave_all_reaches_no_socket(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets

    for number in range(50):
        calls.join(network.both, ["lobby", "red"])
        calls.broadcast("red", "event", number)
        calls.leave_all("lobby")
        calls.broadcast(["lobby", "red"], "event", "late")

    expected = [("event", [number]) for number in range(50)]
    received = network.received(network.workers[caller])
    assert received == [expected, [], expected, []]


@callers
def test_an_event_after_a_removal_reaches_no_socket(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets

    for number in range(50):
        calls.add_room_members_to_rooms("lobby", "red")
        calls.broadcast("red", "event", number)
        calls.remove_room_members_from_rooms("lobby", "red")
        calls.broadcast("red", "event", "late")

    expected = [("event", [number]) for number in range(50)]
    received = network.received(network.workers[caller])
    assert received == [expected, [], expected, []]


@callers
@pytest.mark.parametrize("speaker", [0, 1, 2], ids=["here", "there", "third"])
def test_after_the_outcome_all_workers_agree(
    network: ThreeWorkers, caller: int, speaker: int
) -> None:
    calls, speaking = network.workers[caller].sockets, network.workers[speaker].sockets

    for number in range(20):
        calls.add_room_members_to_rooms("lobby", "red").result(PATIENCE)
        speaking.broadcast("red", "event", number)
        fence(network.workers[speaker], network.mine)
        fence(network.workers[speaker], network.other)
        calls.remove_room_members_from_rooms("lobby", "red").result(PATIENCE)
        speaking.broadcast("red", "event", "late")
        fence(network.workers[speaker], network.mine)
        fence(network.workers[speaker], network.other)

    expected = [("event", [number]) for number in range(20)]
    received = network.received(network.workers[speaker])
    assert received == [expected, [], expected, []]


# -- ten thousand members -------------------------------------------------------------------------


def test_ten_thousand_members_are_one_message(cluster: LocalCluster) -> None:
    """One Change from the caller, and one Done from each other worker; one Emit for a broadcast."""
    # On a busy machine five thousand sockets hold a worker up longer than the tests allow others.
    here, there, third = (
        cluster.worker(heartbeat_interval=2, confirm_timeout=30) for _ in range(3)
    )
    for worker in (here, there):
        sids = [worker.connect().sid for _ in range(5_000)]
        worker.sockets.join(sids, "lobby").result(0)
    wire = cluster.listen()
    here.sockets.count("lobby")  # returns when it has discovered every worker
    wire.published_by_all(here, there, third)

    def cost(call: Callable[[Sockets], Future[Outcome]]) -> tuple[Outcome, list[list[type]]]:
        outcome = call(here.sockets).result(40)
        published = wire.published_by_all(here, there, third)
        return outcome, [[type(operation) for operation in each] for each in published]

    one_each: list[list[type]] = [[Change], [Done], [Done]]
    added = cost(lambda calls: calls.add_room_members_to_rooms("lobby", "red"))
    assert added == (Outcome(10_000), one_each)
    here.sockets.broadcast("red", "event", 1)
    published = wire.published_by_all(here, there)
    assert [[type(operation) for operation in each] for each in published] == [[Emit], []]
    removed = cost(lambda calls: calls.remove_room_members_from_rooms("lobby", "red"))
    assert removed == (Outcome(10_000), one_each)
    assert cost(lambda calls: calls.leave_all("lobby")) == (Outcome(10_000), one_each)


# -- the room of a socket's own ID ----------------------------------------------------------------


def other_ids(network: ThreeWorkers) -> list[str]:
    """Return the IDs whose rooms are no business of `mine`."""
    unknown_sids = [new_sid(worker.name) for worker in network.workers]
    return [network.idle.sid, network.other.sid, network.elsewhere.sid, *unknown_sids]


@callers
def test_no_other_socket_gets_into_the_room_of_an_id(network: ThreeWorkers, caller: int) -> None:
    calls, mine = network.workers[caller].sockets, network.mine.sid
    before = network.rooms
    for sid in other_ids(network):
        for attempt in (
            partial(calls.join, mine, sid),
            partial(calls.join, [mine, sid], sid),
            partial(calls.join, [], ["red", sid]),
            partial(calls.add_room_members_to_rooms, "lobby", sid),
            partial(calls.add_room_members_to_rooms, "lobby", ["red", sid]),
            partial(calls.add_room_members_to_rooms, mine, sid),
        ):
            with pytest.raises(InvalidRoom, match="use another room's name"):
                attempt()
    assert network.rooms == before


def test_flask_socketios_join_room_does_not_get_in_either(network: ThreeWorkers) -> None:
    """It raises what it raises without Flask-Rooms, wherever the socket is that is to join."""
    before = network.rooms
    for worker in network.workers:
        for sid in other_ids(network):
            with worker.app.app_context(), pytest.raises(ValueError, match="sid room"):
                flask_socketio.join_room(sid, sid=network.mine.sid, namespace="/")
    assert network.rooms == before


def test_a_change_that_comes_over_the_wire_does_not_get_in_either(network: ThreeWorkers) -> None:
    """The message is from a worker with a bug, because only workers can sign messages."""
    victims = tuple(network.both)
    for attempt in (
        Change("join", "/", (network.mine.sid,), (network.other.sid, "red")),
        Change("join", "/", (network.other.sid,), (network.mine.sid, "red")),
        Change("join", "/", victims, (network.idle.sid, network.elsewhere.sid)),
        Change("join", "/", (), (network.idle.sid, network.elsewhere.sid), source="lobby"),
    ):
        network.third.cluster.calls.change(attempt).result(PATIENCE)

    assert network.rooms == [{"lobby", "red"}, set(), {"lobby", "red"}, set()]
    network.third.sockets.broadcast(network.idle.sid, "event", "for idle")
    network.third.sockets.broadcast(network.other.sid, "event", "for other")
    received = network.received(network.third)
    assert received == [[], [("event", ["for idle"])], [("event", ["for other"])], []]


def _yes(anything: str) -> bool:
    return True


def _no() -> bool:
    return False


def test_a_guarded_room_is_no_way_in(cluster: LocalCluster) -> None:
    """Even a guard that admits every socket does not open the rooms of socket IDs."""
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    rooms.guard("<path:anything>")(_yes)
    here, there = cluster.adopt(app, rooms), cluster.worker()
    mine, idle = here.connect(), here.connect()

    change = Change("join", "/", (mine.sid,), (idle.sid, "red"))
    assert there.cluster.calls.change(change).result(PATIENCE) == Outcome(1)
    assert here.rooms_of(mine) == {"red"}


@callers
def test_a_socket_may_rejoin_the_room_of_its_own_id(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets
    for sid in network.both:
        assert calls.join(sid, sid).result(PATIENCE) == Outcome(unchanged=1)
        assert calls.add_room_members_to_rooms(sid, sid).result(PATIENCE) == Outcome(unchanged=1)
        assert calls.leave(sid, sid).result(PATIENCE) == Outcome(changed=1)
        assert calls.add_room_members_to_rooms(sid, sid).result(PATIENCE) == Outcome(changed=1)

        calls.broadcast(sid, "event", "again")

    again = [("event", ["again"])]
    assert network.received(network.workers[caller]) == [again, [], again, []]


@callers
def test_leave_all_keeps_a_socket_in_the_room_of_its_own_id(
    network: ThreeWorkers, caller: int
) -> None:
    calls = network.workers[caller].sockets

    assert calls.leave_all("lobby").result(PATIENCE) == Outcome(2)
    for client in network.clients:
        assert calls.leave_all(client.sid).result(PATIENCE) == Outcome()
        calls.broadcast(client.sid, "event", "for you")

    assert network.received(network.workers[caller]) == [[("event", ["for you"])]] * 4


@callers
def test_a_socket_that_has_left_the_room_of_its_own_id_is_like_any_other(
    network: ThreeWorkers, caller: int
) -> None:
    """As in Sails it cannot be spoken to by its ID; its rooms, and what names it, go on."""
    calls = network.workers[caller].sockets
    for sid in network.both:
        removed = calls.remove_room_members_from_rooms(sid, sid).result(PATIENCE)
        assert removed == Outcome(changed=1)

        calls.broadcast(sid, "event", "for no socket")
        calls.broadcast("lobby", "event", sid)
        calls.blast("event", "all", omit=sid)
        assert calls.add_room_members_to_rooms(sid, "red").result(PATIENCE) == Outcome(1)
        assert calls.leave_all(sid).result(PATIENCE) == Outcome(2)
        network.join(sid, "lobby")

    first, second = ("event", [network.mine.sid]), ("event", [network.other.sid])
    everyone = ("event", ["all"])
    received = network.received(network.workers[caller])
    assert received == [
        [first, second, everyone],
        [everyone] * 2,
        [first, everyone, second],
        [everyone] * 2,
    ]


# -- arguments ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untouched() -> Iterator[UntouchedWorkers]:
    with LocalCluster() as cluster:
        yield UntouchedWorkers(cluster)


#: What leave_all takes for a room, and finds that none is there.
_ROOMS = {"empty ID", "room", "owner alone", "too short", "too long", "slash inside", "not ASCII"}
_ROOMS |= {"space before", "line break after"}


@pytest.mark.parametrize("bad", [bad for bad in BAD_SOCKETS if bad not in _ROOMS])
def test_what_is_no_socket_leaves_and_ends_nothing(untouched: UntouchedWorkers, bad: str) -> None:
    def given() -> Any:
        return BAD_SOCKETS[bad](untouched.mine.sid)

    untouched.refuses(InvalidSocket, lambda: untouched.sockets.leave_all(given()))
    untouched.refuses(InvalidSocket, lambda: untouched.sockets.disconnect(given()))


@pytest.mark.parametrize("bad", _ROOMS)
def test_a_room_is_not_disconnected(untouched: UntouchedWorkers, bad: str) -> None:
    """A string given as a socket is only ever an ID."""
    value = BAD_SOCKETS[bad](untouched.mine.sid)

    untouched.refuses(InvalidSocket, lambda: untouched.sockets.disconnect(value))


@pytest.mark.parametrize("bad", [bad for bad in BAD_ROOMS if "list" not in bad])
def test_what_is_no_room_has_no_members(untouched: UntouchedWorkers, bad: str) -> None:
    value, calls = BAD_ROOMS[bad], untouched.sockets
    add, remove = calls.add_room_members_to_rooms, calls.remove_room_members_from_rooms

    for names in ("blue", untouched.mine.sid):
        untouched.refuses(InvalidRoom, partial(add, value, names))
    untouched.refuses(InvalidRoom, partial(remove, value, "red"))
    if isinstance(value, str):
        untouched.refuses(InvalidRoom, partial(calls.leave_all, value))


@pytest.mark.parametrize("kind", [list, tuple, set, iter])
def test_whose_members_is_one_room(untouched: UntouchedWorkers, kind: Any) -> None:
    calls = untouched.sockets
    add, remove = calls.add_room_members_to_rooms, calls.remove_room_members_from_rooms

    for one in ("red", untouched.mine.sid):
        for names in ("blue", untouched.mine.sid):
            untouched.refuses(InvalidRoom, partial(add, kind([one]), names))
        untouched.refuses(InvalidRoom, partial(remove, kind([one]), "red"))


@pytest.mark.parametrize("bad", BAD_ROOMS)
def test_what_is_no_room_is_not_joined_by_members(untouched: UntouchedWorkers, bad: str) -> None:
    value, calls = BAD_ROOMS[bad], untouched.sockets

    for source in ("red", untouched.mine.sid, untouched.other.sid):
        for call in (calls.add_room_members_to_rooms, calls.remove_room_members_from_rooms):
            untouched.refuses(InvalidRoom, partial(call, source, value))


@pytest.mark.parametrize("namespace", BAD_NAMESPACES)
def test_a_namespace_has_to_be_one(untouched: UntouchedWorkers, namespace: Any) -> None:
    calls, sid = untouched.sockets, untouched.other.sid

    for call in (
        lambda: calls.leave_all("red", namespace=namespace),
        lambda: calls.leave_all(sid, namespace=namespace),
        lambda: calls.add_room_members_to_rooms("red", "blue", namespace=namespace),
        lambda: calls.remove_room_members_from_rooms("red", "red", namespace=namespace),
        lambda: calls.disconnect(sid, namespace=namespace),
    ):
        untouched.refuses(InvalidArgument, call)


@pytest.mark.parametrize("callback", [42, "callback", [print], {}, True])
def test_a_callback_has_to_be_callable(untouched: UntouchedWorkers, callback: Any) -> None:
    calls, sid = untouched.sockets, untouched.other.sid

    for call in (
        lambda: calls.leave_all("red", callback),
        lambda: calls.leave_all(sid, callback),
        lambda: calls.add_room_members_to_rooms("red", "blue", callback),
        lambda: calls.remove_room_members_from_rooms("red", "red", callback),
        lambda: calls.disconnect(sid, callback),
    ):
        untouched.refuses(InvalidArgument, call)


def test_an_http_request_has_no_socket(untouched: UntouchedWorkers) -> None:
    calls = untouched.sockets
    with untouched.here.app.test_request_context("/"):
        given: Any
        for given in (request, [untouched.mine.sid, request]):
            for call in (calls.leave_all, calls.disconnect):
                untouched.refuses(NotASocketRequest, partial(call, given))


def test_no_rooms_at_all_change_nothing(network: ThreeWorkers) -> None:
    calls, before = network.third.sockets, network.rooms

    assert calls.add_room_members_to_rooms("lobby", []).result(PATIENCE) == Outcome()
    assert calls.remove_room_members_from_rooms("lobby", iter(())).result(PATIENCE) == Outcome()
    assert network.rooms == before


def test_rooms_that_are_too_many_for_a_message_change_nothing(cluster: LocalCluster) -> None:
    here, there = cluster.worker(message_bytes=1000), cluster.worker()
    mine, other = here.connect(), there.connect()
    here.sockets.join([mine.sid, other.sid], "lobby").result(PATIENCE)
    names = [f"room number {number}" for number in range(100)]

    for call in (
        here.sockets.add_room_members_to_rooms,
        here.sockets.remove_room_members_from_rooms,
    ):
        with pytest.raises(InvalidArgument, match="split the call"):
            call("lobby", ["lobby", *names])

    fence(here, other)
    assert here.rooms_of(mine) == there.rooms_of(other) == {"lobby"}


def test_a_guard_that_refuses_more_than_a_message_holds_is_heard(cluster: LocalCluster) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub, heartbeat_interval=HEARTBEAT, message_bytes=2_000)
    rooms.guard("secret")(_no)
    there, here = cluster.adopt(app, rooms), cluster.worker(confirm_timeout=PATIENCE)
    sids = [there.connect().sid for _ in range(200)]
    there.sockets.join(sids, "lobby").result(0)

    with pytest.raises(Refused) as caught:
        here.sockets.add_room_members_to_rooms("lobby", "secret").result()
    assert set(caught.value.sids) < set(sids)


def test_an_answer_may_be_a_little_longer_than_the_change(cluster: LocalCluster) -> None:
    def unknown_sids(worker: str) -> tuple[str, ...]:
        return tuple(new_sid(worker) for _ in range(20))

    longest = len(encode_operation(Change("leave", "/", unknown_sids(new_worker_name()), ("r",))))
    there = cluster.worker(message_bytes=longest)
    here = cluster.worker(message_bytes=longest, confirm_timeout=PATIENCE)
    fence(here, there.connect())
    unknown = unknown_sids(there.name)

    assert here.sockets.leave(unknown, "r").result() == Outcome(unknown=unknown)
    with pytest.raises(InvalidArgument, match="split the call"):
        here.sockets.leave(unknown, "rr")


# -- speaking -------------------------------------------------------------------------------------


@pytest.fixture
def talk(network: ThreeWorkers) -> ThreeWorkers:
    """Mine and other are in two rooms, idle and elsewhere in one of them each."""
    network.join(network.both, ["red", "blue"])
    network.join(network.idle.sid, "red")
    network.join(network.elsewhere.sid, "blue")
    return network


@pytest.mark.parametrize("form", ["request", "own id", "list"])
@pytest.mark.parametrize("name", ["mine", "other", "idle", "elsewhere"])
def test_a_sender_can_leave_itself_out(talk: ThreeWorkers, name: str, form: str) -> None:
    speaker: Client = getattr(talk, name)

    speaker.send("speak", form, "hello")

    heard = [("said", ["hello"]), ("blasted", ["hello"])]
    expected = [[] if client is speaker else heard for client in talk.clients]
    assert talk.received(talk.here, talk.there) == expected


def test_omit_takes_a_list_of_ids_from_a_worker_without_sockets(talk: ThreeWorkers) -> None:
    calls = talk.third.sockets
    unknown = new_sid(new_worker_name())

    calls.broadcast(["red", "blue"], "said", 1, omit=[*talk.both, unknown])
    calls.blast("said", 2, omit={talk.idle.sid, talk.elsewhere.sid})
    calls.broadcast(["blue", "red"], "said", 3, omit=unknown)
    calls.broadcast("red", "said", 4, omit=())

    one, two, three, four = (("said", [number]) for number in (1, 2, 3, 4))
    both, idle, elsewhere = [two, three, four], [one, three, four], [one, three]
    assert talk.received(talk.third) == [both, idle, both, elsewhere]


@callers
def test_several_rooms_are_a_union_and_each_socket_gets_one_copy(
    talk: ThreeWorkers, caller: int
) -> None:
    rooms = ["red", "blue", "lobby", "red", "empty", talk.mine.sid, talk.other.sid]

    for given in (rooms, tuple(rooms), set(rooms), iter(rooms), dict.fromkeys(rooms).keys()):
        talk.workers[caller].sockets.broadcast(given, "said", 1)

    assert talk.received(talk.workers[caller]) == [[("said", [1])] * 5] * 4


@callers
def test_a_tuple_is_several_arguments_with_bytes_among_them(
    talk: ThreeWorkers, caller: int
) -> None:
    data: Any = (b"\x00\xff", {"deep": [bytearray(b"bytes"), None]}, [], "text")

    talk.workers[caller].sockets.broadcast("lobby", "said", data)
    talk.workers[caller].sockets.blast(data)

    arguments = [b"\x00\xff", {"deep": [b"bytes", None]}, [], "text"]
    event, message = ("said", arguments), ("message", arguments[0])  # as the test client has it
    assert talk.received(talk.workers[caller]) == [[event, message], [message]] * 2


def test_parts_of_two_events_with_bytes_do_not_mix(talk: ThreeWorkers) -> None:
    """Several threads send binary data to the same sockets at once."""
    done = threading.Barrier(3)

    def speak(worker: Worker, byte: bytes) -> None:
        for _ in range(20):
            worker.rooms.sockets.broadcast("lobby", "said", [byte * 9, {"and": byte * 9}])
        done.wait(PATIENCE)

    for worker, byte in ((talk.here, b"h"), (talk.there, b"t")):
        worker.socketio.start_background_task(speak, worker, byte)
    done.wait(PATIENCE)

    received = talk.received(talk.here, talk.there)
    for heard in (received[0], received[2]):
        assert len(heard) == 40
        assert all(first == both["and"] for _, [[first, both]] in heard)
