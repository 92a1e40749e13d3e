"""
The wire format: msgpack, which carries nothing but data, signed with the cluster's keys.

Rule `bad-messages-are-dropped`: what is not signed with one of the keys, too long or not
well-formed raises BadMessage, before any of it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgpack

from flask_rooms.protocol.ids import is_sid
from flask_rooms.protocol.messages import (
    NO_OPTIONS,
    NOWHERE,
    OF_A_SOCKET,
    About,
    Absent,
    Acknowledged,
    Announced,
    Answered,
    Ask,
    Change,
    Direct,
    Done,
    Emit,
    Frame,
    Goodbye,
    Heartbeat,
    Listed,
    ListPart,
    Operation,
    Options,
    Present,
    Query,
    Reply,
    Succeeds,
    Tell,
    User,
    Wanted,
)
from flask_rooms.protocol.signing import BadSignature, Signer

#: A frame of another version is dropped; an operation unknown to this one is skipped.
VERSION = 6
#: The highest number: no stream reaches it, and the sum of two can be encoded.
HIGHEST = 2**63 - 1
#: The most characters of a trace, all of them ASCII; W3C's `traceparent` has 55.
TRACE_LENGTH = 64


class BadMessage(Exception):
    """
    A payload that is not a valid message of this cluster.

    Args:
        reason: One word for the counter: oversized, unsigned, version or malformed.
        sender: The worker that sent it, if the signature is valid and states one.
    """

    def __init__(self, reason: str, sender: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sender = sender


_Check: TypeAlias = "Callable[[Any], Any]"


def _exactly(kind: type) -> _Check:
    def check(value: Any) -> Any:
        if type(value) is not kind:  # isinstance() would let a bool through as an int
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
        if type(value) is not list:
            raise BadMessage("malformed")
        return tuple([item(one) for one in value])

    return check


def _optional(item: _Check) -> _Check:
    return lambda value: None if value is None else item(value)


def _number(value: Any) -> Any:
    if type(value) is not int or not 0 <= value <= HIGHEST:
        raise BadMessage("malformed")
    return value


def _seconds(value: Any) -> float:
    if type(value) is not float or not 0 <= value < math.inf:
        raise BadMessage("malformed")
    return value


def _audience(value: Any) -> Any:
    if type(value) is list and len(value) == 1:
        return User(_text(value[0]))
    return _room(value)


def _place(value: Any) -> Any:
    if type(value) is not list or len(value) != 2:
        raise BadMessage("malformed")
    return _number(value[0]), _text(value[1])


def _answer(value: Any) -> Any:
    if type(value) is not list or len(value) != 2:
        raise BadMessage("malformed")
    return _text(value[0]), _packet(value[1])


def _numbered(value: Any) -> Any:
    if type(value) is not list or len(value) != 2:
        raise BadMessage("malformed")
    return _number(value[0]), _exactly(bytes)(value[1])


def _options(value: Any) -> Options:
    """Return options; one that this version does not know makes the change malformed."""
    try:
        return Options(**{key: _OPTIONS[key](one) for key, one in _exactly(dict)(value).items()})
    except KeyError:
        raise BadMessage("malformed") from None


def _trace(value: Any) -> Any:
    if type(value) is not str or not 0 < len(value) <= TRACE_LENGTH or not value.isascii():
        raise BadMessage("malformed")
    return value


_text = _exactly(str)
_room = _one_of(str, int)
_operations = _many(_exactly(bytes))
_names = _many(_text)
_packet = _many(_one_of(str, bytes))
_action = _word("join", "leave", "leave_all", "disconnect", "recheck", "set_data")
_kind = _word("members", "users", "rooms", "rooms_of", "describe", "count", "statistics")

_OPTIONS: dict[str, _Check] = {
    "omit": _many(_audience),
    "older_than": _place,
    "reconnect": _exactly(bool),
    "data": _text,
    "expires": _seconds,
}

#: Operation -> its number on the wire and a check for each field. Numbers are never reused.
_WIRE: dict[type[Operation], tuple[int, tuple[_Check, ...]]] = {
    Change: (1, (_action, _text, _many(_text), _many(_room), _optional(_audience), _text)),
    Done: (2, (_text, _number, _number, _number, _many(_text), _many(_text))),
    Emit: (3, (_text, _packet, _optional(_many(_audience)), _many(_text), _number)),
    Acknowledged: (4, (_text, _number, _packet)),
    Goodbye: (5, ()),
    Query: (6, (_kind, _text, _optional(_audience))),
    Reply: (7, (_text, _number, _many(_room), _many(_number), _exactly(bool), _exactly(bool))),
    Ask: (
        11,
        (_number, _text, _packet, _optional(_many(_audience)), _many(_audience), _seconds),
    ),
    Answered: (12, (_text, _number, _many(_answer), _many(_text), _many(_text))),
    Tell: (13, (_text, _packet)),
    Succeeds: (15, (_text, _many(_numbered))),
    Present: (20, (_number, _text, _room, _text, _optional(_text), _seconds, _text)),
    Absent: (21, (_number, _text, _room, _text)),
    Announced: (23, (_text, _room, _optional(_text), _text, _exactly(bool), _number)),
    Listed: (24, (_number, _number)),
    Wanted: (25, (_text, _number, _number)),
    ListPart: (26, (_text, _number, _number, _operations, _exactly(bool), _number)),
}
#: The same for those that have more fields, which a worker that does not know them must not apply
#: without.
_LONGER: dict[type[Operation], tuple[int, tuple[_Check, ...]]] = {
    Change: (8, (*_WIRE[Change][1], _options)),
    Done: (9, (*_WIRE[Done][1], _number)),
    Emit: (10, (*_WIRE[Emit][1], _many(_audience), _exactly(bool))),
}
_BY_CODE = {
    code: (kind, checks) for table in (_WIRE, _LONGER) for kind, (code, checks) in table.items()
}
#: Before the trace of an operation, which stands in a list with it.
_TRACED = 14
#: Before an operation that is for the owners of the sockets that it names: nil, which is no list.
_FOR_OWNERS = b"\xc0"


def encode_operation(operation: Operation) -> bytes:
    """Return the bytes that decode_operation() turns into an equal *operation*."""
    if _is_longer(operation):
        code, checks = _LONGER[type(operation)]
        packed = _pack([code, *map(_packable, operation[: len(checks)])])
    else:
        code, checks = _WIRE[type(operation)]
        packed = _pack([code, *operation[: len(checks)]])
    trace = getattr(operation, "trace", "")
    data = _pack([_TRACED, trace, packed]) if trace else packed
    return _FOR_OWNERS + data if _is_for_owners(operation) else data


def _is_for_owners(operation: Operation) -> bool:
    """Whether an operation concerns no other workers than the owners of sockets in it."""
    if isinstance(operation, Change):
        return operation.source is None
    if isinstance(operation, Emit | Ask):  # no other socket can be in a socket's own room
        rooms = operation.rooms
        return rooms is not None and all(type(room) is str and is_sid(room) for room in rooms)
    return isinstance(operation, Query) and operation.kind in OF_A_SOCKET


def is_for(worker: str, data: bytes) -> bool:
    """
    Whether an encoded operation may concern a worker.

    Rule `others-skip`: the ID of a socket begins with the name of its owner, so an operation for
    owners has the names of all of them in it. Nothing needs to be decoded to find out.
    """
    return not data.startswith(_FOR_OWNERS) or worker.encode() in data


def _packable(field: Any) -> Any:
    """Return options by their names, and only those that are set; other fields as they are."""
    if not isinstance(field, Options):
        return field
    unset = NO_OPTIONS._asdict()
    return {name: value for name, value in field._asdict().items() if value != unset[name]}


def _is_longer(operation: Operation) -> bool:
    """Whether an operation has a field that is not in the shorter form."""
    if isinstance(operation, Change):
        return operation.options is not NO_OPTIONS
    if isinstance(operation, Emit):
        return bool(operation.omit) or operation.volatile
    return isinstance(operation, Done) and operation.newer > 0


def decode_operation(data: bytes) -> Operation | None:
    """
    Return the operation in *data*, or None if only a later version knows its kind.

    Raises:
        BadMessage: It is of a known kind and not well-formed.
    """
    code, *fields = _unpack(data.removeprefix(_FOR_OWNERS), 1)
    if code == _TRACED and type(code) is int:
        return _decode_traced(fields)
    return _decode_fields(code, fields)


def _decode_traced(fields: list[Any]) -> Operation | None:
    if len(fields) < 2:
        raise BadMessage("malformed")
    trace = _trace(fields[0])
    code, *inner = _unpack(_exactly(bytes)(fields[1]), 1)
    operation = _decode_fields(code, inner)
    if isinstance(operation, Change | Emit | Ask | Tell):
        return operation._replace(trace=trace)
    if operation is None and code != _TRACED:  # of a later version
        return None
    raise BadMessage("malformed")


def _decode_fields(code: Any, fields: list[Any]) -> Operation | None:
    if type(code) is not int:
        raise BadMessage("malformed")
    if code not in _BY_CODE:
        return None
    kind, checks = _BY_CODE[code]
    # A later version may have added fields; it never removes one.
    if len(fields) < len(checks):
        raise BadMessage("malformed")
    return kind(*[check(value) for check, value in zip(checks, fields, strict=False)])


def _pack_heartbeat(beat: Heartbeat) -> list[Any]:
    """Return the fields on the wire; the last ones, which are seldom set, are left out."""
    fields: list[Any] = [beat.beat, beat.oldest, float(beat.age), beat.view]
    if beat.dead or beat.asks or beat.about != NOWHERE:
        about = beat.about
        where = [about.host, about.pid, about.version, float(about.interval)]
        fields += [beat.asks, beat.dead, None if about == NOWHERE else where]
    return fields


def _heartbeat(value: Any) -> Heartbeat:
    if type(value) is not list or not (len(value) == 4 or len(value) >= 7):
        raise BadMessage("malformed")
    beat, oldest, age, view = _number(value[0]), _number(value[1]), _seconds(value[2]), value[3]
    if len(value) == 4:
        return Heartbeat(beat, age, oldest, _number(view))
    asks, dead = _exactly(bool)(value[4]), _names(value[5])
    about = _optional(_about)(value[6]) or NOWHERE
    return Heartbeat(beat, age, oldest, _number(view), dead, asks, about)


def _direct(value: Any) -> Direct:
    if type(value) is not list or len(value) < len(_DIRECT):
        raise BadMessage("malformed")
    return Direct(*[check(one) for check, one in zip(_DIRECT, value, strict=False)])


def _range(value: Any) -> tuple[int, int]:
    if type(value) is not list or len(value) != 2:
        raise BadMessage("malformed")
    return _number(value[0]), _number(value[1])


def _about(value: Any) -> About:
    if type(value) is not list or len(value) < 4:
        raise BadMessage("malformed")
    return About(_text(value[0]), _number(value[1]), _text(value[2]), _seconds(value[3]))


#: A check for each field of Direct.
_DIRECT: tuple[_Check, ...] = (
    *(_number, _number, _number, _operations, _number, _number, _number),
    *(_exactly(bool), _exactly(bool), _optional(_range)),
    *(_number, _exactly(bool), _optional(_names), _number),
)


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True, default=_plain)
    return packed


def _plain(value: object) -> list[str]:
    if isinstance(value, User):
        return [value.id]
    raise TypeError(f"{type(value).__name__} is not data")


#: An operation of a kind that no version knows, so that every receiver skips it.
NOTHING = _pack([0])


class Codec:
    """
    Turns frames into signed bytes and back, and rejects those of senders without a key.

    Args:
        secret_keys: Newest first. Each of them signs, and each is accepted.
        channel: Part of the key, so that frames of another channel are rejected.
        max_size: The most bytes that a frame may have.
    """

    def __init__(self, secret_keys: Iterable[str | bytes], channel: str, max_size: int) -> None:
        self._max_size = max_size
        self._signer = Signer(secret_keys, f"flask-rooms.frame.{channel}")

    def encode(self, frame: Frame) -> bytes:
        """Return *frame* as signed bytes."""
        beat = frame.heartbeat
        body = [VERSION, frame.sender, frame.to, frame.first, frame.operations, None, None]
        if beat is not None:
            body[5] = _pack_heartbeat(beat)
        direct = frame.direct
        if direct is not None:
            body[6] = [getattr(direct, name) for name in direct.__dataclass_fields__]
        return self._signer.sign(_pack(body))

    def decode(self, payload: bytes) -> Frame:
        """
        Return the frame in *payload*.

        Raises:
            BadMessage: It is too large, not signed with one of the keys, or not well-formed.
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
        if len(body) < 7:
            raise BadMessage("malformed")
        return Frame(
            sender=_text(body[1]),
            to=_text(body[2]),
            first=_number(body[3]),
            operations=_operations(body[4]),
            heartbeat=_optional(_heartbeat)(body[5]),
            direct=_optional(_direct)(body[6]),
        )


def _unpack(data: bytes | memoryview, min_length: int) -> list[Any]:
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, RecursionError, msgpack.UnpackException):
        raise BadMessage("malformed") from None
    if type(value) is not list or len(value) < min_length:
        raise BadMessage("malformed")
    return value
