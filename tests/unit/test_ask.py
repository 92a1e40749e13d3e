"""A room is asked: the answers of its clients on every worker, and what became of the others."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIO
from socketio.packet import EVENT, Packet

from flask_rooms import BackendUnavailable, InvalidArgument, InvalidRoom, InvalidSocket, Rooms
from flask_rooms.api.arguments import MAX_SECONDS
from flask_rooms.errors import InvalidData
from flask_rooms.globals import parts_of
from flask_rooms.membership.timers import Timers
from flask_rooms.protocol.messages import Answered, Operation
from flask_rooms.results import Responses
from flask_rooms.server import polls
from flask_rooms.server.packet_class import ATTACHMENTS
from flask_rooms.server.polls import Batches
from flask_rooms.testing import Client, LocalCluster, cluster
from tests.support.apps import PATIENCE
from tests.unit.api.test_arguments import UntouchedWorkers
from tests.unit.api.test_arguments import network as network

pytestmark = pytest.mark.every_python

Answer = Callable[[str, Any], Any]


def create_app() -> Flask:
    app = Flask("application")
    app.config["SECRET_KEY"] = "of the tests"
    rooms = Rooms(app)
    rooms.user_loader(lambda auth: auth)
    return app


def echo(event: str, data: Any) -> Any:
    return [event, data]


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with cluster(create_app, 3) as workers:
        yield workers


def connect(workers: LocalCluster, number: int, answer: Answer | None = None) -> Client:
    """Connect a client to a worker, and put it into the room "red"."""
    client = workers[number].connect(answer=answer)
    workers[0].sockets.join(client.sid, "red").result(PATIENCE)
    return client


def ask(workers: LocalCluster, *event_and_data: Any, timeout: float = PATIENCE) -> Responses:
    return workers[0].sockets.ask("red", *event_and_data, timeout=timeout).result()


# -- the answers ----------------------------------------------------------------------------------


def test_the_clients_of_all_workers_answer(workers: LocalCluster) -> None:
    clients = [connect(workers, number, echo) for number in (0, 1, 2)]

    for data in (1, {"x": [None]}, b"bytes"):
        expected = Responses({client.sid: ["vote", data] for client in clients})
        assert ask(workers, "vote", data) == expected
    assert ask(workers, "only data").answers[clients[1].sid] == ["message", "only data"]


@pytest.mark.mode_independent
def test_an_answer_may_be_of_several_values_or_of_none(workers: LocalCluster) -> None:
    two, nothing = connect(workers, 1, lambda *_: (1, b"x")), connect(workers, 1, lambda *_: ())
    null = connect(workers, 1, lambda *_: None)

    answers = ask(workers, 1).answers

    assert answers == {two.sid: (1, b"x"), nothing.sid: None, null.sid: None}


@pytest.mark.mode_independent
def test_a_user_or_one_socket_is_asked_and_others_are_left_out(workers: LocalCluster) -> None:
    ask_red = workers[0].sockets.ask
    here, there = connect(workers, 0, echo), connect(workers, 1, echo)
    ann = workers[2].connect(auth="ann", answer=echo)

    assert ask_red("hi", user="ann").result().answers.keys() == {ann.sid}
    for client in (here, there):
        assert ask_red(client.sid, "hi").result() == Responses({client.sid: ["message", "hi"]})
    assert ask_red(["red", "no such room"], "hi", omit=there.sid).result().answers.keys() == {
        here.sid
    }
    assert ask_red("red", "hi", omit="red").result() == Responses({})


# -- those who do not answer ----------------------------------------------------------------------


@pytest.mark.mode_independent
def test_a_mute_client_is_silent_and_raises_nothing(workers: LocalCluster) -> None:
    answers, mute = connect(workers, 1, echo), connect(workers, 1)
    mute_here = connect(workers, 0)

    responses = ask(workers, 1, timeout=1.5)

    assert responses.answers.keys() == {answers.sid}
    assert responses.silent == {mute.sid, mute_here.sid}
    assert responses.complete
    for worker in workers:  # nothing is kept for answers that come too late
        waiting = parts_of(worker.app).acknowledgements.local
        while any(waiting.values()):
            pass


@pytest.mark.mode_independent
@pytest.mark.parametrize("holder", [0, 1])
def test_one_that_leaves_meanwhile_is_waited_for_no_longer(
    workers: LocalCluster, holder: int
) -> None:
    leaves = connect(workers, holder)
    future = workers[0].sockets.ask("red", 1, timeout=PATIENCE)
    leaves.received()

    leaves.disconnect()

    assert future.result() == Responses({}, left=frozenset({leaves.sid}))


@pytest.mark.mode_independent
def test_the_members_of_a_worker_that_dies_have_left(workers: LocalCluster) -> None:
    stays, dies = connect(workers, 1, echo), connect(workers, 2)
    future = workers[0].sockets.ask("red", 1, timeout=PATIENCE)
    workers[0].sockets.leave(dies.sid, "none").result(PATIENCE)  # it has said whom it has asked

    workers[2].crash()

    assert future.result() == Responses(
        {stays.sid: ["message", 1]}, left=frozenset({dies.sid}), complete=True
    )


@pytest.mark.slow
@pytest.mark.mode_independent
def test_a_worker_that_does_not_say_whom_it_has_asked_is_missing(workers: LocalCluster) -> None:
    stays = connect(workers, 1, echo)
    connect(workers, 2, echo)
    workers[2].cut()

    responses = ask(workers, 1, timeout=0.1)

    assert (responses.complete, responses.missing) == (False, (workers[2].name,))
    assert responses.answers.keys() == {stays.sid}


@pytest.mark.mode_independent
def test_a_worker_that_dies_before_it_says_whom_it_has_asked_is_missing(
    workers: LocalCluster,
) -> None:
    stays, name = connect(workers, 1, echo), workers[2].name
    connect(workers, 2)
    workers[2].cut()

    future = workers[0].sockets.ask("red", 1, timeout=PATIENCE)
    workers[2].crash()

    assert future.result() == Responses(
        {stays.sid: ["message", 1]}, complete=False, missing=(name,)
    )


@pytest.mark.mode_independent
def test_a_socket_that_no_worker_holds_has_left(workers: LocalCluster) -> None:
    gone, here = connect(workers, 1), connect(workers, 0)
    for client in (gone, here):
        client.disconnect()
        assert workers[0].sockets.ask(client.sid, 1).result() == Responses(
            {}, left=frozenset({client.sid})
        )


@pytest.mark.mode_independent
@pytest.mark.parametrize("holder", [0, 1])
def test_a_socket_that_is_named_and_not_asked_is_in_no_field(
    workers: LocalCluster, holder: int
) -> None:
    """It is connected: it is left out, or has left the room of its own ID."""
    ask_here, named = workers[0].sockets.ask, workers[holder].connect(auth="ann")
    answers = connect(workers, 1, echo)
    both, expected = [named.sid, answers.sid], Responses({answers.sid: ["message", 1]})

    assert ask_here(both, 1, omit=named.sid).result() == expected
    assert ask_here(both, 1, omit_user="ann").result() == expected
    assert ask_here([*both, "red"], 1, omit=[named.sid]).result() == expected
    workers[0].sockets.leave(named.sid, named.sid).result(PATIENCE)
    assert ask_here(both, 1).result() == expected


@pytest.mark.mode_independent
def test_a_worker_that_starts_over_says_whose_answers_it_has_lost(workers: LocalCluster) -> None:
    """They are sent to its former name."""
    asked, unheard = workers[1].name, workers[2].name
    here, there = connect(workers, 0), connect(workers, 1)
    workers[2].cut()
    future = workers[0].sockets.ask("red", 1, timeout=PATIENCE)
    workers[0].sockets.leave(there.sid, "none").result(PATIENCE)  # it has said whom it has asked

    parts_of(workers[0].app).cluster.restart("the test")

    assert future.result(PATIENCE / 2) == Responses(
        {},
        silent=frozenset({there.sid}),
        left=frozenset({here.sid}),
        complete=False,
        missing=(unheard, asked),
    )


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.mode_independent
def test_answers_beyond_the_limit_are_left_out() -> None:
    with cluster(create_app, 2, answers_bytes=2500) as workers:
        for number in (0, 0, 0, 1, 1, 1):
            connect(workers, number, lambda *_: "x" * 1000)

        responses = ask(workers, 1)

        assert len(responses.answers) == 2
        assert len(responses.failed) == 4


@pytest.mark.mode_independent
def test_an_answer_that_fits_into_no_message_has_failed() -> None:
    with cluster(create_app, 2, message_bytes=4096) as workers:
        large = connect(workers, 1, lambda *_: "x" * 5000)
        small = connect(workers, 1, echo)

        responses = ask(workers, 1)

        assert responses.failed == {large.sid}
        assert responses.answers.keys() == {small.sid}


@pytest.mark.slow
@pytest.mark.mode_independent
def test_no_more_sockets_are_asked_than_a_worker_awaits(
    workers: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "MAX_AWAITED", 2)
    for _ in range(3):
        connect(workers, 1)

    responses = ask(workers, 1, timeout=1.5)
    assert (len(responses.silent), len(responses.failed)) == (2, 1)
    # Those are awaited no more, as soon as their worker's time is over, too.
    while not (again := ask(workers, 1, timeout=1.5)).silent:
        assert len(again.failed) == 3
    assert len(again.silent) == 2


class Outbox:
    """Keeps what is published."""

    name = "worker"

    def __init__(self) -> None:
        self.published: list[Operation] = []

    def publish(self, operation: Operation) -> None:
        self.published.append(operation)


@pytest.mark.mode_independent
def test_ten_thousand_answers_are_few_messages_of_which_each_fits() -> None:
    outbox, limit = Outbox(), 2**16
    timers = Timers(lambda function, *args: True)  # none goes off, however slow this machine is
    batches = Batches("asker", 7, outbox, timers, limit)
    sids = [f"socket {number}" for number in range(10_000)]

    batches.expect(len(sids))
    for sid in sids[:-2]:
        batches(sid, "answered", ('3["an answer"]',))
    batches(sids[-2], "left", ())
    batches(sids[-1], "answered", ("x" * limit,))

    messages = [one for one in outbox.published if isinstance(one, Answered)]
    assert [sid for one in messages for sid, _ in one.answers] == sids[:-2]
    assert messages[-1].left == (sids[-2],)
    assert messages[-1].failed == (sids[-1],)
    assert len(messages) < 25
    assert all((one.worker, one.ask) == ("asker", 7) for one in messages)


# -- the future, and bad input --------------------------------------------------------------------


@pytest.mark.mode_independent
def test_a_callback_of_the_future_runs_apart_and_may_ask_again(workers: LocalCluster) -> None:
    client = connect(workers, 1, echo)
    again: list[Responses] = []
    done = threading.Event()

    def callback(future: Any) -> None:
        again.append(ask(workers, "again"))
        done.set()

    workers[0].sockets.ask("red", 1).add_done_callback(callback)

    assert done.wait(PATIENCE)
    assert again == [Responses({client.sid: ["message", "again"]})]


@pytest.mark.slow
@pytest.mark.mode_independent
def test_a_full_outbox_asks_nobody() -> None:
    with cluster(create_app, 2, outbox_bytes=2**12, message_bytes=2**11) as workers:
        client = connect(workers, 0, echo)
        workers.down()
        asked = 0
        with contextlib.suppress(BackendUnavailable):
            while True:
                workers[0].sockets.ask("red", "x" * 1000, timeout=0)
                asked += 1

        assert len(client.received()) == asked > 0


@pytest.mark.mode_independent
def test_bad_input_asks_nobody(network: UntouchedWorkers) -> None:
    ask = network.sockets.ask
    for timeout in ("1", -1, True, float("nan")):
        network.refuses(InvalidArgument, lambda given=timeout: ask("red", 1, timeout=given))  # type: ignore[misc]
    for timeout in (float("inf"), 10**400, 1e300, MAX_SECONDS + 1):
        with network.untouched(), pytest.raises(InvalidArgument, match="finite"):
            ask("red", 1, timeout=timeout)
    network.refuses(InvalidArgument, lambda: ask("red"))
    network.refuses(InvalidArgument, lambda: ask("red", "connect", 1))
    network.refuses(InvalidRoom, lambda: ask("", 1))
    network.refuses(InvalidSocket, lambda: ask("red", 1, omit=42))  # type: ignore[arg-type]


#: What is encoded, and could be decoded by no client and no worker.
UNDECODABLE: list[Any] = [
    [b"x"] * (ATTACHMENTS + 1),
    [b"x", {"_placeholder": True, "num": 7}],
]


@pytest.mark.mode_independent
@pytest.mark.parametrize("bad", UNDECODABLE, ids=["too many pieces", "no such piece"])
def test_data_that_no_client_could_decode_ask_nobody(network: UntouchedWorkers, bad: Any) -> None:
    sid, emit = network.other.sid, network.here.socketio.emit

    network.refuses(InvalidData, lambda: network.sockets.ask("red", bad))
    network.refuses(InvalidData, lambda: emit("event", bad, to=sid, callback=print))

    for worker in (network.here, network.there):
        assert kept_by(worker.app) == []


class WithoutNumbers(Packet):
    """A serializer that cannot encode what a client is to acknowledge."""

    def encode(self) -> Any:
        if self.packet_type == EVENT and self.id is not None:
            raise ValueError("There are no numbers here.")
        return super().encode()


@pytest.mark.mode_independent
def test_a_question_that_cannot_be_sent_here_leaves_nothing_behind() -> None:
    def with_serializer() -> Flask:
        app = Flask("application")
        app.config["SECRET_KEY"] = "of the tests"
        Rooms(app, SocketIO(serializer=WithoutNumbers))
        return app

    with cluster(with_serializer, 1) as workers:
        connect(workers, 0)

        with pytest.raises(ValueError, match="no numbers"):
            ask(workers, 1)

        assert kept_by(workers[0].app) == []


@pytest.mark.mode_independent
def test_answers_are_not_kept_until_the_time_is_over(workers: LocalCluster) -> None:
    """There may be an hour for them, and megabytes of them."""
    for number in range(3):
        connect(workers, number, echo)
    future = workers[0].sockets.ask("red", 1, timeout=3600)
    assert len(future.result(PATIENCE).answers) == 3
    asked = weakref.ref(future)
    del future

    gc.collect()

    assert asked() is None


def kept_by(app: Flask) -> list[Any]:
    """Return what a worker keeps for questions: callbacks, slots, and the questions themselves."""
    parts = parts_of(app)
    waiting = [*filter(None, parts.acknowledgements.local.values())]
    asking = parts.sockets._asking
    return [*waiting, *["a slot"] * asking._polls._awaited, *asking._open]
