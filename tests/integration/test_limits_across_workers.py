"""What a client may take is limited by the worker that holds it, whichever worker sends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.raw import RawClient
from tests.support.workers import Worker, cluster

SMALL = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
CONFIG = json.dumps({"ROOMS_UNREAD_BYTES": 500_000})


@pytest.fixture(scope="module", params=["redis_broker", "amqp_broker"])
def two(request: pytest.FixtureRequest) -> Iterator[list[Worker]]:
    """Two workers of one cluster."""
    url = request.getfixturevalue(request.param).url
    with cluster(url, 2, "tests.support.limits_app", "", "--config", CONFIG) as workers:
        yield workers


def test_a_member_on_another_worker_that_does_not_read_is_disconnected(two: list[Worker]) -> None:
    here, there = two
    with (
        RawClient(here.url) as sender,
        RawClient(there.url) as neighbour,
        RawClient(there.url, sockopt=SMALL) as client,
    ):
        for member in (sender, client):
            member.request("put", "/join/all")

        while client.sid in neighbour.request("get", "/state")["body"]["sids"]:
            sender.request("post", "/say/all/50000/4")

        gone = {"sid": client.sid, "reason": "too much unread"}
        while gone not in neighbour.request("get", "/state")["body"]["gone"]:
            pass
        # Both workers go on.
        sender.ask("post", {"url": f"/say/{sender.sid}/1/1"})
        while sender.receive() != '42["message","x"]':
            pass
        assert neighbour.request("get", "/state")["body"]["sids"] == [neighbour.sid]
        assert not sender.request("get", "/state")["body"]["refusals"]
