"""The server's class of packets, checked: bounded when decoded, and real JSON when encoded."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from flask import Flask
from socketio.packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    Packet,
)

from flask_rooms.backends.logs import safe_logging
from flask_rooms.membership.names import NAMESPACE_LENGTH
from flask_rooms.server.json_provider import ProviderJSON, refuse_not_json, replaced

logger = logging.getLogger("flask_rooms.server")


class _Instead(NamedTuple):
    """What a client gets in place of what it waits for and cannot be sent, and what is logged."""

    data: Any
    text: str


_FAILED = _Instead(
    [{"body": {"message": "Internal Server Error"}, "headers": {}, "statusCode": 500}],  # as Sails
    "An acknowledgement cannot be encoded, and is sent as an error.",
)
_REFUSED = _Instead(
    {"message": "Connection rejected by server"},
    "The reason for which a client is refused cannot be encoded, and is left out.",
)
# By the type of the packet.
_INSTEAD = {ACK: _FAILED, BINARY_ACK: _FAILED, CONNECT_ERROR: _REFUSED}

#: How many binary attachments an event may have, and how many bytes they may have together.
ATTACHMENTS = 1000
ATTACHMENT_BYTES = 16 * 2**20

# How a socket request begins, also one that is not JSON.
_REQUEST = re.compile(r'[^\["]*\["(get|post|put|patch|delete|options|head)"')
_WITH_DATA = (EVENT, ACK, BINARY_EVENT, BINARY_ACK)
_FROM_CLIENTS = (CONNECT, DISCONNECT, *_WITH_DATA)


class MalformedPacket(Exception):
    """A packet cannot be decoded; `packet` is what is known of it, `status` that of the answer."""

    def __init__(self, packet: Any, status: int) -> None:
        super().__init__("A packet of Socket.IO cannot be decoded.")
        self.packet = packet
        self.status = status


class Checked:
    """What comes before python-socketio's class: `super()` is that one."""

    is_request = False
    failed = False
    any_text = False  # whether its text need not be that of Socket.IO
    json: Any
    namespace: str | None = None
    id: int | None = None
    data: Any
    packet_type: int
    attachments: list[bytes]

    def __init__(self, packet_type: int = EVENT, *args: Any, **fields: Any) -> None:
        try:
            super().__init__(packet_type, *args, **fields)  # type: ignore[call-arg]  # likewise
        except (RecursionError, ValueError):
            # It looks for bytes, also in what contains itself, and refuses those of a refusal.
            if packet_type not in _INSTEAD:
                raise
            instead = self._fail(packet_type)
            super().__init__(packet_type, *args, **fields | {"data": instead})  # type: ignore[call-arg]

    def encode(self) -> Any:
        """Encode the packet; one that a client waits for is always sent."""
        if self.packet_type not in _INSTEAD:
            return self._encode()
        try:
            return self._encode_answer()
        except Exception:  # noqa: BLE001 - logged; of an object, or what a JSON provider makes of it
            self.data = self._fail(self.packet_type)
        self.packet_type = ACK if self.packet_type == BINARY_ACK else self.packet_type
        return self._encode()

    def _fail(self, packet_type: int) -> Any:
        """Log the error that is being handled, and return what is sent in place of the data."""
        instead, self.failed = _INSTEAD[packet_type], True
        with safe_logging():
            logger.exception(instead.text)
        return instead.data

    def _encode_answer(self) -> Any:
        try:
            return self._encode()
        except ValueError:  # numbers or characters that JSON does not have
            self.data = replaced(self.data, getattr(self.json, "default", None))
        return self._encode()

    def _encode(self) -> Any:
        encoded = super().encode()  # type: ignore[misc]  # of the class that is mixed in
        if isinstance(encoded, list):  # not every server sends a bytearray
            encoded = [bytes(one) if isinstance(one, bytearray) else one for one in encoded]
        text = encoded[0] if isinstance(encoded, list) else encoded
        if isinstance(text, str) and not self.any_text and self.packet_type in _WITH_DATA:
            refuse_not_json(text, self.namespace or "/")
        return encoded

    def decode(self, encoded_packet: Any) -> Any:
        """Decode a packet, and raise MalformedPacket whatever is wrong with it."""
        if isinstance(encoded_packet, str):
            self.is_request = _REQUEST.match(encoded_packet[:200]) is not None
        if self.is_request and not self.any_text:
            self.json = json  # its data goes on as JSON, whatever the application's module makes
        try:
            count = self._decode(encoded_packet)
        except Exception as error:  # the serializer may be the application's
            raise MalformedPacket(self, 400) from error
        if not self._is_sound():
            raise MalformedPacket(self, 400)
        if count and count > ATTACHMENTS:
            raise MalformedPacket(self, 413)
        return count

    def _decode(self, encoded_packet: Any) -> int:
        return super().decode(encoded_packet)  # type: ignore[misc,no-any-return]  # likewise

    def _is_sound(self) -> bool:
        """Whether the parts of a packet are what they have to be, whatever the serializer."""
        return (
            self.packet_type in _FROM_CLIENTS
            and isinstance(self.namespace, str | None)
            and len(self.namespace or "") <= NAMESPACE_LENGTH
            and isinstance(self.id, int | None)
        )

    def add_attachment(self, attachment: Any) -> bool:
        """Add a binary attachment, within bounds."""
        if not isinstance(attachment, bytes):
            raise MalformedPacket(self, 400)
        size = len(attachment) + sum(map(len, self.attachments))
        if size > ATTACHMENT_BYTES:
            raise MalformedPacket(self, 413)
        try:
            return bool(super().add_attachment(attachment))  # type: ignore[misc]  # likewise
        except (LookupError, RecursionError, TypeError, ValueError) as error:
            raise MalformedPacket(self, 400) from error

    @classmethod
    def reconstruct_binary(cls, data: Any, attachments: list[bytes]) -> Any:
        """
        Return *data* with its attachments in the place of what stands for them.

        Each stands in one place, as in what clients send: in many, a small event would become a
        large one where it is sent on.
        """
        return _restored(data, dict(enumerate(attachments)))


def _restored(data: Any, attachments: dict[int, bytes]) -> Any:
    if isinstance(data, list):
        return [_restored(one, attachments) for one in data]
    if not isinstance(data, dict):
        return data
    if data.get("_placeholder") and "num" in data:
        return attachments.pop(data["num"])
    return {key: _restored(one, attachments) for key, one in data.items()}


def checked(app: Flask, own_json: Callable[[], Any], packet_class: Any) -> Any:
    """
    Return *packet_class* with these checks, and with the JSON provider of an application.

    A JSON module, or a default for msgpack, that the application has chosen itself stays.

    Args:
        app: The application.
        own_json: Returns the JSON module that its SocketIO was given, or None.
        packet_class: The class of its Socket.IO server.
    """
    provider = ProviderJSON(app)
    own: dict[str, Any] = {"json": own_json() or packet_class.json}
    own["any_text"] = not packet_class.decode.__module__.startswith("socketio.")
    # python-socketio keeps the module in its class, where every server of the process finds it.
    # What Packet has may be the module of another application's SocketIO.
    if own_json() is None and packet_class.json is Packet.json:
        own["json"] = provider
    if getattr(packet_class, "dumps_default", provider) is None:
        own["dumps_default"] = staticmethod(provider.default)
    return type("Packet", (_checks_of(packet_class), packet_class), own)


def _checks_of(packet_class: Any) -> type[Checked]:
    if packet_class.decode.__module__ != "socketio.msgpack_packet":
        return Checked
    # Not above: msgpack need not be installed.
    from flask_rooms.server.msgpack_packets import CheckedMsgPack

    return CheckedMsgPack
