"""What the next life of a worker repeats of this one, and how."""

from __future__ import annotations

from flask_rooms.protocol.codec import decode_operation
from flask_rooms.protocol.messages import REMOVALS, Change, Operation, Succeeds

#: By how many bytes the longest change and the name of the former life exceed a frame.
ALLOWANCE = 256
#: Bytes that the number of a change takes, with what stands around it; rounded up.
_NUMBER = 16
#: How many former lives are repeated, besides the last one.
MAX_FORMER = 8
#: How many leaves are repeated of those whose sockets were called unknown.
MAX_UNKNOWN = 500


class OpenChanges:
    """
    The own changes that may not have been carried out, and what this life itself repeats.

    Rule `order-across-lives`. They are kept beside the repair log, as other operations take the
    space there.

    Args:
        limit: Bytes that are repeated at most; the oldest are dropped first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._changes: dict[int, bytes] = {}
        self._unknown: dict[int, bytes] = {}
        self._former: dict[int, Succeeds] = {}

    def note(self, number: int, operation: Operation, data: bytes) -> None:
        """Keep an operation, with its encoded form, if the next life may have to repeat it."""
        if isinstance(operation, Change):
            self._changes[number] = data
            self._size += len(data)
        elif isinstance(operation, Succeeds):
            self._former[number] = operation
            while len(self._former) > MAX_FORMER:
                del self._former[next(iter(self._former))]

    def discard(self, number: int) -> bytes:
        """Forget a change that was carried out, and return it."""
        data = self._changes.pop(number, b"")
        self._size -= len(data)
        return data

    def complete(self, number: int, owner_is_gone: bool) -> None:
        """
        Record that a change has completed.

        Args:
            number: Its number.
            owner_is_gone: Whether a socket was called unknown because its owner counts as dead. It
                may be on the other side of a partition, and go on: then it is to leave there.
        """
        data = self.discard(number)
        if owner_is_gone and data and _is_removal(data):
            self._unknown[number] = data
            if len(self._unknown) > MAX_UNKNOWN:
                del self._unknown[next(iter(self._unknown))]

    def trim(self, received: int, untried: int) -> None:
        """
        Forget what is no longer needed, or too much.

        Args:
            received: Every live worker has received what lies before this number.
            untried: What lies from this number on is in the outbox, which has its own limit.
        """
        while self._changes and (first := next(iter(self._changes))) < received:
            self.discard(first)
        self._former = {number: one for number, one in self._former.items() if number >= received}
        if self._size <= self._limit:
            return
        size = self._size - sum(len(one) for n, one in self._changes.items() if n >= untried)
        while size > self._limit:
            size -= len(self.discard(next(iter(self._changes))))

    def repeat(self, former: str, untried: int, frame: int) -> list[Succeeds]:
        """
        Return the first operations of the next life.

        Args:
            former: The name of this one.
            untried: What lies from this number on was not published, and need not be repeated.
            frame: Bytes of operations that a frame may carry.
        """
        self.trim(0, untried)
        open_changes = {**self._unknown, **self._changes}
        tried = [(number, open_changes[number]) for number in sorted(open_changes)]
        parts: list[list[tuple[int, bytes]]] = [[]]
        space = frame
        for number, data in tried:
            if number >= untried:
                break
            space -= len(data) + _NUMBER
            if parts[-1] and space < 0:
                parts.append([])
                space = frame - len(data) - _NUMBER
            parts[-1].append((number, data))
        earlier = [one for number, one in self._former.items() if number < untried]
        return [*earlier, *(Succeeds(former, tuple(part)) for part in parts)]


def _is_removal(data: bytes) -> bool:
    change = decode_operation(data)
    return isinstance(change, Change) and change.action in REMOVALS
