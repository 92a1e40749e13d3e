"""What waits for one client to read it: a queue of packets that is bounded in bytes."""

from __future__ import annotations

import base64
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any

from flask_rooms.server.engine_io import SEPARATOR
from flask_rooms.server.websocket import WebSocket

#: Bytes of memory from which packets are not sent together with a further one: until they are
#: sent, they are kept besides what the limit allows.
TOGETHER = 2**15
#: Seconds between two looks of a thread that waits until a queue is empty.
_MOMENT = 0.01


class Measured:
    """
    A packet, and what it counts for; any number of clients may wait for it.

    Args:
        packet: A packet of Engine.IO.

    Attributes:
        size: In bytes of memory.
    """

    __slots__ = ("packet", "size")

    def __init__(self, packet: Any) -> None:
        self.packet = packet
        self.size = sys.getsizeof(packet.data)  # takes no time, however long a text is


class Output:
    """
    The queue of one connection, as python-engineio uses it, with a limit.

    A packet counts from when it is put until its sending begins, over a WebSocket, or until the
    response that it is in has been sent, to a client that polls. So what is kept for a client is
    the limit, besides the packet that is being sent, and one that is larger than the limit: a
    large answer has to reach a client that does read.

    Args:
        queue: A queue of python-engineio, which this one fills.
        empty: What its get() raises.
        limit: How much may wait, in bytes of memory.

    Attributes:
        eio_sid: The connection, for on_full.
        on_full: Called with it once, in the thread that sends, when more was to wait.
        transport: The WebSocket that it is sent over, as python-engineio has it, else None.
        reason: Why the connection has been ended by this worker; empty if it has not.
    """

    # A broadcast looks at thousands of them, and what is not looked at need not be in memory.
    __slots__ = (
        *("_queue", "_empty", "_limit", "_lock", "_bytes", "_larger", "_full"),
        *("_polled", "_polled_larger", "_is_awaited"),
        *("eio_sid", "on_full", "transport", "reason"),
    )

    def __init__(self, queue: Any, empty: type[Exception], limit: int) -> None:
        self._queue = queue
        self._empty = empty
        self._limit = limit
        self._lock = threading.Lock()
        self._bytes = 0
        self._larger = 0  # the size of the one packet that is larger than the limit
        self._polled = 0  # how much of both is in the response to a poll
        self._polled_larger = False
        self._full = False
        self.eio_sid = ""
        self.on_full: Callable[[str], object] = str
        self.transport: Any = None
        self.reason = ""
        self._is_awaited = False  # whether the thread that sends waits for something to send

    @property
    def unread(self) -> int:
        """How much waits, in bytes of memory."""
        return self._bytes + self._larger

    def put(self, packet: Any) -> None:
        """Add a packet, or the None with which python-engineio ends the queue."""
        if packet is None:
            self._queue.put(None)
        else:
            self.add([Measured(packet)])

    def add(self, packets: Iterable[Measured]) -> int:
        """
        Add the packets of one event, with none of another one between them.

        Once there was no room for one, nothing more is added.

        Returns:
            How much waits then, in bytes of memory.
        """
        with self._lock:
            if self._full:
                return self.unread
            waits = self._bytes
            for packet in packets:
                size = packet.size
                if waits + size <= self._limit:
                    waits += size
                elif size > self._limit and not self._larger:
                    self._larger = size
                else:
                    self._full = True
                    break
                self._queue.put(packet)
            self._bytes = waits
            waits += self._larger
            if not self._full:
                return waits
        self.on_full(self.eio_sid)
        return waits

    def send_now(self, packets: Iterable[Any]) -> bool:
        """
        Send packets in the thread of the caller, if the one that sends waits for some.

        To wake that one takes as long as to send them.

        Returns:
            False if they have to be added: others come first, the client polls, or it would take
            time.
        """
        with self._lock:
            if not self._is_awaited or self.unread or self._full:
                return False
            transport = self.transport
            if not isinstance(transport, WebSocket):
                return False
            return transport.send_now([packet.encode() for packet in packets])

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return what is sent next, which counts until it is encoded; raise what *empty* is."""
        self._is_awaited = block
        try:
            packet = self._queue.get(block, timeout)
        finally:
            self._is_awaited = False
        return None if packet is None else _Taken(self._together_with(packet), self)

    def _together_with(self, packet: Measured) -> list[Measured]:
        """Return a packet and those behind it, as a WebSocket sends many as fast as one."""
        together, size = [packet], packet.size
        while size < TOGETHER and isinstance(self.transport, WebSocket):
            try:
                following = self._queue.get(block=False)
            except self._empty:
                break
            self._queue.task_done()
            if following is None:  # which ends the queue, and is for python-engineio
                self._queue.put(None)
                break
            together.append(following)
            size += following.size
        return together

    def task_done(self) -> None:
        """Count what was taken as done, for join()."""
        self._queue.task_done()

    def join(self) -> None:
        """Return when all has been taken, and is done."""
        self._queue.join()

    def qsize(self) -> int:
        """Return how many packets wait, as applications ask python-engineio's queue."""
        return int(self._queue.qsize())

    def discard(self) -> None:
        """Forget what waits, for good, and end the queue."""
        with self._lock:
            self._full = True
        while True:
            try:
                self._queue.get(block=False)
            except self._empty:
                break
            self._queue.task_done()
        self._queue.put(None)

    def release(self, size: int, polled: bool) -> None:
        """Count a packet no more; if it was *polled*, only after responded()."""
        with self._lock:
            if polled and size > self._limit:
                self._polled_larger = True
            elif polled:
                self._polled += size
            elif size > self._limit:
                self._larger = 0
            else:
                self._bytes -= size

    def responded(self) -> None:
        """Note that the response to a poll was sent."""
        with self._lock:
            self._bytes -= self._polled
            self._larger = 0 if self._polled_larger else self._larger
            self._polled, self._polled_larger = 0, False


class ThreadQueue(SimpleQueue[Any]):
    """
    A queue between threads, with what python-engineio calls of `queue.Queue`.

    To put something into that takes a hundred times as long, three conditions and 1.5 KiB.
    """

    def task_done(self) -> None:
        """Do nothing: what was taken from the queue counts as done."""

    def join(self) -> None:
        """Return when all has been taken."""
        while not self.empty():
            time.sleep(_MOMENT)


class _Taken:
    """What one client has waited for: a packet, or several that are sent together."""

    __slots__ = ("_output", "_waited")

    def __init__(self, waited: Sequence[Measured], output: Output) -> None:
        self._waited = waited
        self._output = output

    def encode(self, b64: bool = False) -> Any:
        """Return it as python-engineio sends it, which it is about to do."""
        waited, self._waited = self._waited, ()  # python-engineio keeps this until it takes more
        for one in waited:
            self._output.release(one.size, polled=b64)
        encoded = [_encoded(one.packet, b64) for one in waited]
        if len(encoded) == 1:
            return encoded[0]
        # A request for packets that is still there after the upgrade takes several as one, too.
        return SEPARATOR.join(encoded) if b64 else encoded


def _encoded(packet: Any, b64: bool) -> Any:
    if packet.binary and b64:
        # Not by the packet, which keeps this encoding for clients with WebSockets, too.
        return "b" + base64.b64encode(packet.data).decode("ascii")
    return packet.encode(b64=b64)
