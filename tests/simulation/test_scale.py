"""The programs that measure what the cluster costs as it grows run."""

from __future__ import annotations

import pytest

from benchmarks.presence import Presence
from benchmarks.scale import Scale

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]


def test_each_worker_sends_one_heartbeat_in_an_interval() -> None:
    frames, megabytes = Scale(4).cost(lambda: None, 2.0)

    assert frames == 4
    assert 0 < megabytes < 0.1


def test_a_user_who_joins_costs_one_frame_and_a_worker_that_joins_gets_every_list() -> None:
    cluster = Presence(4, 400)
    worker = next(iter(cluster.nodes))

    frames, megabytes = cluster.cost(lambda: cluster.enter(worker, "ann"), 0.1)
    _, of_lists = cluster.cost(cluster.add, 0.5)

    assert frames == 1
    # Each change goes to every worker, and each list to the newcomer alone.
    assert 400 * megabytes / 8 < of_lists < 400 * megabytes / 2


def test_workers_start_and_end_one_after_the_other() -> None:
    scale = Scale(1)
    scale.let_end(3)

    (left,) = scale.nodes.values()
    assert left.peers == frozenset()
