"""Requests of one socket run in order and within bounds, those of several side by side."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import pytest
from flask import request
from flask_socketio import SocketIO

from flask_rooms import Rooms
from flask_rooms.socket_requests.serial_queue import Admission, SerialQueue
from tests.support.apps import PATIENCE, LocalCluster, in_thread, make_app
from tests.support.polling import PollingClient as LocalClient
from tests.support.raw import RawClient
from tests.support.raw_polling import TIMEOUT, PollingClient
from tests.support.requests_app import WAITING, WAITING_BYTES
from tests.support.web_servers import eventually
from tests.support.workers import Worker, cluster

MODE = os.environ.get("ROOMS_TEST_MODE", "threading")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
        yield worker


@pytest.fixture
def client(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


@pytest.fixture
def other(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


@pytest.fixture
def gate() -> str:
    """The name of what a test holds and releases."""
    return uuid4().hex


def hold(client: RawClient, other: RawClient, gate: str) -> int:
    """Let a request run that waits for `release`, and return when it runs."""
    held = client.ask("post", {"url": f"/hold/{gate}"})
    while other.request("get", f"/runs/{gate}")["body"] != [1]:
        pass
    return held


def release(other: RawClient, gate: str) -> None:
    other.request("post", f"/release/{gate}")


def test_requests_of_one_socket_run_in_the_order_sent(
    client: RawClient, other: RawClient, gate: str
) -> None:
    before = other.request("get", "/notes")["body"]
    held = hold(client, other, gate)
    notes = [client.ask("post", {"url": "/note", "data": n}) for n in range(WAITING)]
    assert client.answer(client.ask("echo", "fence")) == ["fence"]
    assert other.request("get", "/notes")["body"] == before

    release(other, gate)

    assert client.answer(held)["body"] == [*before, gate]
    assert client.answer(notes[-1])["body"] == [*before, gate, *range(WAITING)]


def test_a_route_that_does_not_return_holds_up_no_other_client(
    client: RawClient, other: RawClient, gate: str
) -> None:
    held = hold(client, other, gate)

    for number in range(100):
        assert other.request("put", "/echo", number)["body"]["json"] == number
    # ... nor the events of Flask-SocketIO on the same socket.
    assert client.answer(client.ask("echo", 1)) == [1]

    release(other, gate)
    assert client.answer(held)["statusCode"] == 200


def test_what_a_socket_may_have_waiting_is_bounded(
    client: RawClient, other: RawClient, gate: str
) -> None:
    held = hold(client, other, gate)
    waiting = [client.ask("put", {"url": "/echo", "data": n}) for n in range(WAITING)]
    refused = [client.ask("put", {"url": "/echo", "data": n}) for n in range(3)]

    for one in refused:
        answer = client.answer(one)
        assert answer["statusCode"] == 429
        assert answer["body"]["message"]
    assert other.request("get", "/refusals")["body"]["waiting_requests"] >= 3
    assert other.request("put", "/echo", 1)["statusCode"] == 200

    release(other, gate)
    assert client.answer(held)["statusCode"] == 200
    assert [client.answer(one)["body"]["json"] for one in waiting] == list(range(WAITING))
    assert client.request("put", "/echo", 1)["statusCode"] == 200


@pytest.fixture(scope="module")
def patient() -> Iterator[Worker]:
    """A worker that rather reads a connection later than refuses a request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAITING_TIMEOUT", "60")
        with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
            yield worker


def test_a_burst_that_is_larger_than_the_queue_is_served_whole(patient: Worker, gate: str) -> None:
    """The connection is not read while the queue is full, so nothing has to be refused."""
    with RawClient(patient.url) as client, RawClient(patient.url) as other:
        held = hold(client, other, gate)
        asked = [client.ask("put", {"url": "/echo", "data": n}) for n in range(40 * WAITING)]

        release(other, gate)

        assert client.answer(held)["statusCode"] == 200
        for number, one in enumerate(asked):
            answer = client.answer(one)
            assert (answer["statusCode"], answer["body"]["json"]) == (200, number)


def test_what_a_polling_client_has_queued_up_is_served_whole(patient: Worker, gate: str) -> None:
    """python-engineio by itself takes 16 packets in a request, and closes the connection."""
    packets = [f'42{n}["put",{{"url":"/echo","data":{n}}}]' for n in range(1, 40)]
    with PollingClient(patient.url) as client, RawClient(patient.url) as other:
        posting = in_thread(lambda: client.post(f'420["post",{{"url":"/hold/{gate}"}}]', *packets))
        while other.request("get", f"/runs/{gate}")["body"] != [1]:
            pass

        release(other, gate)
        answers = client.receive(40)  # clients poll while they post
        posting.result(TIMEOUT)

    assert all('"statusCode":200' in one for one in answers)


def test_so_are_its_bytes(client: RawClient, other: RawClient, gate: str) -> None:
    held = hold(client, other, gate)
    small = [
        client.ask("put", {"url": "/echo", "data": "x" * (WAITING_BYTES // 3)}) for _ in range(2)
    ]
    large = client.ask("put", {"url": "/echo", "data": "x" * (WAITING_BYTES // 2)})

    assert client.answer(large)["statusCode"] == 429

    release(other, gate)
    assert client.answer(held)["statusCode"] == 200
    assert [client.answer(one)["statusCode"] for one in small] == [200, 200]


def test_requests_of_a_socket_that_has_gone_do_not_run(
    worker: Worker, other: RawClient, gate: str
) -> None:
    before = other.request("get", "/objects")["body"]
    with RawClient(worker.url) as client:
        client.request("post", f"/join/{gate}")
        hold(client, other, gate)
        for _ in range(WAITING):
            client.ask("post", {"url": "/note", "data": gate})
        assert client.answer(client.ask("echo", 1)) == [1]
    while [gate] not in [one["rooms"] for one in other.request("get", "/gone")["body"]]:
        pass

    release(other, gate)

    # The one that ran has come to its end, and what was kept for the socket is gone.
    while other.request("get", "/objects")["body"]["queues"] > before["queues"]:
        pass
    assert other.request("get", "/notes")["body"].count(gate) == 1


@pytest.mark.parametrize("event", [["hold"], ["post", {"url": "/hold"}]], ids=["event", "request"])
def test_who_waits_for_a_place_waits_no_longer_when_its_socket_is_disconnected(
    event: list[Any],
) -> None:
    """It is the reader of the connection, which sockets of other namespaces may share."""
    held, go_on, app = threading.Event(), threading.Event(), make_app()

    def hold() -> str:
        held.set()
        assert go_on.wait(PATIENCE)
        return ""

    app.add_url_rule("/hold", view_func=hold, methods=["POST"])
    with LocalCluster() as cluster:
        worker = cluster.worker(app, concurrent_events=1, waiting_requests=1, waiting_timeout=3600)
        worker.socketio.on("hold")(hold)
        client = LocalClient(app).connect()

        # One runs. Of requests another one is in the queue.
        packets = ["42" + json.dumps(event)] * 3
        posted = in_thread(lambda: client.send("\x1e".join(packets)))
        assert held.wait(PATIENCE)
        try:
            worker.sockets.disconnect(client.sid).result(PATIENCE)

            assert posted.result(PATIENCE).status_code == 200
        finally:
            go_on.set()


def test_nor_does_a_request_wait_until_what_was_sent_to_it_is_read() -> None:
    app = make_app()
    app.add_url_rule("/", view_func=lambda: "")
    with LocalCluster() as cluster:
        # Without a task of its own, a request runs where the connection is read.
        socketio = SocketIO(async_handlers=False)
        rooms = Rooms(app, socketio, backend_url=cluster.hub, unread_bytes=100_000)
        worker = cluster.adopt(app, rooms)
        client = LocalClient(app).connect()
        assert client.request("get", "/")["statusCode"] == 200
        worker.sockets.broadcast(client.sid, "x" * 50_000)

        posted = in_thread(lambda: client.send('421["get",{"url":"/"}]'))
        worker.sockets.disconnect(client.sid).result(PATIENCE)

        assert posted.result(PATIENCE).status_code == 200


def test_a_request_that_disconnects_its_socket_is_not_answered() -> None:
    """A client does not expect an answer after the end of its socket."""
    app = make_app()
    with LocalCluster() as cluster:
        socketio = SocketIO(async_handlers=False)
        one = cluster.adopt(app, Rooms(app, socketio, backend_url=cluster.hub))

        @app.delete("/")
        def leave() -> str:
            one.sockets.disconnect(request).result(PATIENCE)
            return "too late"

        client = LocalClient(app).connect()

        client.send('421["delete",{"url":"/"}]')  # and the request has run
        client.send("40/other")

        received = {client.receive()[:8] for _ in range(2)}  # in either order
        assert received == {"41", "44/other"}


def test_two_requests_at_once_lose_no_write_to_the_session(client: RawClient) -> None:
    counts = [client.ask("post", {"url": "/count"}) for _ in range(WAITING)]

    assert [client.answer(one)["body"]["count"] for one in counts] == list(range(1, WAITING + 1))


def test_a_client_that_does_not_read_has_to_wait(
    worker: Worker, other: RawClient, gate: str
) -> None:
    """Its answers would fill the memory."""
    size, times = 10**6, 40
    with RawClient(worker.url) as client:
        # Not more at once than may wait; what is refused is refused with few bytes.
        for _ in range(times):
            client.ask("get", {"url": f"/large/{gate}/{size}"})
            other.request("put", "/echo", 1)

        # Some are in the buffers of the network.
        assert other.request("get", f"/runs/{gate}")["body"][0] < times // 2
    # What it has sent is still answered, and nothing is to grow after this test.
    while client.sid in other.request("get", "/sids")["body"]:
        pass


def test_nothing_grows_with_requests(client: RawClient, other: RawClient) -> None:
    def make_requests(times: int) -> dict[str, Any]:
        for number in range(times):
            client.request("put", f"/echo/{number}?n={number}", {"n": number})
            client.request("put", "/session", {"n": number})
            client.request("get", f"/nowhere/{number}")
            client.request("put", f"//{number}")
        return dict(other.request("get", "/objects")["body"])

    make_requests(50)
    before = make_requests(50)
    after = make_requests(500)

    # Of 2,000 requests; eventlet keeps a few hundred timers that were cancelled, and lets them go.
    ours, earlier = Counter(after["ours"]), Counter(before["ours"])
    assert ours.total() - earlier.total() < 50, (ours - earlier).most_common(5)
    if MODE != "eventlet":
        assert after["all"] - before["all"] < 100


def test_nothing_grows_with_sockets(worker: Worker, other: RawClient) -> None:
    def objects() -> dict[str, int]:
        found: dict[str, int] = other.request("get", "/objects")["body"]
        return {kind: found[kind] for kind in ("sockets", "queues")}

    before = objects()
    for _ in range(100):
        with RawClient(worker.url) as client:
            client.request("put", "/session", {"n": 1})

    # A thread that has just run a queue may still be about to leave it.
    eventually(lambda: all(count <= before[kind] for kind, count in objects().items()))


# -- the queue itself -------------------------------------------------------------------------


def test_a_queue_runs_its_jobs_in_order_and_one_at_a_time() -> None:
    done: list[Any] = []
    queue = SerialQueue(jobs=10, size=100)

    def first() -> None:
        for number in range(3):
            assert queue.put(lambda number=number: done.append(number), 1) is Admission.QUEUED  # type: ignore[misc]
        done.append("first")

    assert queue.put(first, 1) is Admission.START
    queue.run(lambda: done.append("pause"))

    assert done == ["first", "pause", 0, "pause", 1, "pause", 2]
    assert queue.put(first, 1) is Admission.START


def test_a_queue_is_bounded_by_number_and_by_size() -> None:
    queue = SerialQueue(jobs=2, size=10)

    assert queue.put(print, 1000) is Admission.START  # a single job may be larger than the limit
    assert queue.put(print, 1) is Admission.REFUSED
    queue = SerialQueue(jobs=2, size=10)
    assert [queue.put(print, 1) for _ in range(3)] == [
        Admission.START,
        Admission.QUEUED,
        Admission.REFUSED,
    ]


def test_what_a_job_sets_in_its_context_is_not_there_for_the_next_one() -> None:
    """They may be requests of one run, and one of them begins as if it were the first."""
    queue, whose = SerialQueue(9, 9), ContextVar[str]("whose")
    found: list[str | None] = []

    def job() -> None:
        found.append(whose.get(None))
        whose.set("mine")

    queue.put(job, 1)
    queue.put(job, 1)
    queue.run(lambda: None)

    assert (found, whose.get(None)) == ([None, None], None)


def test_a_job_that_ends_its_thread_does_not_end_the_queue() -> None:
    queue = SerialQueue(jobs=10, size=100)
    queue.put(exit, 0)

    with pytest.raises(SystemExit):
        queue.run(print)

    done = threading.Event()
    assert queue.put(done.set, 0) is Admission.START
    queue.run(print)
    assert done.is_set()


def test_an_error_between_two_jobs_does_not_end_the_queue() -> None:
    """It may be the Timeout of a green thread that a request has left behind."""
    queue = SerialQueue(jobs=10, size=100)
    queue.put(lambda: queue.put(print, 0), 0)
    with pytest.raises(SystemExit):
        queue.run(exit)

    assert queue.put(print, 0) is Admission.START
