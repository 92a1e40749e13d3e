"""Ends the connections of clients that take more than they may."""

from __future__ import annotations

from flask_rooms.membership.refusals import Refusals
from flask_rooms.server.private import ServerInternals

#: The reason of a disconnect because of ROOMS_UNREAD_BYTES.
UNREAD = "too much unread"


class Connections:
    """
    The Engine.IO sessions of this worker, each of which may carry sockets of several namespaces.

    Args:
        refusals: Counts the limits that they reach.
        internals: The server.
    """

    def __init__(self, refusals: Refusals, internals: ServerInternals) -> None:
        self._refusals = refusals
        self._internals = internals

    def on_unread(self, eio_sid: str) -> None:
        """End a connection whose client does not read; called by whoever sends to it."""
        self._refuse(eio_sid, "unread_bytes", UNREAD)

    def _refuse(self, eio_sid: str, limit: str, reason: str) -> None:
        self._refusals.count(limit)
        # In the background: disconnect handlers run, and may take their time.
        self._internals.spawn(self._internals.end, eio_sid, reason)
