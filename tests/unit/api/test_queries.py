"""Queries to the whole cluster: right, bounded, and honest about who has not answered."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import flask_socketio
import pytest
from flask import Flask, request
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rooms import (
    Answer,
    BackendUnavailable,
    InvalidArgument,
    InvalidRoom,
    InvalidSocket,
    NotASocketRequest,
    Outcome,
    sockets,
)
from flask_rooms.api.sockets import Sockets
from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.ids import new_sid, new_worker_name
from flask_rooms.protocol.messages import FENCE, Query, Reply, Room
from flask_rooms.protocol.paging import replies
from flask_rooms.protocol.pending import TimedOut
from flask_rooms.protocol.stream import Limits
from tests.support.apps import (
    PATIENCE,
    LocalCluster,
    Worker,
    fence,
    in_thread,
    make_app,
)
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

#: Seconds; a call that waits for so long hangs, and a test that hangs fails.
FOR_EVER = 3600.0

#: What takes an answer for its value.
MISTAKES: dict[str, Callable[[Any], object]] = {
    "truth": bool,
    "length": len,
    "iteration": list,
    "membership": lambda answer: "a" in answer,
}

callers = pytest.mark.parametrize("caller", [0, 1, 2], ids=["here", "there", "third"])


def make_app_with_routes() -> Flask:
    """Return an application with a route that queries the rooms of its socket."""
    app = make_app()

    @app.get("/ask/<room>")
    def ask(room: str) -> dict[str, Any]:
        mine, members = sockets.rooms_of(request), sockets.members(room)
        return {"mine": sorted(map(str, mine.value)), "members": sorted(members.value)}

    return app


@pytest.fixture(scope="module")
def three_workers() -> Iterator[LocalCluster]:
    """A cluster of three workers."""
    with LocalCluster() as cluster:
        for _ in range(3):
            worker = cluster.worker(make_app_with_routes())
            worker.socketio.on("event", namespace="/chat")(print)
        yield cluster


@pytest.fixture
def network(three_workers: LocalCluster) -> Iterator[ThreeWorkers]:
    network = ThreeWorkers(three_workers)
    network.join(network.both, "red")
    network.join([network.mine.sid, network.elsewhere.sid], ["blue", "red sea"])
    yield network
    network.close()


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


# -- what is answered -----------------------------------------------------------------------------


@callers
def test_the_members_of_a_room_on_every_worker(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets

    assert calls.members("red") == Answer(frozenset(network.both), True)
    assert calls.count("red") == Answer(2, True)
    assert calls.members("empty") == Answer(frozenset(), True)
    assert calls.count("empty") == Answer(0, True)


@callers
def test_the_rooms_that_there_are(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets

    assert calls.rooms() == Answer({"red": 2, "blue": 2, "red sea": 2}, True)
    assert calls.rooms("red") == Answer({"red": 2, "red sea": 2}, True)
    assert calls.rooms(prefix="red ") == Answer({"red sea": 2}, True)
    assert calls.rooms("Red") == calls.rooms("d") == Answer({}, True)


@callers
def test_the_rooms_of_a_socket(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets

    assert calls.rooms_of(network.mine.sid) == Answer(frozenset({"red", "blue", "red sea"}), True)
    assert calls.rooms_of(network.other.sid) == Answer(frozenset({"red"}), True)
    assert calls.rooms_of(network.idle.sid) == Answer(frozenset(), True)
    for worker in network.workers:
        assert calls.rooms_of(new_sid(worker.name)) == Answer(frozenset(), True)
    assert calls.rooms_of(new_sid(new_worker_name())) == Answer(frozenset(), True)


@callers
def test_the_room_of_an_id_is_not_listed(network: ThreeWorkers, caller: int) -> None:
    calls = network.workers[caller].sockets

    for client in network.clients:
        assert calls.rooms(client.sid) == calls.rooms(client.sid[:5]) == Answer({}, True)
        assert calls.members(client.sid) == Answer(frozenset({client.sid}), True)
        assert client.sid not in calls.rooms_of(client.sid).value
    calls.leave(network.mine.sid, network.mine.sid).result(PATIENCE)
    assert calls.members(network.mine.sid) == Answer(frozenset(), True)


@callers
def test_rooms_may_be_named_by_numbers(network: ThreeWorkers, caller: int) -> None:
    """Those of Flask-SocketIO's calls; a number is not its text."""
    calls = network.workers[caller].sockets
    for worker, client in ((network.here, network.mine), (network.there, network.other)):
        with worker.app.app_context():
            for room in (42, -7, 2**63 - 1):
                flask_socketio.join_room(room, sid=client.sid, namespace="/")
    network.join(network.mine.sid, "42")

    assert calls.rooms("4") == Answer({42: 2, "42": 1}, True)
    assert calls.rooms("-") == Answer({-7: 2}, True)
    assert calls.rooms_of(network.other.sid).value == {"red", 42, -7, 2**63 - 1}
    assert calls.members("42").value == {network.mine.sid}


def test_another_namespace_is_another_matter(network: ThreeWorkers) -> None:
    chatting = network.there.connect("/chat")
    calls = network.here.sockets
    calls.join(chatting.sid, "red", namespace="/chat").result(PATIENCE)

    assert calls.members("red", namespace="/chat").value == {chatting.sid}
    assert calls.rooms(namespace="/chat").value == {"red": 1}
    assert calls.count("red", namespace="/chat").value == 1
    assert calls.rooms_of(chatting.sid, namespace="/chat").value == {"red"}
    assert calls.rooms_of(chatting.sid).value == frozenset()
    assert calls.members("red").value == set(network.both)
    assert chatting.ask("get", "/ask/red")["body"] == {"mine": ["red"], "members": [chatting.sid]}
    chatting.disconnect()


def test_a_socket_asks_for_itself(network: ThreeWorkers) -> None:
    answer = network.other.ask("get", "/ask/red")["body"]

    assert answer == {"mine": ["red"], "members": sorted(network.both)}


@callers
def test_what_a_caller_has_done_it_finds_done(network: ThreeWorkers, caller: int) -> None:
    """Program order needs no wait."""
    calls, sids = network.workers[caller].sockets, [client.sid for client in network.clients]

    for _ in range(20):
        calls.join(sids, "green")
        assert calls.members("green").value == set(sids)
        calls.leave_all("green")
        assert calls.rooms() == Answer({}, True)


def test_a_callback_may_ask(network: ThreeWorkers) -> None:
    """It runs apart from the thread that hears the answers."""
    asked: list[Answer[int]] = []
    done = threading.Event()

    def ask(error: BaseException | None) -> None:
        asked.append(network.here.rooms.sockets.count("green"))
        done.set()

    network.here.sockets.join(network.other.sid, "green", ask)

    assert done.wait(PATIENCE)
    assert asked == [Answer(1, True)]


def test_many_ask_at_once(network: ThreeWorkers) -> None:
    """Each gets its own answer."""
    rooms = [f"room {number}" for number in range(12)]
    for number, room in enumerate(rooms):
        network.join([client.sid for client in network.clients[: number % 5]], room)

    def ask(worker: Worker, room: str) -> list[Any]:
        calls = worker.rooms.sockets
        return [calls.count(room), len(calls.members(room).value), calls.rooms(room).value]

    asking = [
        in_thread(partial(ask, network.workers[number % 3], room))
        for number, room in enumerate(rooms)
    ]

    for number, (room, asked) in enumerate(zip(rooms, asking, strict=True)):
        size = number % 5
        expected = {other: rooms.index(other) % 5 for other in rooms if other.startswith(room)}
        listed = {name: size for name, size in expected.items() if size}
        assert asked.result(PATIENCE) == [Answer(size, True), size, listed]


# -- one moment of each worker --------------------------------------------------------------------


def test_an_answer_is_of_one_moment(cluster: LocalCluster) -> None:
    """However many messages it takes: all members have moved, or none."""
    here, there = (cluster.worker(message_bytes=1_000) for _ in range(2))
    sids = [there.connect().sid for _ in range(200)]
    there.sockets.join(sids, "lobby").result(0)
    assert here.sockets.count("lobby") == Answer(200, True)
    enough = threading.Event()

    def toggle() -> None:
        calls = there.rooms.sockets
        while not enough.is_set():
            calls.add_room_members_to_rooms("lobby", ["a", "b"]).result(PATIENCE)
            calls.remove_room_members_from_rooms("lobby", ["b", "a"]).result(PATIENCE)

    toggling = in_thread(toggle)
    seen = [here.sockets.members("a") for _ in range(30)]
    counted = [here.sockets.rooms() for _ in range(30)]
    enough.set()
    toggling.result(PATIENCE)

    assert all(answer.complete for answer in seen)
    assert all(answer.complete for answer in counted)
    assert {answer.value for answer in seen} <= {frozenset(sids), frozenset()}
    for answer in counted:
        assert answer.value in ({"lobby": 200}, {"lobby": 200, "a": 200, "b": 200})


# -- long answers ---------------------------------------------------------------------------------


def test_a_long_answer_comes_in_pages(cluster: LocalCluster) -> None:
    here, there = (cluster.worker(message_bytes=1_000) for _ in range(2))
    sids = [there.connect().sid for _ in range(300)]
    names = [f"\N{SNOWMAN} {number} {'x' * number}" for number in range(200)]
    there.sockets.join(sids, "lobby").result(0)
    there.sockets.join(sids[0], names).result(0)
    wire = cluster.listen()

    for ask, expected in (
        (partial(here.sockets.members, "lobby"), frozenset(sids)),
        (partial(here.sockets.rooms, "\N{SNOWMAN}"), dict.fromkeys(names, 1)),
        (partial(here.sockets.rooms_of, sids[0]), frozenset({*names, "lobby"})),
    ):
        assert ask() == Answer(expected, True)

        published = wire.published_by(there)
        pages = [operation for operation in published if isinstance(operation, Reply)]
        assert len(pages) > 10
        assert all(len(encode_operation(page)) <= 1_000 for page in pages)
        assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert here.sockets.count("lobby") == Answer(300, True)
    assert len(wire.published_by(there)) == 1


ROOMS = st.text(max_size=40) | st.integers(-(2**63), 2**63 - 1) | st.just("x" * 400)
PAIRS = st.lists(st.tuples(ROOMS, st.integers(0, 2**63)), max_size=60)


@settings(deadline=None, max_examples=50)
@given(PAIRS, st.integers(600, 2_000), st.booleans())
def test_every_page_fits(pairs: list[tuple[Room, int]], size: int, counted: bool) -> None:
    names = [name for name, _ in pairs]
    counts = [count for _, count in pairs] if counted else []

    pages = replies("a worker's name", 2**40, (names, counts), Limits(2**24, 2**24, size))

    assert all(len(encode_operation(page)) <= size for page in pages)
    assert [name for page in pages for name in page.names] == names
    assert [count for page in pages for count in page.counts] == counts
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert all(page.whole for page in pages)


def test_an_answer_that_would_fill_the_outbox_is_not_given_and_that_is_said(
    cluster: LocalCluster,
) -> None:
    """At once, and what else the worker has to say is not held up by it."""
    here = cluster.worker(confirm_timeout=FOR_EVER)
    there = cluster.worker(message_bytes=1_000, outbox_bytes=10_000)
    mine = here.connect()
    sids = [there.connect().sid for _ in range(300)]
    there.sockets.join(sids, "lobby").result(0)
    here.sockets.join(mine.sid, "lobby").result(0)
    wire = cluster.listen()
    wire.published_by(there)

    assert here.sockets.members("lobby") == Answer(frozenset({mine.sid}), False, (there.name,))

    assert len(wire.published_by(there)) == 1
    assert here.sockets.count("lobby") == Answer(301, True)
    assert here.sockets.rooms() == Answer({"lobby": 301}, True)


def test_a_name_that_is_too_long_for_a_message_is_not_given_and_that_is_said(
    cluster: LocalCluster,
) -> None:
    here = cluster.worker(confirm_timeout=FOR_EVER)
    there = cluster.worker(message_bytes=1_000)
    sid = there.connect().sid
    there.sockets.join(sid, ["short", "\N{SNOWMAN}" * 400]).result(0)

    assert here.sockets.rooms("s") == Answer({"short": 1}, True)
    assert here.sockets.rooms() == Answer({}, False, (there.name,))
    assert here.sockets.rooms_of(sid) == Answer(frozenset(), False, (there.name,))


# -- who does not answer --------------------------------------------------------------------------

QUERIES: dict[str, Callable[[Sockets, float | None], Answer[Any]]] = {
    "members": lambda calls, timeout: calls.members("red", timeout=timeout),
    "count": lambda calls, timeout: calls.count("red", timeout=timeout),
    "rooms": lambda calls, timeout: calls.rooms(timeout=timeout),
}


class FaultyNetwork:
    """Three workers with a member of "red" each, of which the second can fall silent."""

    def __init__(self, cluster: LocalCluster, **options: Any) -> None:
        self.backend = FaultyBackend(cluster.hub)
        self.own = FaultyBackend(cluster.hub)
        self.here = cluster.worker(backend=self.own, heartbeat_interval=SLOW_HEARTBEAT, **options)
        self.there = cluster.worker(backend=self.backend, heartbeat_interval=SLOW_HEARTBEAT)
        self.third = cluster.worker(heartbeat_interval=SLOW_HEARTBEAT)
        workers = [self.here, self.there, self.third]
        self.clients = [worker.connect() for worker in workers]
        self.sids = [client.sid for client in self.clients]
        self.third.sockets.join(self.sids, "red").result(PATIENCE)
        while not self.here.sockets.count("red").complete:
            pass  # until it has discovered every worker

    def ask_all(self, timeout: float | None = None) -> list[Any]:
        """Make every query, and return whether it was complete, what is missing and the values."""
        answers = [ask(self.here.sockets, timeout) for ask in QUERIES.values()]
        assert len({(answer.complete, answer.missing) for answer in answers}) == 1
        return [answers[0].complete, answers[0].missing, *(answer.value for answer in answers)]

    @property
    def without_there(self) -> list[Any]:
        """The values of the answers without the second worker."""
        return [{self.sids[0], self.sids[2]}, 2, {"red": 2}]


@pytest.mark.parametrize(
    ("confirm_timeout", "timeout"), [(FOR_EVER, 0.1), (0.3, None), (0.3, FOR_EVER)]
)
def test_a_worker_that_is_mute_is_missing_when_the_time_is_over(
    cluster: LocalCluster, confirm_timeout: float, timeout: float | None
) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=confirm_timeout)
    network.backend.mute = True

    assert network.ask_all(timeout) == [False, (network.there.name,), *network.without_there]


def test_a_worker_that_is_no_longer_mute_answers_the_next_query(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.backend.mute = network.backend.deaf = True
    assert network.here.sockets.count("red", timeout=0.1) == Answer(2, False, (network.there.name,))
    missing = network.here.sockets.rooms_of(network.sids[1], timeout=0.1)
    assert missing == Answer(frozenset(), False, (network.there.name,))

    network.backend.mute = network.backend.deaf = False

    assert network.here.sockets.count("red", timeout=PATIENCE) == Answer(3, True)
    assert network.here.sockets.rooms_of(network.sids[1]) == Answer(frozenset({"red"}), True)


def test_a_worker_that_dies_meanwhile_is_not_waited_for(cluster: LocalCluster) -> None:
    """It is gone with its sockets, so the answer is whole without it."""
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.backend.mute = network.backend.deaf = True

    calls = network.here.sockets
    asking = [in_thread(partial(ask, calls, None)) for ask in QUERIES.values()]
    of_the_dead = in_thread(lambda: network.here.rooms.sockets.rooms_of(network.sids[1]))

    answers = [asked.result(PATIENCE) for asked in asking]
    assert [(answer.complete, answer.missing) for answer in answers] == [(True, ())] * 3
    assert [answer.value for answer in answers] == network.without_there
    assert of_the_dead.result(PATIENCE) == Answer(frozenset(), True)


def test_a_worker_that_leaves_meanwhile_is_not_waited_for(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.third.cluster.dispatcher.reply = lambda *_: None
    asking = in_thread(lambda: network.here.rooms.sockets.members("red"))

    fence(network.here, network.clients[2])
    network.third.cluster.stop()

    assert asking.result(PATIENCE) == Answer(frozenset(network.sids[:2]), True)


def test_while_the_broker_is_away_this_worker_answers_for_itself(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.own.down = True

    answer = network.here.sockets.members("red", timeout=0.1)

    missing = {network.there.name, network.third.name}
    assert (set(answer.value), answer.complete) == ({network.sids[0]}, False)
    assert set(answer.missing) == missing
    own = network.here.sockets.rooms_of(network.sids[0], timeout=FOR_EVER)
    assert own == Answer(frozenset({"red"}), True)
    network.own.down = False
    assert network.here.sockets.count("red", timeout=PATIENCE) == Answer(3, True)


def test_a_full_outbox_is_said(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER, outbox_bytes=200, message_bytes=100)
    network.own.down = True

    def ask_on() -> None:
        while True:
            network.here.sockets.count("red", timeout=0)

    with pytest.raises(BackendUnavailable):
        ask_on()
    network.own.down = False


def test_no_time_at_all_is_time_for_what_is_here(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.backend.mute = True

    answer = network.here.sockets.members("red", timeout=0)

    assert network.sids[0] in answer.value
    assert not answer.complete
    assert network.there.name in answer.missing


def test_a_worker_that_stops_waits_for_no_answer(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.backend.mute = True
    asking = in_thread(lambda: network.here.rooms.sockets.members("red"))
    fence(network.here, network.clients[2])

    network.here.cluster.stop()

    answer = asking.result(PATIENCE)
    assert (answer.complete, network.sids[0] in answer.value) == (False, True)
    later = network.here.sockets.members("red")
    assert (later.complete, set(later.value)) == (False, {network.sids[0]})


def test_a_worker_that_restarts_waits_for_no_answer(cluster: LocalCluster) -> None:
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.backend.mute = True
    _, asking = network.here.cluster.calls.send(Query("members", "/", "red"), None)
    fence(network.here, network.clients[2])

    network.here.cluster.restart("a test says so")

    ended = asking.result(PATIENCE)
    assert isinstance(ended, TimedOut)
    assert ended.missing == (network.there.name,)
    assert [reply.names for reply in ended.replies] == [(network.sids[2],)]


# -- the first moment of a life -------------------------------------------------------------------


def test_a_worker_that_restarted_gives_up_no_query_of_its_next_life(cluster: LocalCluster) -> None:
    """Its numbers start again, so another query may have the number of an old one."""
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.own.deaf = True
    calls = network.here.cluster.calls
    old, of_before = calls.send(FENCE, None)

    network.here.cluster.restart("a test says so")
    of_before.result(PATIENCE)
    while (asked := calls.send(FENCE, None))[0] < old:
        pass
    calls.time_out(old, of_before)

    assert asked[0] == old
    assert not asked[1].done()


def test_a_result_from_before_a_restart_is_ignored(cluster: LocalCluster) -> None:
    """It may be on its way to the caller when a worker restarts."""
    network = FaultyNetwork(cluster, confirm_timeout=FOR_EVER)
    network.own.deaf = True
    here = network.here.cluster
    before = here._shared.node
    old, _ = here.calls.send(FENCE, None)

    here.restart("a test says so")
    while (asked := here.calls.send(FENCE, None))[0] < old:
        pass
    here.calls.resolve(TimedOut(old, ()), before)

    assert asked[0] == old
    assert not asked[1].done()


def test_a_worker_in_its_first_moment_learns_of_every_socket(network: ThreeWorkers) -> None:
    queries: list[tuple[Callable[[Sockets], object], object]] = [
        (lambda calls: calls.members("red"), frozenset(network.both)),
        (lambda calls: calls.count("red"), 2),
        (lambda calls: calls.rooms("b"), {"blue": 2}),
        (lambda calls: calls.rooms_of(network.other.sid), frozenset({"red"})),
    ]
    for ask, expected in queries:
        newcomer = LocalCluster().worker(backend_url=network.hub)

        assert ask(newcomer.sockets) == Answer(expected, True)

        newcomer.cluster.stop()


def test_a_worker_that_has_just_joined_is_asked_as_well(network: ThreeWorkers) -> None:
    """Ten times, since it is about the moment between its hello and the others' hearing it."""
    for _ in range(10):
        newcomer = LocalCluster().worker(backend_url=network.hub)
        client = newcomer.connect()
        newcomer.sockets.join(client.sid, "new").result(0)

        assert network.here.sockets.members("new") == Answer(frozenset({client.sid}), True)
        assert network.there.sockets.rooms("new") == Answer({"new": 1}, True)

        newcomer.cluster.stop()


def test_a_worker_that_is_alone_does_not_wait(cluster: LocalCluster) -> None:
    """On memory:// a worker knows without a heartbeat that it is alone."""
    worker = cluster.worker(heartbeat_interval=FOR_EVER, confirm_timeout=PATIENCE)
    client = worker.connect()
    unknown = new_sid(new_worker_name())
    worker.sockets.join(client.sid, "red").result(0)

    assert worker.sockets.members("red") == Answer(frozenset({client.sid}), True)
    assert worker.sockets.rooms() == Answer({"red": 1}, True)
    assert worker.sockets.rooms_of(unknown) == Answer(frozenset(), True)
    assert worker.sockets.leave(unknown, "red").result() == Outcome(unknown=(unknown,))
    assert worker.sockets.leave_all("red").result() == Outcome(1)


# -- who answers what was not asked ---------------------------------------------------------------


class Lying:
    """Three workers with a member of "red" each, of which the third answers as a test says."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.here, self.there, self.liar = (
            cluster.worker(confirm_timeout=FOR_EVER) for _ in range(3)
        )
        self.clients = [worker.connect() for worker in (self.here, self.there, self.liar)]
        self.sids = [client.sid for client in self.clients]
        self.honest = frozenset(self.sids[:2])
        self.here.sockets.join(self.sids, "red").result(PATIENCE)
        self.here.sockets.count("red")

    def says(self, *answers: Callable[[str, int], Reply]) -> None:
        """Make the liar answer each query so, given its sender and its number."""

        def reply(event: Any, query: Any) -> None:
            for answer in answers:
                self.liar.cluster.sender.publish(answer(event.sender, event.number))

        self.liar.cluster.dispatcher.reply = reply


@pytest.fixture
def lying(cluster: LocalCluster) -> Lying:
    return Lying(cluster)


def test_only_the_owner_tells_the_rooms_of_a_socket(lying: Lying) -> None:
    lying.says(lambda caller, number: Reply(caller, number, ("lie",), (), True))
    for _ in range(20):
        assert lying.here.sockets.rooms_of(lying.sids[1]) == Answer(frozenset({"red"}), True)


def test_an_answer_to_another_query_is_ignored(lying: Lying) -> None:
    """Nor is one to a query of another worker, or to an earlier or later query."""
    lying.says(
        lambda caller, number: Reply(caller, number - 1, ("lie",), (1,), True),
        lambda caller, number: Reply(caller, number + 1, ("lie",), (1,), True),
        lambda caller, number: Reply(caller, 0, ("lie",), (1,), True),
        lambda calls, number: Reply(lying.there.name, number, ("lie",), (1,), True),
        lambda calls, number: Reply("no worker", number, ("lie",), (1,), True),
        lambda caller, number: Reply(caller, number, (lying.sids[2],), (1,), True),
    )
    for _ in range(20):
        members = lying.here.sockets.members("red")
        assert members == Answer(lying.honest | {lying.sids[2]}, True)


def test_an_answer_counts_once(lying: Lying) -> None:
    def five(calls: str, number: int) -> Reply:
        return Reply(calls, number, (), (5,), True)

    lying.says(five, five, five)
    for _ in range(20):
        assert lying.here.sockets.count("red") == Answer(7, True)


def test_what_follows_the_last_page_is_nothing(lying: Lying) -> None:
    lying.says(
        lambda caller, number: Reply(caller, number, ("first",), (), False),
        lambda caller, number: Reply(caller, number, ("last",), (), True),
        lambda caller, number: Reply(caller, number, ("too late",), (), False),
        lambda caller, number: Reply(caller, number, (), (), True),
    )
    for _ in range(20):
        answer = lying.here.sockets.members("red")
        assert answer == Answer(lying.honest | {"first", "last"}, True)


def test_pages_without_an_end_are_no_answer(lying: Lying) -> None:
    """They are counted, and not kept until the timeout."""
    most = Limits(16 * 2**20, 0, 2**20).pages
    pages = [
        lambda calls, number, page=page: Reply(calls, number, (f"page {page}",), (), False)
        for page in range(most + 1)
    ]
    lying.says(*pages)

    answer = lying.here.sockets.members("red")

    assert answer == Answer(lying.honest, False, (lying.liar.name,))


def test_what_a_worker_has_said_before_it_died_is_nothing(lying: Lying) -> None:
    def die(calls: str, number: int) -> Reply:
        in_thread(lying.liar.cluster.stop)
        return Reply(calls, number, (lying.sids[2], "half"), (1, 1), False)

    lying.says(die)

    assert lying.here.sockets.members("red") == Answer(lying.honest, True)


def test_names_and_counts_that_do_not_match_are_none(lying: Lying) -> None:
    lying.says(lambda caller, number: Reply(caller, number, ("more", "names"), (1,), True))
    assert lying.here.sockets.rooms() == Answer({"red": 2, "more": 1}, True)
    lying.says(lambda caller, number: Reply(caller, number, (), (1, 2, 3), True))
    assert lying.here.sockets.rooms() == Answer({"red": 2}, True)
    assert lying.here.sockets.members("red") == Answer(lying.honest, True)


# -- arguments ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untouched() -> Iterator[UntouchedWorkers]:
    with LocalCluster() as cluster:
        yield UntouchedWorkers(cluster)


@pytest.mark.parametrize("bad", BAD_ROOMS)
def test_what_is_no_room_is_not_asked_for(untouched: UntouchedWorkers, bad: str) -> None:
    calls, value = untouched.sockets, BAD_ROOMS[bad]

    untouched.refuses(InvalidRoom, lambda: calls.members(value))
    untouched.refuses(InvalidRoom, lambda: calls.count(value))
    if bad not in ("empty", "a space", "white space"):
        untouched.refuses(InvalidRoom, lambda: calls.rooms(value))


@pytest.mark.parametrize("bad", BAD_SOCKETS)
def test_what_is_no_socket_has_no_rooms(untouched: UntouchedWorkers, bad: str) -> None:
    value = BAD_SOCKETS[bad](untouched.mine.sid)

    untouched.refuses(InvalidSocket, lambda: untouched.sockets.rooms_of(value))


@pytest.mark.parametrize("kind", [list, tuple, set])
def test_rooms_are_asked_of_one_socket(untouched: UntouchedWorkers, kind: Any) -> None:
    for sids in (kind([untouched.mine.sid]), kind([])):
        untouched.refuses(InvalidSocket, partial(untouched.sockets.rooms_of, sids))


def test_an_http_request_has_no_rooms(untouched: UntouchedWorkers) -> None:
    with untouched.here.app.test_request_context("/"):
        untouched.refuses(NotASocketRequest, lambda: untouched.sockets.rooms_of(request))


@pytest.mark.parametrize("namespace", BAD_NAMESPACES)
def test_a_namespace_has_to_be_one(untouched: UntouchedWorkers, namespace: Any) -> None:
    calls, sid = untouched.sockets, untouched.other.sid

    for call in (
        partial(calls.members, "red"),
        partial(calls.count, "red"),
        calls.rooms,
        partial(calls.rooms_of, sid),
    ):
        untouched.refuses(InvalidArgument, partial(call, namespace=namespace))


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), "1", True, [1], b"1", object()])
def test_a_timeout_has_to_be_seconds(untouched: UntouchedWorkers, timeout: Any) -> None:
    calls, sid = untouched.sockets, untouched.other.sid

    for call in (
        partial(calls.members, "red"),
        partial(calls.count, "red"),
        calls.rooms,
        partial(calls.rooms_of, sid),
        partial(calls.rooms_of, untouched.mine.sid),
    ):
        untouched.refuses(InvalidArgument, partial(call, timeout=timeout))


@pytest.mark.parametrize("timeout", [FOR_EVER, float("inf"), 10**400, 1])
def test_any_time_is_no_longer_than_the_confirmation_timeout(
    untouched: UntouchedWorkers, timeout: Any
) -> None:
    both = {untouched.mine.sid, untouched.other.sid}

    assert untouched.sockets.members("red", timeout=timeout) == Answer(frozenset(both), True)


def test_a_namespace_that_is_too_long_for_a_message_is_said(untouched: UntouchedWorkers) -> None:
    namespace = "/" + "n" * 2**20

    untouched.refuses(
        InvalidArgument, lambda: untouched.sockets.members("red", namespace=namespace)
    )


# -- what is not the value --------------------------------------------------------------------


@pytest.mark.every_python
@pytest.mark.parametrize("use", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("value", [0, 1, frozenset(), frozenset("a")])
def test_an_answer_that_is_taken_for_its_value_says_so(
    use: Callable[[Any], object], value: object
) -> None:
    """Else each would be true, also the count of an empty room."""
    with pytest.raises(TypeError, match=r"an Answer, which .*`\.value`"):
        use(Answer(value, complete=True))


@pytest.mark.every_python
def test_answers_are_compared_kept_and_passed_on() -> None:
    answer = Answer(frozenset("a"), complete=False, missing=("w",))

    assert answer == Answer(frozenset("a"), complete=False, missing=("w",))
    assert answer != Answer(frozenset("a"), complete=True)
    assert answer in [None, answer]
    assert {answer: 1}[answer] == 1
    assert copy.deepcopy(answer) == pickle.loads(pickle.dumps(answer)) == answer
    assert asdict(answer) == {"value": {"a"}, "complete": False, "missing": ("w",)}
    assert str(answer) == "Answer(value=frozenset({'a'}), complete=False, missing=('w',))"
