"""A broker inside the process, which fails when a test wants it to."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass

from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError


@dataclass
class Faults:
    """
    What goes wrong between the workers from now on; change it at any time.

    The dice are thrown for each message and each worker that it goes to.

    Args:
        delay: Seconds that a message takes at most; how many is random. Messages do not
            overtake each other.
        loss: Probability, 0 to 1, that a message is lost; never two in a row from one
            worker to another, for a worker that is not heard for longer is dead.
        doubling: Probability, 0 to 1, that a message arrives twice.

    Attributes:
        lost: How many were lost so far.
        doubled: How many arrived twice so far.
    """

    delay: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    lost: int = 0
    doubled: int = 0


class Bus:
    """
    Connects the backends made for it, and those alone.

    Args:
        seed: Of the dice.
    """

    def __init__(self, seed: int = 0) -> None:
        self.faults = Faults()
        self._down = False
        #: Guards all that is below, and all of the backends.
        self.changed = threading.Condition()
        self.listening: list[BusBackend] = []
        self._dice = random.Random(seed)
        self._just_lost: set[tuple[BusBackend, BusBackend]] = set()

    @property
    def down(self) -> bool:
        """Whether the broker is away; when it goes, every connection is lost."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        for backend in list(self.listening):
            backend.check()

    def carry(self, sender: BusBackend, payload: bytes) -> None:
        """Put *payload* on its way to everybody."""
        for receiver in self.listening:
            if receiver.channel == sender.channel:
                for _ in range(self._copies(sender, receiver)):
                    late = self._dice.uniform(0, self.faults.delay)
                    receiver.take(time.monotonic() + late, payload)
        self.changed.notify_all()

    def _copies(self, sender: BusBackend, receiver: BusBackend) -> int:
        way = (sender, receiver)
        if self._dice.random() < self.faults.loss and way not in self._just_lost:
            self._just_lost.add(way)
            self.faults.lost += 1
            return 0
        self._just_lost.discard(way)
        if self._dice.random() < self.faults.doubling:
            self.faults.doubled += 1
            return 2
        return 1


class BusBackend(Backend):
    """
    One worker's connection to a bus.

    Args:
        bus: The bus.
        channel: Only backends of the same channel hear each other.
    """

    def __init__(self, bus: Bus, channel: str) -> None:
        self.channel = channel
        #: What is published reaches nobody, and no error says so.
        self.mute = False
        self._bus = bus
        self._cut = False
        self._lost = False  # and receive() has not said so yet
        self._inbox: deque[tuple[float, bytes]] | None = None  # when due, what

    def __repr__(self) -> str:
        return f"<BusBackend {self.channel!r}>"

    @property
    def cut(self) -> bool:
        """Whether this connection, and no other one, is lost and cannot be made again."""
        return self._cut

    @cut.setter
    def cut(self, cut: bool) -> None:
        self._cut = cut
        self.check()

    @property
    def reachable(self) -> bool:
        """Whether there is a way to the others."""
        return not (self._cut or self._bus.down)

    def check(self) -> None:
        """Lose the connection, if it is to be lost."""
        with self._bus.changed:
            if self._inbox is not None and not self.reachable:
                self._lost = True
                self._inbox.clear()
                self._bus.changed.notify_all()

    def take(self, due: float, payload: bytes) -> None:
        """Keep *payload* for receive() until it is due; nothing is heard over a lost connection."""
        if self._inbox is not None and not self._lost:
            self._inbox.append((due, payload))

    def open(self) -> None:
        """
        Take part: whatever is published after the return is received.

        Raises:
            BackendError: The broker is down, or this connection cut.
        """
        self.close()
        with self._bus.changed:
            if not self.reachable:
                raise BackendError("The test has taken the broker away.")
            self._lost = False
            self._inbox = deque()
            self._bus.listening.append(self)

    def publish(self, payload: bytes) -> None:
        """
        Put *payload* on its way to every open backend of the channel, this one included.

        Raises:
            BackendError: The backend is closed, the broker down, or this connection cut.
        """
        with self._bus.changed:
            if self._inbox is None:
                raise BackendError("The backend is closed; call open() first.")
            if not self.reachable:
                raise BackendError("The test has taken the broker away.")
            if not self.mute:
                self._bus.carry(self, payload)

    def receive(self, timeout: float) -> bytes | None:
        """
        Return the next payload, waiting at most *timeout* seconds.

        Returns:
            The payload, or None when nothing came in time or the backend was closed.

        Raises:
            BackendError: The connection was lost; calling again connects again if it can.
        """
        deadline = time.monotonic() + timeout
        with self._bus.changed:
            inbox = self._inbox
            while inbox is not None and inbox is self._inbox:
                if self._lost:
                    self._lost = not self.reachable
                    raise BackendError("The test has cut the connection.")
                now = time.monotonic()
                until = min(deadline, inbox[0][0]) if inbox else deadline
                if inbox and inbox[0][0] <= now:
                    return inbox.popleft()[1]
                if deadline <= now:
                    return None
                self._bus.changed.wait(until - now)
        return None

    def close(self) -> None:
        """Take no part any more, and wake a receive() that waits; closing twice is harmless."""
        with self._bus.changed:
            if self._inbox is not None:
                self._inbox = None
                self._bus.listening.remove(self)
                self._bus.changed.notify_all()
