"""Workers on each broker, and clients of theirs, for the tests of several workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from tests.support.clients import Client
from tests.support.workers import Connect, Worker, cluster


@pytest.fixture(scope="module", params=["redis_broker", "amqp_broker"])
def workers(request: pytest.FixtureRequest) -> Iterator[list[Worker]]:
    """Three workers of one cluster."""
    with cluster(request.getfixturevalue(request.param).url, 3) as workers:
        yield workers


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A function that connects a client to a worker until the test ends."""
    with ExitStack() as stack:

        def connect(worker: Worker, *namespaces: str) -> Client:
            client = Client(worker.url, *namespaces)
            stack.callback(client.disconnect)
            return client

        yield connect


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room {uuid4().hex}"
