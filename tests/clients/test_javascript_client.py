"""The JavaScript client, socket.io-client 4 of npm, against two workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients import JavaScriptClient, find_node_modules
from tests.support.workers import Worker, cluster


@pytest.fixture(scope="module", params=["redis_broker", "amqp_broker"])
def workers(request: pytest.FixtureRequest) -> Iterator[list[Worker]]:
    """Two workers of one cluster."""
    with cluster(request.getfixturevalue(request.param).url, 2) as workers:
        yield workers


@pytest.fixture
def client(workers: list[Worker]) -> Iterator[JavaScriptClient]:
    """A JavaScript client on the first worker."""
    node_modules = find_node_modules()
    if node_modules is None:
        # Continuous integration must not be green without it.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "node and npm's socket.io-client@4 are needed, the latter in ROOMS_NODE_MODULES."
        )
    with JavaScriptClient(workers[0].url, node_modules) as client:
        yield client


def test_a_client_is_taken_out_by_another_worker(
    workers: list[Worker], client: JavaScriptClient
) -> None:
    """It joins by a socket request, hears the other worker, and no more when that removes it."""
    here, there = workers

    joined = client.call("post", {"url": "/join", "data": {"rooms": "fun"}})
    assert joined["statusCode"] == 200
    assert joined["body"] == {"changed": 1, "unchanged": 0, "unknown": []}
    assert joined["headers"]["content-type"] == "application/json"
    there.post("/broadcast", rooms="fun", say=["Hello, fun!"])
    assert client.receive() == ["message", "Hello, fun!"]

    left = there.post("/leave", sids=client.sid, rooms="fun")

    assert left == {"changed": 1, "unchanged": 0, "unknown": []}
    for worker in (there, here):
        worker.post("/broadcast", rooms="fun", say=["Still there?"])
        worker.post("/broadcast", rooms=client.sid, say=["fence", worker.name])
        assert client.receive() == ["fence", worker.name]


def test_a_client_leaves_by_its_own_request(
    workers: list[Worker], client: JavaScriptClient
) -> None:
    """What it leaves by itself it does not hear any more, either."""
    client.request("post", "/join", rooms=["fun", "quiet"])

    assert client.request("post", "/leave", rooms="fun")["changed"] == 1

    for worker in workers:
        worker.post("/broadcast", rooms="fun", say=["Still there?"])
        worker.post("/broadcast", rooms="quiet", say=["fence", worker.name])
        assert client.receive() == ["fence", worker.name]


def test_leave_then_broadcast_never_reaches_the_client(
    workers: list[Worker], client: JavaScriptClient
) -> None:
    """Nor does what a worker says right after a leave that it has not waited for."""
    workers[1].post("/leave-then-broadcast", sids=client.sid, rooms="fun", times=200)

    received = [client.receive() for _ in range(2 * 200)]
    assert received == [[said, number] for number in range(200) for said in ("in", "fence")]


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete", "options", "head"])
def test_every_verb_is_acknowledged(
    workers: list[Worker], client: JavaScriptClient, verb: str
) -> None:
    """A request is answered by the route, or by Flask where the route knows no such verb."""
    answer = client.call(verb, {"url": "/id"})

    assert answer["statusCode"] == (200 if verb in ("get", "options", "head") else 405)
    if verb == "get":
        assert answer["body"] == {"sid": client.sid, "is_socket": True}


def test_what_is_no_socket_request_is_acknowledged_with_400(
    workers: list[Worker], client: JavaScriptClient
) -> None:
    """A client learns what it did wrong, and its connection stays."""
    wrongs: list[list[Any]] = [[], ["/id"], [{}], [{"url": 1}], [{"url": "/id"}, 2]]
    for wrong in wrongs:
        answer = client.call("get", *wrong)

        assert answer["statusCode"] == 400
        assert answer["body"]["message"]
    assert client.request("get", "/id")["sid"] == client.sid
