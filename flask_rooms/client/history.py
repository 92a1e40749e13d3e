"""Which events of the rooms with a history a client has got."""

from __future__ import annotations

import threading
from typing import Any

#: How many numbers of the latest events of a room are sent to the server, from the first gap on.
#: Those of two workers may arrive in another order than they were given; all before the first of
#: these count as had.
LATEST = 100


class Positions:
    """Which events a client has got, for when it comes back."""

    def __init__(self) -> None:
        # A client of python-socketio handles each event in a thread of its own.
        self._lock = threading.Lock()
        self._rooms: dict[str, dict[str, Any]] = {}

    def of(self, room: str) -> dict[str, Any] | None:
        """Return what a client sends to get what it has missed of a room."""
        return self._rooms.get(room)

    def note(self, told: dict[str, Any], _connection: object = None) -> None:
        """Take in the number of the event before, which is the same over every connection."""
        with self._lock:
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        room, epoch, offset = told["room"], told["epoch"], told["offset"]
        before = self._rooms.get(room)
        is_next = before is not None and before["epoch"] == epoch and not told.get("gone")
        known = before["offsets"] if before is not None and is_next else []
        if known and offset <= known[0]:
            return
        offsets = sorted({*known, offset})
        while offsets[1:] and offsets[1] == offsets[0] + 1:
            del offsets[0]  # the next one says the same
        # A new one, as the one before may be about to be sent.
        self._rooms[room] = {"epoch": epoch, "offsets": offsets[-LATEST:]}
