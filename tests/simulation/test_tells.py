"""What workers tell each other arrives everywhere, once and in order, through every fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.lanes import Lanes
from flask_rooms.protocol.messages import Operation, Tell
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.stream import Limits
from tests.simulation.actions import Broadcast, Hang, Schedule, Start
from tests.simulation.demands import BrokenPromise
from tests.simulation.generator import generate
from tests.simulation.play import play
from tests.simulation.tells import TellingWorld
from tests.simulation.world import Worker, make_node

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: With guards that take their time, evictions, and workers that are away for long.
SEEDS = (700_004, 700_006, 700_017)

MakeWorld = Callable[[int], TellingWorld]

#: w0 is evicted while a publish hangs, and has told something that stands behind that one.
EVICTED: Schedule = [
    Start(0.0, "w0"),
    Start(0.0, "w1"),
    Hang(5.05, "w0", 12.0),
    Broadcast(5.1, "w0", "r1"),
    Broadcast(5.5, "w0", "r0"),
]


def play_tells(schedule: Schedule, world: TellingWorld) -> None:
    """Play a schedule, and check what was told."""
    play(schedule, world)
    world.check_tells()


def play_all(make: MakeWorld) -> None:
    """Play random schedules."""
    for seed in SEEDS:
        play_tells(generate(seed), make(seed))


class ForgottenByNextLife(Node):
    """An evicted worker does not carry over what it has told."""

    def carried_over(self) -> list[Operation]:
        return [one for one in super().carried_over() if not isinstance(one, Tell)]


def world_of_forgetful(seed: int) -> TellingWorld:
    def make(name: str, now: float, limits: Limits, heartbeat: float) -> Node:
        node = make_node(name, now, limits, heartbeat)
        node.__class__ = ForgottenByNextLife
        return node

    return TellingWorld(seed, make)


class Overtaking(Lanes):
    """What is told does not wait for joins that guards have to decide about."""

    def hold(self, event: Deliver) -> bool:
        return not isinstance(event.operation, Tell) and super().hold(event)


class OvertakingWorld(TellingWorld):
    """A world whose workers have such lanes."""

    def _new_life(self, host: str, limits: Limits, pace: float) -> Worker:
        worker = super()._new_life(host, limits, pace)
        worker.lanes = Overtaking()
        return worker


def test_what_a_worker_tells_reaches_all_in_order() -> None:
    play_all(TellingWorld)


def test_what_an_evicted_worker_has_told_is_told_by_its_next_life() -> None:
    play_tells(EVICTED, TellingWorld(0))

    with pytest.raises(BrokenPromise, match="an evicted worker sends its outbox"):
        play_tells(EVICTED, world_of_forgetful(0))


def test_what_overtakes_a_guarded_join_is_noticed() -> None:
    with pytest.raises(BrokenPromise, match="told in order"):
        play_all(OvertakingWorld)
