"""Reads what clients send: what cannot be decoded is answered too, and never waited for."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from flask_rooms.membership.namespace import Socket

logger = logging.getLogger("flask_rooms")

#: How many pieces of binary data one event may have, and how many bytes these may be together.
ATTACHMENTS = 1000
ATTACHMENT_BYTES = 16 * 2**20

# A socket request that is not JSON says all the same that it is one.
_REQUEST = re.compile(r'\["(get|post|put|patch|delete|options|head)"')

#: Tells a client: socket, namespace, ID of the acknowledgement, message, status.
Refuse = Callable[[Socket, str, "int | None", str, int], None]


class _Unreadable(Exception):
    """A packet cannot be decoded; `packet` is what is known of it, `status` the answer's."""

    def __init__(self, packet: Any, status: int) -> None:
        super().__init__("A packet of Socket.IO cannot be decoded.")
        self.packet = packet
        self.status = status


class Reader:
    """
    Decodes messages in python-socketio's place, which leaves unanswered what it cannot decode.

    Args:
        server: The Socket.IO server, with its manager.
        refuse: Tells a client that a socket request is none.
    """

    def __init__(self, server: Any, refuse: Refuse) -> None:
        self._server = server
        self._refuse = refuse
        self._handle = server._handle_eio_message
        server.packet_class = _checked(server.packet_class)
        server._handle_eio_message = self._read
        server.eio.on("message", self._read)

    def _read(self, eio_sid: str, data: Any) -> None:
        try:
            self._handle(eio_sid, data)
        except _Unreadable as error:
            # Else what comes next would be taken for the rest of it.
            self._server._binary_packet.pop(eio_sid, None)
            self._answer(eio_sid, error)
            if error.status == 413:  # and it is still being sent
                self._server.manager.hang_up(eio_sid)

    def _answer(self, eio_sid: str, error: _Unreadable) -> None:
        packet = error.packet
        namespace = packet.namespace or "/"
        socket = self._server.manager.socket(namespace, eio_sid)
        if socket is None or not socket.connected or not packet.is_request:
            logger.info("A client has sent what is not Socket.IO: %r", error.__cause__)
        else:
            message = "A socket request has to be JSON."
            self._refuse(socket, namespace, packet.id, message, error.status)


def _checked(packet_class: Any) -> Any:
    """Return a class of packets that raises _Unreadable for whatever cannot be decoded."""

    class Packet(packet_class):  # type: ignore[misc]  # python-socketio is not typed
        """As python-socketio's, and bounded."""

        is_request = False
        namespace = None
        id = None

        def decode(self, encoded_packet: Any) -> Any:
            if isinstance(encoded_packet, str):
                self.is_request = _REQUEST.search(encoded_packet[:200]) is not None
            try:
                count = super().decode(encoded_packet)
            except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
                raise _Unreadable(self, 400) from error
            if count and count > ATTACHMENTS:
                raise _Unreadable(self, 413)
            return count

        def add_attachment(self, attachment: Any) -> bool:
            size = len(attachment) + sum(map(len, self.attachments))
            if size > ATTACHMENT_BYTES:
                raise _Unreadable(self, 413)
            try:
                return bool(super().add_attachment(attachment))
            except (LookupError, RecursionError, TypeError, ValueError) as error:
                raise _Unreadable(self, 400) from error

    return Packet
