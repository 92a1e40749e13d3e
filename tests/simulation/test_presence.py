"""The lists of those who are present agree when it is calm, whatever happened before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import pytest

from flask_rooms.protocol.messages import Listed, Operation, Present
from flask_rooms.protocol.presence import Key, Replica
from tests.simulation.demands import BrokenPromise
from tests.simulation.generator import generate
from tests.simulation.play import play
from tests.simulation.presence import GRACE, MANY, MakeReplica, PresenceWorld, make_replica

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: Those of the random schedules; each mutant is caught by one of them.
SEEDS = (500_003, 500_005, 500_042, 500_043, 500_011, 7)


def play_presence(seed: int, make: MakeReplica = make_replica) -> int:
    """Play the schedule of a seed, check the lists, and return the number of steps."""
    world = PresenceWorld(seed, make)
    play(generate(seed), world)
    world.check_lists()
    return world.steps


@pytest.mark.parametrize("seed", SEEDS)
def test_every_worker_knows_who_is_present_once_it_is_calm(seed: int) -> None:
    play_presence(seed)


class DeadStay(Replica):
    """The list of a worker that is dead stays."""

    def lose(self, worker: str, now: float, *, said_goodbye: bool) -> None:
        if said_goodbye:
            super().lose(worker, now, said_goodbye=said_goodbye)


class OrphansStay(Replica):
    """Those whose worker has said goodbye stay, although they are not back in time."""

    def _drop(self, keys: list[Key]) -> list[Operation]:
        self._orphans.clear()
        return super()._drop(keys)


class ListNotSent(Replica):
    """A worker that is met gets no list."""

    def begin_list(self) -> None:
        super().begin_list()
        self._unlisted = deque()


class LeaveNotSent(Replica):
    """Those who are not back in time go on this worker only."""

    def tick(self, now: float) -> list[Operation]:
        super().tick(now)
        return []


class ListsSurvive(Replica):
    """A worker that starts over keeps what it has listed."""

    def restart(self) -> None:
        own = dict(self._own)
        super().restart()
        for member in own.values():
            self._set(self._own, member)


MUTANTS: Iterable[type[Replica]] = (
    DeadStay,
    OrphansStay,
    ListNotSent,
    LeaveNotSent,
    ListsSurvive,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_list_that_is_kept_in_another_way_is_wrong(mutant: type[Replica]) -> None:
    def play_all() -> None:
        for seed in SEEDS:
            play_presence(seed, lambda: mutant(GRACE, MANY))

    with pytest.raises(BrokenPromise):
        play_all()


def test_a_repeated_list_changes_nothing() -> None:
    replica = Replica(GRACE, MANY)
    member = Present(1, "/", "r", "w_s", "ann", 1.0, "{}")
    for operation in (Listed(0, True, True), member):
        replica.receive("w", operation)
    replica.take_touched()

    for operation in (Listed(1, True, False), member, Listed(1, False, True)):
        replica.receive("w", operation)

    assert replica.take_touched() == []
