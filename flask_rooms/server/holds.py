"""What is kept from sockets that catch up with a room, and what has been sent to them already."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask_rooms.membership.namespace import MembershipEvent, Socket
from flask_rooms.protocol.messages import Emit, Room
from flask_rooms.server.packets import decode

#: The event that tells clients the number of the one before it.
OFFSET = "history_offset"


@dataclass
class _Hold:
    """
    What waits for a socket that catches up with a room.

    Args:
        calls: How many calls of catch_up() are at it.
        waiting: The events, in order.
        departures: How often the socket has left the room meanwhile.
    """

    calls: int = 0
    waiting: deque[Emit] = field(default_factory=deque)
    departures: int = 0


@dataclass
class _Floor:
    """The number up to which each member has had a room, in one epoch of it."""

    epoch: str
    highest: int = 0
    sockets: dict[str, int] = field(default_factory=dict)


class Holds:
    """
    Keeps events from the sockets that catch up with a room, so that each comes once, and in order.

    Args:
        packet_class: Returns the class of packets.
    """

    def __init__(self, packet_class: Callable[[], Any]) -> None:
        self._packet_class = packet_class
        self.reset()

    def reset(self) -> None:
        """Forget all sockets."""
        self._lock = threading.Lock()
        # Socket ID -> room -> its hold.
        self._holds: dict[str, dict[Room, _Hold]] = {}
        # Events that were in the store may still be on their way from other workers.
        self._floors: dict[tuple[str, Room], _Floor] = {}

    def begin(self, sid: str, room: Room) -> None:
        """Keep what comes for a room from a socket, until take() returns nothing."""
        with self._lock:
            self._holds.setdefault(sid, {}).setdefault(room, _Hold()).calls += 1

    def departures(self, sid: str, room: Room) -> int:
        """Return how often a socket has left a room while it catches up with it."""
        with self._lock:
            return self._holds[sid][room].departures

    def caught_up(
        self, namespace: str, sid: str, room: Room, epoch: str, last: int, departures: int
    ) -> bool:
        """
        Note that a socket gets all events of a room up to a number.

        Returns:
            Whether it is to get them: not if it has left since it had so many *departures*, nor if
            it has had them, as a member that has caught up before.
        """
        with self._lock:
            floor = self._floors.get((namespace, room))
            if floor is None or floor.epoch != epoch:
                floor = _Floor(epoch)
            if self._holds[sid][room].departures != departures or sid in floor.sockets:
                return False
            self._floors[namespace, room] = floor
            floor.highest = max(floor.highest, last)
            floor.sockets[sid] = last
            return True

    def take(self, sid: str, room: Room) -> Emit | None:
        """
        Return the next event that waits for a socket; if there is none, the hold has ended.

        The last one of several calls of catch_up() gets it all.
        """
        with self._lock:
            holds = self._holds[sid]
            hold = holds[room]
            if hold.calls == 1 and hold.waiting:
                return hold.waiting.popleft()  # what comes now waits behind the others
            hold.calls -= 1
            if not hold.calls:
                del holds[room]
            if not holds:
                del self._holds[sid]
            return None

    @property
    def listens(self) -> bool:
        """Whether note() has anything to follow."""
        return bool(self._floors or self._holds)

    def note(self, events: list[MembershipEvent]) -> None:
        """Follow who has left: after that a socket has not had everything any more."""
        if not self.listens:
            return
        with self._lock:
            for event in events:
                if not event.joined:
                    self._leave((event.namespace, event.room), event.sid)

    def _leave(self, place: tuple[str, Room], sid: str) -> None:
        hold = self._holds.get(sid, {}).get(place[1])
        if hold is not None:
            hold.departures += 1
        floor = self._floors.get(place)
        if floor is not None and floor.sockets.pop(sid, None) is not None and not floor.sockets:
            del self._floors[place]

    def filter(self, emit: Emit, members: dict[str, Socket]) -> None:
        """Take those out of the recipients of an event for whom it waits, or who have had it."""
        self.filter_known(emit, members)
        if emit.rooms is None or not self._holds:
            return
        with self._lock:
            for sid in self._holds.keys() & members.keys():
                for room, hold in self._holds[sid].items():
                    if room in emit.rooms:
                        hold.waiting.append(emit)
                        del members[sid]
                        break

    def filter_known(self, emit: Emit, members: dict[str, Socket]) -> None:
        """Take those out of the recipients of an event who have had it."""
        if emit.rooms is None or not self._floors:
            return
        with self._lock:
            if any((emit.namespace, room) in self._floors for room in emit.rooms):
                for told in self._numbers(emit):
                    self._drop(emit.namespace, told, members)

    def _drop(self, namespace: str, told: dict[str, Any], members: dict[str, Socket]) -> None:
        floor = self._floors.get((namespace, told["room"]))
        if floor is None or floor.epoch != told["epoch"] or floor.highest < told["offset"]:
            return
        for sid in [sid for sid in members if floor.sockets.get(sid, -1) >= told["offset"]]:
            del members[sid]

    def _numbers(self, emit: Emit) -> list[dict[str, Any]]:
        """Return what an event tells clients of its numbers."""
        found = []
        for part in emit.packet:
            if type(part) is type(emit.packet[0]):  # else it is an attachment
                data = decode(self._packet_class(), (part,)).data
                if data and data[0] == OFFSET:
                    found.append(data[1])
        return found
