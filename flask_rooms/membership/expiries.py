"""When memberships end by themselves: one heap, in which nothing stays that has ended before."""

from __future__ import annotations

import heapq
import itertools

from flask_rooms.membership.namespace import Socket
from flask_rooms.protocol.messages import Room

#: Entries below which the heap is not searched for those that are over.
_FEW = 64


class Expiries:
    """The memberships of one worker that end at a set time; not for several threads at once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, Socket, Room]] = []
        self._numbers = itertools.count()  # so that sockets are never compared
        self._clean_at = _FEW

    @property
    def next(self) -> float | None:
        """When the next membership ends, if it has not ended before; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def add(self, due: float, namespace: str, socket: Socket, room: Room) -> None:
        """Have a membership end; a time that was set before counts no more."""
        socket.expiring[room] = due
        heapq.heappush(self._heap, (due, next(self._numbers), namespace, socket, room))
        if len(self._heap) > self._clean_at:
            # A client may join again and again: what is over is dropped, and not only when due.
            self._heap = [entry for entry in self._heap if _stands(entry)]
            heapq.heapify(self._heap)
            self._clean_at = max(_FEW, 2 * len(self._heap))

    def take(self, now: float) -> list[tuple[str, Socket, Room]]:
        """Return the memberships that end now: namespace, socket and room."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if _stands(entry):
                due.append(entry[2:])
        return due


def _stands(entry: tuple[float, int, str, Socket, Room]) -> bool:
    due, _, _, socket, room = entry
    return socket.expiring.get(room) == due
