"""Decodes the messages of clients: one that is malformed is answered, and ends no worker."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.registry import Registry
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.private import ServerInternals

logger = logging.getLogger("flask_rooms")

#: How many binary attachments an event may have, and how many bytes they may have together.
ATTACHMENTS = 1000
ATTACHMENT_BYTES = 16 * 2**20

# By which a socket request is recognised that is not JSON.
_REQUEST = re.compile(r'\["(get|post|put|patch|delete|options|head)"')

#: Tells a client: socket, namespace, ID of the acknowledgement, message, status.
Refuse = Callable[[Socket, str, "int | None", str, int], None]


class _Malformed(Exception):
    """A packet cannot be decoded; `packet` is what is known of it, `status` that of the answer."""

    def __init__(self, packet: Any, status: int) -> None:
        super().__init__("A packet of Socket.IO cannot be decoded.")
        self.packet = packet
        self.status = status


class Decoder:
    """
    Decodes messages in place of python-socketio, which leaves malformed ones unanswered.

    Args:
        registry: The sockets of this worker.
        disconnects: Ends the connection of a client that sends too much.
        internals: The server.
        refuse: Answers a client that what it has sent is no socket request.
    """

    def __init__(
        self,
        registry: Registry,
        disconnects: Disconnects,
        internals: ServerInternals,
        refuse: Refuse,
    ) -> None:
        self._registry = registry
        self._disconnects = disconnects
        self._internals = internals
        self._refuse = refuse

    def handle(self, eio_sid: str, data: Any) -> None:
        """Handle a message of Engine.IO, in place of python-socketio."""
        try:
            self._internals.handle_message(eio_sid, data)
        except _Malformed as error:
            # Else the next message would be taken for the rest of this one.
            self._internals.forget_attachments(eio_sid)
            self._answer(eio_sid, error)
            if error.status == 413:  # and it is still being sent
                self._disconnects.hang_up(eio_sid)

    def _answer(self, eio_sid: str, error: _Malformed) -> None:
        packet = error.packet
        namespace = packet.namespace or "/"
        socket = self._registry.get_by_eio_sid(namespace, eio_sid)
        if socket is None or not socket.connected or not packet.is_request:
            logger.info("A client has sent what is not Socket.IO: %r", error.__cause__)
        else:
            message = "A socket request has to be JSON."
            self._refuse(socket, namespace, packet.id, message, error.status)


def checked(packet_class: Any) -> Any:
    """Return a class of packets that raises an error of ours for all that cannot be decoded."""

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
                raise _Malformed(self, 400) from error
            if count and count > ATTACHMENTS:
                raise _Malformed(self, 413)
            return count

        def add_attachment(self, attachment: Any) -> bool:
            size = len(attachment) + sum(map(len, self.attachments))
            if size > ATTACHMENT_BYTES:
                raise _Malformed(self, 413)
            try:
                return bool(super().add_attachment(attachment))
            except (LookupError, RecursionError, TypeError, ValueError) as error:
                raise _Malformed(self, 400) from error

    return Packet
