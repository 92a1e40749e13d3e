"""The node of a worker and its lock, for the threads that use it."""

from __future__ import annotations

import threading
import time
from collections import deque

from flask_rooms.cluster.directory import Directory
from flask_rooms.cluster.interfaces import Timing
from flask_rooms.cluster.statistics import Traffic
from flask_rooms.protocol.ids import new_worker_name
from flask_rooms.protocol.messages import Operation
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.stream import Limits

#: How many earlier names are remembered; sockets of an older life are long disconnected.
_MAX_FORMER_NAMES = 16


class LockedNode:
    """
    A node that several threads use, one at a time, and that a restart replaces.

    Args:
        timing: Intervals and timeouts of each node.
        limits: The bounds of their streams.
        version: The version of Flask-Rooms.

    Attributes:
        lock: Held while `node` is used, and for that alone. `node.name` needs no lock.
        node: The present node.
        former_names: What this worker was called before its restarts.
        directory: Where this worker and the others run.
        restarts: How often the node was replaced.
    """

    def __init__(self, timing: Timing, limits: Limits, version: str) -> None:
        self.lock = threading.Lock()
        self._timing = timing
        self._limits = limits
        self.former_names: deque[str] = deque(maxlen=_MAX_FORMER_NAMES)
        self.directory = Directory(timing.heartbeat, version)
        self.restarts = 0
        self._former_sent = self._former_retransmissions = 0
        self.node = self._new()

    def submit(self, operation: Operation) -> int:
        """
        Put an operation into the outbox, and return its number.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full.
        """
        with self.lock:
            return self.node.submit(operation)

    def renew(self) -> Node:
        """Let a new node take over from the present one, and return it; call it under the lock."""
        former = self.node
        self.former_names.append(former.name)
        self.restarts += 1
        self._former_sent += former.sent
        self._former_retransmissions += former.retransmissions
        node = self._new()
        node.take_over(former)
        self.node = node
        return node

    def traffic(self, reconnects: int = 0) -> Traffic:
        """Return what has passed, with how often the broker was connected to again."""
        with self.lock:
            operations, size = self.node.unsent
            repeated = self._former_retransmissions + self.node.retransmissions
            sent = self._former_sent + self.node.sent
            peers = len(self.node.peers)
            return Traffic(peers, sent, operations, size, repeated, reconnects, self.restarts)

    def _new(self) -> Node:
        name, now = new_worker_name(), time.monotonic()
        self.directory.note_self(name, now)
        return Node(
            name,
            now,
            heartbeat=self._timing.heartbeat,
            confirm=self._timing.confirm,
            limits=self._limits,
            about=self.directory.about,
        )
