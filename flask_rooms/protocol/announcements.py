"""
What the application is told of people who join and leave, once in the cluster.

One worker *leads* (see `leading`): it announces what happens to people, and *marks* each thing
when the application was told, for all workers. So each of them knows what is still to be announced
when the leader dies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from flask_rooms.protocol.messages import Announced, User
from flask_rooms.protocol.presence import Person, Place, Replica

#: How many people are remembered who were here, and may not have been announced.
MAX_MISSED = 10_000

Someone: TypeAlias = "tuple[Place, Person]"


class Announcement(NamedTuple):
    """
    What the application is to be told.

    Args:
        place: The room and its namespace.
        person: Who has joined or left.
        joined: Which of the two.
        number: The number of the visit: when it began, in microseconds since 1970.
    """

    place: Place
    person: Person
    joined: bool
    number: int

    @property
    def mark(self) -> Announced:
        """What tells the other workers that it was announced."""
        namespace, room = self.place
        user = self.person.id if isinstance(self.person, User) else None
        sid = "" if isinstance(self.person, User) else self.person
        return Announced(namespace, room, user, sid, self.joined, self.number)


class Announcements:
    """
    What was announced, as one worker knows it.

    Args:
        replica: Who is present.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self._marked: dict[Someone, int] = {}  # who has joined and not left, by the marks
        self._told: dict[Someone, int] | None = None  # the same by the leader, before the marks
        self._held: dict[Someone, None] = {}  # to whom something has happened of late
        self._missed: dict[Someone, int] = {}  # visits of which no mark has come
        self._away: dict[Someone, None] = {}  # who was gone since they were marked, without a mark
        self._ended: dict[Someone, int] = {}  # the latest visit of those who have left lately

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be announced as soon as this worker is settled."""
        return bool(self._held)

    def lead(self, leads: bool) -> list[Announcement]:
        """Set whether this worker leads; return what is to be announced when it begins to."""
        if not leads:
            self._told, self._held = None, {}
        if not leads or self._told is not None:
            return []
        self._told = dict(self._marked)
        missed, self._missed = self._missed, {}
        away, self._away = self._away, {}
        ended = [one for someone in away for one in self._end(someone)]
        everyone = dict.fromkeys([*missed, *self._marked, *self._replica.everyone()])
        return ended + [one for someone in everyone for one in self._overdue(someone, missed)]

    def note(self, touched: Iterable[Someone], *, is_settled: bool) -> list[Announcement]:
        """
        Note to whom something has happened; return what is to be announced.

        A leader that is not settled waits: it may be about to be evicted, and to know nothing.
        """
        if self._told is not None:
            self._held |= dict.fromkeys(touched)
            if not is_settled:
                return []
            touched, self._held = self._held, {}
            return [one for someone in touched for one in self._due(someone)]
        for someone in touched:
            number = self._number(someone)
            if number is None and someone in self._marked:
                self._away[someone] = None
            elif number is not None and someone not in self._marked:
                _remember(self._missed, someone, self._missed.get(someone, number))
        return []

    def mark(self, announcement: Announcement) -> Announced:
        """Note that the application was told; return what tells the other workers."""
        self.receive(announcement.mark)
        return announcement.mark

    def receive(self, mark: Announced) -> None:
        """Note what was announced."""
        someone = _someone(mark)
        if mark.joined:
            if mark.number > self._marked.get(someone, 0):
                self._away.pop(someone, None)
            self._marked[someone] = mark.number
            self._missed.pop(someone, None)
            return
        if self._marked.get(someone, 0) <= mark.number:
            self._marked.pop(someone, None)
            self._away.pop(someone, None)
        # What has ended here may be about to reach this worker; a later visit was not announced.
        _remember(self._ended, someone, max(mark.number, self._ended.get(someone, 0)))
        number = self._begun(someone)
        if number is not None and number > mark.number and self._told is None:
            _remember(self._missed, someone, number)

    def receive_listed(self, marks: Iterable[Announced]) -> None:
        """Note what was announced before a list was sent; what was learned since counts."""
        for mark in marks:
            someone = _someone(mark)
            if mark.number > self._ended.get(someone, 0):
                self.receive(mark)

    def marks(self) -> list[Announced]:
        """Return what a leader tells a worker that it has met: who is announced."""
        if self._told is None:
            return []
        return [Announcement(*one, True, number).mark for one, number in self._marked.items()]

    def _overdue(self, someone: Someone, missed: dict[Someone, int]) -> list[Announcement]:
        number = missed.get(someone)
        if number is None or self._told is None or someone in self._told:
            return self._due(someone)
        # It came, and may have gone, too: perhaps the application was told of neither.
        self._told[someone] = number
        return [Announcement(*someone, True, number), *self._due(someone)]

    def _due(self, someone: Someone) -> list[Announcement]:
        told = self._told if self._told is not None else {}
        number, before = self._number(someone), told.get(someone)
        if number is not None and before is None:
            told[someone] = number
            return [Announcement(*someone, True, number)]
        if number is None and before is not None:
            return self._end(someone)
        return []

    def _end(self, someone: Someone) -> list[Announcement]:
        """End a visit that was announced; a person who is present again has begun another one."""
        assert self._told is not None
        number = self._told.pop(someone)
        _remember(self._ended, someone, number)
        return [Announcement(*someone, False, number)]

    def _number(self, someone: Someone) -> int | None:
        """Return the number of a visit that goes on: later than the one before, by any clock."""
        begun = self._begun(someone)
        return None if begun is None else max(begun, self._ended.get(someone, 0) + 1)

    def _begun(self, someone: Someone) -> int | None:
        sockets = self._replica.sockets(*someone)
        return min((round(one.since * 1_000_000) for one in sockets), default=None)


def _someone(mark: Announced) -> Someone:
    person: Person = mark.sid if mark.user is None else User(mark.user)
    return (mark.namespace, mark.room), person


def _remember(memory: dict[Someone, int], someone: Someone, number: int) -> None:
    memory.pop(someone, None)
    memory[someone] = number
    if len(memory) > MAX_MISSED:
        del memory[next(iter(memory))]
