"""
The wire format: msgpack, which carries nothing but data, signed with the cluster's keys.

Rule `bad-messages-are-dropped`: what is not signed with one of the keys, too long or not
well-formed raises BadMessage, before any of it is used. What is well-formed the annotations in
`messages` say, and msgspec checks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Annotated, Any

from msgspec import DecodeError, Meta, Struct, defstruct
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import astuple, fields, replace

from flask_rooms.protocol.ids import is_sid
from flask_rooms.protocol.messages import (
    NO_OPTIONS,
    OF_A_SOCKET,
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
    Number,
    Operation,
    Packet,
    Present,
    Query,
    Reply,
    Succeeds,
    Tell,
    Wanted,
)
from flask_rooms.protocol.signing import BadSignature, Signer

#: A frame of another version is dropped; an operation unknown to this one is skipped.
VERSION = 6
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


#: Operation -> its number on the wire, and how many of its fields follow. Numbers are never reused.
_WIRE: dict[type[Operation], tuple[int, int]] = {
    Change: (1, 6),
    Done: (2, 6),
    Emit: (3, 5),
    Acknowledged: (4, 3),
    Goodbye: (5, 0),
    Query: (6, 3),
    Reply: (7, 6),
    Ask: (11, 6),
    Answered: (12, 5),
    Tell: (13, 2),
    Succeeds: (15, 2),
    Present: (20, 7),
    Absent: (21, 4),
    Announced: (23, 6),
    Listed: (24, 2),
    Wanted: (25, 3),
    ListPart: (26, 6),
}
#: The same for those that have more fields, which a worker that does not know them must not apply
#: without.
_LONGER: dict[type[Operation], tuple[int, int]] = {Change: (8, 7), Done: (9, 7), Emit: (10, 7)}
#: Before the trace of an operation, which stands in a list with it.
_TRACED = 14
#: Before an operation that is for the owners of the sockets that it names: nil, which is no list.
_FOR_OWNERS = b"\xc0"


class _Traced(Struct, array_like=True, tag=_TRACED):
    trace: Annotated[str, Meta(min_length=1, max_length=TRACE_LENGTH, pattern=r"\A[\x00-\x7f]*\Z")]
    operation: bytes


class _Body(Struct, array_like=True):
    """A frame on the wire. Later versions may add fields to this and others, at the end."""

    version: int
    sender: str
    to: str
    first: Number
    operations: tuple[bytes, ...]
    heartbeat: Heartbeat | None
    direct: Direct | None


def _check_packets(form: Any) -> None:
    packets = [packet for _, packet in form.answers] if hasattr(form, "answers") else [form.packet]
    if any(type(part) not in (str, bytes) for packet in packets for part in packet):
        raise ValueError("A packet has texts and bytes.")


#: What holds packets, without the types of their parts: msgspec takes no union of str and bytes.
_UNCHECKED = {
    Packet: tuple[Any, ...],
    tuple[tuple[str, Packet], ...]: tuple[tuple[str, tuple[Any, ...]], ...],
}


def _form(kind: type[Operation], number: int, size: int) -> type[Struct]:
    """Return the class of an operation on the wire: its number there, and its first fields."""
    first = fields(kind)[:size]
    types = [(field.name, _UNCHECKED.get(field.type, field.type)) for field in first]
    has_packets = any(field.type in _UNCHECKED for field in first)
    namespace = {"__post_init__": _check_packets} if has_packets else {}
    return defstruct(kind.__name__, types, namespace=namespace, array_like=True, tag=number)


#: Operations on the wire -> their classes here.
_FORMS: dict[type[Struct], type[Operation]] = {
    _form(kind, *form): kind for table in (_WIRE, _LONGER) for kind, form in table.items()
}
_NUMBERS = {_TRACED, *(number for table in (_WIRE, _LONGER) for number, _ in table.values())}


def _plain(value: object) -> object:
    """Return what a value of a subclass stands for: msgspec takes the types themselves alone."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes):
        return memoryview(value).tobytes()
    raise TypeError(f"{type(value).__name__} is not data")


#: What msgspec raises. Before 0.23 that is also what Python raises for a text that is not UTF-8,
#: and for a dict as the key of another one.
_MALFORMED = (DecodeError, UnicodeDecodeError, TypeError, RecursionError)

_pack = Encoder(enc_hook=_plain).encode
_decode_form = Decoder(reduce(or_, [_Traced, *_FORMS])).decode
_decode_body = Decoder(_Body).decode
_decode_anything = Decoder().decode

#: An operation of a kind that no version knows, so that every receiver skips it.
NOTHING = _pack([0])


def encode_operation(operation: Operation) -> bytes:
    """Return the bytes that decode_operation() turns into an equal *operation*."""
    number, size = (_LONGER if _is_longer(operation) else _WIRE)[type(operation)]
    data = _pack((number, *astuple(operation)[:size]))
    trace = getattr(operation, "trace", "")
    if trace:
        data = _pack((_TRACED, trace, data))
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
    form = _decode_known(data.removeprefix(_FOR_OWNERS))
    if form is None:
        return None
    if isinstance(form, _Traced):
        return _decode_traced(form)
    return _FORMS[type(form)](*astuple(form))


def _decode_traced(traced: _Traced) -> Operation | None:
    form = _decode_known(traced.operation)
    if form is None:
        return None
    kind = _FORMS.get(type(form))
    if kind is None or "trace" not in kind.__struct_fields__:
        raise BadMessage("malformed")
    operation: Operation = replace(kind(*astuple(form)), trace=traced.trace)
    return operation


def _decode_known(data: bytes) -> Struct | None:
    """Return an operation as it is on the wire, or None for one of a later version."""
    try:
        form: Struct = _decode_form(data)
    except _MALFORMED:
        number = _list(data)[0]
        if type(number) is int and number not in _NUMBERS:
            return None
        raise BadMessage("malformed") from None
    return form


def _list(data: bytes | memoryview) -> list[Any]:
    """Return a list of anything, for what is not as this version expects it."""
    try:
        value = _decode_anything(data)
    except _MALFORMED:
        raise BadMessage("malformed") from None
    if type(value) is not list or not value:
        raise BadMessage("malformed")
    return value


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
        body = (
            VERSION,
            frame.sender,
            frame.to,
            frame.first,
            frame.operations,
            _without_defaults(frame.heartbeat),
            frame.direct,
        )
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
            data = self._signer.unsign(payload)
        except BadSignature:
            raise BadMessage("unsigned") from None
        try:
            body = _decode_body(data)
        except _MALFORMED:
            raise _refusal(data) from None
        if body.version != VERSION:
            raise _refusal(data)
        return Frame(body.sender, body.first, body.operations, body.heartbeat, body.to, body.direct)


def _without_defaults(beat: Heartbeat | None) -> Any:
    """Return a heartbeat without its last fields, which are seldom set, as each goes to all."""
    if beat is None or beat.asks or beat.dead or beat.about is not None:
        return beat
    return astuple(beat)[:4]


def _refusal(data: memoryview) -> BadMessage:
    """Return why a body is not decoded: it is of another version, or not well-formed."""
    version, *rest = _list(data)
    if type(version) is int and version == VERSION:
        return BadMessage("malformed")
    return BadMessage("version", rest[0] if rest and type(rest[0]) is str else "")
