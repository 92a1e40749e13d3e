"""What the workers answer to a question about the whole cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask_rooms.messages import Reply, Room

T = TypeVar("T")

#: Bytes that one name or count takes in a message beside its own characters, at the most.
_FRAMING = 16


@dataclass(frozen=True)
class Answer(Generic[T]):
    """
    What is known of a question to the whole cluster.

    Args:
        value: What those that have answered say, put together.
        complete: Whether every live worker has answered.
        missing: The names of the workers that have not, as far as they are known.
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


def pages(
    worker: str, number: int, answer: tuple[list[Room], list[int]], size: int
) -> Iterator[Reply]:
    """
    Yield an answer as Replies, of which each fits into a message.

    Args:
        worker: Who has asked.
        number: Its question.
        answer: Names and counts.
        size: Bytes that a message may have.
    """
    names, counts = answer
    begin = 0
    for end in _ends(names, size - 128):
        yield Reply(worker, number, tuple(names[begin:end]), tuple(counts[begin:end]), False)
        begin = end
    yield Reply(worker, number, tuple(names[begin:]), tuple(counts[begin:]), True)


def _ends(names: Iterable[Room], size: int) -> Iterator[int]:
    used = 0
    for index, name in enumerate(names):
        needed = _FRAMING + (len(name.encode()) if isinstance(name, str) else 0)
        if used and used + needed > size:
            yield index
            used = 0
        used += needed
