"""What waits for one client to read it: a queue of packets that is bounded in bytes."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Callable
from typing import Any


class Output:
    """
    The queue of one connection, as python-engineio uses it, with a limit.

    A packet counts from when it is put until its sending begins. So what is kept for a client is
    the limit, besides the packet that is being sent, and one that is larger than the limit: a
    large answer has to reach a client that does read.

    Args:
        queue: A queue of python-engineio, which this one fills.
        empty: What its get() raises.
        limit: How much may wait, in bytes of memory.

    Attributes:
        on_full: Called once, in the thread that sends, when more was to wait.
        transport: The WebSocket that it is sent over, as python-engineio has it, else None.
        reason: Why the connection has been ended by this worker; empty if it has not.
    """

    def __init__(self, queue: Any, empty: type[Exception], limit: int) -> None:
        self._queue = queue
        self._empty = empty
        self._limit = limit
        self._lock = threading.Lock()
        self._bytes = 0
        self._larger = 0  # the size of the one packet that is larger than the limit
        self._full = False
        self.on_full: Callable[[], object] = lambda: None
        self.transport: Any = None
        self.reason = ""
        self.get = queue.get
        self.task_done = queue.task_done
        self.join = queue.join

    @property
    def unread(self) -> int:
        """How much waits, in bytes of memory."""
        return self._bytes + self._larger

    def put(self, packet: Any) -> None:
        """Add a packet; once there was no room for one, nothing more is added."""
        if packet is None:  # with which python-engineio ends the queue
            self._queue.put(None)
            return
        size = sys.getsizeof(packet.data)  # takes no time, however long a text is
        with self._lock:
            if self._full:
                return
            admitted = self._admit(size)
            self._full = not admitted
        if admitted:
            self._queue.put(_Waiting(packet, size, self))
        else:
            self.on_full()

    def _admit(self, size: int) -> bool:
        if size > self._limit and not self._larger:
            self._larger = size
            return True
        if self._bytes + size > self._limit:
            return False
        self._bytes += size
        return True

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

    def release(self, size: int) -> None:
        """Count a packet no more."""
        with self._lock:
            if size > self._limit:
                self._larger = 0
            else:
                self._bytes -= size


class _Waiting:
    """A packet in the queue of one client; others may wait for the same packet."""

    __slots__ = ("_output", "_packet", "_size")

    def __init__(self, packet: Any, size: int, output: Output) -> None:
        self._packet = packet
        self._size = size
        self._output = output

    def encode(self, b64: bool = False) -> Any:
        """Return the packet as python-engineio sends it, which it is about to do."""
        self._output.release(self._size)
        if self._packet.binary and b64:
            # Not by the packet, which keeps this encoding for clients with WebSockets, too.
            return "b" + base64.b64encode(self._packet.data).decode("ascii")
        return self._packet.encode(b64=b64)
