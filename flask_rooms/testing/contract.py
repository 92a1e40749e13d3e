"""
The contract of `Backend`, as pytest suites for the authors of backends.

The whole test file of a backend:

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def make_backend(self):
            return lambda channel: MyBackend("my-broker.example", channel)

For readable failures, call `pytest.register_assert_rewrite("flask_rooms.testing")` in
conftest.py. No test sleeps: to show that a payload does not arrive, a test publishes a fence
after it, and the fence must be the first payload received.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import TracebackType
from typing import TypeVar
from uuid import uuid4

import pytest

from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError

__all__ = ["BackendContract", "BreakConnection", "MakeBackend", "ReconnectContract", "Workers"]

MakeBackend = Callable[[str], Backend]
BreakConnection = Callable[[Backend], None]

T = TypeVar("T")

PAYLOADS = {
    "empty": b"",
    "one byte": b"\x00",
    "every byte": bytes(range(256)),
    "not UTF-8": b"\xff\xfe\x80 caf\xe9",
    "64 KiB": os.urandom(64 * 1024),
    "1 MiB": os.urandom(1024 * 1024),
}

#: Changes of a channel's name, which a backend might confuse with the original.
RENAMES: dict[str, Callable[[str], str]] = {
    "longer": lambda channel: channel + "-b",
    "dotted": lambda channel: channel + ".b",
    "path": lambda channel: channel + "/b",
    "pattern": lambda channel: channel[:-1] + "*",
    "upper case": str.upper,
}


class Workers:
    """
    The backends of one test, which are closed when it ends.

    Args:
        make: Returns a new backend, not opened, on the given channel.
        patience: Seconds to wait for a payload that must arrive.
    """

    def __init__(self, make: MakeBackend, *, patience: float) -> None:
        self.channel = f"rooms-{uuid4().hex}"
        self.patience = patience
        self._make = make
        self._made: list[Backend] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for backend in self._made:
            backend.close()

    def make(self, channel: str | None = None) -> Backend:
        """Return a backend that is not opened, on the test's channel by default."""
        backend = self._make(self.channel if channel is None else channel)
        self._made.append(backend)
        return backend

    def open(self, count: int = 1, channel: str | None = None) -> list[Backend]:
        """Return *count* opened backends."""
        backends = [self.make(channel) for _ in range(count)]
        for backend in backends:
            backend.open()
        return backends

    def open_at(self, *addresses: str) -> list[Backend]:
        """Return an opened backend for each address."""
        backends = [self.make() for _ in addresses]
        for backend, address in zip(backends, addresses, strict=True):
            backend.address = address
            backend.open()
        return backends

    def next(self, worker: Backend) -> bytes:
        """Return the next payload of *worker*, or fail if none arrives."""
        payload = worker.receive(self.patience)
        assert payload is not None, f"nothing was received within {self.patience:g} seconds"
        return payload

    def take(self, worker: Backend, count: int) -> list[bytes]:
        """Return the next *count* payloads of *worker*, or fail if fewer arrive."""
        return [self.next(worker) for _ in range(count)]

    def until(self, condition: Callable[[], bool]) -> None:
        """Return when *condition* holds, or fail if it never does."""
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, f"it is not so after {self.patience:g} seconds"

    def start(self, function: Callable[[], T]) -> Future[T]:
        """Run *function* in a daemon thread, so that a failed test ends."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - finish() raises it
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def finish(self, future: Future[T]) -> T:
        """Return the result of the thread, or fail if it hangs."""
        return future.result(2 * self.patience)


class _Suite:
    #: Seconds to wait for a payload that must arrive. A passing test does not wait for it.
    patience = 10.0

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        """Return a function that returns a new backend, not opened, on the given channel."""
        raise NotImplementedError("Override the fixture `make_backend` in your test class.")

    @pytest.fixture
    def workers(self, make_backend: MakeBackend) -> Iterator[Workers]:
        """The backends of this test, on a channel that no other test uses."""
        with Workers(make_backend, patience=self.patience) as workers:
            yield workers


class BackendContract(_Suite):
    """The contract of every backend; subclass it and override the fixture `make_backend`."""

    def test_message_reaches_another_worker(self, workers: Workers) -> None:
        """A worker receives what another one publishes."""
        publisher, other = workers.open(2)
        publisher.publish(b"hello")
        assert workers.next(other) == b"hello"

    def test_message_reaches_every_worker(self, workers: Workers) -> None:
        """Every worker receives what any of them publishes, including the publisher."""
        everyone = workers.open(3)
        for number, publisher in enumerate(everyone):
            publisher.publish(b"%d" % number)
            assert [workers.next(worker) for worker in everyone] == [b"%d" % number] * 3

    def test_payloads_arrive_in_order(self, workers: Workers) -> None:
        """The payloads of one worker arrive at every worker in the order published."""
        publisher, other = workers.open(2)
        sent = [b"%d" % number for number in range(200)]
        for payload in sent:
            publisher.publish(payload)
        assert workers.take(other, len(sent)) == sent
        assert workers.take(publisher, len(sent)) == sent

    def test_nothing_published_after_open_is_lost(self, workers: Workers) -> None:
        """A worker receives every payload published after its open() has returned."""
        (publisher,) = workers.open()
        for number in range(5):
            (newcomer,) = workers.open()
            sent = [b"%d, %d" % (number, step) for step in range(3)]
            for payload in sent:
                publisher.publish(payload)
            assert workers.take(newcomer, len(sent)) == sent

    def test_nothing_published_before_open_is_replayed(self, workers: Workers) -> None:
        """A worker receives no payload published before its open()."""
        (publisher,) = workers.open()
        publisher.publish(b"before")
        assert workers.next(publisher) == b"before"
        (newcomer,) = workers.open()
        publisher.publish(b"fence")
        assert workers.next(newcomer) == b"fence"

    def test_opening_again_starts_afresh(self, workers: Workers) -> None:
        """After reopening, a worker receives no payload from before that, read or not."""
        publisher, other = workers.open(2)
        publisher.publish(b"unread")
        assert workers.next(publisher) == b"unread"
        other.close()
        publisher.publish(b"missed")
        assert workers.next(publisher) == b"missed"
        other.open()
        publisher.publish(b"fence")
        assert workers.next(other) == b"fence"
        other.publish(b"reply")
        assert workers.take(publisher, 2) == [b"fence", b"reply"]

    def test_one_publish_is_one_message(self, workers: Workers) -> None:
        """Equal payloads are neither merged nor doubled."""
        everyone = workers.open(2)
        sent = [b"same", b"same", b"fence"]
        for payload in sent:
            everyone[0].publish(payload)
        for worker in everyone:
            assert workers.take(worker, len(sent)) == sent

    @pytest.mark.parametrize("rename", RENAMES.values(), ids=RENAMES)
    def test_channels_do_not_mix(self, workers: Workers, rename: Callable[[str], str]) -> None:
        """A worker receives payloads of its own channel only, however similar the names are."""
        ours = workers.open(2)
        theirs = workers.open(2, channel=rename(workers.channel))
        theirs[0].publish(b"theirs")
        assert [workers.next(worker) for worker in theirs] == [b"theirs"] * 2
        ours[0].publish(b"ours")
        assert [workers.next(worker) for worker in ours] == [b"ours"] * 2
        theirs[0].publish(b"fence")
        assert [workers.next(worker) for worker in theirs] == [b"fence"] * 2

    @pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
    def test_payload_arrives_unchanged(self, workers: Workers, payload: bytes) -> None:
        """Any bytes arrive unchanged, from none to a megabyte."""
        everyone = workers.open(2)
        everyone[0].publish(payload)
        everyone[0].publish(b"fence")
        for worker in everyone:
            # Not a bare ==, whose failure would print a megabyte.
            received = workers.next(worker)
            assert type(received) is bytes
            assert len(received) == len(payload)
            assert (received == payload) is True
            assert workers.next(worker) == b"fence"

    def test_receive_returns_none_after_timeout(self, workers: Workers) -> None:
        """receive() returns None after its timeout, and works afterwards."""
        publisher, other = workers.open(2)
        assert workers.finish(workers.start(lambda: other.receive(0.05))) is None
        assert workers.finish(workers.start(lambda: other.receive(0.05))) is None
        publisher.publish(b"later")
        assert workers.next(other) == b"later"

    def test_threads_may_publish_together(self, workers: Workers) -> None:
        """Threads that share a backend lose no payload, and all workers receive one order."""
        everyone = workers.open(2)
        sent = [[b"%d, %d" % (thread, step) for step in range(50)] for thread in range(4)]

        def publish(payloads: list[bytes]) -> Callable[[], None]:
            return lambda: [everyone[0].publish(payload) for payload in payloads].clear()

        for future in [workers.start(publish(payloads)) for payloads in sent]:
            workers.finish(future)
        received = [workers.take(worker, 4 * 50) for worker in everyone]
        for payloads in sent:
            assert [payload for payload in received[0] if payload in payloads] == payloads
        assert received[0] == received[1]

    def test_a_worker_publishes_while_it_waits(self, workers: Workers) -> None:
        """publish() is not blocked by a receive() that waits in another thread."""
        everyone = workers.open(2)
        waiting = [workers.start(lambda w=worker: workers.next(w)) for worker in everyone]  # type: ignore[misc]
        workers.finish(workers.start(lambda: everyone[0].publish(b"hello")))
        assert [workers.finish(future) for future in waiting] == [b"hello"] * 2

    def test_close_wakes_a_blocked_receive(self, workers: Workers) -> None:
        """close() ends a receive() that waits in another thread, which returns None."""
        publisher, other = workers.open(2)
        about_to_wait = threading.Event()

        def receive() -> bytes | None:
            about_to_wait.set()
            return other.receive(60 * workers.patience)

        waiting = workers.start(receive)
        assert about_to_wait.wait(workers.patience)
        other.close()
        assert workers.finish(waiting) is None
        publisher.publish(b"still here")
        assert workers.next(publisher) == b"still here"

    def test_closed_backend_receives_nothing(self, workers: Workers) -> None:
        """receive() of a closed backend returns None, even if payloads are unread."""
        publisher, other = workers.open(2)
        publisher.publish(b"unread")
        assert workers.next(publisher) == b"unread"
        other.close()
        assert workers.finish(workers.start(lambda: other.receive(0.05))) is None

    def test_close_twice_is_harmless(self, workers: Workers) -> None:
        """close() may be called before open(), and twice, without effect on other workers."""
        publisher, other = workers.open(2)
        workers.make().close()
        other.close()
        other.close()
        publisher.publish(b"still here")
        assert workers.next(publisher) == b"still here"

    def test_closed_backend_refuses_to_publish(self, workers: Workers) -> None:
        """publish() of a closed backend raises BackendError, and no worker receives it."""
        publisher, other = workers.open(2)
        publisher.close()
        with pytest.raises(BackendError):
            publisher.publish(b"refused")
        with pytest.raises(BackendError):
            workers.make().publish(b"refused too")
        other.publish(b"fence")
        assert workers.next(other) == b"fence"

    def test_a_closed_worker_leaves_the_others_connected(self, workers: Workers) -> None:
        """The workers that remain receive each other's payloads after one has closed."""
        leaving, *staying = workers.open(3)
        leaving.close()
        for publisher in staying:
            publisher.publish(b"still here")
            assert [workers.next(worker) for worker in staying] == [b"still here"] * 2

    def test_payload_for_one_worker_reaches_it(self, workers: Workers) -> None:
        """A payload for an address arrives there; without addresses, at every worker."""
        one, other = workers.open_at("one", "other")
        for publisher in (one, other):
            publisher.publish_to("other", b"for the other")
            assert workers.next(other) == b"for the other"

    def test_payloads_for_one_and_for_all_are_in_order(self, workers: Workers) -> None:
        """What one worker publishes for one and for all arrives in the order published."""
        publisher, other = workers.open_at("publisher", "other")
        for number in range(100):
            publisher.publish(b"%d for all" % number)
            publisher.publish_to("other", b"%d for one" % number)
        sent = [b"%d for %s" % (n, whom) for n in range(100) for whom in (b"all", b"one")]
        assert workers.take(other, len(sent)) == sent

    def test_payload_for_an_unknown_address_is_lost(self, workers: Workers) -> None:
        """An address that no worker has, or has no longer, is no error."""
        (publisher,) = workers.open_at("publisher")
        (gone,) = workers.open_at("gone")
        gone.close()
        publisher.publish_to("gone", b"lost")
        publisher.publish_to("never there", b"lost, too")
        publisher.publish(b"fence")
        while (payload := workers.next(publisher)) != b"fence":
            assert payload in (b"lost", b"lost, too")  # there are no addresses: all get everything

    def test_audience_counts_the_open_backends(self, workers: Workers) -> None:
        """audience() is the number of the channel's open backends, where it is known."""
        assert workers.make().audience() is None
        everyone = workers.open(2)
        workers.open(2, channel=workers.channel + "-b")
        if everyone[0].audience() is None:
            pytest.skip("This backend does not know its audience.")
        assert [worker.audience() for worker in everyone] == [2, 2]
        (newcomer,) = workers.open()
        assert newcomer.audience() == 3

    def test_audience_shrinks_when_a_backend_closes(self, workers: Workers) -> None:
        """A closed backend is not counted any more, and counts none."""
        staying, leaving = workers.open(2)
        if staying.audience() is None:
            pytest.skip("This backend does not know its audience.")
        leaving.close()
        assert leaving.audience() is None
        workers.until(lambda: staying.audience() == 1)
        leaving.open()
        assert staying.audience() == 2


class ReconnectContract(_Suite):
    """
    The contract of a backend over a network when its connections are cut.

    Subclass it and override `make_backend` and `break_connection`. Around the cut, payloads
    may be lost or doubled; afterwards the contract holds again.
    """

    @pytest.fixture
    def break_connection(self) -> BreakConnection:
        """Return a function that cuts a backend's connections from the broker's side."""
        raise NotImplementedError("Override the fixture `break_connection` in your test class.")

    def test_workers_recover_from_a_cut(
        self, workers: Workers, break_connection: BreakConnection
    ) -> None:
        """After all have reconnected, payloads arrive once and in order again."""
        everyone = workers.open(2)
        for number in range(3):
            for worker in everyone:
                break_connection(worker)
            self.recover(workers, everyone)
            sent = [b"%d, %d" % (number, step) for step in range(20)]
            for payload in sent:
                everyone[0].publish(payload)
            for worker in everyone:
                assert self.take_after_probes(workers, worker, len(sent)) == sent

    def test_a_waiting_receive_survives_a_cut(
        self, workers: Workers, break_connection: BreakConnection
    ) -> None:
        """receive() that waits during a cut raises BackendError or continues to wait."""
        everyone = workers.open(2)
        stop = threading.Event()

        def listen() -> bool:
            while not stop.is_set():
                try:
                    if everyone[1].receive(0.1) == b"fence":
                        return True
                except BackendError:
                    pass
            return False

        listening = workers.start(listen)
        break_connection(everyone[1])
        deadline = self.deadline(workers)
        try:
            while not listening.done() and time.monotonic() < deadline:
                self.publish(everyone[0], b"fence")
                wait([listening], timeout=0.1)
        finally:
            stop.set()
        assert workers.finish(listening)

    def test_address_is_kept_over_a_cut(
        self, workers: Workers, break_connection: BreakConnection
    ) -> None:
        """A backend that has reconnected is reached at its address, once."""
        everyone = workers.open_at("one", "other")
        break_connection(everyone[1])
        self.recover(workers, everyone)
        everyone[0].publish_to("other", b"for the other")
        everyone[0].publish_to("other", b"fence")
        assert self.take_after_probes(workers, everyone[1], 2) == [b"for the other", b"fence"]

    def test_audience_is_right_after_a_cut(
        self, workers: Workers, break_connection: BreakConnection
    ) -> None:
        """Each backend that has reconnected is counted once, where the audience is known."""
        everyone = workers.open(2)
        if everyone[0].audience() is None:
            pytest.skip("This backend does not know its audience.")
        break_connection(everyone[0])
        self.recover(workers, everyone)
        for worker in everyone:
            workers.until(lambda worker=worker: worker.audience() == 2)  # type: ignore[misc]

    def test_close_after_a_cut_is_harmless(
        self, workers: Workers, break_connection: BreakConnection
    ) -> None:
        """A backend that was cut off can be closed, and opened again."""
        staying, leaving = workers.open(2)
        break_connection(leaving)
        leaving.close()
        with pytest.raises(BackendError):
            leaving.publish(b"refused")
        leaving.open()
        self.recover(workers, [staying, leaving])

    # Helpers of the tests, which retry at once after a lost connection.

    def deadline(self, workers: Workers) -> float:
        """Return when a broker that was cut off now must be back, on the monotonic clock."""
        return time.monotonic() + 3 * workers.patience

    def publish(self, worker: Backend, payload: bytes) -> bool:
        try:
            worker.publish(payload)
        except BackendError:
            return False
        return True

    def receive(self, worker: Backend, timeout: float) -> bytes | None:
        try:
            return worker.receive(timeout)
        except BackendError:
            return None

    def recover(self, workers: Workers, everyone: list[Backend]) -> None:
        """Return when every worker has received a new probe of every worker."""
        deadline = self.deadline(workers)
        for listener in everyone:
            for speaker in everyone:
                probe = b"probe %s" % uuid4().hex.encode()
                heard: bytes | None = None
                while heard != probe:
                    assert time.monotonic() < deadline, "a worker has not reconnected"
                    if heard is None:
                        self.publish(speaker, probe)
                    heard = self.receive(listener, 0.2)

    def take_after_probes(self, workers: Workers, worker: Backend, count: int) -> list[bytes]:
        """Return the next *count* payloads that are not probes of recover()."""
        taken: list[bytes] = []
        while len(taken) < count:
            payload = workers.next(worker)
            if not payload.startswith(b"probe "):
                taken.append(payload)
        return taken
