"""Which events of the rooms with a history a client has got."""

from __future__ import annotations

from typing import Any

#: How many numbers of the latest events of a room are sent to the server. Those of two workers may
#: arrive in another order than they were given; all before the first of these count as had.
LATEST = 100


class Positions:
    """Which events a client has got, for when it comes back."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, Any]] = {}

    def of(self, room: str) -> dict[str, Any] | None:
        """Return what a client sends to get what it has missed of a room."""
        return self._rooms.get(room)

    def note(self, told: dict[str, Any]) -> None:
        """Take in the number of the event before."""
        room, epoch = told["room"], told["epoch"]
        before = self._rooms.get(room)
        is_next = before is not None and before["epoch"] == epoch and not told.get("gone")
        known = before["offsets"] if before is not None and is_next else []
        # A new one, as the one before may be about to be sent.
        self._rooms[room] = {"epoch": epoch, "offsets": [*known, told["offset"]][-LATEST:]}
