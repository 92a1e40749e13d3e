"""The protocol keeps its promises in random schedules, and every mutant is caught."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.simulation import mutations
from tests.simulation.actions import (
    Away,
    Broadcast,
    Connect,
    Crash,
    Empty,
    Move,
    Schedule,
    Start,
    Storm,
)
from tests.simulation.bus import Weather
from tests.simulation.cases import CASES
from tests.simulation.demands import BrokenPromise
from tests.simulation.generator import LARGE, Size, generate
from tests.simulation.play import failure, play, promise_of
from tests.simulation.shrink import shrink
from tests.simulation.world import World

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: Steps of random schedules, and into how many tests they are split, as a test has a timeout.
STEPS = int(os.environ.get("ROOMS_SIMULATION_STEPS", "1000000"))
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_promises_hold_through_every_fault(part: int) -> None:
    """Loss, duplication, reordering, partitions, outages, pauses and crashes break no promise."""
    steps = 0
    for seed in itertools.count(part * 10_000):
        world = World(seed)
        play(generate(seed), world)
        steps += world.steps
        if steps >= STEPS / PARTS:
            break


def test_promises_hold_in_a_larger_cluster() -> None:
    """Thirty workers with three hundred sockets."""
    play(generate(0, Size(workers=30, sockets=300, rooms=10, actions=200)), World(0))


def test_promises_hold_in_a_large_cluster() -> None:
    """Two hundred workers with two thousand sockets."""
    play(generate(1, LARGE), World(1), recovery=10.0)


def test_a_schedule_is_the_same_each_time() -> None:
    def steps() -> int:
        world = World(5)
        play(generate(5), world)
        return world.steps

    assert steps() == steps()


@pytest.mark.parametrize("mutant", mutations.QUICK, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught(mutant: mutations.Mutant) -> None:
    """Each rule of the protocol has a reason: without it a promise breaks."""
    assert mutations.first_failure(mutant, steps=mutations.QUICK_STEPS) is not None


def test_a_worker_that_was_not_heard_at_first_has_to_close_its_connections() -> None:
    """Rule `hello-before-sockets`: the driver keeps it, here as in a real worker."""
    assert mutations.first_failure(mutations.UnheardSocketsKept, steps=100_000) is not None


@pytest.mark.parametrize("name", CASES)
def test_a_written_schedule_needs_its_rule(name: str) -> None:
    """It shows what random schedules hardly ever show."""
    assert failure(CASES[name], World(0)) is None
    without = mutations.world_without(getattr(mutations, name), 0)
    assert isinstance(failure(CASES[name], without), BrokenPromise)


def test_a_change_for_all_may_reach_sockets_of_a_worker_that_was_not_heard() -> None:
    """w1 has served s0 without the broker, then its hello reaches w0, and the echo is lost."""
    schedule = [
        Start(0.0, "w0"),
        Away(5.1, ("w1",), 1.0),
        Start(5.1, "w1"),
        Connect(5.4, "s0", "w1"),
        Storm(5.45, 4.0, Weather(delay=0.01, loss=0.5)),
        Empty(5.5, "w0", "r0"),
    ]
    play(schedule, World(9))


def test_a_call_may_take_as_long_as_the_guards_of_those_before_it() -> None:
    """What w2 called for while it was away comes at once, and a broadcast waits for two guards."""
    schedule = [
        *(Start(0.0, worker) for worker in ("w0", "w1", "w2")),
        *(Connect(3.0, client, "w1") for client in ("s2", "s5")),
        Away(3.427, ("w2",), 15.0),
        Crash(3.466, "w0"),
        Move(4.575, "w2", "join", ("s5",), "r2", thinks=0.5),
        Broadcast(4.814, "w2", "r2"),
        Away(5.131, ("w1",), 15.0, torn=True),
        Move(7.712, "w2", "join", ("s5",), "r2", thinks=2.0),
        Broadcast(8.847, "w2", "r2"),
        Move(21.197, "w2", "join", ("s2",), "r1", thinks=0.05),
    ]
    play(schedule, World(20001893))


def test_the_shortest_schedule_found_breaks_the_same_promise() -> None:
    seed = 3
    schedule = generate(seed)

    def broken(schedule: Schedule) -> str | None:
        return promise_of(failure(schedule, mutations.world_without(mutations.GapsSkipped, seed)))

    promise = broken(schedule)
    assert promise is not None

    shortest = shrink(schedule, lambda shorter: broken(shorter) == promise)

    assert broken(shortest) == promise
    assert len(shortest) < len(schedule) / 5
    assert failure(shortest, World(seed)) is None
