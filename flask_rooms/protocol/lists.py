"""
The list of another worker, as it arrives here: asked for in parts, and kept up by its changes.

The parts come to this worker alone, and the changes in the stream to all. Either may overtake the
other, so both are numbered: a list is as it was after the change *version*. Changes that come
before the list wait for it, and those that are in it already are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from flask_rooms.protocol.codec import BadMessage, decode_operation, encode_operation
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.leading import NONE
from flask_rooms.protocol.messages import (
    Absent,
    Announced,
    Listed,
    ListPart,
    Operation,
    Present,
    Room,
    Wanted,
)

#: Namespace, room and socket ID.
Key: TypeAlias = "tuple[str, Room, str]"

#: Seconds without a part of a list that is missing, until it is asked for again.
PATIENCE = 3.0
#: The bytes that an entry takes in a part besides its own.
_FRAMING = 5


@dataclass
class RemoteList:
    """
    What another worker has listed.

    Args:
        worker: Its name.
        limit: How many members it may list.

    Attributes:
        members: What it has listed.
        version: The number of the latest change; None until the whole list is here.
        role: What the worker is, of those in `leading`.
        marks: What it had announced before its list, until that is taken in.
        due: When the list is asked for again, while it is not here.
    """

    worker: str
    limit: int
    members: dict[Key, Present] = field(default_factory=dict)
    version: int | None = None
    role: int = NONE
    marks: list[Announced] = field(default_factory=list)
    due: float = float("-inf")
    _role_version: int = 0
    _asks: bool = False
    _entries: list[bytes] = field(default_factory=list)  # of the parts that have come
    _entries_version: int = 0
    _waiting: dict[Key, Present | Absent] = field(default_factory=dict)  # for the list
    _waiting_from: int = 0  # the numbers of the changes that have come, without a gap
    _waiting_to: int = 0

    # -- what asks for it ------------------------------------------------------------------

    def ask(self) -> None:
        """Ask for the rest of the list with take_request()."""
        self._asks, self.due = True, float("-inf")

    def ask_anew(self) -> None:
        """Do so for the whole list; the members stay as they are until it is here."""
        self.version, self._entries, self._entries_version = None, [], 0
        self.ask()

    def ask_again(self, now: float) -> None:
        """Do so if nothing of it has come for too long."""
        if self.version is None and now >= self.due:
            if self.due > float("-inf"):
                self.ask()
            self.due = now + PATIENCE

    def take_request(self) -> list[Operation]:
        """Return what asks for the rest of the list, if that is to be asked for now."""
        asks, self._asks = self._asks, False
        return [Wanted(self.worker, self._entries_version, len(self._entries))] if asks else []

    # -- what comes ------------------------------------------------------------------------

    def receive_part(self, part: ListPart) -> dict[Key, Present] | None:
        """Take in a part; return all members if that makes the list whole, else None."""
        self._set_role(part.role, part.version)
        if self.version is not None:
            return None  # it was asked for twice
        if part.first == 0:
            self._entries, self._entries_version = [], part.version
        if (part.version, part.first) != (self._entries_version, len(self._entries)):
            return None
        self._entries += part.entries
        if not part.ends:
            self.ask()
            return None
        entries = self._entries
        # Changes between the two may be missing, or what was announced: a leader's list has that.
        if self._waiting_from > part.version + 1 or part.role != self.role:
            self.ask_anew()
            return None
        return self._complete(part.version, entries)

    def receive_change(self, change: Present | Absent | Listed) -> bool:
        """Take in a change; return whether it is the next one of a whole list."""
        if isinstance(change, Listed):
            self._set_role(change.role, change.version)
        if self.version is not None:
            if change.version <= self.version:
                return False
            if change.version == self.version + 1:
                self.version = change.version
                return True
            self.ask_anew()  # the outbox of its worker was full
        self._let_wait(change)
        return False

    def may_list(self, member: Present, members: dict[Key, Present]) -> bool:
        """Whether a member is one of that worker's, and not one too many."""
        is_within = len(members) < self.limit or key_of(member) in members
        return is_within and owner_of(member.sid) == self.worker

    def _let_wait(self, change: Present | Absent | Listed) -> None:
        if change.version != self._waiting_to + 1 or len(self._waiting) > self.limit:
            self._waiting.clear()
            self._waiting_from = change.version
        self._waiting_to = change.version
        if not isinstance(change, Listed):
            self._waiting[key_of(change)] = change

    def _complete(self, version: int, entries: list[bytes]) -> dict[Key, Present]:
        members: dict[Key, Present] = {}
        for entry in decode_entries(entries):
            if isinstance(entry, Announced):
                self.marks.append(entry)
            elif isinstance(entry, Present) and self.may_list(entry, members):
                members[key_of(entry)] = entry
        for key, change in self._waiting.items():
            if change.version <= version:
                continue  # it is in the list already
            if isinstance(change, Absent):
                members.pop(key, None)
            elif self.may_list(change, members):
                members[key] = change
        self.version = max(version, self._waiting_to)
        self._entries, self._waiting, self._waiting_from = [], {}, 0
        return members

    def _set_role(self, role: int, version: int) -> None:
        if version >= self._role_version:
            self.role, self._role_version = role, version


@dataclass(frozen=True)
class Listing:
    """
    The whole list of this worker, as another one gets it part by part.

    Args:
        version: The number of its latest change.
        role: What this worker is, of those in `leading`.
        entries: What it has announced, and its members.
    """

    version: int
    role: int
    entries: tuple[Announced | Present, ...]

    def part(self, to: str, first: int, space: int) -> ListPart:
        """
        Return a part of the list.

        Args:
            to: The worker that has asked for it.
            first: The number of its first entry.
            space: How many bytes of entries it may have; it has one entry in any case.
        """
        taken: list[bytes] = []
        for entry in self.entries[first:]:
            data = encode_operation(entry)
            space -= len(data) + _FRAMING
            if taken and space < 0:
                break
            taken.append(data)
        ends = first + len(taken) >= len(self.entries)
        return ListPart(to, self.version, first, tuple(taken), ends, self.role)


def decode_entries(entries: Iterable[bytes]) -> Iterable[Operation | None]:
    """Return what a list consists of; None where another worker has sent something else."""
    for data in entries:
        try:
            yield decode_operation(data)
        except BadMessage:
            yield None


def key_of(one: Present | Absent) -> Key:
    """Return the socket that an operation is about, and where that is."""
    return one.namespace, one.room, one.sid
