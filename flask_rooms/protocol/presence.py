"""
Who is present in the rooms that are tracked: a list of each worker, and the union of them all.

Each worker is the only author of its own list, and sends what changes in its ordered stream. The
changes are numbered, so a worker that lacks one knows it, and waits for the whole list. There is
no store: with a worker its list goes, too.

A *place* is a room in a namespace. A *person* is a user, or a socket without a user. What happens
to a person is collected in `take_touched()`, for those who tell clients and the application.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.leading import NONE, WAITS
from flask_rooms.protocol.messages import Absent, Listed, Operation, Present, Room, User

Place: TypeAlias = "tuple[str, Room]"
#: A user, or the ID of a socket that has none.
Person: TypeAlias = "User | str"
#: Namespace, room and socket ID.
Key: TypeAlias = "tuple[str, Room, str]"


@dataclass
class _List:
    """
    What another worker has listed.

    Args:
        version: The number of the latest change; None until the whole list is here.
        role: What its worker is, of those in `leading`.
        members: What it has listed.
        arriving: The same of the list that is on its way.
    """

    version: int | None = None
    role: int = NONE
    members: dict[Key, Present] = field(default_factory=dict)
    arriving: dict[Key, Present] = field(default_factory=dict)


class Replica:
    """
    The lists of all workers, as one of them has them.

    Args:
        grace: Seconds for which a person stays whose last socket has lost its connection.
        limit: How many members a list may have.

    Attributes:
        role: What this worker is, of those in `leading`.
    """

    def __init__(self, grace: float, limit: int) -> None:
        self._grace = grace
        self._limit = limit
        self.role = NONE
        self._touched: dict[tuple[Place, Person], None] = {}
        self._rooms: dict[Place, dict[Person, dict[str, Present]]] = {}
        self._forget()

    def _forget(self) -> None:
        self._version = 0
        self._own: dict[Key, Present] = {}
        self._lists: dict[str, _List] = {}
        self._orphans: dict[Key, Present] = {}  # listed by a worker that has said goodbye
        self._lingering: dict[Key, float] = {}  # own members and orphans -> when they go
        self._unlisted: deque[Key] | None = None  # what is left of a list that is being sent
        self._list_begins = False

    def restart(self) -> None:
        """Forget everything: this worker has a new name, and no sockets."""
        self.role = min(self.role, WAITS)
        for place, people in self._rooms.items():
            self._touched |= {(place, person): None for person in people}
        self._rooms.clear()
        self._forget()

    # -- what is known --------------------------------------------------------------------

    def people(self, place: Place) -> dict[Person, list[Present]]:
        """Return the people at a place, each with what is known of their sockets."""
        return {
            person: list(sockets.values()) for person, sockets in self._rooms.get(place, {}).items()
        }

    def sockets(self, place: Place, person: Person) -> list[Present]:
        """Return what is known of the sockets of a person at a place; none if it is not there."""
        return list(self._rooms.get(place, {}).get(person, {}).values())

    def everyone(self) -> list[tuple[Place, Person]]:
        """Return all people who are present anywhere."""
        return [(place, person) for place, people in self._rooms.items() for person in people]

    @property
    def roles(self) -> dict[str, int]:
        """What the other workers are, as far as is known."""
        return {name: one.role for name, one in self._lists.items()}

    def bound(self) -> Operation:
        """Return what tells the other workers what this one is, and nothing else."""
        return Listed(self._version, False, False, self.role)

    def missing(self, workers: Iterable[str]) -> frozenset[str]:
        """Return those of *workers* whose list is not here."""
        return frozenset(name for name in workers if self._version_of(name) is None)

    def take_touched(self) -> list[tuple[Place, Person]]:
        """Return to whom something has happened since the last call, and where."""
        touched, self._touched = list(self._touched), {}
        return touched

    @property
    def wakes_at(self) -> float:
        """When tick() has something to do; infinity if nothing is due."""
        return min(self._lingering.values(), default=float("inf"))

    @property
    def size(self) -> int:
        """How many members this worker lists itself."""
        return len(self._own)

    def _version_of(self, name: str) -> int | None:
        return self._lists[name].version if name in self._lists else None

    # -- own members ----------------------------------------------------------------------

    def own(self, key: Key) -> Present | None:
        """Return what this worker lists of one of its sockets."""
        return self._own.get(key)

    def enter(self, key: Key, user: str | None, data: str, since: float) -> list[Operation]:
        """
        List a socket of this worker, or change its data.

        Args:
            key: The socket, and where it is.
            user: The ID of its user, or None.
            data: What others are to know of it, as JSON.
            since: The time, in seconds since 1970, if its user is not there yet.

        Returns:
            What to send to the other workers, as from the methods below.
        """
        namespace, room, sid = key
        there = self.sockets((namespace, room), _person(user, sid))
        since = min((one.since for one in there), default=since)
        self._lingering.pop(key, None)
        self._version += 1
        member = Present(self._version, namespace, room, sid, user, since, data)
        self._set(self._own, member)
        return [member, *self._relieve(member)]

    def leave(self, key: Key, now: float, *, stays: bool) -> list[Operation]:
        """
        Note that a socket of this worker has left.

        Args:
            key: The socket, and where it was.
            now: The time.
            stays: Whether its person may be back soon, as after a lost connection. It stays for
                the grace if that was its last socket on this worker.
        """
        member = self._own.get(key)
        if member is None:
            return []
        if stays and self._grace > 0 and not self._is_here_besides(member):
            self._lingering[key] = now + self._grace
            return []
        return [self._withdraw(key)]

    def tick(self, now: float) -> list[Operation]:
        """Let time pass: those go that were not back in time."""
        due = [key for key, when in self._lingering.items() if when <= now]
        return self._drop(due)

    def begin_list(self) -> None:
        """Begin to list everything, for workers that have been met: next_listed() returns it."""
        self._unlisted, self._list_begins = deque(self._own), True

    def next_listed(self) -> Operation | None:
        """
        Return the next part of the whole list; None if nothing is to be listed.

        It may take its time: what changes meanwhile is sent between the parts.
        """
        if self._unlisted is None:
            return None
        if self._list_begins:
            return Listed(self._version, True, not self._unlisted, self.role)
        while self._unlisted and self._unlisted[0] not in self._own:
            self._unlisted.popleft()
        if self._unlisted:
            return self._own[self._unlisted[0]]._replace(version=self._version)
        return Listed(self._version, False, True, self.role)

    def has_listed(self, part: Operation) -> None:
        """Go on to the part after this one, which is in the outbox."""
        if isinstance(part, Present) and self._unlisted:
            self._unlisted.popleft()
        elif isinstance(part, Listed):
            self._list_begins = False
            if part.ends:
                self._unlisted = None

    def _is_here_besides(self, member: Present) -> bool:
        others = self.sockets(_place(member), person_of(member))
        keys = (key_of(other) for other in others if other.sid != member.sid)
        return any(key in self._own and key not in self._lingering for key in keys)

    def _withdraw(self, key: Key) -> Operation:
        self._lingering.pop(key, None)
        self._unset(self._own, key)
        self._version += 1
        return Absent(self._version, *key)

    def _relieve(self, member: Present) -> list[Operation]:
        """Let those go that have only waited for the person of *member* to be back."""
        if not self._lingering:
            return []
        others = (key_of(one) for one in self.sockets(_place(member), person_of(member)))
        return self._drop([key for key in others if key in self._lingering])

    def _relieve_orphans(self, member: Present) -> None:
        """
        Do so where another worker has listed the person.

        An own member goes on waiting: that of the other worker may have left, too, and wait for
        this one. If each let its own go, their person would be gone from all lists.
        """
        if self._orphans:
            others = (key_of(one) for one in self.sockets(_place(member), person_of(member)))
            self._drop([key for key in others if key in self._orphans])

    def _drop(self, keys: list[Key]) -> list[Operation]:
        operations = [self._withdraw(key) for key in keys if key in self._own]
        for key in keys:
            self._lingering.pop(key, None)
            self._unset(self._orphans, key)
        return operations

    # -- the lists of other workers -------------------------------------------------------

    def meet(self, worker: str) -> None:
        """Await the list of another worker."""
        self._lists.setdefault(worker, _List())

    def lose(self, worker: str, now: float, *, said_goodbye: bool) -> None:
        """
        Forget the list of a worker that has ended.

        After a goodbye its clients are about to connect elsewhere: their people stay for the
        grace. A worker that counts as dead was silent for longer than that takes.
        """
        ended = self._lists.pop(worker, None)
        if ended is None:
            return
        stays = said_goodbye and self._grace > 0
        for key, member in ended.members.copy().items():
            self._unset(ended.members, key)
            if stays and not self.sockets(_place(member), person_of(member)):
                self._set(self._orphans, member)
                self._lingering[key] = now + self._grace

    def receive(self, sender: str, operation: Present | Absent | Listed) -> None:
        """Take in what another worker has sent, in the order of its stream."""
        theirs = self._lists.setdefault(sender, _List())
        if isinstance(operation, Listed):
            self._receive_bound(theirs, operation)
            return
        if theirs.version is not None:
            if operation.version <= theirs.version:
                return  # it is part of the list for another worker
            is_next = operation.version == theirs.version + 1
            theirs.version = operation.version if is_next else None  # the whole list follows
        if owner_of(operation.sid) != sender:
            return
        if theirs.version is None:
            self._note_arriving(theirs.arriving, operation)
        elif isinstance(operation, Absent):
            self._unset(theirs.members, key_of(operation))
        elif self._has_room(theirs.members, operation):
            self._set(theirs.members, operation)
            self._relieve_orphans(operation)

    def _note_arriving(self, arriving: dict[Key, Present], operation: Present | Absent) -> None:
        key = key_of(operation)
        if isinstance(operation, Absent):
            arriving.pop(key, None)
        elif self._has_room(arriving, operation):
            arriving[key] = operation

    def _has_room(self, members: dict[Key, Present], member: Present) -> bool:
        return len(members) < self._limit or key_of(member) in members

    def _receive_bound(self, theirs: _List, bound: Listed) -> None:
        theirs.role = bound.role
        if bound.begins and theirs.version != bound.version:
            theirs.version, theirs.arriving = None, {}
        if not bound.ends or theirs.version is not None:
            return
        theirs.version = bound.version
        members, theirs.arriving = theirs.arriving, {}
        for member in members.values():
            self._set(theirs.members, member)
            self._relieve_orphans(member)
        for key in theirs.members.keys() - members.keys():
            self._unset(theirs.members, key)

    # -- all lists together ---------------------------------------------------------------

    def _set(self, where: dict[Key, Present], member: Present) -> None:
        key = key_of(member)
        before = where.get(key)
        if before is not None and before.user != member.user:
            self._unset(where, key)
        where[key] = member
        place, person = _place(member), person_of(member)
        self._rooms.setdefault(place, {}).setdefault(person, {})[member.sid] = member
        self._touched[place, person] = None

    def _unset(self, where: dict[Key, Present], key: Key) -> None:
        member = where.pop(key, None)
        if member is None:
            return
        place, person = _place(member), person_of(member)
        people = self._rooms[place]
        del people[person][member.sid]
        if not people[person]:
            del people[person]
        if not people:
            del self._rooms[place]
        self._touched[place, person] = None


def key_of(one: Present | Absent) -> Key:
    """Return the socket that an operation is about, and where that is."""
    return one.namespace, one.room, one.sid


def person_of(member: Present) -> Person:
    """Return whose socket it is."""
    return _person(member.user, member.sid)


def _person(user: str | None, sid: str) -> Person:
    return sid if user is None else User(user)


def _place(member: Present) -> Place:
    return member.namespace, member.room
