"""Keeps the events of the rooms that have a rule, and returns those that a client has missed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from msgspec import msgpack

from flask_rooms.backends.logs import Throttle, safe_logging
from flask_rooms.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    InvalidArgument,
    InvalidRoom,
)
from flask_rooms.history.base import Bounds, HistoryStore
from flask_rooms.membership.rules import Rules
from flask_rooms.protocol.ids import is_sid
from flask_rooms.protocol.messages import Audience, Room, User
from flask_rooms.protocol.signing import BadSignature, Signer

logger = logging.getLogger("flask_rooms.history")

#: An encoded packet, and its attachments.
Packet: TypeAlias = "tuple[str | bytes, ...]"

#: How many numbers a client may say that it has, and how large each may be.
MAX_OFFSETS = 1000
MAX_OFFSET = 2**53


class EventNumber(NamedTuple):
    """The number of an event in a room."""

    room: Room
    epoch: str
    offset: int


class KeptEvent(NamedTuple):
    """An event that was kept, with the rooms and users that it was not for."""

    offset: int
    packet: Packet
    omit_rooms: frozenset[Room]
    omit_users: frozenset[str]


class MissedEvents(NamedTuple):
    """
    What a client has missed.

    Args:
        epoch: The present epoch of the room.
        last: The number of its latest event.
        events: Those that are kept, in order.
        gone: Whether there may have been others.
    """

    epoch: str
    last: int
    events: list[KeptEvent]
    gone: bool


class Position(NamedTuple):
    """Which events of a room a client says that it has: all up to the first number, and these."""

    epoch: str
    offsets: frozenset[int]

    @classmethod
    def of(cls, since: Any) -> Position | None:
        """
        Return the position that a client has sent, None for one that has nothing yet.

        Raises:
            InvalidArgument: It is none.
        """
        if since is None:
            return None
        if isinstance(since, Mapping):
            epoch, offsets = since.get("epoch"), since.get("offsets")
            if (
                isinstance(epoch, str)
                and len(epoch) <= 64
                and isinstance(offsets, list)
                and 0 < len(offsets) <= MAX_OFFSETS
                and all(type(one) is int and 0 <= one <= MAX_OFFSET for one in offsets)
            ):
                return cls(epoch, frozenset(offsets))
        raise InvalidArgument(
            "`since` is None, or has the `epoch` and the latest `offsets`, at most "
            f"{MAX_OFFSETS}, of the events `history_offset` that the client has got for the room."
        )


class Keeper:
    """
    The history of the rooms that have a rule.

    Args:
        rules: How much is kept, by rules over the names of rooms.
        store: Keeps it; None if none is configured.
        signer: Signs what is kept: a store is not trusted.

    Attributes:
        counts: How many events were `kept` and `sent` to clients that came back, how often some
            were `gone`, the store was `unavailable`, and what it had was `unsigned`.
    """

    def __init__(self, rules: Rules[Bounds], store: HistoryStore | None, signer: Signer) -> None:
        self._rules = rules
        self._store = store
        self._signer = signer
        self._throttle = Throttle()
        self.counts: Counter[str] = Counter(kept=0, sent=0, gone=0, unavailable=0, unsigned=0)

    def require_store(self) -> None:
        """Raise ConfigurationError if there is a rule, and no store."""
        if self._store is None and not self._rules.are_empty:
            raise ConfigurationError(
                "history() needs a store, which this backend is not: set ROOMS_HISTORY_URL to a "
                "redis:// URL that all workers reach, or pass history_store= to Rooms."
            )

    @property
    def problem(self) -> str | None:
        """Why the store cannot be reached; None if it can, or if there is no rule."""
        if self._store is None or self._rules.are_empty:
            return None
        try:
            self._store.ping()
        except BackendError as error:
            return str(error)
        return None

    def close(self) -> None:
        """Disconnect from the store."""
        if self._store is not None:
            self._store.close()

    def rooms(self, rooms: Iterable[Audience] | None) -> list[tuple[Room, Bounds]]:
        """Return those of the recipients of an event whose history is kept."""
        if self._rules.are_empty:
            return []
        # Flask-SocketIO's room 1 is another one than "1", and cannot be caught up with.
        named = [room for room in rooms or () if isinstance(room, str) and not is_sid(room)]
        found = [(room, self._rules.match(room)) for room in named]
        return [(room, match[0]) for room, match in found if match is not None]

    def require_rule(self, room: Room) -> Bounds:
        """Return how much is kept of a room, or raise InvalidRoom if no rule matches it."""
        for _, bounds in self.rooms([room]):
            return bounds
        raise InvalidRoom(
            f"No rule of history() matches {room!r}: register one, such as "
            'rooms.history("chat:<id>").'
        )

    def append(
        self,
        namespace: str,
        rooms: Iterable[tuple[Room, Bounds]],
        packet: Packet,
        omit: Iterable[Audience],
    ) -> list[EventNumber]:
        """
        Keep an event in each of *rooms*, and return its numbers.

        Raises:
            BackendUnavailable: The store cannot be reached.
        """
        users = [one.id for one in omit if isinstance(one, User)]
        names = [one for one in omit if not isinstance(one, User)]
        numbers = []
        for room, bounds in rooms:
            key = _key(namespace, room)
            message = self._signer.sign(_pack([key, list(packet), names, users]))
            try:
                epoch, offset = self._used().append(key, message, bounds)
            except BackendError as error:
                # It may have been kept: in a room before, or in this one without an answer.
                consequence = "nothing has been sent, except perhaps to clients that come back"
                raise self._unavailable(error, consequence) from error
            numbers.append(EventNumber(room, epoch, offset))
        self.counts["kept"] += len(numbers)
        return numbers

    def read(self, namespace: str, room: Room, position: Position | None) -> MissedEvents:
        """
        Return what a client has missed of a room.

        Raises:
            InvalidRoom: No rule matches the room.
            BackendUnavailable: The store cannot be reached.
        """
        bounds = self.require_rule(room)
        key, after = _key(namespace, room), min(position.offsets) if position else MAX_OFFSET
        try:
            kept = self._used().read(key, after, bounds)
        except BackendError as error:
            raise self._unavailable(error, "what was missed is not known") from error
        if position is None:
            return MissedEvents(kept.epoch, kept.last, [], gone=False)
        if position.epoch != kept.epoch or max(position.offsets) > kept.last:
            return MissedEvents(kept.epoch, kept.last, [], gone=True)
        missed = [one for one in kept.messages if one[0] not in position.offsets]
        events = [event for event in (self._event(key, *one) for one in missed) if event]
        wanted = kept.last - after + 1 - len(position.offsets)
        return MissedEvents(kept.epoch, kept.last, events, len(events) < wanted)

    def count(self, sent: int, *, gone: bool) -> None:
        """Count what a client that has come back was sent, and whether others are gone."""
        self.counts["sent"] += sent
        self.counts["gone"] += gone

    def _used(self) -> HistoryStore:
        self.require_store()
        assert self._store is not None  # there is a rule
        return self._store

    def _event(self, key: str, offset: int, message: bytes) -> KeptEvent | None:
        try:
            room, packet, names, users = _unpack(self._signer.unsign(message))
        except BadSignature:
            room = None
        if room != key:
            self.counts["unsigned"] += 1
            return None
        return KeptEvent(offset, tuple(packet), frozenset(names), frozenset(users))

    def _unavailable(self, error: BackendError, consequence: str) -> BackendUnavailable:
        self.counts["unavailable"] += 1
        if self._throttle.is_due("unavailable"):
            with safe_logging():
                logger.warning("The history of rooms cannot be reached: %s", error)
        return BackendUnavailable(
            f"The history of rooms cannot be reached, so {consequence}: start its store, or "
            "correct ROOMS_HISTORY_URL."
        )


def _key(namespace: str, room: Room) -> str:
    return f"{namespace},{room}"  # no namespace has a comma, see namespace_name()


def _pack(values: list[Any]) -> bytes:
    return msgpack.encode(values)


def _unpack(body: memoryview) -> list[Any]:
    values: list[Any] = msgpack.decode(body)
    return values
