"""Decodes the messages of clients: one that is malformed is answered, and ends no worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import has_app_context

from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.registry import Registry
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.packet_class import MalformedPacket
from flask_rooms.server.private import ServerInternals

logger = logging.getLogger("flask_rooms")

#: Answers a client: socket, namespace, ID of the acknowledgement, message, status.
Refuse = Callable[[Socket, str, "int | None", str, int], None]


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
        if has_app_context():  # as with a test client, whose caller may have one
            self._internals.run_apart(partial(self._handle, eio_sid, data))
        else:
            self._handle(eio_sid, data)

    def _handle(self, eio_sid: str, data: Any) -> None:
        try:
            self._internals.handle_message(eio_sid, data)
        except MalformedPacket as error:
            # Else the next message would be taken for the rest of this one.
            self._internals.forget_attachments(eio_sid)
            self._answer(eio_sid, error)
            if error.status == 413:  # and it is still being sent
                self._disconnects.hang_up(eio_sid)

    def _answer(self, eio_sid: str, error: MalformedPacket) -> None:
        packet = error.packet
        namespace = packet.namespace or "/"
        socket = self._registry.get_by_eio_sid(namespace, eio_sid)
        if socket is None or not socket.connected or not packet.is_request:
            logger.info("A client has sent what is not Socket.IO: %r", error.__cause__)
        else:
            message = "A socket request has to be JSON."
            self._refuse(socket, namespace, packet.id, message, error.status)
