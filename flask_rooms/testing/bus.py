"""An in-process broker with faults that a test controls."""

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
    The faults of the messages between workers; its attributes may be set at any time.

    Each fault is random, for each message and each worker that receives it.

    Args:
        delay: The maximum delay of a message, in seconds. Messages stay in order.
        loss: The probability, 0 to 1, that a message is lost. Two consecutive messages of one
            worker to another are never both lost, because that worker would count as dead.
        doubling: The probability, 0 to 1, that a message arrives twice.

    Attributes:
        lost: The number of messages lost so far.
        doubled: The number of messages that have arrived twice so far.
    """

    delay: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    lost: int = 0
    doubled: int = 0


class Bus:
    """
    Connects its backends with each other.

    Args:
        seed: The seed of the random faults.
    """

    def __init__(self, seed: int = 0) -> None:
        self.faults = Faults()
        self._down = False
        #: The lock of the attributes below and of the state of all backends.
        self.changed = threading.Condition()
        self.listening: list[BusBackend] = []
        self._random = random.Random(seed)
        self._just_lost: set[tuple[BusBackend, BusBackend]] = set()

    @property
    def down(self) -> bool:
        """Whether the broker is down; setting it to True loses every connection."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        for backend in list(self.listening):
            backend.lose_connection()

    def send(self, sender: BusBackend, payload: bytes, address: str | None = None) -> None:
        """Send *payload* to the open backends of the sender's channel, or to one address."""
        for receiver in self.listening:
            if receiver.channel == sender.channel and address in (None, receiver.address):
                for _ in range(self._copies(sender, receiver)):
                    delay = self._random.uniform(0, self.faults.delay)
                    receiver.put(time.monotonic() + delay, payload)
        self.changed.notify_all()

    def _copies(self, sender: BusBackend, receiver: BusBackend) -> int:
        route = (sender, receiver)
        if self._random.random() < self.faults.loss and route not in self._just_lost:
            self._just_lost.add(route)
            self.faults.lost += 1
            return 0
        self._just_lost.discard(route)
        if self._random.random() < self.faults.doubling:
            self.faults.doubled += 1
            return 2
        return 1


class BusBackend(Backend):
    """
    One worker's connection to a bus.

    Args:
        bus: The bus.
        channel: Only backends of the same channel are connected.
    """

    def __init__(self, bus: Bus, channel: str) -> None:
        self.channel = channel
        #: Whether publish() discards every payload, without an error.
        self.mute = False
        self._bus = bus
        self._cut = False
        self._lost = False  # the connection, until receive() has raised BackendError
        self._inbox: deque[tuple[float, bytes]] | None = None  # when due, and the payload

    def __repr__(self) -> str:
        return f"<BusBackend {self.channel!r}>"

    @property
    def cut(self) -> bool:
        """Whether this backend is cut off: it loses its connection and cannot reconnect."""
        return self._cut

    @cut.setter
    def cut(self, cut: bool) -> None:
        self._cut = cut
        self.lose_connection()

    @property
    def reachable(self) -> bool:
        """Whether this backend can reach the broker."""
        return not (self._cut or self._bus.down)

    def lose_connection(self) -> None:
        """Lose the connection, unless the broker is reachable."""
        with self._bus.changed:
            if self._inbox is not None and not self.reachable:
                self._lost = True
                self._inbox.clear()
                self._bus.changed.notify_all()

    def put(self, due: float, payload: bytes) -> None:
        """
        Add a payload to the inbox, unless the connection is lost.

        Args:
            due: When receive() may return it, on the monotonic clock.
            payload: The payload.
        """
        if self._inbox is not None and not self._lost:
            self._inbox.append((due, payload))

    def open(self) -> None:
        """
        Subscribe: every payload published after the return is received.

        Raises:
            BackendError: The broker is down, or this backend is cut off.
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
        Send *payload* to every open backend of the channel, this one included.

        Raises:
            BackendError: The backend is closed or cut off, or the broker is down.
        """
        self._send(payload, None)

    def publish_to(self, address: str, payload: bytes) -> None:
        """
        Send *payload* to the open backend of the channel that has the address.

        Raises:
            BackendError: The backend is closed or cut off, or the broker is down.
        """
        self._send(payload, address)

    def _send(self, payload: bytes, address: str | None) -> None:
        with self._bus.changed:
            if self._inbox is None:
                raise BackendError("The backend is closed; call open() first.")
            if not self.reachable:
                raise BackendError("The test has taken the broker away.")
            if not self.mute:
                self._bus.send(self, payload, address)

    def receive(self, timeout: float) -> bytes | None:
        """
        Return the next payload, waiting at most *timeout* seconds.

        Returns:
            The payload, or None if none arrived in time or the backend is closed.

        Raises:
            BackendError: The connection was lost; calling again reconnects if possible.
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

    def audience(self) -> int | None:
        """Return how many backends are connected on the channel; None if this one is not."""
        with self._bus.changed:
            if self._inbox is None or not self.reachable:
                return None
            connected = [one for one in self._bus.listening if one.reachable and not one._lost]
            return sum(one.channel == self.channel for one in connected)

    def close(self) -> None:
        """Unsubscribe, and wake a waiting receive(); closing twice has no effect."""
        with self._bus.changed:
            if self._inbox is not None:
                self._inbox = None
                self._bus.listening.remove(self)
                self._bus.changed.notify_all()
