"""A connection has one request for packets at a time, and its response counts until it is sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from websocket import WebSocketBadStatusException, create_connection
from werkzeug.test import Client

from flask_rooms.server import connections
from flask_rooms.server.turns import Sent, Turn
from tests.support.apps import PATIENCE, LocalCluster, eventually, in_thread
from tests.support.polling import PollingClient as InProcess
from tests.support.raw import RawClient
from tests.support.raw_polling import PollingClient
from tests.support.workers import Worker, cluster


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with cluster("memory://", 1, "tests.support.limits_app") as (worker,):
        yield worker


@pytest.fixture
def other(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


def state(other: RawClient) -> dict[str, Any]:
    body: dict[str, Any] = other.request("get", "/state")["body"]
    return body


def send_poll(stack: ExitStack, address: str) -> socket.socket:
    """Send a request for packets, over a connection that holds little which was not read."""
    parts = urlsplit(address)
    tcp = stack.enter_context(socket.socket())
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tcp.settimeout(30)
    tcp.connect((parts.hostname, parts.port))
    tcp.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    return tcp


def test_responses_to_polls_that_are_not_read_are_bounded(worker: Worker, other: RawClient) -> None:
    """Each request would take what waits, so that it is never too much, and keep a thread."""
    before = state(other)
    client = PollingClient(worker.url)
    (sid,) = set(state(other)["sids"]) - {other.sid}
    client.post('420["put",{"url":"/join/all"}]')
    client.receive(1)
    other.request("post", "/say/all/1000000/10")  # which no buffer of the system holds

    with ExitStack() as stack:
        polls = [send_poll(stack, client.address) for _ in range(2)]

        assert sorted(poll.recv(12) for poll in polls) == [b"HTTP/1.1 200", b"HTTP/1.1 400"]
        assert state(other)["refusals"]["overlapping_requests"] == 1
        while sid in state(other)["sids"]:
            other.request("post", "/say/all/1000000/1")
        gone = {"sid": sid, "reason": "too much unread"}
        while gone not in state(other)["gone"]:
            pass
        # The thread of the one that is served ends, although the client reads nothing more.
        while state(other)["served"] > before["served"]:
            pass


def test_polls_of_a_connection_that_is_moved_are_nothing_to_report(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three, one is served, one waits and one is refused; then the worker moves its clients."""
    monkeypatch.setattr(connections, "TICK", PATIENCE)  # else it could be forgotten already
    with LocalCluster() as local:
        here = local.worker()
        client = InProcess(here.app).connect()

        def poll() -> int:
            return Client(here.app).get(client.url, buffered=True).status_code

        polls = [in_thread(poll) for _ in range(3)]
        eventually(here, lambda: any(one.done() for one in polls))
        assert [one.result() for one in polls if one.done()] == [400]

        assert here.rooms.drain(PATIENCE)

        assert sorted(one.result(PATIENCE) for one in polls) == [200, 400, 400]
        assert client.send("41").status_code == 400
        assert here.rooms.refusals == {"overlapping_requests": 1}
    assert [one.name for one in caplog.records if one.name.startswith("engineio")] == []


def test_a_connection_has_one_websocket(worker: Worker) -> None:
    address = f"{worker.url}/socket.io/?EIO=4&transport=polling"
    with urlopen(address, timeout=30) as opened:
        eio_sid = json.loads(opened.read()[1:])["sid"]
    address = f"{worker.url}/socket.io/?EIO=4&transport=websocket&sid={eio_sid}"
    address = address.replace("http", "ws", 1)
    websocket = create_connection(address, timeout=30)

    with pytest.raises(WebSocketBadStatusException, match="400"):
        create_connection(address, timeout=30)

    websocket.send("2probe")
    assert websocket.recv() == "3probe"
    websocket.shutdown()  # type: ignore[no-untyped-call]


# -- turns ------------------------------------------------------------------------------------


def test_the_next_request_waits_for_a_moment_and_a_third_is_refused() -> None:
    turn = Turn()
    assert turn.take(None, lambda: True)
    third: list[bool] = []

    def wait() -> bool:
        third.append(turn.take(None, lambda: True))
        turn.end()
        return True

    assert turn.take(None, wait)
    assert third == [False]
    assert not turn.take(None, lambda: False)
    assert turn.is_taken
    turn.end()
    assert not turn.is_taken


def test_a_response_is_cut_and_nothing_once_it_was_sent() -> None:
    here, there = socket.socketpair()
    turn = Turn()
    with here, there:
        turn.take(here, lambda: True)
        turn.end()
        turn.cut()
        here.sendall(b"x")
        assert there.recv(1) == b"x"

        turn.take(here, lambda: True)
        turn.cut()
        assert there.recv(1) == b""
    Turn().cut()


def test_a_body_says_once_that_it_was_sent_also_where_it_is_not_closed() -> None:
    sent: list[str] = []
    body = Sent([b"x"], lambda: sent.append("closed"))
    assert body == [b"x"]
    body.close()
    body.close()
    del body
    assert sent == ["closed"]

    assert b"".join(Sent([b"x"], lambda: sent.append("dropped"))) == b"x"
    assert sent == ["closed", "dropped"]
