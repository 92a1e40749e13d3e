"""The node of a worker, for the threads that use it."""

from __future__ import annotations

import threading
import time

from flask_rooms.cluster.interfaces import Timing
from flask_rooms.protocol.ids import new_worker_name
from flask_rooms.protocol.messages import Operation
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.stream import Limits


class LockedNode:
    """
    A node that several threads use, one at a time, and that may be replaced by a new one.

    Args:
        timing: Intervals and timeouts of each of them.
        limits: The bounds of their streams.
    """

    def __init__(self, timing: Timing, limits: Limits) -> None:
        #: To be held by whoever uses `node`, and for that alone.
        self.lock = threading.Lock()
        self._timing = timing
        self._limits = limits
        self.node = self._new()

    @property
    def name(self) -> str:
        """The worker's name at present; needs no lock."""
        return self.node.name

    def submit(self, operation: Operation) -> None:
        """
        Put an operation into the outbox.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full.
        """
        with self.lock:
            self.node.submit(operation)

    def renew(self) -> Node:
        """Return a new node, which replaces the present one; to be called under the lock."""
        self.node = self._new()
        return self.node

    def _new(self) -> Node:
        return Node(
            new_worker_name(),
            time.monotonic(),
            heartbeat=self._timing.heartbeat,
            confirm=self._timing.confirm,
            limits=self._limits,
        )
