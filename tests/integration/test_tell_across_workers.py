"""What a worker tells the others, over real brokers, while one of them hangs and is killed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.workers import Worker, cluster

MANY = 20


def heard(worker: Worker, count: int) -> list[object]:
    """Return what a worker has been told next."""
    return [worker.post("/heard")["data"] for _ in range(count)]


def until_it_has_met_all(
    teller: Worker, workers: Sequence[Worker], listeners: Sequence[Worker]
) -> None:
    """Tell the workers something until all of them are known, which takes a while at the start."""
    names, told = sorted(worker.name for worker in workers), 1
    while teller.post("/tell", data="known") != {"workers": names}:
        told += 1
    assert [heard(worker, told) for worker in listeners] == [["known"] * told] * len(listeners)


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_what_a_worker_tells_reaches_all_others_that_live(
    broker: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(broker).url
    options = ("tests.support.telling_app", "", "--heartbeat", "0.5")
    with cluster(url, 3, *options) as workers:
        first, second, third = workers
        names = sorted(worker.name for worker in workers)
        until_it_has_met_all(first, workers, workers)
        for number in range(MANY):
            assert first.post("/tell", data=number) == {"workers": names}
        assert [heard(worker, MANY) for worker in workers] == [list(range(MANY))] * 3

        until_it_has_met_all(second, workers, (first, second))
        third.pause()
        assert second.post("/tell", data="while one hangs") == {"missing": [third.name]}
        third.kill()
        told = 1
        living = {"workers": sorted([first.name, second.name])}
        while second.post("/tell", data=told) != living:  # until the other one counts as dead
            told += 1

        news = ["while one hangs", *range(1, told + 1)]
        assert [heard(worker, len(news)) for worker in (first, second)] == [news, news]
