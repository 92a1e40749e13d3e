"""A client that does not read costs a bounded number of bytes, and then its connection."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.support.raw import RawClient
from tests.support.raw_polling import PollingClient
from tests.support.workers import Worker, cluster

MODE = os.environ.get("ROOMS_TEST_MODE", "threading")
LIMIT = 500_000

#: As little as the system gives, so that a client that does not read is noticed soon.
SMALL = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    # python-engineio looks for what it could forget once in so many seconds.
    config = json.dumps({"ROOMS_UNREAD_BYTES": LIMIT, "ping_timeout": 3600})
    application = "tests.support.limits_app"
    with cluster("memory://", 1, application, "", "--config", config) as (worker,):
        yield worker


@pytest.fixture
def other(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


def state(other: RawClient) -> dict[str, Any]:
    body: dict[str, Any] = other.request("get", "/state")["body"]
    return body


def say_until_gone(other: RawClient, sid: str) -> None:
    """Broadcast to the room "all" until that socket is gone."""
    while sid in state(other)["sids"]:
        other.request("post", "/say/all/50000/20")


def test_a_member_that_does_not_read_is_disconnected_with_a_reason(
    worker: Worker, other: RawClient
) -> None:
    before = state(other)
    with RawClient(worker.url, sockopt=SMALL) as client:
        client.request("put", "/join/all")

        say_until_gone(other, client.sid)

        while client.try_to_send("3"):  # which asks for nothing: its connection ends
            pass
    after = state(other)
    while {"sid": client.sid, "reason": "too much unread"} not in (after := state(other))["gone"]:
        pass
    assert client.sid in after["left"]
    assert after["handled"]["disconnect: too much unread"] >= 1
    assert after["refusals"]["unread_bytes"] >= 1
    # The threads that served it have ended, although it has read nothing.
    while state(other)["websockets"] > before["websockets"]:
        pass
    while state(other)["sessions"] > before["sessions"]:
        pass
    if MODE == "threading":
        while state(other)["threads"] > before["threads"]:
            pass


def poll_for_ever(client: PollingClient) -> None:
    """Poll: a socket is gone a moment before python-engineio takes its connection for closed."""
    while True:
        client.poll()


def test_so_is_one_that_does_not_poll(worker: Worker, other: RawClient) -> None:
    client = PollingClient(worker.url)
    (sid,) = set(state(other)["sids"]) - {other.sid}
    client.post('420["put",{"url":"/join/all"}]')
    client.receive(1)

    say_until_gone(other, sid)

    with pytest.raises(HTTPError) as caught:
        poll_for_ever(client)
    caught.value.close()
    while {"sid": sid, "reason": "too much unread"} not in state(other)["gone"]:
        pass
    while state(other)["sessions"] > 1:
        pass


def test_so_is_one_that_does_not_read_what_handlers_return(
    worker: Worker, other: RawClient
) -> None:
    with RawClient(worker.url, sockopt=SMALL) as client:
        while client.sid in state(other)["sids"]:
            for number in range(20):
                client.try_to_send(f'42{number}["large",50000]')


def test_one_that_reads_gets_everything_however_much_it_is(
    worker: Worker, other: RawClient
) -> None:
    with RawClient(worker.url) as client:
        client.request("put", "/join/one")
        for _ in range(50):
            other.request("post", f"/say/one/{LIMIT // 10}/2")
            for _ in range(2):
                assert len(client.receive()) > LIMIT // 10
        assert len(client.request("get", f"/large/{10 * LIMIT}")["body"]) == 10 * LIMIT


@pytest.mark.skipif(MODE == "threading", reason="The system decides when a thread sends.")
def test_a_burst_that_is_larger_than_the_limit_ends_no_client_that_reads(
    worker: Worker, other: RawClient
) -> None:
    """A caller that does not wait in between leaves no time to send, in green threads."""
    with RawClient(worker.url) as client:
        client.request("put", "/join/burst")
        other.request("post", f"/say/burst/50000/{4 * LIMIT // 50000}")

        for _ in range(4 * LIMIT // 50000):
            assert len(client.receive()) > 50000


def test_answers_wait_until_their_client_reads(worker: Worker, other: RawClient) -> None:
    """They would be unread output, too, and end the connection of a client that only is slow."""
    with RawClient(worker.url, sockopt=SMALL) as client:
        asked = [client.ask("get", {"url": f"/large/{LIMIT // 2}"}) for _ in range(20)]
        assert state(other)["handled"].get("large", 0) < 20

        for one in asked:
            assert len(client.answer(one)["body"]) == LIMIT // 2


def test_volatile_events_are_not_kept_for_a_client_that_does_not_read(
    worker: Worker, other: RawClient
) -> None:
    with RawClient(worker.url, sockopt=SMALL) as client:
        client.request("put", "/join/volatile")
        other.request("put", "/join/volatile")

        heard, times = 0, 200  # 10 MB, which neither the system nor the limit have room for
        other.ask("post", {"url": f"/say-volatile/volatile/50000/{times}"})
        while not (frame := other.receive()).startswith("43"):
            heard += frame.startswith("42")

        assert heard > 0  # one that reads gets them
        assert client.sid in state(other)["sids"]
        other.ask("post", {"url": "/say/volatile/1/1"})  # this one is kept
        received = 0
        while client.receive() != '42["message","x"]':
            received += 1
        assert 0 < received < times
