"""Socket.IO packets as workers pass them on: encoded once, by the sender's own serializer."""

from __future__ import annotations

from typing import Any, TypeAlias

from socketio.packet import ACK, EVENT

from flask_rooms.errors import InvalidArgument, InvalidData
from flask_rooms.server.packet_class import ATTACHMENT_BYTES, ATTACHMENTS, MalformedPacket

#: The encoded packet, and its binary attachments.
Encoded: TypeAlias = "tuple[str | bytes, ...]"


def encode_event(packet_class: Any, event: str, data: Any, namespace: str) -> Encoded:
    """
    Return an event as clients will get it.

    Args:
        packet_class: The server's, which knows its JSON module or serializer.
        event: The name.
        data: What JSON and bytes can express; a tuple is several arguments, None is none.
        namespace: Where.

    Raises:
        InvalidData: *data* cannot be encoded.
        InvalidArgument: *namespace* has a comma.
    """
    if "," in namespace:
        raise InvalidArgument("A namespace has no comma: a packet of Socket.IO ends it there.")
    if data is None:
        data = ()
    arguments = data if isinstance(data, tuple) else (data,)
    try:
        packet = packet_class(EVENT, namespace=namespace, data=[event, *arguments])
        return _parts(packet.encode())
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidData(f"This data cannot be sent: {error}.") from error


def encode_acknowledgement(packet_class: Any, arguments: tuple[Any, ...]) -> Encoded:
    """
    Return what a client has acknowledged, encoded for the worker that waits for it.

    Raises:
        InvalidData: It cannot be encoded, as by a JSON module that only decodes it.
    """
    packet = packet_class(ACK, namespace="/", data=list(arguments))
    encoded = _parts(packet.encode())
    if packet.failed:
        raise InvalidData("What a client has acknowledged cannot be sent to another worker.")
    return encoded


def decode(packet_class: Any, encoded: Encoded) -> Any:
    """
    Return the packet that was encoded.

    Raises:
        InvalidData: It cannot be decoded, as with too many pieces of bytes.
    """
    try:
        packet = packet_class(encoded_packet=encoded[0])
        for attachment in encoded[1:]:
            packet.add_attachment(attachment)
    except MalformedPacket as error:
        raise InvalidData(
            "This data cannot be sent, as it cannot be decoded: an event has at most "
            f"{ATTACHMENTS} pieces of bytes with {ATTACHMENT_BYTES} bytes, and no dictionary with "
            "`_placeholder` beside them."
        ) from error
    return packet


def _parts(encoded: Any) -> Encoded:
    return tuple(encoded) if isinstance(encoded, list) else (encoded,)
