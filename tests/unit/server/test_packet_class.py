"""The class of packets: how much a client's event may have, and whose JSON it is in."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from flask import Flask
from socketio.msgpack_packet import MsgPackPacket
from socketio.packet import ACK, EVENT, Packet

from flask_rooms.errors import InvalidArgument, InvalidData
from flask_rooms.server.json_provider import ProviderJSON
from flask_rooms.server.packet_class import (
    ATTACHMENT_BYTES,
    ATTACHMENTS,
    MalformedPacket,
    checked,
)
from flask_rooms.server.packets import encode_event

pytestmark = pytest.mark.mode_independent


class OwnJSON:
    """A JSON module of an application."""

    dumps, loads = staticmethod(json.dumps), staticmethod(json.loads)


class Derived(Packet):
    """A class of an application that has JSON as python-socketio has it."""


class WithOwnJSON(Packet):
    """A class of an application with JSON of its own."""

    json = OwnJSON


def make(packet_class: Any = Packet, own_json: Any = None) -> Any:
    return checked(Flask("application"), lambda: own_json, packet_class)


def awaiting(count: int) -> Any:
    """Return a packet that waits for so many attachments."""
    places = [{"_placeholder": True, "num": number} for number in range(count)]
    return make()(encoded_packet=f"5{count}-{json.dumps(['event', *places])}")


# -- how much -------------------------------------------------------------------------------------


def test_an_event_may_have_so_many_attachments_and_no_more() -> None:
    packet = awaiting(ATTACHMENTS)

    complete = [packet.add_attachment(b"x") for _ in range(ATTACHMENTS)]

    assert complete == [False] * (ATTACHMENTS - 1) + [True]
    assert packet.data == ["event", *[b"x"] * ATTACHMENTS]
    with pytest.raises(MalformedPacket) as caught:
        awaiting(ATTACHMENTS + 1)
    assert caught.value.status == 413


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("over", [0, 1])
def test_they_may_have_so_many_bytes_together_and_no_more(pieces: int, over: int) -> None:
    packet = awaiting(pieces)
    sizes = [100] * (pieces - 1)
    for size in sizes:
        assert not packet.add_attachment(b"x" * size)
    last = b"x" * (ATTACHMENT_BYTES - sum(sizes) + over)

    if not over:
        assert packet.add_attachment(last)
        return
    with pytest.raises(MalformedPacket) as caught:
        packet.add_attachment(last)
    assert caught.value.status == 413


def test_the_bound_is_that_of_the_documentation() -> None:
    assert (ATTACHMENTS, ATTACHMENT_BYTES) == (1000, 16 * 1024 * 1024)


# -- whose JSON -----------------------------------------------------------------------------------


@pytest.mark.parametrize("packet_class", [Packet, Derived])
def test_events_are_in_the_json_of_the_provider(packet_class: Any) -> None:
    before = packet_class.json

    assert isinstance(make(packet_class).json, ProviderJSON)
    assert packet_class.json is before  # for the other servers of the process


def test_nor_are_they_in_that_of_another_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """python-socketio keeps the module of one server in the class of all of them."""
    monkeypatch.setattr(Packet, "json", OwnJSON)

    assert isinstance(make(Derived).json, ProviderJSON)


@pytest.mark.parametrize(
    ("packet_class", "own"), [(Packet, OwnJSON), (Derived, OwnJSON), (WithOwnJSON, None)]
)
def test_unless_the_application_has_chosen_a_module(packet_class: Any, own: Any) -> None:
    assert make(packet_class, own).json is OwnJSON


def test_what_msgpack_cannot_encode_goes_to_the_provider_unless_it_has_a_default() -> None:
    configured = MsgPackPacket.configure(dumps_default=repr)

    assert make(MsgPackPacket).dumps_default is not None
    assert MsgPackPacket.dumps_default is None
    assert make(configured).dumps_default is repr


# -- keys that are no strings ---------------------------------------------------------------------

#: Data that msgpack encodes as they are, and python-socketio's own client does not decode.
KEYS: list[dict[Any, Any]] = [
    {7: "Ann"},
    {None: 1, True: 2, 1.5: 3, "x": 4},
    {"deep": [{1: ({2: 3},)}]},
]


@pytest.mark.parametrize("data", KEYS, ids=repr)
def test_msgpack_has_the_keys_of_json(data: Any) -> None:
    as_json = json.loads(json.dumps(data))

    packet = MsgPackPacket(encoded_packet=make(MsgPackPacket)(data=["event", data]).encode())

    assert packet.data == ["event", as_json]


@pytest.mark.parametrize("data", KEYS, ids=repr)
def test_so_has_what_clients_send_in_msgpack(data: Any) -> None:
    sent = MsgPackPacket(data=["event", data], namespace="/chat", id=7).encode()

    packet = make(MsgPackPacket)(encoded_packet=sent)

    assert packet.data == ["event", json.loads(json.dumps(data))]
    assert (packet.packet_type, packet.namespace, packet.id) == (EVENT, "/chat", 7)


def test_bytes_and_what_an_application_encodes_itself_stay_beside_such_keys() -> None:
    data = {1: b"x", b"key": msgpack.ExtType(5, b"y")}

    packet = MsgPackPacket(encoded_packet=make(MsgPackPacket)(data=[data]).encode())

    assert packet.data == [{"1": b"x", b"key": msgpack.ExtType(5, b"y")}]


@pytest.mark.parametrize(
    "data", [{(1, 2): 3}, {msgpack.ExtType(5, b""): 1}, {1: {math.nan: 1}}], ids=repr
)
def test_keys_that_json_does_not_have_cannot_be_sent_or_decoded(data: Any) -> None:
    with pytest.raises(InvalidData, match="This data cannot be sent"):
        encode_event(make(MsgPackPacket), "event", data, "/")
    with pytest.raises(MalformedPacket):
        make(MsgPackPacket)(encoded_packet=MsgPackPacket(data=["event", data]).encode())


def test_nor_can_those_that_an_applications_own_function_returns() -> None:
    configured = MsgPackPacket.configure(dumps_default=lambda value: {1: 2})

    with pytest.raises(InvalidData, match="This data cannot be sent"):
        encode_event(make(configured), "event", object(), "/")


def test_an_answer_with_such_keys_is_an_error() -> None:
    packet = make(MsgPackPacket)(ACK, id=1, data=[{(1, 2): 3}])

    assert MsgPackPacket(encoded_packet=packet.encode()).data[0]["statusCode"] == 500


def test_nothing_is_sent_to_a_namespace_with_a_comma() -> None:
    """A packet of Socket.IO ends it there: what follows would be taken for its data."""
    with pytest.raises(InvalidArgument, match="comma"):
        encode_event(make(), "event", 1, "/a,b")
