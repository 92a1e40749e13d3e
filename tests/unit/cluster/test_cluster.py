"""The driver of the protocol: outages, deafness, goodbyes, and what must not stop the listener."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import msgpack
import pytest

from flask_rooms import Answer, BackendError, BackendUnavailable, Outcome, Unconfirmed
from flask_rooms.backends import MemoryBackend
from flask_rooms.cluster.driver import pause_after
from flask_rooms.globals import parts_of
from flask_rooms.protocol.codec import VERSION, Codec
from flask_rooms.protocol.ids import new_sid, new_worker_name
from tests.support.apps import (
    HEARTBEAT,
    PATIENCE,
    SECRET,
    LocalCluster,
    Worker,
    fence,
    in_thread,
    make_app,
)
from tests.support.faults import FaultyBackend
from tests.support.signing import signed

pytestmark = pytest.mark.every_python


class HalfOpenBackend(FaultyBackend):
    """Deaf until it is opened again, as a connection that died without an error."""

    def open(self) -> None:
        super().open()
        self.deaf = False


class StuckBackend(FaultyBackend):
    """When mute stays so until it is opened again; and meanwhile the others never fall silent."""

    _heard: bytes | None = None

    def open(self) -> None:
        super().open()
        self.mute = False

    def receive(self, timeout: float) -> bytes | None:
        payload = super().receive(timeout)
        if not self.mute:
            return payload
        self._heard = payload or self._heard  # once more, which changes nothing
        return self._heard


class AwayBackend(FaultyBackend):
    """Cannot be opened while it is down."""

    def open(self) -> None:
        if self.down:
            raise BackendError("The test has switched the broker off.")
        super().open()


class LostBackend(AwayBackend):
    """Cannot receive, either, while it is down; counts how often it was tried."""

    tried = 0

    def receive(self, timeout: float) -> bytes | None:
        if self.down:
            self.tried += 1
            raise BackendError("The test has switched the broker off.")
        return super().receive(timeout)


class RefusingBackend(FaultyBackend):
    """Can receive while it is down; counts how often it has refused to publish."""

    refused = 0

    def publish(self, payload: bytes) -> None:
        self.refused += self.down
        super().publish(payload)


class FarBackend(FaultyBackend):
    """Takes long to say how many workers there are; counts how often it was asked."""

    alone = False
    asked = 0

    def audience(self) -> int | None:
        self.asked += 1
        threading.Event().wait(0.6)
        return None


class OneLineBackend(FaultyBackend):
    """Publishes and counts over one connection, on which the answer to a count may not come."""

    alone = False

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self._line = threading.Lock()
        self.asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def audience(self) -> int | None:
        with self._line:
            self.asked.set()
            self.answers.wait(PATIENCE)
        return None

    def publish(self, payload: bytes) -> None:
        with self._line:
            super().publish(payload)


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def _with(cluster: LocalCluster, backend: FaultyBackend) -> Worker:
    return cluster.worker(make_app(), backend=backend, backend_url="memory://")


def _ask_until_refused(worker: Worker, sid: str) -> None:
    for _ in range(100):
        worker.sockets.leave(sid, "red")


def _wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what a background thread brings about, in bounded time."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it has not come about")


def test_a_worker_that_does_not_hear_itself_connects_again(cluster: LocalCluster) -> None:
    here, there = cluster.worker(), _with(cluster, backend := HalfOpenBackend(cluster.hub))
    sid = there.connect().sid
    here.sockets.join(sid, "red").result(PATIENCE)

    backend.deaf = True
    _wait_for(lambda: not backend.deaf)

    assert here.sockets.leave(sid, "red").result(PATIENCE) == Outcome(1)


def test_a_worker_whose_messages_do_not_come_back_says_so_until_they_do(
    cluster: LocalCluster,
) -> None:
    """Also once it has connected again, which may not help: so clients are sent elsewhere."""
    worker = _with(cluster, backend := FaultyBackend(cluster.hub))
    worker.connect()
    assert worker.cluster.hears_itself
    backend.mute = True

    _wait_for(lambda: worker.cluster.traffic.reconnects > 1)
    assert not worker.cluster.hears_itself

    backend.mute = False
    _wait_for(lambda: worker.cluster.hears_itself)


def test_counting_the_workers_leaves_time_to_receive(cluster: LocalCluster) -> None:
    """One that handled a message after each count would fall behind, and so count for ever."""
    backend = FarBackend(cluster.hub)
    app = make_app()
    options = {"backend_url": "memory://", "heartbeat_interval": 10.0}  # on its own for 50 s
    worker = cluster.worker(app, backend=backend, **options)
    worker.connect()

    for _ in range(30):
        backend.publish(b"of somebody else")
    _wait_for(lambda: parts_of(app).cluster.dropped.total() == 30)

    assert 0 < backend.asked < 10


@pytest.mark.parametrize(
    ("count", "took", "pause"),
    [(3, 0.001, 0.1), (3, 0.1, 0.4), (3, 4.0, 2.0), (None, 5.0, 0.1)],
)
def test_the_workers_are_counted_less_often_where_that_takes_long(
    count: int | None, took: float, pause: float
) -> None:
    """And soon after a broker has not answered, as calls wait for the count."""
    assert pause_after(count, took, heartbeat=2.0) == pytest.approx(pause)


def test_no_caller_waits_while_the_workers_are_counted(cluster: LocalCluster) -> None:
    backend = OneLineBackend(cluster.hub)
    options = {"backend_url": "memory://", "heartbeat_interval": 10.0}  # on its own for 50 s
    worker = cluster.worker(make_app(), backend=backend, **options)
    worker.connect()

    backend.answers.clear()
    backend.asked.clear()
    backend.publish(b"of somebody else")
    assert backend.asked.wait(PATIENCE)
    in_thread(lambda: worker.sockets.broadcast("red", "event")).result(PATIENCE)
    assert not backend.answers.is_set()
    assert worker.cluster.traffic.unsent_operations == 1

    backend.answers.set()
    _wait_for(lambda: not worker.cluster.traffic.unsent_operations)


def test_a_worker_that_restarts_connects_again(cluster: LocalCluster) -> None:
    """It was not received, and need not wait until it misses its own frames among the others'."""
    here, there = cluster.worker(), _with(cluster, backend := StuckBackend(cluster.hub))
    fence(here, there.connect())

    backend.mute = True

    _wait_for(lambda: not backend.mute)
    sid = there.connect().sid
    assert here.sockets.join(sid, "red").result(PATIENCE) == Outcome(1)


def test_while_the_broker_is_down_own_sockets_are_served(cluster: LocalCluster) -> None:
    here, there = _with(cluster, backend := FaultyBackend(cluster.hub)), cluster.worker()
    client, elsewhere = here.connect(), there.connect()
    here.sockets.join([client.sid, elsewhere.sid], "red").result(PATIENCE)

    backend.down = True
    here.sockets.broadcast("red", "before")
    leave = here.sockets.leave(elsewhere.sid, "red")
    here.sockets.broadcast("red", "after")

    assert client.received() == [("message", "before"), ("message", "after")]
    assert not leave.done()
    backend.down = False
    assert leave.result(PATIENCE) == Outcome(1)
    fence(here, elsewhere)
    assert elsewhere.received() == [("message", "before")]


@pytest.mark.slow
def test_a_full_outbox_raises_and_nothing_has_changed(cluster: LocalCluster) -> None:
    backend = FaultyBackend(cluster.hub)
    here = cluster.worker(make_app(), backend=backend, outbox_bytes=2000)
    client, elsewhere = here.connect(), cluster.worker().connect()
    backend.down = True

    with pytest.raises(BackendUnavailable, match="ROOMS_OUTBOX_BYTES"):
        _ask_until_refused(here, elsewhere.sid)
    with pytest.raises(BackendUnavailable):
        here.sockets.join([client.sid, elsewhere.sid], "a room " * 100)

    assert here.rooms_of(client) == set()
    assert here.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)


def test_a_worker_born_without_a_broker_joins_when_it_is_there(cluster: LocalCluster) -> None:
    there = cluster.worker()
    elsewhere = there.connect()
    backend = AwayBackend(cluster.hub)
    backend.down = True
    here = _with(cluster, backend)

    assert here.sockets.join(here.connect().sid, "red").result(0) == Outcome(1)
    join = here.sockets.join(elsewhere.sid, "red")
    backend.down = False

    assert join.result(PATIENCE) == Outcome(1)


def test_a_worker_that_restarts_unheard_starts_with_no_socket(cluster: LocalCluster) -> None:
    """The others could report a socket as unknown that connects before they know the new name."""
    backend = FaultyBackend(cluster.hub)
    here, there = cluster.worker(), cluster.worker(make_app(), backend=backend, confirm_timeout=0.5)
    fence(here, there.connect())
    name = there.name
    backend.mute = True
    _wait_for(lambda: there.name != name)
    client = there.connect()  # which is served all the same, in the end
    there.sockets.join(client.sid, "red").result(0)

    backend.mute = False

    _wait_for(lambda: there.name in here.cluster.peers)
    fence(here, there.connect())
    assert there.rooms_of(client) == set()


def test_a_worker_that_restarts_accepts_no_socket_before_it_is_heard(cluster: LocalCluster) -> None:
    """Clients that come back at once are not disconnected a second time."""
    backend = FaultyBackend(cluster.hub)
    here, there = cluster.worker(), _with(cluster, backend)
    fence(here, there.connect())
    name = there.name
    backend.mute = True
    _wait_for(lambda: there.name != name)

    coming = in_thread(there.connect)
    backend.mute = False
    client = coming.result(PATIENCE)

    assert here.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)
    assert there.rooms_of(client) == {"red"}


class HangingBackend(FaultyBackend):
    """Blocks publish() until `answer` is set, and then fails, if the test says so."""

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self.hangs = False
        self.hanging, self.answer = threading.Event(), threading.Event()

    def publish(self, payload: bytes) -> None:
        if self.hangs:
            self.hanging.set()
            self.answer.wait(PATIENCE)
            self.hangs = False
            raise BackendError("The test has let it fail.")
        super().publish(payload)


def test_a_leave_that_hangs_until_its_worker_restarts_comes_before_the_next_broadcast(
    cluster: LocalCluster,
) -> None:
    """Rule `order-across-lives`: for a caller that does not wait, nothing has happened."""
    backend = HangingBackend(cluster.hub)
    here, there = _with(cluster, backend), cluster.worker()
    client, name = there.connect(), here.name
    here.sockets.join(client.sid, "red").result(PATIENCE)

    def kick() -> None:
        here.sockets.leave(client.sid, "red")
        here.sockets.broadcast("red", "behind")

    backend.hangs = True
    kicking = in_thread(kick)
    assert backend.hanging.wait(PATIENCE)
    _wait_for(lambda: here.name != name)
    backend.answer.set()
    kicking.result(PATIENCE)

    fence(here, client)
    assert client.received() == []
    assert there.rooms_of(client) == set()


def test_a_call_that_a_restart_ends_says_so_and_names_who_has_not_answered(
    cluster: LocalCluster,
) -> None:
    backend = FaultyBackend(cluster.hub)
    here, there = cluster.worker(confirm_timeout=3600.0), cluster.worker(backend=backend)
    sid, name = there.connect().sid, there.name
    fence(here, there.connect())
    backend.mute = True
    future = here.sockets.leave(sid, "red")

    here.cluster.restart("a test says so")

    error = future.exception(PATIENCE)
    assert isinstance(error, Unconfirmed)
    assert error.workers == (name,)
    assert "this worker has started over: a test says so." in str(error)


@pytest.mark.slow
def test_a_worker_that_restarts_with_a_full_outbox_fails_its_calls(cluster: LocalCluster) -> None:
    """What was under way comes back to an outbox that is full, and is more than that holds."""
    backend = HangingBackend(cluster.hub)
    here, there = cluster.worker(make_app(), backend=backend, outbox_bytes=2000), cluster.worker()
    client, name = here.connect(), here.name
    here.sockets.join(client.sid, "red").result(0)
    elsewhere = there.connect().sid
    fence(here, there.connect())

    backend.hangs = backend.deaf = True
    under_way = in_thread(lambda: here.sockets.broadcast("green", "x" * 1500))
    assert backend.hanging.wait(PATIENCE)
    errors: Queue[BaseException | None] = Queue()
    here.sockets.leave(elsewhere, "red", errors.put)
    with pytest.raises(BackendUnavailable):
        _ask_until_refused(here, elsewhere)
    _wait_for(lambda: name not in there.cluster.peers)
    backend.down = True
    backend.answer.set()
    under_way.result(PATIENCE)
    backend.deaf = False
    assert isinstance(errors.get(timeout=PATIENCE), Unconfirmed)

    backend.down = False
    _wait_for(lambda: here.name in there.cluster.peers)
    fence(here, there.connect())
    assert here.name != name
    assert here.rooms_of(client) == set()


def test_without_a_broker_calls_fail_in_time(cluster: LocalCluster) -> None:
    backend = LostBackend(cluster.hub)
    here = cluster.worker(make_app(), backend=backend, confirm_timeout=0.5)
    sid = cluster.worker().connect().sid
    here.sockets.join(sid, "red").result(PATIENCE)
    errors: Queue[BaseException | None] = Queue()

    backend.down = True
    here.sockets.leave(sid, "red", errors.put)

    assert isinstance(errors.get(timeout=PATIENCE), Unconfirmed)
    assert backend.down


def test_a_worker_that_is_back_later_is_not_counted_as_dead(cluster: LocalCluster) -> None:
    later, sooner = LostBackend(cluster.hub), LostBackend(cluster.hub)
    here, there = _with(cluster, later), _with(cluster, sooner)
    client = here.connect()
    there.sockets.join(client.sid, "red").result(PATIENCE)

    later.down = sooner.down = True
    _wait_for(lambda: later.tried > 7 and sooner.tried > 7)  # the pauses are no longer short
    wire = cluster.listen()
    sooner.down = False
    assert wire.next_sender() == there.name
    tried = later.tried
    _wait_for(lambda: later.tried > tried)  # a whole pause lies before it
    later.down = False

    assert there.sockets.leave(client.sid, "red").result(PATIENCE) == Outcome(1)


@pytest.mark.slow
def test_a_broker_that_only_refuses_to_publish_is_tried_ever_more_rarely(
    cluster: LocalCluster,
) -> None:
    """As Redis does for a user whose permission is gone: the subscription goes on."""
    backend = RefusingBackend(cluster.hub)
    here = cluster.worker(make_app(), backend=backend, heartbeat_interval=2.0)
    fence(here, here.connect())
    backend.down, began = True, time.monotonic()

    here.sockets.broadcast("red", "accepted")

    _wait_for(lambda: backend.refused >= 2 * 8)  # each time twice at once
    # The least that the random pauses between eight tries can be.
    assert time.monotonic() - began >= sum(min(0.05 * 2**n, 1.0) / 2 for n in range(7))


def test_a_goodbye_is_heard_at_once(cluster: LocalCluster) -> None:
    # By its heartbeats `here` would notice only after minutes.
    here, there = cluster.worker(make_app(), heartbeat_interval=60), cluster.worker()
    sid = there.connect().sid
    fence(here, there.connect())

    there.cluster.stop()

    assert here.sockets.leave(sid, "red").result(PATIENCE) == Outcome(unknown=(sid,))


class SlowBackend(FaultyBackend):
    """Takes its time over the next payload, if the test says so; `sending` is set meanwhile."""

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self.slow = False
        self.sending = threading.Event()

    def publish(self, payload: bytes) -> None:
        if self.slow:
            self.slow = False
            self.sending.set()
            threading.Event().wait(0.3)
        super().publish(payload)


class CrawlingBackend(FaultyBackend):
    """Takes longer over every payload than a caller should wait, while `slow` is set."""

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self.slow = False
        self.senders: list[int] = []

    def publish(self, payload: bytes) -> None:
        if self.slow:
            self.senders.append(threading.get_ident())
            threading.Event().wait(0.6)
        super().publish(payload)


def test_no_caller_sends_on_and_on_to_a_slow_broker(cluster: LocalCluster) -> None:
    backend = CrawlingBackend(cluster.hub)
    here, there = cluster.worker(make_app(), backend=backend, message_bytes=300), cluster.worker()
    client = there.connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)

    backend.slow = True
    with here.cluster._sender._publishing:  # so that no other thread sends yet
        for number in range(6):
            here.sockets.broadcast("red", f"{number}" * 150)  # each fills a frame
    here.cluster.sender.flush()

    assert backend.senders.count(threading.get_ident()) <= 1
    backend.slow = False
    fence(here, client)
    assert [said[:1] for _, said in client.received()] == list("012345")


def test_a_goodbye_is_not_lost_to_a_thread_that_is_sending(cluster: LocalCluster) -> None:
    here = cluster.worker(make_app(), heartbeat_interval=60)
    there = _with(cluster, backend := SlowBackend(cluster.hub))
    sid = there.connect().sid
    fence(here, there.connect())
    backend.slow = True
    in_thread(lambda: there.sockets.broadcast("red", "slowly"))
    assert backend.sending.wait(PATIENCE)

    there.cluster.stop()

    _wait_for(lambda: there.name not in here.cluster.peers)
    assert here.sockets.leave(sid, "red").result(0) == Outcome(unknown=(sid,))


class HeldBackend(FaultyBackend):
    """Holds the next payload until the test lets it go, once `may_send` was cleared."""

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self.sending, self.may_send = threading.Event(), threading.Event()
        self.may_send.set()

    def publish(self, payload: bytes) -> None:
        if not self.may_send.is_set():
            self.sending.set()
            assert self.may_send.wait(PATIENCE)
        super().publish(payload)


def test_the_wait_for_answers_leaves_time_for_the_goodbye(cluster: LocalCluster) -> None:
    """As where a worker was killed that this one knows by name: no answer ends the wait."""
    here = cluster.worker(make_app(), heartbeat_interval=60)
    there = _with(cluster, backend := HeldBackend(cluster.hub))
    fence(here, there.connect())
    backend.may_send.clear()
    in_thread(lambda: there.sockets.broadcast("red", "held up"))
    assert backend.sending.wait(PATIENCE)

    leaving = in_thread(there.cluster.stop)
    _wait_for(lambda: there.cluster._said_goodbye)
    backend.may_send.set()
    leaving.result(PATIENCE)

    _wait_for(lambda: there.name not in here.cluster.peers)


def test_a_worker_that_ends_while_its_broker_is_away_for_a_moment_says_goodbye(
    cluster: LocalCluster,
) -> None:
    here = cluster.worker(make_app(), heartbeat_interval=60)
    there = _with(cluster, backend := AwayBackend(cluster.hub))
    client = here.connect()
    fence(here, there.connect())
    there.sockets.join(client.sid, "red").result(PATIENCE)
    backend.down = True
    there.sockets.broadcast("red", "accepted")

    leaving = in_thread(there.cluster.stop)
    _wait_for(lambda: there.cluster._transport.down)
    backend.down = False
    leaving.result(PATIENCE)

    _wait_for(lambda: there.name not in here.cluster.peers)
    assert client.received() == [("message", "accepted")]


@pytest.mark.slow
@pytest.mark.parametrize("was_tried", [True, False], ids=["refused", "never tried"])
def test_a_worker_that_ends_says_what_it_has_not_sent(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture, was_tried: bool
) -> None:
    """Such as the only broadcast of a script, which may be the first to notice."""
    here = _with(cluster, backend := RefusingBackend(cluster.hub))
    cluster.worker()
    fence(here, here.connect())
    backend.down = True
    here.cluster._transport.down = not was_tried
    here.sockets.broadcast("red", "lost")
    assert not was_tried or backend.refused

    with caplog.at_level(logging.WARNING, "flask_rooms.cluster"):
        here.cluster.stop()

    assert "Leaving the cluster with 1 operations unsent." in caplog.messages


@pytest.mark.slow
def test_a_worker_that_ends_says_what_has_not_come_back(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """As while RabbitMQ has an alarm: it takes what is published, and may drop it."""
    here = _with(cluster, backend := FaultyBackend(cluster.hub))
    cluster.worker()
    fence(here, here.connect())
    backend.mute = True
    here.sockets.broadcast("red", "lost")

    with caplog.at_level(logging.WARNING, "flask_rooms.cluster"):
        here.cluster.stop()

    assert caplog.messages[-1].startswith("Leaving the cluster with 1 operations that have not")


def test_a_worker_that_ends_in_peace_says_nothing(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    here, client = cluster.worker(), cluster.worker().connect()
    fence(here, client)

    with caplog.at_level(logging.WARNING, "flask_rooms.cluster"):
        here.sockets.broadcast(client.sid, "last")
        here.cluster.stop()

    assert caplog.messages == []
    assert client.received() == [("message", "last")]


class LaggingBackend(FaultyBackend):
    """Hears what it is sent only while `hearing` is set; counts the frames with operations."""

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self.hearing = threading.Event()
        self.hearing.set()
        self.frames = 0
        self._codec = Codec([SECRET], "flask-rooms", 2**24)

    def publish(self, payload: bytes) -> None:
        self.frames += bool(self._codec.decode(payload).operations)
        super().publish(payload)

    def receive(self, timeout: float) -> bytes | None:
        payload = super().receive(timeout)
        self.hearing.wait(PATIENCE)
        return payload


def test_what_is_said_while_a_frame_is_on_its_way_shares_the_next_one(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "flask_rooms.cluster.sender._ROUND_TRIP", PATIENCE
    )  # no matter how slow we are
    here, there = _with(cluster, backend := LaggingBackend(cluster.hub)), cluster.worker()
    client = there.connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)
    before = backend.frames

    backend.hearing.clear()
    for number in range(10):
        here.sockets.broadcast("red", number)
    assert backend.frames == before + 1

    backend.hearing.set()
    fence(here, client)
    assert client.received() == [("message", number) for number in range(10)]
    assert backend.frames <= before + 3  # the first one, the others, and perhaps the fence


def test_a_frame_that_never_comes_back_holds_up_nothing(cluster: LocalCluster) -> None:
    # No heartbeat helps, which would show the gap as well.
    here = cluster.worker(
        make_app(), backend=(backend := FaultyBackend(cluster.hub)), heartbeat_interval=60
    )
    client = cluster.worker().connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)

    backend.mute = True
    here.sockets.broadcast("red", "lost on its way, and repeated")
    backend.mute = False
    here.sockets.broadcast("red", "held back for a moment")

    received: list[tuple[str, Any]] = []
    _wait_for(lambda: len(received.__iadd__(client.received())) == 2)
    assert [said for _, said in received] == [
        "lost on its way, and repeated",
        "held back for a moment",
    ]
    assert here.sockets.leave(client.sid, "red").result(PATIENCE) == Outcome(1)


def test_a_call_does_not_wait_until_an_event_has_come_back(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_rooms.cluster.sender._ROUND_TRIP", PATIENCE)
    here, there = _with(cluster, backend := LaggingBackend(cluster.hub)), cluster.worker()
    client = there.connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)

    backend.hearing.clear()
    here.sockets.broadcast("red", 1)
    here.sockets.broadcast("red", "held back")
    here.sockets.leave(client.sid, "red")

    _wait_for(lambda: "red" not in there.rooms_of(client))
    assert client.received() == [("message", 1), ("message", "held back")]
    backend.hearing.set()


class LingeringBackend(FaultyBackend):
    """While `lingers` is set, publishes at once, and returns only when it `may_return`."""

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self.lingers = False
        self.published, self.may_return = threading.Event(), threading.Event()

    def publish(self, payload: bytes) -> None:
        super().publish(payload)
        if self.lingers:
            self.lingers = False
            self.published.set()
            self.may_return.wait(PATIENCE)


def test_a_worker_that_has_said_goodbye_does_not_restart(cluster: LocalCluster) -> None:
    """The others no longer name it, and it may receive that while its goodbye is being sent."""
    here, there = cluster.worker(), _with(cluster, backend := LingeringBackend(cluster.hub))
    fence(here, there.connect())
    fence(there, here.connect())  # it has been named
    name = there.name
    # It leaves without a query, which would have to be answered first.
    _wait_for(lambda: there.cluster._shared.node.is_followed)

    with there.cluster._sender._publishing:
        stopping = in_thread(there.cluster.stop)
        _wait_for(lambda: there.cluster._shared.node.has_unsent)
        backend.lingers = True
    assert backend.published.wait(PATIENCE)
    _wait_for(lambda: name not in here.cluster.peers)
    wire = cluster.listen()
    for _ in range(2):  # it has heard the one before when it hears the next
        assert wire.next_sender() == here.name
    backend.may_return.set()
    stopping.result(PATIENCE)

    assert there.name == name


class LateBackend(AwayBackend):
    """Opens only when the test lets it: `opening` is set while it waits for `may_open`."""

    def __init__(self, hub: str) -> None:
        super().__init__(hub)
        self.opening, self.may_open = threading.Event(), threading.Event()

    def open(self) -> None:
        if not self.down:
            self.opening.set()
            self.may_open.wait(PATIENCE)
        super().open()


def test_a_worker_that_stops_while_it_connects_leaves_no_connection_behind(
    cluster: LocalCluster,
) -> None:
    backend = LateBackend(cluster.hub)
    backend.down = True
    here = _with(cluster, backend)
    assert here.name
    backend.down = False
    assert backend.opening.wait(PATIENCE)

    here.cluster.stop(timeout=0.01)
    backend.may_open.set()
    here.cluster.receiver.stopped.wait(PATIENCE)

    with pytest.raises(BackendError):
        backend.publish(b"no worker is left")


class OddBackend(FaultyBackend):
    """Raises once what no backend should."""

    odd = False

    def receive(self, timeout: float) -> bytes | None:
        if self.odd:
            self.odd = False
            raise KeyError("a driver does not know what to do")
        return super().receive(timeout)


def test_no_error_of_a_driver_ends_the_listening(cluster: LocalCluster) -> None:
    here, there = _with(cluster, backend := OddBackend(cluster.hub)), cluster.worker()
    client = there.connect()
    fence(here, client)

    backend.odd = True

    _wait_for(lambda: not backend.odd)
    assert here.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)


def test_what_is_asked_when_a_worker_stops_gets_an_error(cluster: LocalCluster) -> None:
    here, there = cluster.worker(), _with(cluster, backend := FaultyBackend(cluster.hub))
    sid = there.connect().sid
    fence(here, there.connect())
    backend.deaf = True
    leave = here.sockets.leave(sid, "red")

    here.cluster.stop()

    with pytest.raises(Unconfirmed):
        leave.result(0)


def test_an_operation_that_fails_does_not_take_others_with_it(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = _with(cluster, backend := SlowBackend(cluster.hub)), cluster.worker()
    client = there.connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)

    def fail_once(*args: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(there.socketio.server, "_send_eio_packet", fail_once)
    backend.slow = True
    slowly = in_thread(lambda: here.sockets.broadcast("green", "lets the next two share a frame"))
    assert backend.sending.wait(PATIENCE)

    here.sockets.broadcast("red", "one that fails")
    here.sockets.broadcast("red", "one that does not")

    slowly.result(PATIENCE)
    fence(here, client)
    assert client.received() == [("message", "one that does not")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_change_that_fails_at_the_owner_is_not_confirmed(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = cluster.worker(make_app(), confirm_timeout=1), cluster.worker()
    client = there.connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)

    def fail(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(parts_of(there.app).registry, "apply", fail)

    with pytest.raises(Unconfirmed, match=there.name):
        here.sockets.join(client.sid, "blue").result(PATIENCE)
    assert there.rooms_of(client) == {"red"}


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"\x00" * 5_000_000, "é".encode() * 99])
def test_what_is_not_ours_is_dropped_counted_and_warned_of_once(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    here, there = cluster.worker(), cluster.worker()
    client = there.connect()
    fence(here, client)
    intruder = MemoryBackend("flask-rooms", hub=cluster.hub.removeprefix("memory://"))
    intruder.open()

    for _ in range(3):
        intruder.publish(payload)

    assert here.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)
    assert sum(there.cluster.dropped.values()) == 3
    about = [record for record in caplog.records if "Dropped a message" in record.message]
    assert len(about) == len({here, there})
    intruder.close()


def test_workers_notice_that_they_have_different_heartbeat_intervals(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    here = cluster.worker(make_app(), heartbeat_interval=1.0)
    there = cluster.worker(make_app(), heartbeat_interval=1.5)
    here.sockets.join(there.connect().sid, "red").result(PATIENCE)

    warning = "ROOMS_HEARTBEAT_INTERVAL is 1 seconds here and 1.5 seconds for worker"
    _wait_for(lambda: f"{warning} {there.cluster.name}" in caplog.text)


# -- a rolling upgrade ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_of_another_version_is_silent_and_not_unknown(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Its messages are dropped, and calls that need its answer say that it is missing."""
    here, there = cluster.worker(make_app(), confirm_timeout=2), cluster.worker()
    client = there.connect()
    here.sockets.join(client.sid, "red").result(PATIENCE)
    voice = MemoryBackend("flask-rooms", hub=cluster.hub.removeprefix("memory://"))
    voice.open()
    name = new_worker_name()

    def say(body: list[Any]) -> None:
        packed: bytes = msgpack.packb([VERSION + 1, name, *body])
        voice.publish(signed(packed, SECRET, "flask-rooms"))

    with _saying(lambda: say([{"first": 1}, "a body of whatever form"])):
        _wait_for(lambda: here.cluster.dropped["version"] > 0)
        with pytest.raises(Unconfirmed, match=name):
            here.sockets.leave(new_sid(name), "red").result(PATIENCE)
        answer = here.sockets.members("red")

    assert answer == Answer(frozenset({client.sid}), False, (name,))
    assert here.sockets.leave(client.sid, "red").result(PATIENCE) == Outcome(1)
    assert "another version of Flask-Rooms" in caplog.text
    voice.close()


@contextmanager
def _saying(say: Callable[[], object]) -> Iterator[None]:
    """Say something again and again, as often as a heartbeat, while the context lasts."""
    enough = threading.Event()

    def go_on() -> None:
        while not enough.wait(HEARTBEAT / 2):
            say()

    speaking = in_thread(go_on)
    try:
        yield
    finally:
        enough.set()
        speaking.result(PATIENCE)


# -- what an attacker with the broker, and without the key, can do -------------------------------


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_recorded_copies_change_nothing(cluster: LocalCluster, order: int) -> None:
    """Neither for workers that received the originals, nor for one that was born later."""
    tape = MemoryBackend("flask-rooms", hub=cluster.hub.removeprefix("memory://"))
    tape.open()
    here, there, gone = cluster.worker(), cluster.worker(), cluster.worker()
    mine, other = here.connect(), there.connect()
    for speaker, room in ((gone, "red"), (here, "blue")):
        speaker.sockets.join([mine.sid, other.sid], room).result(PATIENCE)
        speaker.sockets.broadcast(room, room)
        speaker.sockets.leave([mine.sid, other.sid], room).result(PATIENCE)
    here.sockets.join(other.sid, "green").result(PATIENCE)
    gone.cluster.stop()
    later = cluster.worker()
    theirs = later.connect()
    for speaker, listener in ((here, other), (there, mine), (here, theirs), (there, theirs)):
        fence(speaker, listener)
    before = [client.received() for client in (mine, other, theirs)]

    recorded = []
    while (payload := tape.receive(0.01)) is not None:
        recorded.append(payload)
    assert len(recorded) > 10
    for payload in 2 * recorded[::order]:
        tape.publish(payload)

    for speaker, listener in ((here, other), (there, mine), (here, theirs), (later, mine)):
        fence(speaker, listener)
    assert [said for _, said in before[0]] == ["red", "blue"]
    assert [client.received() for client in (mine, other, theirs)] == [[], [], []]
    assert there.sockets.rooms_of(other.sid) == Answer(frozenset({"green"}), True)
    assert here.rooms_of(mine) == later.rooms_of(theirs) == set()
    tape.close()
