"""The promise that operations arrive in order, once, and without a gap."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar

from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import Change, Emit, Operation, Succeeds, Tell
from tests.simulation.demands import demand

T = TypeVar("T")


class Streams(Generic[T]):
    """
    What each life of a worker has submitted, and how far the others have applied it.

    Args:
        is_over: Whether an operation is no longer retransmitted.
    """

    def __init__(self, is_over: Callable[[T], bool]) -> None:
        self._over = is_over
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        self._reached: dict[tuple[str, str], int] = {}  # receiver, sender -> index
        self._succeeded: set[tuple[str, str]] = set()  # receiver, sender that has a next life
        self._tried: defaultdict[str, int] = defaultdict(int)
        # The sizes of all that a life has submitted, its answers included
        self._sizes: defaultdict[str, list[int]] = defaultdict(lambda: [0])
        self._sent: defaultdict[str, int] = defaultdict(int)  # how many of them are published
        #: Sender and number -> the operation, and the call or broadcast that it belongs to.
        self.submitted: dict[tuple[str, int], tuple[Operation, T]] = {}

    def submits(self, sender: str, number: int, operation: Operation, what: T) -> None:
        """A worker has put an operation of its application into its outbox."""
        self._numbers[sender].append(number)
        self.submitted[sender, number] = operation, what

    def publishes(self, sender: str, up_to: int) -> None:
        """A worker has tried to publish its operations before number *up_to*."""
        self._tried[sender] = max(self._tried[sender], up_to)

    def grows(self, sender: str, size: int) -> None:
        """A worker has put *size* bytes into its outbox."""
        self._sizes[sender].append(size)

    def shrinks(self, sender: str, up_to: int) -> None:
        """A worker has published its operations before number *up_to*."""
        self._sent[sender] = max(self._sent[sender], up_to - 1)

    def waiting(self, sender: str) -> int:
        """Return how many bytes wait in an outbox."""
        return sum(self._sizes[sender][self._sent[sender] + 1 :])

    def delivers(self, receiver: str, event: Deliver) -> T:
        """Check the operation that a worker is about to apply, and return what it belongs to."""
        numbers = self._numbers[event.sender]
        reached = self._reached.get((receiver, event.sender))
        if reached is None:  # other promises check where a stream starts
            reached = bisect_left(numbers, event.number) - 1
        while reached + 1 < len(numbers) and numbers[reached + 1] != event.number:
            if not self._may_be_skipped(receiver, event.sender, numbers[reached + 1]):
                break
            reached += 1
        due = numbers[reached + 1] if reached + 1 < len(numbers) else None
        operation, what = self.submitted.get((event.sender, event.number), (None, None))
        demand(
            "in order, once, without a gap",
            due == event.number and operation == event.operation,
            f"{receiver} got number {event.number} of {event.sender}, and {due} was due",
        )
        assert what is not None
        if isinstance(operation, Succeeds):
            self._succeeded.add((receiver, operation.former))
        self._reached[receiver, event.sender] = reached + 1
        return what

    def has_reached(self, receiver: str, sender: str) -> bool:
        """Whether anything of a sender has reached a receiver."""
        return (receiver, sender) in self._reached

    def _may_be_skipped(self, receiver: str, sender: str, number: int) -> bool:
        if (receiver, sender) in self._succeeded:
            return True  # only what it repeats is delivered
        operation, what = self.submitted[sender, number]
        if isinstance(operation, Change) and operation.source is None:
            is_for_receiver = receiver in map(owner_of, operation.sids)
            return not is_for_receiver or self._over(what)
        return self._over(what)

    def _lasts(self, sender: str, number: int) -> bool:
        # The caller of a query is told that it has failed.
        return isinstance(self.submitted[sender, number][0], Change | Emit | Tell)

    def moves_on(
        self, old: str, new: str, waiting: list[tuple[int, Operation]], succession: T
    ) -> list[T]:
        """
        An evicted worker has put what still waited into the outbox of its next life.

        Args:
            old: Its old name.
            new: Its new name.
            waiting: What it has put there, with the new numbers.
            succession: To what its repetitions belong.
        """
        untried = [n for n in self._numbers[old] if n >= self._tried[old] and self._lasts(old, n)]
        carried = [o for _, o in waiting if not isinstance(o, Succeeds)]
        demand(
            "an evicted worker sends its outbox",
            [self.submitted[old, n][0] for n in untried] == carried,
            f"{old} had not tried to publish {untried}, and goes on with {len(carried)}",
        )
        moved = [self.submitted[old, n][1] for n in untried]
        owners = iter(moved)
        for number, operation in waiting:
            what = succession if isinstance(operation, Succeeds) else next(owners)
            self.submits(new, number, operation, what)
        return moved
