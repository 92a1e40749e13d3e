"""What the calls return: the outcome of a change, and the answer to a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """
    What a membership call did in the whole cluster.

    Args:
        changed: Memberships added or removed.
        unchanged: Those that were so already.
        unknown: Socket IDs that no worker holds.
    """

    changed: int = 0
    unchanged: int = 0
    unknown: tuple[str, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.unknown + other.unknown,
        )


@dataclass(frozen=True)
class Part:
    """
    What a change did on one worker, or on several.

    Args:
        outcome: What was done.
        refused: Sockets that a guard has refused; a worker that names any has done nothing.
    """

    outcome: Outcome
    refused: tuple[str, ...] = ()

    def __add__(self, other: Part) -> Part:
        return Part(self.outcome + other.outcome, self.refused + other.refused)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """
    The answer of the whole cluster to a query.

    Args:
        value: The answers of the workers that have answered, put together.
        complete: Whether every live worker has answered.
        missing: The names of the workers that have not, as far as they are known, and of those
            whose answer would have been too long.
    """

    value: T
    complete: bool
    missing: tuple[str, ...] = ()
