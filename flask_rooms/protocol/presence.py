"""
Who is present in the rooms that are tracked: a list of each worker, and the union of them all.

Each worker is the only author of its own list, and sends what changes in its ordered stream. The
changes are numbered, so a worker that lacks one knows it, and asks for the whole list, as it does
when it has met that worker (see `lists`). There is no store: with a worker its list goes, too.

A *place* is a room in a namespace. A *person* is a user, or a socket without a user. What happens
to a person is collected in `take_touched()`, for those who tell clients and the application.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from flask_rooms.protocol.leading import FOLLOWS, LEADS, NONE, WAITS
from flask_rooms.protocol.lists import Key, Listing, RemoteList, key_of
from flask_rooms.protocol.messages import (
    Absent,
    Announced,
    Listed,
    ListPart,
    Operation,
    Present,
    Room,
    User,
    Wanted,
)

Place: TypeAlias = "tuple[str, Room]"
#: A user, or the ID of a socket that has none.
Person: TypeAlias = "User | str"


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
        self._lists: dict[str, RemoteList] = {}
        self._listings: dict[str, Listing] = {}  # of this worker, for those that ask for the rest
        self._orphans: dict[Key, Present] = {}  # listed by a worker that has said goodbye
        self._lingering: dict[Key, float] = {}  # own members and orphans -> when they go

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
        """
        Return what tells the other workers what this one is.

        Its number tells them, too, whether they have missed something before it.
        """
        self._version += 1
        return Listed(self._version, self.role)

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
        missing = (one.due for one in self._lists.values() if one.version is None)
        return min([*self._lingering.values(), *missing], default=float("inf"))

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
        """Let time pass: those go that were not back in time, and lists are asked for again."""
        operations = self._drop([key for key, when in self._lingering.items() if when <= now])
        for one in self._lists.values():
            one.ask_again(now)
            operations += one.take_request()
        return operations

    def part_for(
        self, worker: str, wanted: Wanted, marks: Iterable[Announced], space: int
    ) -> ListPart:
        """
        Return the part of the whole list that another worker has asked for.

        What changes until it has asked for all parts is not in them: it has that by the stream.

        Args:
            worker: The worker that has asked.
            wanted: From where on.
            marks: What this worker has announced, if it leads: who has the list knows that.
            space: As in `Listing.part`.
        """
        listing, first = self._listings.get(worker), wanted.first
        if listing is None or first == 0 or listing.version != wanted.version:
            listing = Listing(self._version, self.role, (*marks, *self._own.values()))
            first = 0
        part = listing.part(worker, first, space)
        self._listings[worker] = listing
        if part.ends:
            del self._listings[worker]
        return part

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

    def meet(self, worker: str) -> list[Operation]:
        """Follow the list of another worker; return what asks for it."""
        theirs = self._lists.setdefault(worker, RemoteList(worker, self._limit))
        theirs.ask()
        return theirs.take_request()

    def lose(self, worker: str, now: float, *, said_goodbye: bool) -> None:
        """
        Forget the list of a worker that has ended.

        After a goodbye its clients are about to connect elsewhere: their people stay for the
        grace. A worker that counts as dead was silent for longer than that takes.
        """
        self._listings.pop(worker, None)
        ended = self._lists.pop(worker, None)
        if ended is None:
            return
        stays = said_goodbye and self._grace > 0
        for key, member in ended.members.copy().items():
            self._unset(ended.members, key)
            if stays and not self.sockets(_place(member), person_of(member)):
                self._set(self._orphans, member)
                self._lingering[key] = now + self._grace

    def receive(
        self, sender: str, operation: Present | Absent | Listed | ListPart
    ) -> list[Operation]:
        """Take in what another worker has sent; return what asks for what is missing."""
        theirs = self._lists.get(sender)
        if theirs is None:
            return []  # it has ended, and what it has sent was held up here
        if isinstance(operation, ListPart):
            members = theirs.receive_part(operation)
            if members is not None:
                self._replace(theirs, members)
        elif theirs.receive_change(operation):
            self._apply(theirs, operation)
        if isinstance(operation, Listed) and theirs.role == LEADS and self.role < FOLLOWS:
            theirs.ask_anew()  # what was announced before came to its followers only
        return theirs.take_request()

    def take_marks(self, sender: str) -> list[Announced]:
        """Return what another worker had announced before it sent its list, once."""
        theirs = self._lists.get(sender)
        if theirs is None:
            return []
        marks, theirs.marks = theirs.marks, []
        return marks

    def _apply(self, theirs: RemoteList, change: Present | Absent | Listed) -> None:
        if isinstance(change, Absent):
            self._unset(theirs.members, key_of(change))
        elif isinstance(change, Present) and theirs.may_list(change, theirs.members):
            self._set(theirs.members, change)
            self._relieve_orphans(change)

    def _replace(self, theirs: RemoteList, members: dict[Key, Present]) -> None:
        for key, member in members.items():
            if theirs.members.get(key) != member:
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


def person_of(member: Present) -> Person:
    """Return whose socket it is."""
    return _person(member.user, member.sid)


def _person(user: str | None, sid: str) -> Person:
    return sid if user is None else User(user)


def _place(member: Present) -> Place:
    return member.namespace, member.room
