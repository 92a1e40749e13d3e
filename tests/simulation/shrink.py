"""Find a short schedule that still fails, by leaving out actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from tests.simulation.actions import Action, Schedule


def shrink(
    schedule: Schedule, fails: Callable[[Schedule], bool], seconds: float = 30.0
) -> Schedule:
    """
    Return the shortest schedule found that still fails.

    It leaves out runs of actions, from half of the schedule down to single ones, and then parts
    of actions, until nothing more can be left out.

    Args:
        schedule: A schedule that fails.
        fails: Whether another schedule fails in the same way.
        seconds: The most seconds to search.
    """
    deadline = time.monotonic() + seconds
    size = len(schedule)
    while size > 0:
        found = False
        for start in range(len(schedule) - size, -size, -size):  # from the end: it is all past
            for shorter in _shorter(schedule, max(start, 0), start + size):
                if time.monotonic() > deadline:
                    return schedule
                if fails(shorter):
                    schedule, found = shorter, True
                    break
        size = size if found and size == 1 else size // 2
    return schedule


def _shorter(schedule: Schedule, start: int, end: int) -> Iterator[Schedule]:
    """Yield the schedule without a run of actions or, if that is a single one, parts of it."""
    yield [*schedule[:start], *schedule[end:]]
    if end - start == 1:
        for simpler in _simpler(schedule[start]):
            yield [*schedule[:start], simpler, *schedule[end:]]


def _simpler(action: Action) -> Iterator[Action]:
    """Yield the action without one of its sockets, workers, or things that follow."""
    for field in fields(action):
        parts = getattr(action, field.name)
        if isinstance(parts, tuple) and (len(parts) > 1 or field.name == "then"):
            for index in range(len(parts)):
                rest = parts[:index] + parts[index + 1 :]
                yield replace(action, **{field.name: rest})  # type: ignore[arg-type]
