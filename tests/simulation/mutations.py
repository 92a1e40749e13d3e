"""The protocol with one rule broken at a time, to prove that the simulation would notice.

`python -m tests.simulation.mutations` prints the table of docs/protocol.md.
"""

from __future__ import annotations

import sys
from typing import Any

from flask_rooms.messages import Done, Frame, Goodbye, Heartbeat, Operation
from flask_rooms.node import Deliver, Event, Node
from tests.simulation.schedule import Plan, Schedule
from tests.simulation.world import CONFIRM, HEARTBEAT, LIMITS


class NoRepair(Node):
    """Who misses something does not ask for it."""

    def take(self, now: float) -> Frame | None:
        self._wants = {}
        return super().take(now)


class NoOrder(Node):
    """A gap is passed over instead of waited for."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is not None and frame.operations:
            peer.expected = max(peer.expected, frame.first)
        return super()._apply(frame, peer, now)


class NoDedupe(Node):
    """What comes twice is done twice."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is not None and frame.operations:
            peer.expected = min(peer.expected, frame.first)
        return super()._apply(frame, peer, now)


class ForgetsTheTail(Node):
    """Heartbeats do not show what was lost at the end."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        return super()._apply(frame, peer, now) if frame.operations else []


class NoGiveBack(Node):
    """What could not be published is gone."""

    def give_back(self, frame: Frame, now: float) -> None:
        self._beat_due = now


class HastyUnknown(Node):
    """A worker never heard of does not exist, at once."""

    def _settle(self, numbers: Any, now: float) -> list[Event]:
        self._echoes, self._echoed, self._rumours = sys.maxsize, sys.maxsize, {}
        return super()._settle(numbers, now)


class NoEcho(Node):
    """What was asked need not have come back before nobody is found to know the socket."""

    def _settle(self, numbers: Any, now: float) -> list[Event]:
        echoed, self._echoed = self._echoed, sys.maxsize
        try:
            return super()._settle(numbers, now)
        finally:
            self._echoed = echoed


class NoDebtToElders(Node):
    """A newcomer owes those who were there before it only what comes later."""

    def _meet(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._meet(name, beat, now)
        peer.owed_from = self._stream.next
        return peer


class NoDebtForAsking(Node):
    """What was asked of a worker before it was heard of is not repeated for it."""

    def _meet(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._meet(name, beat, now)
        if peer.asked_from != float("inf"):
            peer.owed_from = self._stream.next
        return peer


class DeathByClock(Node):
    """Silence counts while nothing can be heard at all."""

    def tick(self, now: float) -> list[Event]:
        events = super().tick(now)
        last = getattr(self, "_last_count", now)
        if now - last >= HEARTBEAT:
            self._last_count = now
            self._count_silence(now)
        elif not hasattr(self, "_last_count"):
            self._last_count = now
        return events


class BuriedAtOnce(Node):
    """Waiting ends before the worker counted dead has been told."""

    def _hear_self(self, frame: Frame, now: float) -> list[Event]:
        events = super()._hear_self(frame, now)
        for name in list(self._condemned):
            del self._condemned[name]
            events += self._bury(name, now)
        return events


class NeverOutcast(Node):
    """A worker that was counted dead carries on."""

    def _hear_heartbeat(self, *args: Any) -> None:
        super()._hear_heartbeat(*args)


class LateHeartbeatsCount(Node):
    """An old copy of a heartbeat is taken for news."""

    def _hear_heartbeat(self, name: str, peer: Any, beat: Heartbeat, now: float) -> Any:
        peer.beat = 0
        return super()._hear_heartbeat(name, peer, beat, now)


class AnswersForOthers(Node):
    """An answer is taken from a worker that was not asked, or twice."""

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Done) and operation.number in self._pending:
            pending = self._pending[operation.number]
            pending.waits.clear()
            return self._settle([operation.number], now)
        return super()._dispatch(sender, number, operation, now)


class DeadAreWaitedFor(Node):
    """What waits for a dead worker goes on waiting for ever."""

    def _bury(self, name: str, now: float) -> list[Event]:
        self._remove(name)
        return []

    def tick(self, now: float) -> list[Event]:
        return self._settle(sorted(self._strange), now)


class GoodbyeIgnored(Node):
    """A goodbye is one more operation."""

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Goodbye):
            return [Deliver(sender, number, operation)]
        return super()._dispatch(sender, number, operation, now)


ALL: dict[str, type[Node]] = {
    mutant.__name__: mutant
    for mutant in (
        NoRepair,
        NoOrder,
        NoDedupe,
        ForgetsTheTail,
        NoGiveBack,
        HastyUnknown,
        NoEcho,
        NoDebtToElders,
        NoDebtForAsking,
        DeathByClock,
        BuriedAtOnce,
        NeverOutcast,
        LateHeartbeatsCount,
        AnswersForOthers,
        DeadAreWaitedFor,
        GoodbyeIgnored,
    )
}


#: Those that the first schedules catch. The others need more than a test has time for;
#: tests/test_node.py has a case of its own for each.
QUICK = [
    "NoRepair",
    "NoOrder",
    "NoDedupe",
    "ForgetsTheTail",
    "HastyUnknown",
    "DeathByClock",
    "AnswersForOthers",
    "GoodbyeIgnored",
]


def first_failure(name: str, seeds: int) -> tuple[int, int, str] | None:
    """Return seed, steps and message of the first schedule that a mutant fails, or None."""
    mutant = ALL[name]

    def make(worker: str, now: float) -> Node:
        return mutant(worker, now, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=LIMITS)

    steps = 0
    for seed in range(seeds):
        schedule = Schedule(seed, Plan(), make)
        try:
            steps += schedule.play()
        except Exception as error:  # a mutant may fail in any way
            return seed, steps + schedule.world.steps, f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    """Print the table."""
    for name, mutant in ALL.items():
        found = first_failure(name, 2000)
        caught = f"{found[1]} | {found[2][:70]}" if found else "NOT CAUGHT |"
        print(f"| {(mutant.__doc__ or '').strip()} | {caught} |", flush=True)


if __name__ == "__main__":
    main()
