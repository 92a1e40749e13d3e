"""What the next life of a worker repeats of this one, and how."""

from __future__ import annotations

from flask_rooms.protocol.codec import decode_operation
from flask_rooms.protocol.messages import Change, Operation, Succeeds

#: The actions that take sockets out of rooms.
REMOVALS = ("leave", "leave_all", "disconnect", "recheck")
#: By how many bytes the longest change and the name of the former life exceed a frame.
ALLOWANCE = 256
#: Bytes that the number of a change takes, with what stands around it; rounded up.
_NUMBER = 16


class Removals:
    """
    The own changes that take sockets out of rooms, and may not have been carried out.

    Rule `order-across-lives`. They are kept beside the repair log, where other operations take
    their space. What this life repeats of earlier ones is kept here, too.

    Args:
        limit: Bytes that are kept; the oldest are dropped first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._kept: dict[int, bytes] = {}

    def note(self, number: int, operation: Operation, data: bytes) -> None:
        """Keep an operation, with its encoded form, if the next life has to repeat it."""
        is_removal = isinstance(operation, Change) and operation.action in REMOVALS
        if is_removal or isinstance(operation, Succeeds):
            self._kept[number] = data
            self._size += len(data)
            while self._size > self._limit and len(self._kept) > 1:
                self.discard(next(iter(self._kept)))

    def discard(self, number: int) -> None:
        """Forget what was carried out."""
        self._size -= len(self._kept.pop(number, b""))

    def discard_before(self, number: int) -> None:
        """Forget what every live worker has received."""
        while self._kept and (first := next(iter(self._kept))) < number:
            self.discard(first)

    def before(self, number: int) -> dict[int, bytes]:
        """Return the operations before this number."""
        return {one: data for one, data in self._kept.items() if one < number}


def succeed(former: str, repeated: dict[int, bytes], frame: int) -> list[Succeeds]:
    """
    Return the first operations of a new life.

    Args:
        former: The name of the life before.
        repeated: What it has kept in its Removals, and has tried to publish.
        frame: Bytes of operations that a frame may carry.
    """
    earlier: list[Succeeds] = []
    parts: list[dict[int, bytes]] = [{}]
    space = frame
    for number, data in repeated.items():
        operation = decode_operation(data)
        if isinstance(operation, Succeeds):
            earlier.append(operation)
            continue
        space -= len(data) + _NUMBER
        if parts[-1] and space < 0:
            parts.append({})
            space = frame - len(data) - _NUMBER
        parts[-1][number] = data
    return [*earlier, *(Succeeds(former, tuple(part.items())) for part in parts)]
