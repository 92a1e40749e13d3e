"""The queue of what a client has not read is bounded, and counts right whoever fills it."""

from __future__ import annotations

import errno
import queue
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from engineio.packet import MESSAGE, Packet
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Ping

from flask_rooms.server.output import TOGETHER, Measured, Output, ThreadQueue
from flask_rooms.server.websocket import AT_ONCE, WebSocket
from tests.support.locks import held

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: A packet, and its size.
SMALL = Packet(MESSAGE, "x" * 1000)
SIZE = sys.getsizeof(SMALL.data)


class Outputs:
    """An output of ten small packets, and how often it was full."""

    def __init__(self) -> None:
        self.times_full = 0
        self.output = Output(ThreadQueue(), queue.Empty, 10 * SIZE)
        self.output.on_full = self._on_full

    def _on_full(self, eio_sid: str) -> None:
        self.times_full += 1

    def put(self, *packets: Packet) -> None:
        for packet in packets:
            self.output.put(packet)

    def send(self) -> str:
        """Do as python-engineio does with the next packet."""
        waiting = self.output.get(block=False)
        self.output.task_done()
        return str(waiting.encode())


@pytest.fixture
def full() -> Outputs:
    outputs = Outputs()
    outputs.put(*[SMALL] * 10)
    return outputs


def test_what_is_being_sent_waits_no_more(full: Outputs) -> None:
    assert full.output.unread == 10 * SIZE
    assert full.send() == f"4{SMALL.data}"
    assert full.output.unread == 9 * SIZE

    full.put(SMALL)
    assert (full.output.unread, full.times_full) == (10 * SIZE, 0)


def test_packets_that_wait_can_be_counted(full: Outputs) -> None:
    """Applications ask python-engineio's queue, which this one replaces."""
    assert full.output.qsize() == 10
    full.send()
    assert full.output.qsize() == 9


def test_beyond_the_limit_nothing_is_added_and_that_is_said_once(full: Outputs) -> None:
    full.put(SMALL, SMALL)
    full.send()
    full.put(SMALL)

    assert (full.output.unread, full.times_full) == (9 * SIZE, 1)


def test_the_packets_of_one_event_stay_together_whatever_other_threads_put() -> None:
    """A client takes what follows the first packet of a binary event for its attachment."""

    class Interrupted(queue.Queue[Any]):
        def put(self, *arguments: Any) -> None:
            super().put(*arguments)
            if self.qsize() == 1:
                other.start()
                other.join(0.2)  # it waits for the lock

    output = Output(Interrupted(), queue.Empty, 10 * SIZE)
    other = threading.Thread(target=output.put, args=(Packet(MESSAGE, "other"),))

    output.add([Measured(Packet(MESSAGE, text)) for text in ("first", "second")])
    other.join()

    sent = [output.get(block=False).encode() for _ in range(3)]
    assert sent == ["4first", "4second", "4other"]


def test_an_event_that_does_not_fit_ends_the_connection_outside_any_lock(full: Outputs) -> None:
    """That writes to the log, whose handlers are the application's."""
    locks: list[str] = []
    full.output.on_full = lambda eio_sid: locks.extend([eio_sid, *held()])
    full.output.eio_sid = "a connection"

    full.output.add([Measured(SMALL), Measured(SMALL)])

    assert locks == ["a connection"]


def test_one_packet_may_be_larger_than_the_limit(full: Outputs) -> None:
    larger = Packet(MESSAGE, "x" * 20 * SIZE)
    full.put(larger)
    assert full.output.unread > 30 * SIZE

    for _ in range(11):
        full.send()
    assert full.output.unread == 0

    full.put(larger, larger)
    assert full.times_full == 1


def test_what_was_polled_waits_until_its_response_was_sent(full: Outputs) -> None:
    full.put(Packet(MESSAGE, "x" * 20 * SIZE))
    for _ in range(11):
        full.output.get(block=False).encode(b64=True)
    assert full.output.unread > 30 * SIZE

    full.output.responded()
    assert full.output.unread == 0

    full.put(SMALL)
    full.output.responded()
    assert full.output.unread == SIZE


def test_what_is_discarded_is_gone(full: Outputs) -> None:
    full.output.discard()
    full.put(SMALL)

    assert full.output.get(block=False) is None
    with pytest.raises(queue.Empty):
        full.output.get(block=False)
    assert full.times_full == 0


def test_threads_that_put_and_send_at_once_leave_nothing_counted() -> None:
    output = Output(ThreadQueue(), queue.Empty, 10**9)

    def put() -> None:
        for _ in range(2000):
            output.put(SMALL)

    def send() -> None:
        for _ in range(4000):
            output.get(timeout=20).encode()

    threads = [threading.Thread(target=target) for target in (put, send, put, send, put, put)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert output.unread == 0


def test_a_binary_packet_is_encoded_for_each_transport() -> None:
    """python-engineio keeps the first encoding, and other clients may wait for the same packet."""
    packet = Packet(MESSAGE, b"\x01\x02")
    output = Output(ThreadQueue(), queue.Empty, 1000)
    for _ in range(3):
        output.put(packet)

    encoded = [output.get(block=False).encode(b64=b64) for b64 in (False, True, False)]

    assert encoded == [b"\x01\x02", "bAQI=", b"\x01\x02"]


def test_a_queue_that_is_joined_waits_until_all_is_taken() -> None:
    """python-engineio joins it to close a connection."""
    output = Output(ThreadQueue(), queue.Empty, 1000)
    output.put(Packet(MESSAGE, "x"))
    joined = threading.Event()

    def join() -> None:
        output.join()
        joined.set()

    thread = threading.Thread(target=join)
    thread.start()
    assert not joined.is_set()
    output.get()
    output.task_done()

    assert joined.wait(20)
    thread.join()


def test_what_has_been_sent_is_not_kept() -> None:
    """python-engineio keeps what it has taken until it takes more, and a client may be idle."""
    output = Output(ThreadQueue(), queue.Empty, 100)
    packet = Packet(MESSAGE, "sent")
    kept = weakref.ref(packet)
    output.put(packet)
    del packet

    taken = output.get()
    assert kept() is not None
    assert taken.encode() == "4sent"

    assert kept() is None


class Unbounded:
    """A client of which nothing is read."""

    def pause(self) -> None: ...

    def waiting(self, wait: Callable[[int], bytes], size: int) -> bytes:
        return wait(size)

    def pace(self) -> None: ...

    def refuse(self, limit: str) -> None: ...

    silences = 0

    def is_silent(self) -> None:
        self.silences += 1


class Pair:
    """An output whose packets go over a WebSocket, and the client's end of that."""

    def __init__(self, ours: socket.socket, client: socket.socket) -> None:
        self.output = Output(ThreadQueue(), queue.Empty, 10**9)
        self.ours, self.client = ours, Unbounded()
        websocket = WebSocket(ours, ours.recv, 1, self.client)
        self.output.transport = self.websocket = websocket
        self.client_end = client
        self._frames = Connection(ConnectionType.CLIENT)

    def send(self) -> None:
        """Do as python-engineio does with what it takes."""
        self.websocket.send(self.output.get(block=False).encode())

    def received(self) -> list[str | bytes]:
        """Return the messages that the client has got by now."""
        self._frames.receive_data(self.client_end.recv(2 * TOGETHER))
        return [event.data for event in self._frames.events()]  # type: ignore[attr-defined]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, client = socket.socketpair()
    with closing(ours), closing(client):
        yield Pair(ours, client)


def test_a_client_that_sends_nothing_is_silent(pair: Pair) -> None:
    pair.ours.settimeout(0)
    assert pair.websocket.wait() is None
    assert pair.client.silences == 0  # no time has passed

    pair.ours.settimeout(0.001)
    assert pair.websocket.wait() is None
    assert pair.client.silences == 1


def test_a_client_that_does_not_read_is_not_silent(pair: Pair) -> None:
    """Nor one whose connection the system has given up."""

    def send(data: bytes) -> None:
        raise TimeoutError("timed out")

    def read(size: int) -> bytes:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    ping = Connection(ConnectionType.CLIENT).send(Ping())
    pair.client_end.sendall(ping)
    pair.websocket.socket = SimpleNamespace(sendall=send)
    assert pair.websocket.wait() is None
    assert WebSocket(pair.ours, read, 1, pair.client).wait() is None

    assert pair.client.silences == 0


def test_over_a_websocket_what_waits_is_sent_together(pair: Pair) -> None:
    for data in ("first", b"second", "third"):
        pair.output.put(Packet(MESSAGE, data))

    pair.send()

    assert pair.received() == ["4first", b"second", "4third"]
    assert (pair.output.unread, pair.output.qsize()) == (0, 0)


def test_what_is_sent_together_is_bounded(pair: Pair) -> None:
    """It counts no more, and is still in memory."""
    for _ in range(3):
        pair.output.put(Packet(MESSAGE, "x" * (TOGETHER // 2)))

    pair.send()

    assert len(pair.received()) == 2
    assert pair.output.qsize() == 1


def test_the_end_of_a_queue_is_left_for_python_engineio(pair: Pair) -> None:
    pair.output.put(SMALL)
    pair.output.put(None)

    pair.send()

    assert pair.received() == [f"4{SMALL.data}"]
    assert pair.output.get(block=False) is None


def test_a_poll_that_is_still_there_after_the_upgrade_gets_them_as_a_poll_does(pair: Pair) -> None:
    for data in ("first", b"\x01\x02"):
        pair.output.put(Packet(MESSAGE, data))

    assert pair.output.get(block=False).encode(b64=True) == "4first\x1ebAQI="


# -- in the thread of the caller --------------------------------------------------------------


@pytest.fixture
def writer(pair: Pair) -> Iterator[threading.Thread]:
    """What sends what waits, as python-engineio does."""

    def write() -> None:
        while (taken := pair.output.get(timeout=60)) is not None:
            with suppress(OSError):
                pair.websocket.send(taken.encode())

    thread = threading.Thread(target=write)
    thread.start()
    yield thread
    pair.websocket.shut_down()
    pair.output.put(None)
    thread.join()


def send_now(pair: Pair, packet: Packet) -> None:
    """Send a packet once the writer waits."""
    while not pair.output.send_now([packet]):
        pass


def test_what_is_sent_at_once_needs_no_writer(pair: Pair, writer: threading.Thread) -> None:
    send_now(pair, Packet(MESSAGE, "now"))

    assert pair.received() == ["4now"]
    assert pair.output.unread == 0


def test_a_packet_and_its_attachment_are_sent_together(
    pair: Pair, writer: threading.Thread
) -> None:
    packets = [Packet(MESSAGE, "51-"), Packet(MESSAGE, b"\x01")]
    while not pair.output.send_now(packets):
        pass

    assert pair.received() == ["451-", b"\x01"]


def test_nothing_is_sent_at_once_before_what_waits(pair: Pair) -> None:
    assert not pair.output.send_now([SMALL])  # no writer waits
    pair.output.put(Packet(MESSAGE, "first"))
    assert not pair.output.send_now([SMALL])
    pair.send()
    assert not pair.output.send_now([SMALL])

    assert pair.received() == ["4first"]


def test_nothing_is_sent_at_once_to_a_client_that_polls(
    pair: Pair, writer: threading.Thread
) -> None:
    send_now(pair, SMALL)  # the writer waits
    pair.output.transport = None

    assert not pair.output.send_now([SMALL])


def test_nothing_is_sent_at_once_to_a_client_that_is_ended(
    pair: Pair, writer: threading.Thread
) -> None:
    send_now(pair, SMALL)
    pair.output.discard()

    assert not pair.output.send_now([SMALL])


def test_what_is_sent_at_once_overtakes_nothing(pair: Pair, writer: threading.Thread) -> None:
    """Whatever the writer is about: it may have taken an event, and not have sent it."""
    received: list[str | bytes] = []

    def read() -> None:
        while "4end" not in received[-2:]:
            received.extend(pair.received())

    client = threading.Thread(target=read)
    client.start()
    expected: list[str | bytes] = []
    for number in range(600):
        pair.output.put(Packet(MESSAGE, f"event {number}"))
        answer = Packet(MESSAGE, f"answer {number}")
        if not pair.output.send_now([answer]):
            pair.output.put(answer)
        expected += [f"4event {number}", f"4answer {number}"]
        if number % 3:
            send_now(pair, Packet(MESSAGE, "rest"))
            expected.append("4rest")
    pair.output.put(Packet(MESSAGE, "end"))
    client.join()

    assert received == [*expected, "4end"]


def test_what_would_have_to_wait_for_the_client_is_not_sent_at_once(
    pair: Pair, writer: threading.Thread
) -> None:
    """The thread may be a green one with a timeout, or the one that reads."""
    send_now(pair, SMALL)

    assert not pair.output.send_now([SMALL])  # the client has not read
    assert pair.received() == [f"4{SMALL.data}"]
    assert not pair.output.send_now([Packet(MESSAGE, "x" * AT_ONCE)])
    assert pair.output.send_now([SMALL])


def test_a_connection_that_has_ended_is_no_error(pair: Pair, writer: threading.Thread) -> None:
    send_now(pair, SMALL)
    pair.received()
    pair.websocket.shut_down()

    assert pair.output.send_now([SMALL])
    pair.websocket.socket.close()  # as a server does before the session is closed
    assert pair.output.send_now([SMALL])


def test_what_others_put_in_the_place_of_send_sees_everything(
    pair: Pair, writer: threading.Thread
) -> None:
    """python-socketio's admin counts there."""
    send_now(pair, SMALL)
    pair.received()
    pair.websocket.send = pair.websocket.send  # type: ignore[method-assign]

    assert not pair.output.send_now([SMALL])
