"""Waiting until a cluster has come to rest: through outcomes and fences, in bounded time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.faults.app import NOWHERE
from tests.faults.journal import Life
from tests.faults.load import Load
from tests.faults.seats import Seat, Unanswered
from tests.faults.slots import Slot

#: Seconds within which a cluster has to work again after the last fault.
PATIENCE = 120.0

#: Seconds for a fence: the socket has to receive it, so its absence is a failure.
FENCE = 30.0

#: Seconds for one client to be connected.
CONNECTED = 5.0

_numbers = itertools.count(1)


class Unsettled(Exception):
    """The cluster has not come to rest; the message says what was missing."""


class Settling:
    """
    Brings a cluster to rest.

    Args:
        seats: The workers.
        slots: The clients.

    Attributes:
        lost_fences: Fences that have not come although they had to.
    """

    def __init__(self, seats: Sequence[Seat], slots: Sequence[Slot]) -> None:
        self._seats = seats
        self._slots = slots
        self.lost_fences = 0

    def settle(self) -> None:
        """
        Return when every socket hears every worker, and has heard all that they have said before.

        Raises:
            Unsettled: That took too long.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(Unanswered):
                if self._is_at_rest():
                    return
        raise Unsettled(f"after {PATIENCE:g} seconds: {self._missing}")

    def _is_at_rest(self) -> bool:
        self._missing = "a connected client"
        lives = [life for slot in self._slots if (life := slot.life(CONNECTED))]
        if len(lives) < len(self._slots):
            return False
        names = self._names()
        pairs = list(itertools.product(self._seats, lives))
        with ThreadPoolExecutor(len(pairs)) as threads:
            for what, wanted, asked in (
                ("a leave that is confirmed", [0, 1, 0], pairs),
                ("the certainty that a socket has ended", [0, 0, 1], self._ended()),
            ):
                self._missing = what
                answers = threads.map(lambda pair: _leave(*pair), asked)
                other = [
                    f"worker {seat.index} of {life.sid}: {figures}"
                    for (seat, life), figures in zip(asked, answers, strict=True)
                    if figures != wanted
                ]
                if other:
                    self._missing += f" ({', '.join(other)})"
                    return False
            self._missing = "a fence"
            heard = list(threads.map(lambda life: self._hears_all(life), lives))
        if names != self._names() or not all(_is_present(slot) for slot in self._slots):
            self._missing = "a worker that has not just started over"
            return False
        self.lost_fences += heard.count(False)
        if all(heard):
            self._note(names)
        return all(heard)

    def _hears_all(self, life: Life) -> bool:
        fences = set()
        for seat in self._seats:
            fences.add(fence := f"{seat.index}/{next(_numbers)}")
            seat.post("/say", room=life.sid, event="fence", args=[fence])
        return life.wait_for(fences, FENCE)

    def _ended(self) -> list[tuple[Seat, Life]]:
        """Return the sockets that have ended, one of each worker, with every worker."""
        last = {life.seat: life for slot in self._slots for life in slot.lives if life.ended}
        return list(itertools.product(self._seats, last.values()))

    def _names(self) -> list[str]:
        return [str(seat.post("/state")["name"]) for seat in self._seats]

    def _note(self, names: list[str]) -> None:
        for seat, name in zip(self._seats, names, strict=True):
            seat.restarted = seat.restarted or seat.name != name
            seat.name = name


def resolve(lives: Sequence[Life], load: Load) -> None:
    """
    Make certain what is not, by a leave for each such membership that is confirmed.

    Raises:
        Unsettled: One of them is not, in time.
    """
    deadline = time.monotonic() + PATIENCE
    for life, room in itertools.product(lives, load.rooms):
        log = life.logs[room]
        while log.now() is None and not life.ended:
            change = load.change(life, room, joins=False)
            if change.fate == "confirmed" and not change.figures[2]:
                log.member, log.changes = False, []
            elif time.monotonic() > deadline:
                raise Unsettled(f"a leave is {change.fate}, not confirmed")


def _leave(seat: Seat, life: Life) -> list[int] | None:
    """
    Leave an empty room; return the figures of the outcome, if there is one.

    They are [0, 1, 0] where a worker can change the memberships of a socket, and [0, 0, 1] where
    it reports the socket as unknown.
    """
    answer = seat.post("/change", sid=life.sid, room=NOWHERE, action="leave")
    figures: list[int] | None = answer.get("figures")
    return figures


def _is_present(slot: Slot) -> bool:
    life = slot.life(0)
    return life is not None and not life.ended
