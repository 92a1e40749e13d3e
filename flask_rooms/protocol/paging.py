"""What the workers answer to a question about the whole cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask_rooms.protocol.messages import Reply, Room
from flask_rooms.protocol.stream import Limits

T = TypeVar("T")

#: Bytes that a name, beside its own characters, and its count take in a message at the most.
_FRAMING = 20
#: Bytes that a message takes without them.
_HEADER = 128


@dataclass(frozen=True)
class Answer(Generic[T]):
    """
    What is known of a question to the whole cluster.

    Args:
        value: What those that have answered say, put together.
        complete: Whether every live worker has answered.
        missing: The names of the workers that have not, as far as they are known, and of those
            whose answer would have been too long.
    """

    value: T
    complete: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gathered:
    """
    The replies of the workers to one question.

    Args:
        parts: Names, and a count of each where the question is for counts.
        complete: Whether everybody has answered.
        missing: Who has not.
    """

    parts: tuple[tuple[tuple[Room, ...], tuple[int, ...]], ...]
    complete: bool
    missing: tuple[str, ...]

    def names(self) -> frozenset[Room]:
        """Return all names."""
        return frozenset(name for names, _ in self.parts for name in names)

    def counts(self) -> dict[Room, int]:
        """Return the sum of the counts of each name."""
        sums: dict[Room, int] = {}
        for names, counts in self.parts:
            for name, count in zip(names, counts, strict=False):
                sums[name] = sums.get(name, 0) + count
        return sums

    def total(self) -> int:
        """Return the sum of all counts."""
        return sum(sum(counts) for _, counts in self.parts)


def replies(
    worker: str, number: int, answer: tuple[list[Room], list[int]], limits: Limits
) -> list[Reply]:
    """
    Return an answer as Replies, of which each fits into a message.

    Args:
        worker: Who has asked.
        number: Its question.
        answer: Names and counts.
        limits: How large a message may be, and how many an answer may take. One that does not
            fit is left out, and that is what the one Reply then says.
    """
    names, counts = answer
    pages, begin, room = [], 0, limits.frame - _HEADER
    for end in _ends(names, room):
        part = tuple(names[begin:end]), tuple(counts[begin:end])
        pages.append(Reply(worker, number, *part, last=False))
        begin = end
        if len(pages) == limits.pages:
            break
    too_much = len(pages) == limits.pages or any(_size(name) > room for name in names)
    if too_much:
        return [Reply(worker, number, (), (), last=True, whole=False)]
    pages.append(Reply(worker, number, tuple(names[begin:]), tuple(counts[begin:]), last=True))
    return pages


def _ends(names: Iterable[Room], room: int) -> Iterator[int]:
    used = 0
    for index, name in enumerate(names):
        if used and used + _size(name) > room:
            yield index
            used = 0
        used += _size(name)


def _size(name: Room) -> int:
    return _FRAMING + (len(name.encode()) if isinstance(name, str) else 0)
