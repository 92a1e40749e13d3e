"""Two workers of one contender, each with a client, and what all benchmarks do with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import socketio

from benchmarks.contenders import Contender, two_workers
from benchmarks.processes import Process
from tests.support.brokers import Broker

#: How often, about once a second, a leave is tried until one works.
TRIES = 60


class Trial:
    """
    Two workers, and a client of the one *there* that is to leave rooms.

    Args:
        here: The worker that calls for the leaves.
        there: The worker that has the client.
        sid: The client's socket ID.
    """

    def __init__(self, here: Process, there: Process, sid: str) -> None:
        self.here = here
        self.there = there
        self.sid = sid

    def join(self, rooms: list[str]) -> None:
        """Put the client into rooms, which its own worker does."""
        self.there.ask("join", sid=self.sid, rooms=rooms)

    def call(self, rooms: list[str], interval: float = 0.0, announce: int = -1) -> None:
        """Let the worker here call for leaves; driver.py explains the arguments and the answer."""
        self.here.tell("leave", sid=self.sid, rooms=rooms, interval=interval, announce=announce)

    def rooms(self) -> set[str]:
        """Return the rooms that the client is in; none if it is gone, else its own among them."""
        return set(self.there.ask("rooms", sid=self.sid)["rooms"])

    def prepare(self) -> None:
        """Wait until leaves work, and make sure that this can be found out again."""
        self.join([f"{when}-{number}" for when in ("before", "after") for number in range(TRIES)])
        if self.until_a_leave_works("before") is None:
            raise RuntimeError("A leave does not work even without a fault.")

    def until_a_leave_works(self, when: str) -> float | None:
        """Return after how many seconds one worked; None if none does, or the client is gone."""
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
    """Start the workers and clients of a trial, which is prepared."""
    with two_workers(contender, broker) as (here, there), ExitStack() as stack:
        # Also the one whose worker only calls: python-socketio begins to listen to the
        # other workers with its first client.
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
