"""The limits that an operator sets: what is within them works, and what is beyond is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from flask_rooms import InvalidArgument, NotASocketRequest, Rooms
from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.messages import Change, User
from flask_rooms.server.pace import Pace
from tests.support.apps import PATIENCE, in_thread, make_app
from tests.support.raw import RawClient, Refused
from tests.support.raw_polling import PollingClient
from tests.support.workers import Worker, cluster

RATE = 200
CONFIG = {
    "ROOMS_SOCKETS_PER_CONNECTION": 2,
    "ROOMS_ROOMS_PER_SOCKET": 3,
    "ROOMS_CONNECTIONS_PER_USER": 2,
    "ROOMS_CONNECTIONS": 12,
    "ROOMS_PACKETS_PER_SECOND": RATE,
    "ROOMS_WAITING_TIMEOUT": 1.0,
}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    options = json.dumps(CONFIG)
    application = "tests.support.limits_app"
    with cluster("memory://", 1, application, "", "--config", options) as (worker,):
        yield worker


@pytest.fixture
def other(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


def state(other: RawClient) -> dict[str, Any]:
    body: dict[str, Any] = other.request("get", "/state")["body"]
    return body


def refusals(other: RawClient, limit: str) -> int:
    return int(state(other)["refusals"].get(limit, 0))


def poll_until_refused(client: PollingClient) -> None:
    while client.poll() == [""]:  # what is under way when a connection ends is answered so
        pass


def test_a_connection_may_have_so_many_sockets(worker: Worker, other: RawClient) -> None:
    with RawClient(worker.url) as client:
        client.send("40/chat,")
        assert client.receive().startswith("40/chat,")

        client.send("40/news,")

        assert client.receive().startswith("44/news,")
        assert refusals(other, "sockets_per_connection") == 1
        client.send("41/chat,")
        client.send("40/news,")
        assert client.receive().startswith("40/news,")


def test_a_socket_may_be_in_so_many_rooms(worker: Worker, other: RawClient) -> None:
    with RawClient(worker.url) as client:
        for room in ("a", "b", "c"):
            assert client.request("put", f"/join/{room}")["body"] == {"changed": 1}

        assert client.request("put", "/join/d")["body"] == {"refused": [client.sid]}
        assert client.request("put", "/join/a")["body"] == {"changed": 0}
        assert refusals(other, "rooms_per_socket") >= 1


def test_a_user_may_have_so_many_connections(worker: Worker, other: RawClient) -> None:
    ada = {"user": "Ada"}
    with RawClient(worker.url, ada) as first, RawClient(worker.url, ada):
        first.send('40/chat,{"user":"Ada"}')  # over a connection that she has
        assert first.receive().startswith("40/chat,")

        with pytest.raises(Refused, match="This user has enough connections"):
            RawClient(worker.url, ada)

        with RawClient(worker.url, {"user": "Bob"}) as bob:
            assert bob.survives()
        assert refusals(other, "connections_per_user") == 1


def test_a_worker_may_have_so_many_connections(worker: Worker, other: RawClient) -> None:
    while state(other)["connections"] > 1:  # those of other tests
        pass
    with ExitStack() as stack:
        for _ in range(11):
            stack.enter_context(RawClient(worker.url))

        with pytest.raises(HTTPError, match="503") as caught:
            urlopen(f"{worker.url}/socket.io/?EIO=4&transport=polling", timeout=30)

        caught.value.close()
        assert refusals(other, "connections") == 1
    while state(other)["connections"] > 1:
        pass
    with RawClient(worker.url) as client:
        assert client.survives()


def test_a_connection_that_sends_too_fast_is_read_more_slowly(
    worker: Worker, other: RawClient
) -> None:
    before = refusals(other, "packets_per_second")
    with RawClient(worker.url) as client:
        while refusals(other, "packets_per_second") == before:  # a slow machine needs several
            asked = [client.ask("echo", number) for number in range(2 * RATE)]

            assert [client.answer(one) for one in asked] == [[number] for number in range(2 * RATE)]


@pytest.mark.parametrize("kind", ["answers to pings", "pings", "pieces"])
def test_so_is_one_that_sends_what_is_no_message(
    worker: Worker, other: RawClient, kind: str
) -> None:
    before = refusals(other, "packets_per_second")
    with RawClient(worker.url) as client:
        if kind == "pieces":
            client.send_without_end("", 2 * RATE)
        else:
            send = client.ping if kind == "pings" else partial(client.send, "3")
            for _ in range(2 * RATE):
                send()

        while refusals(other, "packets_per_second") < before + 2:
            pass


def test_one_that_sends_too_fast_in_parallel_is_ended(worker: Worker, other: RawClient) -> None:
    """Each request would wait in a thread of its own."""
    client = PollingClient(worker.url)
    burst = ['42["echo"]'] * RATE
    posts = [in_thread(lambda: client.post(*burst)) for _ in range(20)]
    for post in posts:
        if isinstance(error := post.exception(PATIENCE), HTTPError):
            error.close()

    with pytest.raises(HTTPError) as caught:
        poll_until_refused(client)
    caught.value.close()
    assert "too many packets" in [one["reason"] for one in state(other)["gone"]]


def test_a_bucket_holds_the_packets_of_one_second() -> None:
    pace = Pace(8)

    assert [pace.delay(1000.0) for _ in range(8)] == [0.0] * 8
    assert pace.delay(1000.0) == 0.125
    assert pace.delay(1000.125) == 0.125
    assert pace.delay(1010.0) == 0.0


# -- logins -----------------------------------------------------------------------------------


def test_a_socket_whose_login_expires_is_disconnected(worker: Worker, other: RawClient) -> None:
    with RawClient(worker.url, {"expires_in": 1}) as client:
        assert client.receive() == "41"

        gone = {"sid": client.sid, "reason": "login expired"}
        while gone not in state(other)["gone"]:
            pass
    assert refusals(other, "login_expired") >= 1


def test_a_socket_that_renews_its_login_stays(worker: Worker, other: RawClient) -> None:
    with RawClient(worker.url, {"expires_in": 2}) as client:
        client.request("post", "/renew/1000")
        with RawClient(worker.url, {"expires_in": 3}) as later:
            assert later.receive() == "41"

        assert client.sid in state(other)["sids"]


def test_nobody_connects_with_a_login_that_has_expired(worker: Worker) -> None:
    with pytest.raises(Refused, match="expired"):
        RawClient(worker.url, {"expires_in": -1})


@pytest.mark.parametrize(
    "when",
    [
        "",
        "1",
        True,
        float("nan"),
        float("inf"),
        pytest.param(10**400, id="huge"),
        [],
        datetime(2030, 1, 1),
    ],
)
def test_what_is_no_time_is_refused(when: Any) -> None:
    with pytest.raises(InvalidArgument, match="seconds since 1970"):
        Rooms(make_app()).login_expires(when)


def test_a_login_is_that_of_a_socket() -> None:
    app = make_app()
    rooms = Rooms(app)

    for when in (1, 1.5, None, datetime.now(timezone.utc)):
        with pytest.raises(NotASocketRequest):
            rooms.login_expires(when)
        with app.test_request_context(), pytest.raises(NotASocketRequest):
            rooms.login_expires(when)


# -- in the registry --------------------------------------------------------------------------


def test_of_several_sockets_none_joins_if_one_is_in_too_many_rooms() -> None:
    registry = Registry(rooms_per_socket=2)
    for sid in ("one", "two"):
        attempt = registry.begin("/", f"session of {sid}")
        assert attempt is not None
        registry.admit(attempt, sid)
        registry.finish(attempt)
    registry.apply(Change("join", "/", ("one",), ("red",)))

    changed = registry.apply(Change("join", "/", ("one", "two"), ("green", "blue")))

    assert (changed.refused, changed.events) == (["one"], [])
    join = registry.prepare(Change("join", "/", ("one", "two"), ("green", "blue")))
    committed = registry.commit(join)
    assert committed is not None
    assert (committed.refused, committed.events) == (["one"], [])
    assert registry.rooms_of("/", "two") == {"two"}
    assert registry.apply(Change("join", "/", ("one",), ("red", "blue"))).refused == []


def test_connections_of_a_user_count_that_are_still_being_decided() -> None:
    registry = Registry()
    attempts = [registry.begin("/", str(number)) for number in range(3)]
    counted = []
    for attempt in attempts:
        assert attempt is not None
        attempt.user = User("Ada")
        counted.append(registry.connections_of(attempt))

    assert counted == [0, 1, 2]
