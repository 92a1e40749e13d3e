"""Decodes the messages of clients: one that is malformed is answered, and ends no worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from flask import has_app_context
from socketio.packet import EVENT

from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.refusals import Refusals
from flask_rooms.membership.registry import Registry
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.packet_class import MalformedPacket
from flask_rooms.server.private import ServerInternals

#: How large a message may be, in bytes, on a connection that has no socket yet: that is a CONNECT
#: packet with a token.
BEFORE_CONNECT_BYTES = 2**16

#: Answers a client: socket, namespace, ID of the acknowledgement, message, status.
Refuse = Callable[[Socket, str, "int | None", str, int], None]


class Decoder:
    """
    Decodes messages in place of python-socketio, which writes a traceback for a malformed one.

    Args:
        registry: The sockets of this worker.
        disconnects: Ends the connection of a client that sends too much.
        internals: The server.
        refuse: Answers a client that what it has sent is no socket request.
        refusals: Counts what is malformed, or too large.
    """

    def __init__(
        self,
        registry: Registry,
        disconnects: Disconnects,
        internals: ServerInternals,
        refuse: Refuse,
        refusals: Refusals,
    ) -> None:
        self._registry = registry
        self._disconnects = disconnects
        self._internals = internals
        self._refuse = refuse
        self._refusals = refusals

    def handle(self, eio_sid: str, data: Any) -> None:
        """Handle a message of Engine.IO, in place of python-socketio."""
        if has_app_context():  # as with a test client, whose caller may have one
            self._internals.run_apart(partial(self._handle, eio_sid, data))
        else:
            # Flask-SocketIO, too, may leave a part of a context that it could not enter.
            copy_context().run(self._handle, eio_sid, data)

    def _handle(self, eio_sid: str, data: Any) -> None:
        if not self._registry.has_socket(eio_sid) and _size(data) > BEFORE_CONNECT_BYTES:
            self._refusals.count("before_connect_bytes")
            self._disconnects.hang_up(eio_sid)
            return
        try:
            packet = self._decode(eio_sid, data)
        except MalformedPacket as error:
            # Else the next message would be taken for the rest of this one.
            self._internals.unfinished.pop(eio_sid, None)
            address = self._internals.address(eio_sid)
            self._refusals.count("malformed_packets", eio_sid, address)
            self._answer(eio_sid, error)
            if error.status == 413:  # and it is still being sent
                self._disconnects.hang_up(eio_sid)
        else:
            if packet is not None:
                self._internals.handle_packet(eio_sid, packet)

    def _decode(self, eio_sid: str, data: Any) -> Any:
        """Return a packet; None while its attachments are missing."""
        unfinished = self._internals.unfinished
        packet = unfinished.get(eio_sid)
        if packet is not None:
            if not packet.add_attachment(data):
                return None
            unfinished.pop(eio_sid, None)
            return packet
        # python-engineio reads JSON itself, which only a serializer of the application may take.
        if not isinstance(data, str | bytes) and not self._internals.any_text:
            raise MalformedPacket(self._internals.packet(EVENT), 400)
        packet = self._internals.packet_class(encoded_packet=data)
        if not packet.attachment_count:
            return packet
        if self._registry.get_by_eio_sid(packet.namespace or "/", eio_sid) is None:
            raise MalformedPacket(packet, 400)
        unfinished[eio_sid] = packet
        return None

    def _answer(self, eio_sid: str, error: MalformedPacket) -> None:
        packet = error.packet
        namespace = packet.namespace if isinstance(packet.namespace, str) else "/"
        socket = self._registry.get_by_eio_sid(namespace or "/", eio_sid)
        if socket is not None and socket.connected and packet.is_request:
            message = "A socket request has to be JSON."
            self._refuse(socket, namespace or "/", packet.id, message, error.status)


def _size(data: Any) -> int:
    """Return how long a message is, also one that python-engineio has read as JSON."""
    return len(data if isinstance(data, str | bytes) else json.dumps(data))
