"""Play a schedule, and check the promises throughout."""

from __future__ import annotations

from tests.simulation.actions import Schedule
from tests.simulation.demands import BrokenPromise
from tests.simulation.world import World

#: Seconds after the last trouble in which the cluster has to recover.
RECOVERY = 30.0


def play(schedule: Schedule, world: World, recovery: float = RECOVERY) -> None:
    """
    Play a schedule in a new world, and give the cluster time to recover.

    Raises:
        BrokenPromise: A promise is broken.
    """
    for action in schedule:
        world.run(action.at)
        world.steps += 1
        action.act(world)
        world.promises.check_deadlines()
    world.run(max(world.now, world.trouble_until()) + recovery * world.slowest)
    world.promises.check_end()


def failure(schedule: Schedule, world: World) -> Exception | None:
    """Play a schedule, and return its exception, which is of any kind where a rule is broken."""
    try:
        play(schedule, world)
    except Exception as error:
        return error
    return None


def promise_of(error: Exception | None) -> str | None:
    """Return the promise that was broken, in a few words."""
    if isinstance(error, BrokenPromise):
        return error.promise
    return None if error is None else type(error).__name__
