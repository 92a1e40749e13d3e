"""A task that has worked for a moment lets others run, and not before."""

from __future__ import annotations

import math
import time

import pytest

from flask_rooms.server import pace
from flask_rooms.server.pace import Pauses

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


@pytest.mark.parametrize(("at_a_stretch", "expected"), [(0, [0, 0, 0]), (math.inf, [])])
def test_it_pauses_when_it_is_time_to(
    monkeypatch: pytest.MonkeyPatch, at_a_stretch: float, expected: list[float]
) -> None:
    monkeypatch.setattr(pace, "AT_A_STRETCH", at_a_stretch)
    slept: list[float] = []
    pauses = Pauses(slept.append)

    for _ in range(3):
        pauses()

    assert slept == expected


def test_to_wait_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tasks have run meanwhile."""
    now, slept = [0.0], list[float]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace, "AT_A_STRETCH", 1.0)
    pauses = Pauses(slept.append)

    def take(seconds: float) -> float:
        now[0] += seconds
        return seconds

    def wait(seconds: int) -> float:
        return take(seconds)

    assert pauses.waiting(wait, 5) == 5
    take(0.75)
    pauses()
    assert slept == []
    take(0.5)
    pauses()
    assert slept == [0]
