"""Which events of the rooms with a history a client has got."""

from __future__ import annotations

import threading
from itertools import chain, islice
from typing import Any, NamedTuple

#: How many numbers of a room are sent to the server, which takes no more: the last one before the
#: first gap, and the latest. Those of two workers may arrive in another order than they were given,
#: and one is missing where a worker has died; all up to the first count as had.
NUMBERS = 1000


class _Had(NamedTuple):
    """
    The numbers of one room that have come.

    Args:
        epoch: What they belong to.
        ranges: The first and the last number of each range without a gap, in order.
    """

    epoch: str
    ranges: tuple[tuple[int, int], ...]

    def plus(self, number: int) -> _Had:
        """Return these and another number, which closes a gap, or begins or extends a range."""
        ranges: list[tuple[int, int]] = []
        for first, last in sorted([*self.ranges, (number, number)]):
            if ranges and first <= ranges[-1][1] + 1:
                first, last = ranges[-1][0], max(last, ranges.pop()[1])
            ranges.append((first, last))
        ranges[1 : 1 - NUMBERS] = []
        return _Had(self.epoch, tuple(ranges))


class Positions:
    """Which events a client has got, for when it comes back."""

    def __init__(self) -> None:
        # A client of python-socketio handles each event in a thread of its own.
        self._lock = threading.Lock()
        self._rooms: dict[str, _Had] = {}

    def of(self, room: str) -> dict[str, Any] | None:
        """Return what a client sends to get what it has missed of a room."""
        had = self._rooms.get(room)
        if had is None:
            return None
        (_, first), *later = had.ranges
        latest = chain.from_iterable(range(last, start - 1, -1) for start, last in later[::-1])
        return {"epoch": had.epoch, "offsets": [first, *sorted(islice(latest, NUMBERS - 1))]}

    def note(self, told: dict[str, Any], _connection: object = None) -> None:
        """Take in the number of the event before, which is the same over every connection."""
        with self._lock:
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        room, epoch, offset = told["room"], told["epoch"], told["offset"]
        had = self._rooms.get(room)
        if had is None or told.get("gone") or (had.epoch != epoch and "gone" in told):
            self._rooms[room] = _Had(epoch, ((offset, offset),))
        elif had.epoch == epoch and offset > had.ranges[0][1]:
            self._rooms[room] = had.plus(offset)
        # Else it is had, or of another epoch: catching up, which has failed or is to come, is to
        # tell what is gone with the former one.
