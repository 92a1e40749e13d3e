"""Sends clients the list of a room once, and then each difference, under rising versions."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.messages import Emit, Present, Room, User
from flask_rooms.protocol.presence import Person, Place, Replica
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.packets import Encoded, encode_event
from flask_rooms.server.private import ServerInternals

#: The events that clients get.
STATE, DIFFERENCE = "presence_state", "presence_diff"

#: What clients are told of a person.
View: TypeAlias = "dict[str, Any]"


class FeedEvent(NamedTuple):
    """What the members of a room, or one socket, are to be sent."""

    name: str
    namespace: str
    room: Room
    data: View


@dataclass
class _Board:
    """
    What the clients of this worker have been told of a room.

    Args:
        version: The number of the latest difference.
        shown: The list after it.
        touched: To whom something may have happened since.
    """

    version: int
    shown: dict[Person, View]
    touched: dict[Person, None] = field(default_factory=dict)


class Feed:
    """
    The lists that the clients of this worker have; not for several threads at once.

    All members of a room get the same differences. What happens while nothing is sent shares the
    next one.

    Args:
        registry: The sockets of this worker.
        delivery: Sends to them.
        internals: Has the class of packets.
    """

    def __init__(self, registry: Registry, delivery: Delivery, internals: ServerInternals) -> None:
        self._registry = registry
        self._delivery = delivery
        self._internals = internals
        # No version comes again, so that a client whose threads take in events in another order
        # can tell those before it has left a room from those after it is back.
        self._highest = -1  # of the lists that are forgotten
        self.clear()

    def clear(self) -> None:
        """Forget all lists."""
        self._boards: dict[Place, _Board] = {}
        self._due: deque[tuple[Place, str]] = deque()  # a place, and the socket that is new there

    def welcome(self, place: Place, sid: str, replica: Replica) -> None:
        """Let a socket have the whole list of a room that it has joined."""
        if place not in self._boards:
            people = replica.people(place).items()
            self._boards[place] = _Board(
                self._highest + 1, {person: view(person, these) for person, these in people}
            )
        self._due.append((place, sid))

    def touch(self, touched: list[tuple[Place, Person]]) -> None:
        """Note to whom something may have happened."""
        for place, person in touched:
            board = self._boards.get(place)
            if board is None:
                continue
            if not board.touched:
                self._due.append((place, ""))
            board.touched[person] = None

    @property
    def has_due(self) -> bool:
        """Whether next() may return an event."""
        return bool(self._due)

    def next(self, replica: Replica) -> FeedEvent | None:
        """Return the next event to be delivered, or None."""
        while self._due:
            place, sid = self._due.popleft()
            board = self._boards.get(place)
            if board is None:
                continue
            if not self._registry.has_members(*place):
                self._highest = max(self._highest, board.version)
                del self._boards[place]
                continue
            difference = self._difference(place, board, replica)
            if sid and difference:
                self._due.appendleft((place, sid))
            if difference:
                return FeedEvent(DIFFERENCE, place[0], place[1], difference)
            if sid:
                state = {
                    "room": place[1],
                    "version": board.version,
                    "people": list(board.shown.values()),
                }
                return FeedEvent(STATE, place[0], sid, state)
        return None

    def deliver(self, event: FeedEvent) -> None:
        """Send an event to the clients of this worker; encodes it, which may take its time."""
        packet = self._encode(event.name, event.namespace, event.data)
        self._delivery.deliver(Emit(event.namespace, packet, (event.room,), (), 0), None)

    def require_sendable(self, data: View) -> None:
        """Raise InvalidData for data of a member that the server cannot send."""
        self._encode(STATE, "/", data)

    def _encode(self, name: str, namespace: str, data: View) -> Encoded:
        return encode_event(self._internals.packet_class, name, data, namespace)

    def _difference(self, place: Place, board: _Board, replica: Replica) -> View | None:
        touched, board.touched = board.touched, {}
        joined, changed, left = [], [], []
        for person in touched:
            before = board.shown.pop(person, None)
            sockets = replica.sockets(place, person)
            if sockets:
                now = board.shown[person] = view(person, sockets)
                if before is not None:  # the socket that came first may have left
                    now["since"] = min(now["since"], before["since"])
                if before is None:
                    joined.append(now)
                elif before != now:
                    changed.append(now)
            elif before is not None:
                left.append(before)
        if not (joined or changed or left):
            return None
        board.version += 1
        return {
            "room": place[1],
            "version": board.version,
            "joined": joined,
            "changed": changed,
            "left": left,
        }


def view(person: Person, sockets: list[Present]) -> View:
    """Return what clients are told of a person: the data of its sockets, the same ones once."""
    texts = dict.fromkeys(one.data for one in sorted(sockets, key=lambda one: one.sid))
    told: View = {
        "user": person.id if isinstance(person, User) else None,
        "since": min(one.since for one in sockets),
        "data": [parse(text) for text in texts],
    }
    if not isinstance(person, User):
        told["socket"] = person
    return told


def parse(text: str) -> dict[str, Any]:
    """Return the data of a member; none where another worker has sent something else."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
