"""What is kept from sockets that catch up with a room, and what has been sent to them already."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask_rooms.protocol.messages import Emit, Room
from flask_rooms.server.packets import decode

#: The event that tells clients the number of the one before it.
OFFSET = "history_offset"


@dataclass
class _Floor:
    """The number up to which each socket has had a room, in one epoch of it."""

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
        # Socket ID -> room -> the events that wait until the socket has caught up with it.
        self._waiting: dict[str, dict[Room, list[Emit]]] = {}
        # Events that were in the store may still be on their way from other workers.
        self._floors: dict[tuple[str, Room], _Floor] = {}

    def begin(self, sid: str, room: Room) -> None:
        """Keep what comes for a room from a socket, until take() returns nothing."""
        with self._lock:
            self._waiting.setdefault(sid, {}).setdefault(room, [])

    def caught_up(self, namespace: str, sid: str, room: Room, epoch: str, last: int) -> None:
        """Note that a socket has had all events of a room up to a number."""
        with self._lock:
            floor = self._floors.get((namespace, room))
            if floor is None or floor.epoch != epoch:
                floor = self._floors[namespace, room] = _Floor(epoch)
            floor.highest = max(floor.highest, last)
            floor.sockets[sid] = last

    def take(self, sid: str, room: Room) -> list[Emit]:
        """Return what waits for a socket; if that is nothing, the hold has ended."""
        with self._lock:
            rooms = self._waiting.get(sid, {})
            waiting = rooms.pop(room, [])
            if waiting:
                rooms[room] = []  # so that what comes now waits for these
            elif not rooms:
                self._waiting.pop(sid, None)
            return waiting

    def forget(self, sid: str) -> None:
        """Forget a socket that has ended."""
        if not self._floors:
            return
        with self._lock:
            for place, floor in list(self._floors.items()):
                floor.sockets.pop(sid, None)
                if not floor.sockets:
                    del self._floors[place]

    def filter(self, emit: Emit, members: dict[str, str]) -> None:
        """Take those out of the recipients of an event for whom it waits, or who have had it."""
        self.filter_known(emit, members)
        if emit.rooms is None or not self._waiting:
            return
        with self._lock:
            for sid in self._waiting.keys() & members.keys():
                for room, waiting in self._waiting[sid].items():
                    if room in emit.rooms:
                        waiting.append(emit)
                        del members[sid]
                        break

    def filter_known(self, emit: Emit, members: dict[str, str]) -> None:
        """Take those out of the recipients of an event who have had it."""
        if emit.rooms is None or not self._floors:
            return
        with self._lock:
            if any((emit.namespace, room) in self._floors for room in emit.rooms):
                for told in self._numbers(emit):
                    self._drop(emit.namespace, told, members)

    def _drop(self, namespace: str, told: dict[str, Any], members: dict[str, str]) -> None:
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
