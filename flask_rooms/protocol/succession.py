"""What the next life of a worker repeats of this one, and how."""

from __future__ import annotations

from flask_rooms.protocol.messages import Change, Operation, Succeeds

#: By how many bytes the longest change and the name of the former life exceed a frame.
ALLOWANCE = 256
#: Bytes that the number of a change takes, with what stands around it; rounded up.
_NUMBER = 16


class OpenChanges:
    """
    The own changes that may not have been carried out, and what this life itself repeats.

    Rule `order-across-lives`. They are kept beside the repair log, as other operations take the
    space there.

    Args:
        limit: Bytes that are repeated at most; the oldest are dropped first. The repair log has to
            hold them, or those that the next life meets could not follow it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[int, bytes | Succeeds] = {}

    def note(self, number: int, operation: Operation, data: bytes) -> None:
        """Keep an operation, with its encoded form, if the next life may have to repeat it."""
        if isinstance(operation, Change):
            self._kept[number] = data
        elif isinstance(operation, Succeeds):
            self._kept[number] = operation

    def discard(self, number: int) -> None:
        """Forget a change that was carried out."""
        self._kept.pop(number, None)

    def trim(self, received: int, untried: int) -> None:
        """
        Forget what is no longer needed, or too much.

        Args:
            received: Every live worker has received what lies before this number.
            untried: What lies from this number on is in the outbox, which has its own limit.
        """
        self._kept = {number: one for number, one in self._kept.items() if number >= received}
        tried = [number for number in self._kept if number < untried]
        size = sum(_size(self._kept[number]) for number in tried)
        for number in tried:
            if size <= self._limit:
                break
            size -= _size(self._kept.pop(number))

    def repeat(self, former: str, untried: int, frame: int) -> list[Succeeds]:
        """
        Return the first operations of the next life.

        Args:
            former: The name of this one.
            untried: What lies from this number on was not published, and need not be repeated.
            frame: Bytes of operations that a frame may carry.
        """
        self.trim(0, untried)
        earlier: list[Succeeds] = []
        parts: list[list[tuple[int, bytes]]] = [[]]
        space = frame
        for number, one in self._kept.items():
            if number >= untried:
                break
            if isinstance(one, Succeeds):
                earlier.append(one)
                continue
            space -= len(one) + _NUMBER
            if parts[-1] and space < 0:
                parts.append([])
                space = frame - len(one) - _NUMBER
            parts[-1].append((number, one))
        return [*earlier, *(Succeeds(former, tuple(part)) for part in parts)]


def _size(kept: bytes | Succeeds) -> int:
    changes = kept.changes if isinstance(kept, Succeeds) else ((0, kept),)
    return sum(len(data) + _NUMBER for _, data in changes)
