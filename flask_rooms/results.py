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
