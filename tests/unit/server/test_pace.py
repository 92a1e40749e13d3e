"""A task that has worked for a moment lets others run, and not before."""

from __future__ import annotations

import math

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
