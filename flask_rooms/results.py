"""The results of calls: Outcome, of a membership change, and Answer, to a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """
    What a membership call has changed in the whole cluster.

    Args:
        changed: The number of memberships added or removed.
        unchanged: The number of memberships that were already as requested.
        unknown: The socket IDs that no worker holds.
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
        value: The combined answers of the workers that have answered.
        complete: Whether every live worker has answered.
        missing: The names of the workers that have not answered, as far as they are known, or
            whose answer would have been too long.
    """

    value: T
    complete: bool
    missing: tuple[str, ...] = ()
