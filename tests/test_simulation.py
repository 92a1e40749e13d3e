"""The protocol keeps its promises in every random schedule, and a broken one is caught."""

from __future__ import annotations

import os

import pytest

from tests.simulation import mutations
from tests.simulation.schedule import Plan, Schedule

#: Steps of random schedules: a million where there is time for them.
STEPS = int(os.environ.get("ROOMS_SIMULATION_STEPS", "100000"))


def test_promises_hold_through_every_fault() -> None:
    """Loss, doubling, reordering, outages, pauses and crashes break no promise."""
    steps = seed = 0
    while steps < STEPS:
        steps += Schedule(seed, Plan()).play()
        seed += 1


def test_promises_hold_in_a_large_cluster() -> None:
    """Thirty workers with three hundred sockets are no different from four."""
    Schedule(1, Plan(workers=30, sockets=10, rounds=50)).play()


@pytest.mark.parametrize("name", mutations.QUICK)
def test_a_broken_rule_is_caught(name: str) -> None:
    """Each rule of the protocol is there for a reason: without it a promise breaks."""
    assert mutations.first_failure(name, seeds=20) is not None
