"""The program that measures what the cluster costs as it grows runs."""

from __future__ import annotations

import pytest

from benchmarks.scale import Scale

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]


def test_each_worker_sends_one_heartbeat_in_an_interval() -> None:
    frames, megabytes = Scale(4).cost(lambda: None, 2.0)

    assert frames == 4
    assert 0 < megabytes < 0.1
