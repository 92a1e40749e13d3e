"""RabbitMQ with several nodes, of which one ends and comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_rooms.backends import from_url
from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError
from flask_rooms.testing import Workers
from tests.support.brokers import BrokerMissing
from tests.support.rabbitmq_cluster import RabbitMQCluster

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: Seconds within which the workers have followed what happens to a node.
PATIENCE = 60.0


@pytest.fixture
def cluster() -> Iterator[RabbitMQCluster]:
    try:
        started = RabbitMQCluster()
    except BrokerMissing as missing:
        pytest.skip(str(missing))
    try:
        yield started
    finally:
        started.stop()


def test_workers_are_counted_while_a_node_is_away_and_when_it_is_back(
    cluster: RabbitMQCluster,
) -> None:
    """The queue that counts them is on the first node; later workers use it again."""
    places = iter([0, 1, 0])
    with Workers(
        lambda channel: from_url(cluster.url_for(next(places)), channel=channel, options={}),
        patience=PATIENCE,
    ) as workers:
        early = workers.open(2)
        assert [worker.audience() for worker in early] == [2, 2]
        with cluster.without(0):
            workers.until(lambda: [count(worker) for worker in early] == [2, 2])
        late = workers.make()
        workers.until(lambda: is_open(late))
        assert [worker.audience() for worker in (*early, late)] == [3, 3, 3]


def count(worker: Backend) -> int | None:
    """Return how many workers one counts, which connects again if it has to."""
    try:
        worker.receive(0)
    except BackendError:
        return None
    return worker.audience()


def is_open(worker: Backend) -> bool:
    """Open a backend, and return whether that was possible."""
    try:
        worker.open()
    except BackendError:  # the node listens before it knows its queues
        return False
    return True
