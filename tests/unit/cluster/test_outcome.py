"""Every call reports its outcome once and in time, to its future and to its callback."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import os
import pickle
import platform
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import pytest

from flask_rooms import BackendUnavailable, Outcome, Refused, Rooms, RoomsError, Unconfirmed
from flask_rooms.cluster import confirmation
from flask_rooms.cluster.confirmation import Confirmation, Settled
from flask_rooms.cluster.statistics import CallStatistics
from flask_rooms.protocol.events import Event
from flask_rooms.protocol.ids import new_sid, new_worker_name
from flask_rooms.protocol.messages import Change
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.pending import Completed, TimedOut
from tests.support.apps import PATIENCE, LocalCluster, Worker
from tests.support.faults import FaultyBackend

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: A change that a future is about.
CHANGE = Change("leave", "/", ("a",), ("red",))

Calls = queue.Queue["BaseException | None"]


class TwoWorkers:
    """Two workers that know each other, with a socket on each; the second can go deaf."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.backend = FaultyBackend(cluster.hub)
        self.here = cluster.worker(confirm_timeout=PATIENCE)
        self.there = cluster.worker(backend=self.backend, confirm_timeout=PATIENCE)
        self.sockets = self.here.sockets
        self.mine = self.here.connect().sid
        self.other = self.there.connect().sid
        self.sockets.leave(self.other, "nowhere").result(PATIENCE)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def network(cluster: LocalCluster) -> TwoWorkers:
    return TwoWorkers(cluster)


def impatient(cluster: LocalCluster, deaf: Worker) -> Worker:
    """Return a worker that waits only for a moment, and knows the one that is about to be deaf."""
    worker = cluster.worker(confirm_timeout=0.3)
    worker.sockets.leave(new_sid(deaf.name), "nowhere").result(PATIENCE)
    return worker


# -- what the outcome says --------------------------------------------------------------------


def test_changed_and_unchanged_are_memberships_in_the_whole_cluster(network: TwoWorkers) -> None:
    both = [network.mine, network.other]

    def done(future: Future[Outcome]) -> Outcome:
        return future.result(PATIENCE)

    assert done(network.sockets.join(both, "red")) == Outcome(2, 0)
    assert done(network.sockets.join(both, ["red", "blue"])) == Outcome(2, 2)
    assert done(network.sockets.leave(network.mine, "red")) == Outcome(1, 0)
    assert done(network.sockets.leave(both, ["red", "blue", "green"])) == Outcome(3, 3)
    assert done(network.sockets.leave(both, ["red", "blue"])) == Outcome(0, 4)


def test_a_socket_or_room_given_twice_counts_once(network: TwoWorkers) -> None:
    sids = [network.mine, network.other, network.mine, network.other]

    assert network.sockets.join(sids, ["red", "red"]).result(PATIENCE) == Outcome(2, 0)


@pytest.mark.parametrize(
    "kind", [list, tuple, set, frozenset, iter, lambda sids: dict.fromkeys(sids).keys()]
)
def test_sockets_and_rooms_come_in_any_iterable(network: TwoWorkers, kind: Any) -> None:
    sids, rooms = kind([network.mine, network.other]), kind(["red", "blue"])

    assert network.sockets.join(sids, rooms).result(PATIENCE) == Outcome(4, 0)


def test_no_sockets_or_no_rooms_are_done_at_once(network: TwoWorkers) -> None:
    for future in (
        network.sockets.join([], "red"),
        network.sockets.leave((), "red"),
        network.sockets.join(network.mine, []),
        network.sockets.leave([], []),
    ):
        assert future.done()
        assert future.result() == Outcome(0, 0, ())


def test_an_id_that_no_worker_holds_is_unknown(network: TwoWorkers) -> None:
    unknown = {
        "of this worker": new_sid(network.here.name),
        "of the other worker": new_sid(network.there.name),
        "of no worker": new_sid(new_worker_name()),
    }

    for sid in unknown.values():
        assert network.sockets.leave(sid, "red").result(PATIENCE) == Outcome(0, 0, (sid,))

    all_sids = [network.mine, *unknown.values(), network.other]
    outcome = network.sockets.join(all_sids, "red").result(PATIENCE)
    assert (outcome.changed, outcome.unchanged) == (2, 0)
    assert sorted(outcome.unknown) == sorted(unknown.values())


def test_a_socket_that_has_disconnected_is_unknown(cluster: LocalCluster) -> None:
    here, there = cluster.worker(), cluster.worker()
    gone = [here.connect(), there.connect()]
    for client in gone:
        client.disconnect()

    outcome = here.sockets.leave([client.sid for client in gone], "red").result(PATIENCE)

    assert outcome == Outcome(0, 0, tuple(client.sid for client in gone))


def test_the_sockets_of_a_worker_that_went_away_are_unknown(network: TwoWorkers) -> None:
    network.there.cluster.stop()

    assert network.sockets.leave(network.other, "red").result(PATIENCE).unknown == (network.other,)


def test_the_sockets_of_a_worker_that_died_are_unknown(network: TwoWorkers) -> None:
    network.backend.deaf = network.backend.mute = True

    assert network.sockets.leave(network.other, "red").result(PATIENCE).unknown == (network.other,)


def test_a_socket_of_another_namespace_is_unknown(cluster: LocalCluster) -> None:
    worker = cluster.worker()
    worker.socketio.on("hello", namespace="/chat")(print)
    chatting = worker.connect("/chat")

    assert worker.sockets.join(chatting.sid, "red").result().unknown == (chatting.sid,)
    assert worker.sockets.join(chatting.sid, "red", namespace="/chat").result() == Outcome(1, 0)


def test_outcomes_add_up() -> None:
    assert Outcome(1, 2, ("a",)) + Outcome(10, 20, ("b",)) == Outcome(11, 22, ("a", "b"))


# -- the future -------------------------------------------------------------------------------


def test_for_sockets_of_this_worker_it_is_done_on_return(network: TwoWorkers) -> None:
    future = network.sockets.join(network.mine, "red")

    assert future.done()
    assert future.result(0) == Outcome(1, 0)
    assert future.exception(0) is None


def test_it_cannot_be_cancelled(network: TwoWorkers) -> None:
    network.backend.deaf = True

    for future in (
        network.sockets.leave(network.other, "red"),
        network.sockets.leave(network.mine, "x"),
    ):
        assert not future.cancel()
        assert not future.cancelled()


def test_a_shorter_timeout_is_a_timeout_and_the_outcome_comes_later(network: TwoWorkers) -> None:
    network.backend.deaf = True
    future = network.sockets.leave(network.other, "red")

    # Not the builtin's name: on Python 3.10 it is another class.
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(0)

    network.backend.deaf = False
    assert future.result(PATIENCE) == Outcome(0, 1)


def test_many_are_waited_for_together(network: TwoWorkers) -> None:
    futures = [
        network.sockets.join(sid, f"room {n}")
        for n in range(20)
        for sid in (network.mine, network.other, new_sid(network.there.name))
    ]

    assert wait(futures, PATIENCE).not_done == set()
    assert sum((future.result() for future in futures), Outcome()).changed == 40
    assert set(as_completed(futures, PATIENCE)) == set(futures)


@pytest.mark.slow
def test_the_first_of_several_can_be_waited_for(network: TwoWorkers) -> None:
    network.backend.deaf = True
    futures = [
        network.sockets.leave(network.other, "red"),
        network.sockets.leave(network.mine, "red"),
    ]

    assert wait(futures, PATIENCE, FIRST_COMPLETED).done == {futures[1]}


def test_done_callbacks_get_the_future_once(network: TwoWorkers) -> None:
    for sid in (network.mine, network.other):
        calls: queue.Queue[Future[Outcome]] = queue.Queue()
        future = network.sockets.join(sid, "red")

        future.add_done_callback(calls.put)
        assert calls.get(timeout=PATIENCE) is future
        future.add_done_callback(calls.put)  # it is done: at once

        assert calls.get_nowait() is future
        assert calls.empty()


# -- the callback -----------------------------------------------------------------------------


def called_back(calls: Calls) -> BaseException | None:
    """Return what the callback got."""
    return calls.get(timeout=PATIENCE)


def test_for_sockets_of_this_worker_it_is_called_before_the_return(network: TwoWorkers) -> None:
    calls: Calls = queue.Queue()

    given: list[list[str]] = [[network.mine], [new_sid(network.here.name)], []]
    for sids in given:
        network.sockets.join(sids, "red", calls.put)
        assert calls.get_nowait() is None
        assert calls.empty()


@pytest.mark.parametrize("whose", ["other", "unknown", "both"])
def test_it_is_called_exactly_once(network: TwoWorkers, whose: str) -> None:
    calls: Calls = queue.Queue()
    sids: dict[str, list[str]] = {
        "other": [network.other],
        "unknown": [new_sid(new_worker_name())],
        "both": [network.mine, network.other, new_sid(network.there.name)],
    }

    for action in (network.sockets.join, network.sockets.leave):
        action(sids[whose], "red", calls.put).result(PATIENCE)
        assert called_back(calls) is None

    # Whatever would come twice has come before the answer to this.
    network.sockets.leave(network.other, "red").result(PATIENCE)
    assert calls.empty()


def test_it_gets_the_error_when_no_worker_confirms(
    cluster: LocalCluster, network: TwoWorkers
) -> None:
    calls: Calls = queue.Queue()
    worker = impatient(cluster, network.there)
    network.backend.deaf = True

    future = worker.sockets.leave(network.other, "red", calls.put)

    error = called_back(calls)
    assert isinstance(error, Unconfirmed)
    assert error is future.exception()
    assert calls.empty()


def test_it_may_make_calls_and_wait_for_them(network: TwoWorkers) -> None:
    """The listener has to go on listening while a callback waits for what only it can hear."""
    outcomes: queue.Queue[Outcome] = queue.Queue()

    def callback(error: BaseException | None) -> None:
        outcomes.put(network.sockets.leave([network.mine, network.other], "red").result(PATIENCE))

    for sid in (network.other, network.mine, new_sid(network.there.name)):
        network.sockets.join([network.mine, network.other], "red").result(PATIENCE)
        network.sockets.join(sid, "blue", callback)
        assert outcomes.get(timeout=PATIENCE) == Outcome(2, 0)


def test_one_that_raises_is_logged_and_harms_nothing_else(
    network: TwoWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: queue.Queue[str] = queue.Queue()
    log = logging.Handler()
    log.emit = lambda record: reported.put("logged")  # type: ignore[method-assign]
    monkeypatch.setattr(logging.root, "handlers", [log])
    monkeypatch.setattr(threading, "excepthook", lambda _: reported.put("a thread has crashed"))

    def callback(error: BaseException | None) -> None:
        raise ZeroDivisionError

    for sid in (network.mine, network.other):
        future = network.sockets.join(sid, "red", callback)
        assert future.result(PATIENCE) == Outcome(1, 0)
        assert reported.get(timeout=PATIENCE) == "logged"
        assert network.sockets.leave(sid, "red").result(PATIENCE) == Outcome(1, 0)


# -- when it is not known ---------------------------------------------------------------------


def test_a_silent_worker_is_named_in_bounded_time(
    cluster: LocalCluster, network: TwoWorkers
) -> None:
    worker = impatient(cluster, network.there)
    network.backend.deaf = True

    future = worker.sockets.leave([network.mine, network.other], "red")

    with pytest.raises(Unconfirmed) as caught:
        future.result()  # no timeout, and yet it does not wait for ever
    assert caught.value.workers == (network.there.name,)
    assert network.there.name in str(caught.value)
    assert "ROOMS_CONFIRM_TIMEOUT" in str(caught.value)
    assert future.exception() is caught.value


def test_a_silent_worker_does_not_keep_the_others_from_it(
    cluster: LocalCluster, network: TwoWorkers
) -> None:
    worker = impatient(cluster, network.there)
    own = worker.connect()
    network.backend.deaf = True

    future = worker.sockets.join([own.sid, network.other], "red")

    assert worker.rooms_of(own) == {"red"}
    assert isinstance(future.exception(), Unconfirmed)
    assert worker.rooms_of(own) == {"red"}


@pytest.mark.slow
@pytest.mark.parametrize("deaf", [True, False], ids=["it has not answered", "it has answered"])
def test_a_wait_ends_in_time_also_while_the_receiver_is_busy(
    cluster: LocalCluster, network: TwoWorkers, monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    """And its error names the worker that is missing: the other one, or this one."""
    worker = impatient(cluster, network.there)
    handle = worker.cluster._handle
    is_busy, goes_on = threading.Event(), threading.Event()

    def hang(events: list[Event], node: Node) -> None:
        if any(isinstance(event, Completed | TimedOut) for event in events):
            is_busy.set()
            goes_on.wait(PATIENCE)
        handle(events, node)

    monkeypatch.setattr(worker.cluster, "_handle", hang)
    network.backend.deaf = deaf
    future = worker.sockets.leave(network.other, "red")
    assert is_busy.wait(PATIENCE)

    with pytest.raises(Unconfirmed) as caught:
        future.result()
    goes_on.set()

    assert caught.value.workers == ((network.there if deaf else worker).name,)


def test_the_longest_wait_gets_the_same_error_each_time() -> None:
    """Also where no other thread completes the future: the wait itself ends it."""
    statistics = CallStatistics()

    def end(future: Confirmation) -> None:
        future.fail(Unconfirmed(("a",), 0.01))

    def run_at_once(run: Callable[..., object], *args: object) -> None:
        run(*args)

    future = Confirmation(CHANGE, 1, 0.01, run_at_once, end, statistics)

    error = future.exception()

    assert isinstance(error, Unconfirmed)
    assert error.workers == ("a",)
    assert future.exception() is error
    with pytest.raises(Unconfirmed) as caught:
        future.result()
    assert caught.value is error


# -- an outcome that is known at once ---------------------------------------------------------


def waited(future: Future[Outcome]) -> Outcome:
    return wait([future]).done.pop().result()


async def awaited(future: Future[Outcome]) -> Outcome:
    return await asyncio.wrap_future(future)


def told(future: Future[Outcome]) -> Outcome:
    heard: list[Future[Outcome]] = []
    future.add_done_callback(heard.append)
    return heard[0].result()


@pytest.mark.parametrize(
    "look",
    [
        lambda future: future.result(0),
        lambda future: waited(future),
        lambda future: next(as_completed([future])).result(),
        lambda future: asyncio.run(awaited(future)),
        lambda future: told(future),
    ],
    ids=["result", "wait", "as_completed", "asyncio", "callback"],
)
def test_an_outcome_that_is_known_is_a_whole_future(
    network: TwoWorkers, look: Callable[[Future[Outcome]], Outcome]
) -> None:
    """Whatever looks at it first: nothing of it is made before."""
    future = network.sockets.join(network.mine, "red")

    assert look(future) == Outcome(1, 0)
    assert future.done()
    assert not future.cancel()
    assert not future.cancelled()
    assert not future.running()
    assert future.exception(0) is None
    assert "finished" in repr(future)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(Outcome())
    assert future.result() == Outcome(1, 0)


def test_a_known_outcome_has_no_names_that_a_future_has_not() -> None:
    future = Settled(Outcome(1))

    for name in ("nothing", "_nothing", "__fspath__"):
        assert not hasattr(future, name)
        assert not hasattr(Future(), name)


# -- failures that are not looked at ----------------------------------------------------------


def fail_unseen(rooms: Rooms, sid: str, look: Callable[[Future[Outcome]], object]) -> None:
    """Have a guard refuse a socket, and *look* at the future."""
    rooms.guard("closed")(lambda: False)
    look(rooms.sockets.join(sid, "closed"))
    gc.collect()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of failures that nothing has looked at, after the last one."""
    confirmation.unseen.add(CHANGE, last := RuntimeError("the last one"))
    while str(last) not in caplog.text:
        time.sleep(0.001)
    return [one.getMessage() for one in caplog.records[:-1] if "not looked at" in one.getMessage()]


def test_a_failure_that_is_not_looked_at_is_logged_once(
    network: TwoWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    fail_unseen(network.here.rooms, network.mine, lambda future: None)

    [line] = warnings(caplog)
    assert line.startswith("The outcome of join for 1 socket(s), 'closed' was not looked at: ")
    assert "guard" in line
    # The ID of the socket is for the application.
    assert network.mine not in line.partition(": ")[0]


def test_a_failure_is_logged_outside_the_thread_that_drops_it(
    network: TwoWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    """The garbage collector may do so where a lock is held, as that of a handler of logging."""
    lock, emitted = threading.Lock(), threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if lock.acquire(timeout=PATIENCE):
                lock.release()
                emitted.set()

    logger = logging.getLogger("flask_rooms")
    logger.addHandler(handler := Handler(logging.WARNING))
    try:
        with lock:
            fail_unseen(network.here.rooms, network.mine, lambda future: None)
        assert emitted.wait(PATIENCE)
    finally:
        logger.removeHandler(handler)
    assert len(warnings(caplog)) == 1


def _raises(call: Callable[[], object]) -> None:
    with pytest.raises(Refused):
        call()


LOOKS: dict[str, Callable[[Future[Outcome]], object]] = {
    "exception": lambda future: future.exception(),
    "result": lambda future: _raises(future.result),
    "callback": lambda future: future.add_done_callback(print),
    "wait and exception": lambda future: [one.exception() for one in wait([future]).done],
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_failure_that_is_looked_at_is_not_logged(
    network: TwoWorkers, caplog: pytest.LogCaptureFixture, look: Callable[[Future[Outcome]], object]
) -> None:
    fail_unseen(network.here.rooms, network.mine, look)

    assert warnings(caplog) == []


def test_a_caller_that_has_given_up_waiting_has_not_looked_at_it(
    network: TwoWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    network.there.rooms.guard("late")(lambda: not gate.wait(PATIENCE))
    future = network.sockets.join(network.other, "late")
    with pytest.raises(FutureTimeout):
        future.result(0)

    gate.set()
    wait([future])
    confirmation.unseen.log_all()
    confirmation.unseen.log_all()

    # Futures of other tests may be logged, too.
    [line] = [line for line in warnings(caplog) if "'late'" in line]
    assert line.startswith("The outcome of join for 1 socket(s), 'late' was not looked at: ")


ENDING = """
import threading, time
from flask import Flask
from flask_rooms import Rooms

app = Flask(__name__)
app.secret_key = "of the tests"
rooms = Rooms(app)
rooms.guard("closed")(lambda: False)
client = rooms.socketio.test_client(app)
sid = rooms.socketio.server.manager.sid_from_eio_sid(client.eio_sid, "/")
args = (60, rooms.sockets.join(sid, "closed"))
threading.Thread(target=lambda seconds, kept: time.sleep(seconds), args=args, daemon=True).start()
del args
"""


@pytest.mark.slow
def test_a_failure_of_a_future_that_is_kept_is_logged_when_the_process_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True)

    assert ended.stderr.count("'closed' was not looked at: A guard") == 1
    assert ended.returncode == 0


def test_a_callback_that_raises_is_logged_whenever_it_is_called(
    network: TwoWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    network.here.rooms.guard("closed")(lambda: False)
    refused = network.sockets.join(network.mine, "closed")
    while not refused.done():
        pass

    refused.add_done_callback(lambda future: 1 // 0)

    assert "A callback for the outcome of a room change has failed." in caplog.text


def test_a_callback_of_a_call_looks_at_its_failure(
    network: TwoWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    errors: Calls = queue.Queue()
    network.here.rooms.guard("closed")(lambda: False)

    network.sockets.join(network.mine, "closed", errors.put)

    assert isinstance(errors.get(timeout=PATIENCE), Refused)
    gc.collect()
    assert warnings(caplog) == []


def test_a_success_that_is_not_looked_at_is_nothing_to_log(
    network: TwoWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    network.sockets.join(network.mine, "red")
    gc.collect()

    assert warnings(caplog) == []


def test_a_worker_that_stops_leaves_no_future_behind(network: TwoWorkers) -> None:
    network.backend.deaf = True
    future = network.sockets.leave(network.other, "red")

    network.here.cluster.stop()

    assert isinstance(future.exception(0), RoomsError)


@pytest.mark.slow
def test_unconfirmed_says_where_the_worker_runs_also_after_pickling(
    cluster: LocalCluster, network: TwoWorkers
) -> None:
    here = impatient(cluster, network.there)
    network.backend.deaf = True

    with pytest.raises(Unconfirmed) as caught:
        here.sockets.leave(network.other, "red").result()

    error = pickle.loads(pickle.dumps(caught.value))
    (worker,) = error.workers
    assert worker == network.there.name
    assert (worker.pid, worker.host) == (os.getpid(), platform.node())
    assert f"{worker} (process {os.getpid()} on {platform.node()})" in str(error)


def test_refused_survives_pickling_and_names_a_few_rooms() -> None:
    error = pickle.loads(pickle.dumps(Refused(["a"], ["red", "blue", "green", "grey", "pink"])))

    assert (error.sids, len(error.rooms)) == (("a",), 5)
    assert "refused a in 'red', 'blue', 'green' and 2 more:" in str(error)
    assert "refused a:" in str(Refused(["a"]))


def test_refused_names_both_that_refuse() -> None:
    """Which of them it was is known to the worker of the socket alone."""
    assert "A guard has refused" not in str(Refused(["a"], ["red"]))
    assert re.search(r"rooms\.guard\(\).* or .*ROOMS_ROOMS_PER_SOCKET", str(Refused(["a"])))


def test_unconfirmed_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(Unconfirmed(["b", "a"], 1.5)))

    assert isinstance(error, Unconfirmed)
    assert (error.workers, error.timeout) == (("a", "b"), 1.5)
    assert str(error) == str(Unconfirmed(["a", "b"], 1.5))


# -- when this worker has left ----------------------------------------------------------------


def test_a_worker_that_has_left_says_so(network: TwoWorkers) -> None:
    assert network.here.rooms.drain(PATIENCE)

    for call in (
        lambda: network.sockets.leave(network.other, "red"),
        lambda: network.sockets.leave_all("red"),
        lambda: network.here.rooms.tell("news"),
    ):
        with pytest.raises(Unconfirmed, match="this worker has left the cluster") as caught:
            call().result()
        assert "ROOMS_CONFIRM_TIMEOUT" not in str(caught.value)
        assert "within 0 seconds" not in str(caught.value)
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (str(copied), copied.workers) == (str(caught.value), caught.value.workers)


def test_a_call_that_a_worker_leaves_behind_says_so(network: TwoWorkers) -> None:
    network.backend.deaf = True
    future = network.sockets.leave(network.other, "red")

    network.here.cluster.stop()

    assert "this worker has left the cluster" in str(future.exception(0))


# -- when the broker is away ------------------------------------------------------------------


@pytest.fixture
def offline(cluster: LocalCluster) -> tuple[Worker, FaultyBackend]:
    """A worker that can keep hardly anything for a broker that is not there."""
    backend = FaultyBackend(cluster.hub)
    worker = cluster.worker(
        backend=backend, outbox_bytes=1000, message_bytes=1000, confirm_timeout=PATIENCE
    )
    worker.cluster.start()
    backend.down = True
    return worker, backend


def first_refused(call: Callable[[int], object]) -> int:
    """Call with 0, 1, 2 ... until the outbox is full, and return the number that was refused."""
    for number in range(100):
        try:
            call(number)
        except BackendUnavailable:
            return number
    pytest.fail("the outbox is never full")


@pytest.mark.slow
def test_what_does_not_fit_into_the_outbox_has_not_changed_anything(
    cluster: LocalCluster, offline: tuple[Worker, FaultyBackend]
) -> None:
    worker, _ = offline
    own, other = worker.connect(), cluster.worker().connect()
    both, rooms = [own.sid, other.sid], [f"{n} {'x' * 200}" for n in range(100)]

    refused = first_refused(lambda n: worker.sockets.join(both, rooms[n]))
    assert worker.rooms_of(own) == set(rooms[:refused])

    worker.sockets.join(own.sid, rooms)
    refused = first_refused(lambda n: worker.sockets.leave(both, rooms[n]))
    assert worker.rooms_of(own) == set(rooms[refused:])


def test_without_a_broker_own_sockets_keep_working(
    offline: tuple[Worker, FaultyBackend],
) -> None:
    worker, _ = offline
    own = worker.connect()

    assert worker.sockets.join(own.sid, "red").result(0) == Outcome(1, 0)
    refused = first_refused(lambda n: worker.sockets.broadcast("red", "event", [n, "x" * 200]))
    worker.sockets.broadcast(own.sid, "event", "x" * 200)  # needs no other worker
    assert worker.sockets.leave(own.sid, "red").result(0) == Outcome(1, 0)

    expected = [[[n, "x" * 200]] for n in range(refused + 1)] + [["x" * 200]]
    assert own.received() == [("event", arguments) for arguments in expected]


def test_what_waits_goes_out_in_order_when_the_broker_is_back(
    cluster: LocalCluster, offline: tuple[Worker, FaultyBackend]
) -> None:
    worker, backend = offline
    other = cluster.worker().connect()
    futures = [worker.sockets.join(other.sid, "red")]
    worker.sockets.broadcast("red", "event", 1)
    futures.append(worker.sockets.leave(other.sid, "red"))
    worker.sockets.broadcast("red", "event", 2)
    assert not any(future.done() for future in futures)

    backend.down = False

    assert [future.result(PATIENCE) for future in futures] == [Outcome(1, 0)] * 2
    worker.sockets.leave(other.sid, "red").result(PATIENCE)
    assert other.received() == [("event", [1])]
