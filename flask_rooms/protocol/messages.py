"""
What workers say to each other: encoded as msgpack, which can carry nothing but data, and signed.

An *operation* changes or tells something and has a number in its sender's stream. A *frame*
is what travels: some consecutive operations of one sender, and its heartbeat when one is due.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgpack
from itsdangerous import BadSignature, Signer, want_bytes

#: A frame of another version is dropped; an operation unknown to this one is skipped.
VERSION = 1


@dataclass(frozen=True)
class User:
    """All sockets of one user: a room that nobody joins or leaves, and no name can be taken for."""

    id: str


#: `sockets` takes names only; integers are here for Flask-SocketIO's `join_room(42)`.
Room: TypeAlias = "str | int"
#: Where a message goes to.
Audience: TypeAlias = "Room | User"


#: No stream gets so far, and what is counted on from a smaller number can still be encoded.
_TOO_MANY = 2**63


class BadMessage(Exception):
    """
    A payload that nobody of this cluster can have sent in this form.

    Args:
        reason: One word for the counter: oversized, unsigned, version or malformed.
        sender: The worker that has sent it, where its signature is good and it can be read.
    """

    def __init__(self, reason: str, sender: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sender = sender


Action: TypeAlias = Literal["join", "leave", "leave_all", "disconnect", "recheck"]


@dataclass(frozen=True)
class Change:
    """
    Sockets join or leave rooms, leave all, or end; each worker concerned answers with Done.

    Args:
        action: What is done; with "leave_all" each keeps the room of its own ID, with "recheck"
            those leave whom the rooms' guards no longer let in.
        namespace: Where.
        sids: Whose memberships change, where there is no *source*.
        rooms: What they join or leave; none for the other actions.
        source: In place of *sids*: all members of this room, on every worker.
        by: The socket in whose request the call was made, or empty.
    """

    action: Action
    namespace: str
    sids: tuple[str, ...]
    rooms: tuple[Room, ...]
    source: Audience | None = None
    by: str = ""


@dataclass(frozen=True)
class Done:
    """
    The sender has carried out its part of operation *number* of *worker*.

    Or it has done nothing, because a guard has refused those in *refused*.
    """

    worker: str
    number: int
    changed: int
    unchanged: int
    unknown: tuple[str, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """
    What every worker concerned answers with Replies from one look at its registry.

    Args:
        kind: "members" of a room, or the "users" among them; "rooms" that begin with a prefix,
            with the number of their members; "rooms_of" a socket; the "count" of a room.
        namespace: Where.
        about: The room, prefix or socket ID; None for all sockets of the namespace.
    """

    kind: Literal["members", "users", "rooms", "rooms_of", "count"]
    namespace: str
    about: Audience | None


@dataclass(frozen=True)
class Reply:
    """
    Part of the sender's answer to Question *number* of *worker*: names, and counts of them.

    Args:
        worker: Who has asked.
        number: With which operation.
        names: Rooms, or the IDs of sockets or users.
        counts: Of each name, where that was asked for, or of all.
        last: Whether nothing comes after it.
        whole: Whether it is all that there is to say; not where that would have been too much.
    """

    worker: str
    number: int
    names: tuple[Room, ...]
    counts: tuple[int, ...]
    last: bool
    whole: bool = True


@dataclass(frozen=True)
class Emit:
    """
    An event for the members of these rooms, or for all when *rooms* is None.

    It travels as the Socket.IO packet that clients will get, so it is encoded once in the
    cluster, by the sender's own JSON module or serializer. *ack* is the number under which
    the sender wants to hear what the client acknowledged, or 0.
    """

    namespace: str
    packet: tuple[str | bytes, ...]
    rooms: tuple[Audience, ...] | None
    skip: tuple[str, ...]
    ack: int


@dataclass(frozen=True)
class Acknowledged:
    """A client's answer, as a Socket.IO packet, to *worker*; empty when none will come."""

    worker: str
    ack: int
    packet: tuple[str | bytes, ...]


@dataclass(frozen=True)
class Goodbye:
    """The sender leaves the cluster in good order; its sockets are gone."""


Operation: TypeAlias = "Change | Done | Question | Reply | Emit | Acknowledged | Goodbye"


@dataclass(frozen=True)
class Heartbeat:
    """
    The sender is alive and knows these workers.

    Args:
        beat: Counts the sender's heartbeats, so that a late copy is told from a new one.
        age: Seconds that the sender has lived, by which the older of two is known.
        oldest: The sender's first operation that it can still repeat.
        fresh: The sender's first operation that it had not sent before this frame.
        knows: Worker that it counts as alive -> the sender's first operation that is meant for
            it; 0 for one that it counts as dead, and has heard all the same.
    """

    beat: int
    age: float
    oldest: int
    fresh: int
    knows: Mapping[str, int]


@dataclass(frozen=True)
class Frame:
    """
    What one publish carries.

    Args:
        sender: The worker's name.
        first: Number of the first operation in here, or of the next one when there is none.
        operations: Consecutive operations, each encoded by encode_operation().
        heartbeat: Present when one was due.
        wants: Workers asked to repeat their stream from a number on.
    """

    sender: str
    first: int
    operations: tuple[bytes, ...] = ()
    heartbeat: Heartbeat | None = None
    wants: Mapping[str, int] = field(default_factory=dict)


_Check: TypeAlias = "Callable[[Any], Any]"


def _exactly(kind: type) -> _Check:
    def check(value: Any) -> Any:
        if type(value) is not kind:  # bool is an int, and not what is meant here
            raise BadMessage("malformed")
        return value

    return check


def _one_of(*allowed: type) -> _Check:
    def check(value: Any) -> Any:
        if type(value) in allowed:
            return value
        raise BadMessage("malformed")

    return check


def _word(*allowed: str) -> _Check:
    def check(value: Any) -> Any:
        if type(value) is str and value in allowed:
            return value
        raise BadMessage("malformed")

    return check


def _many(item: _Check) -> _Check:
    def check(value: Any) -> tuple[Any, ...]:
        return tuple(item(one) for one in _exactly(list)(value))

    return check


def _optional(item: _Check) -> _Check:
    return lambda value: None if value is None else item(value)


def _number(value: Any) -> Any:
    if type(value) is not int or not 0 <= value < _TOO_MANY:
        raise BadMessage("malformed")
    return value


def _table(item: _Check) -> _Check:
    def check(value: Any) -> dict[str, Any]:
        return {_text(key): item(one) for key, one in _exactly(dict)(value).items()}

    return check


def _audience(value: Any) -> Any:
    if type(value) is list and len(value) == 1:
        return User(_text(value[0]))
    return _room(value)


_text = _exactly(str)
_room = _one_of(str, int)
_packet = _many(_one_of(str, bytes))
_action = _word("join", "leave", "leave_all", "disconnect", "recheck")
_kind = _word("members", "users", "rooms", "rooms_of", "count")

#: Operation -> its number on the wire and a check for each field. Numbers are never reused.
_WIRE: dict[type[Operation], tuple[int, tuple[_Check, ...]]] = {
    Change: (1, (_action, _text, _many(_text), _many(_room), _optional(_audience), _text)),
    Done: (2, (_text, _number, _number, _number, _many(_text), _many(_text))),
    Emit: (3, (_text, _packet, _optional(_many(_audience)), _many(_text), _number)),
    Acknowledged: (4, (_text, _number, _packet)),
    Goodbye: (5, ()),
    Question: (6, (_kind, _text, _optional(_audience))),
    Reply: (7, (_text, _number, _many(_room), _many(_number), _exactly(bool), _exactly(bool))),
}
_BY_CODE = {code: (kind, checks) for kind, (code, checks) in _WIRE.items()}


def encode_operation(operation: Operation) -> bytes:
    """Return the bytes that decode_operation() turns into an equal *operation*."""
    # Read field by field: dataclasses.astuple() would copy a large packet item by item.
    fields = [getattr(operation, name) for name in operation.__dataclass_fields__]
    return _pack([_WIRE[type(operation)][0], *fields])


def decode_operation(data: bytes) -> Operation | None:
    """
    Return the operation in *data*, or None for a kind that only a later version knows.

    Raises:
        BadMessage: It is of a known kind and not well-formed.
    """
    code, *fields = _unpack(data, 1)
    if type(code) is not int:
        raise BadMessage("malformed")
    if code not in _BY_CODE:
        return None
    kind, checks = _BY_CODE[code]
    # More fields than this version knows are a later version's; fewer cannot be.
    if len(fields) < len(checks):
        raise BadMessage("malformed")
    return kind(*(check(value) for check, value in zip(checks, fields, strict=False)))


def _heartbeat(value: Any) -> Heartbeat:
    if type(value) is not list or len(value) < 5:
        raise BadMessage("malformed")
    beat, oldest, fresh = (_number(one) for one in value[:3])
    return Heartbeat(beat, _age(value[3]), oldest, fresh, _table(_number)(value[4]))


def _age(value: Any) -> float:
    if type(value) is not float or not 0 <= value < math.inf:
        raise BadMessage("malformed")
    return value


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True, default=_plain)
    return packed


def _plain(value: object) -> list[str]:
    if isinstance(value, User):
        return [value.id]
    raise TypeError(f"{type(value).__name__} is not data")


#: An operation that nobody knows, and so everybody skips.
NOTHING = _pack([0])


class Codec:
    """
    Turns frames into signed bytes and back; whoever lacks the key is not understood.

    Args:
        secret_keys: Newest first: it signs, and all of them are accepted.
        channel: Part of the key, so that a frame of another channel is foreign.
        max_size: Bytes that a frame may have at most.
    """

    def __init__(self, secret_keys: Iterable[str | bytes], channel: str, max_size: int) -> None:
        self._max_size = max_size
        self._signer = Signer(
            [want_bytes(key) for key in secret_keys][::-1],  # itsdangerous: the newest last
            salt=f"flask-rooms.frame.{channel}",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def encode(self, frame: Frame) -> bytes:
        """Return *frame* as signed bytes."""
        beat = frame.heartbeat
        body = [VERSION, frame.sender, frame.first, frame.operations, None, dict(frame.wants)]
        if beat is not None:
            body[4] = [beat.beat, beat.oldest, beat.fresh, float(beat.age), dict(beat.knows)]
        return self._signer.sign(_pack(body))

    def decode(self, payload: bytes) -> Frame:
        """
        Return the frame in *payload*.

        Raises:
            BadMessage: It is too large, not signed with a key of ours, or not well-formed.
        """
        if len(payload) > self._max_size:
            raise BadMessage("oversized")
        try:
            body = _unpack(self._signer.unsign(payload), 1)
        except BadSignature:
            raise BadMessage("unsigned") from None
        if type(body[0]) is not int or body[0] != VERSION:
            sender = body[1] if len(body) > 1 and type(body[1]) is str else ""
            raise BadMessage("version", sender)
        if len(body) < 6:
            raise BadMessage("malformed")
        return Frame(
            sender=_text(body[1]),
            first=_number(body[2]),
            operations=_many(_exactly(bytes))(body[3]),
            heartbeat=_optional(_heartbeat)(body[4]),
            wants=_table(_number)(body[5]),
        )


def _unpack(data: bytes, least: int) -> list[Any]:
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, RecursionError, msgpack.UnpackException):
        raise BadMessage("malformed") from None
    if type(value) is not list or len(value) < least:
        raise BadMessage("malformed")
    return value
