"""Trial, two workers of one contender and a client that leaves rooms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import socketio

from benchmarks.contenders import Contender, two_workers
from benchmarks.processes import Process
from tests.support.brokers import Broker

#: How many leaves are tried, about one per second, until one works.
TRIES = 60


class Trial:
    """
    Two workers, and a client that one worker takes out of rooms on the other.

    Args:
        here: The worker that makes the leaves.
        there: The worker that holds the client's socket.
        sid: The client's socket ID.
    """

    def __init__(self, here: Process, there: Process, sid: str) -> None:
        self.here = here
        self.there = there
        self.sid = sid

    def join(self, rooms: list[str]) -> None:
        """Put the client into rooms, on its own worker."""
        self.there.ask("join", sid=self.sid, rooms=rooms)

    def call(self, rooms: list[str], interval: float = 0.0, announce: int = -1) -> None:
        """Start leaves on the worker *here*; driver.py explains the arguments and the result."""
        self.here.tell("leave", sid=self.sid, rooms=rooms, interval=interval, announce=announce)

    def cpu(self) -> int:
        """Return the processor time of both workers, in nanoseconds."""
        return sum(int(worker.ask("cpu")["spent"]) for worker in (self.here, self.there))

    def rooms(self) -> set[str]:
        """Return the rooms of the client, including that of its ID; none if it is gone."""
        return set(self.there.ask("rooms", sid=self.sid)["rooms"])

    def prepare(self) -> None:
        """Wait until leaves work, and join the rooms of until_a_leave_works()."""
        self.join([f"{when}-{number}" for when in ("before", "after") for number in range(TRIES)])
        if self.until_a_leave_works("before") is None:
            raise RuntimeError("A leave does not work even without a fault.")

    def until_a_leave_works(self, when: str) -> float | None:
        """Return the seconds until a leave works; None if none does, or the client is gone."""
        began = time.monotonic()
        for number in range(TRIES):
            room = f"{when}-{number}"
            self.call([room])
            self.here.hear("did", "leave")
            for _ in range(10):
                rooms = self.rooms()
                if self.sid not in rooms:
                    return None
                if room not in rooms:
                    return round(time.monotonic() - began, 2)
                time.sleep(0.1)
        return None


@contextmanager
def trial(contender: Contender, broker: Broker) -> Iterator[Trial]:
    """Start the workers and clients of a trial, and wait until leaves work."""
    with two_workers(contender, broker) as (here, there), ExitStack() as stack:
        # A client of each worker: python-socketio starts to listen to other workers with the
        # first one.
        _, sid = (_connect(worker, stack) for worker in (here, there))
        begun = Trial(here, there, sid)
        begun.prepare()
        yield begun


def _connect(worker: Process, stack: ExitStack) -> str:
    """Connect a client until the stack ends, once the worker listens; return its socket ID."""
    url = f"http://127.0.0.1:{worker.hear('port')['port']}"
    client = stack.enter_context(socketio.SimpleClient())
    client.connect(url, transports=["websocket"])
    return str(client.sid)
