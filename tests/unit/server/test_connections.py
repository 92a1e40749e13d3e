"""A connection without a socket ends, and one connection runs a bounded number of handlers."""

from __future__ import annotations

import gc
import json
import os
import socket
import time
import weakref
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from engineio.socket import Socket as EngineSocket
from websocket import ABNF, WebSocket, WebSocketException, create_connection

from flask_rooms import Rooms
from flask_rooms.server.slots import Slots
from tests.support.apps import PATIENCE, make_app
from tests.support.raw import RawClient
from tests.support.workers import Worker, cluster

MODE = os.environ.get("ROOMS_TEST_MODE", "threading")
HANDLERS = 5
CONFIG = {"ROOMS_CONNECT_TIMEOUT": 1.0, "ROOMS_CONCURRENT_EVENTS": HANDLERS}


def start(**config: Any) -> Any:
    options = json.dumps({**CONFIG, **config})
    return cluster("memory://", 1, "tests.support.limits_app", "", "--config", options)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with start(ROOMS_WAITING_TIMEOUT=0.2) as (worker,):
        yield worker


@pytest.fixture
def other(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as client:
        yield client


@pytest.fixture
def gate() -> str:
    """The name of what a test holds and releases."""
    return uuid4().hex


def state(other: RawClient) -> dict[str, Any]:
    body: dict[str, Any] = other.request("get", "/state")["body"]
    return body


def open_websocket(url: str) -> WebSocket:
    """Open a connection of Engine.IO, and connect in no namespace."""
    address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    websocket = create_connection(address, timeout=30)
    assert websocket.recv()[0] == "0"
    return websocket


def receive_to_the_end(websocket: WebSocket) -> list[str]:
    """Answer pings, and return what else comes until the worker ends the connection."""
    received: list[str] = []
    while True:
        try:
            frame = websocket.recv()
            if frame == "2":
                websocket.send("3")
        except (WebSocketException, OSError):
            frame = ""
        if not frame:
            return received
        received.append(str(frame))


def send_until_blocked(client: RawClient, other: RawClient) -> memoryview:
    """
    Send large events until the worker reads no more, which has to be before it has 50 MB.

    Returns:
        What of the last event is still to be sent; nothing if the worker reads it all.
    """
    text = '42["nothing","{}"]'.format("x" * 10**6)
    event = ABNF.create_frame(text, ABNF.OPCODE_TEXT).format()
    for _ in range(50):
        left = memoryview(event)
        while left:
            sent = client.try_to_send_now(left)
            rounds = 0
            while sent == 0 and rounds < 50:  # in which the worker could read
                state(other)
                sent = client.try_to_send_now(left)
                rounds += 1
            if sent == 0:
                return left
            left = left[sent:]
    return memoryview(b"")


# -- connections without a socket -------------------------------------------------------------


def test_a_connection_that_sends_no_connect_ends(worker: Worker, other: RawClient) -> None:
    websocket = open_websocket(worker.url)

    assert set(receive_to_the_end(websocket)) <= {"2"}
    assert state(other)["refusals"]["connect_timeout"] >= 1


def test_so_does_one_that_polls(worker: Worker, other: RawClient) -> None:
    address = f"{worker.url}/socket.io/?EIO=4&transport=polling"
    with urlopen(address, timeout=30) as opened:
        address += f"&sid={json.loads(opened.read()[1:])['sid']}"

    def poll_on() -> None:
        while True:
            with urlopen(address, timeout=30) as response:
                response.read()

    with pytest.raises(HTTPError, match="400") as caught:
        poll_on()
    caught.value.close()


def test_a_client_that_is_refused_is_disconnected(worker: Worker, other: RawClient) -> None:
    before = state(other)["refusals"].get("connect_timeout", 0)
    websocket = open_websocket(worker.url)
    for namespace in ("", "/chat,", "/nowhere,"):
        websocket.send(f'40{namespace}{{"refuse":true}}')

    received = receive_to_the_end(websocket)

    assert [frame[:2] for frame in received if frame != "2"] == ["44"] * 3
    assert state(other)["refusals"].get("connect_timeout", 0) == before  # it has asked


def test_a_client_that_is_refused_in_one_namespace_stays_in_another(worker: Worker) -> None:
    with RawClient(worker.url) as client:
        client.send('40/chat,{"refuse":true}')
        later = open_websocket(worker.url)
        later.send('40{"refuse":true}')
        receive_to_the_end(later)

        assert client.survives()


def test_a_client_that_leaves_its_last_namespace_is_disconnected(worker: Worker) -> None:
    with RawClient(worker.url) as client, RawClient(worker.url) as stays:
        client.send("41")
        stays.send("41")
        stays.send("40/chat,")

        with pytest.raises(EOFError):
            client.receive()

        assert stays.survives()


def test_a_connect_handler_may_take_longer(worker: Worker, other: RawClient, gate: str) -> None:
    websocket = open_websocket(worker.url)
    websocket.send(f'40{{"hold":"{gate}"}}')
    receive_to_the_end(open_websocket(worker.url))

    other.request("post", f"/release/{gate}")

    while (frame := websocket.recv()) == "2":
        websocket.send("3")
    assert str(frame).startswith('40{"sid"')
    websocket.shutdown()  # type: ignore[no-untyped-call]


def test_a_connection_that_has_ended_and_is_kept_open_by_its_client_is_cut() -> None:
    """Its writer would wait for a client that does not read, for ever."""
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
    with (
        start(ROOMS_WAITING_TIMEOUT=60.0, ping_timeout=1) as (worker,),
        RawClient(worker.url) as other,
        RawClient(worker.url, sockopt=small) as client,
    ):
        before = state(other)
        client.request("put", "/join/all")
        other.request("post", "/say/all/1000000/12")

        # No answer to a ping comes.
        while client.sid not in [one["sid"] for one in state(other)["gone"]]:
            pass
        while state(other)["websockets"] == before["websockets"]:
            pass


# -- event handlers ---------------------------------------------------------------------------


def test_the_event_handlers_of_a_connection_are_bounded(
    worker: Worker, other: RawClient, gate: str
) -> None:
    before = state(other)
    with RawClient(worker.url) as client:
        asked = [client.ask("hold", gate) for _ in range(HANDLERS + 3)]

        for one in asked[HANDLERS:]:
            refusal = client.answer(one)
            assert (refusal["statusCode"], "message" in refusal["body"]) == (429, True)
        now = state(other)
        assert now["handled"][gate] == HANDLERS
        assert now["refusals"]["concurrent_events"] >= 3
        if MODE == "threading":
            assert now["threads"] < before["threads"] + 3 * HANDLERS

        other.request("post", f"/release/{gate}")
        assert [client.answer(one) for one in asked[:HANDLERS]] == [gate] * HANDLERS
        assert client.answer(client.ask("echo", 1)) == [1]


def test_a_connection_is_not_read_while_too_many_run(gate: str) -> None:
    """So a burst of events is served whole, and runs side by side as far as it may."""
    with (
        start(ROOMS_WAITING_TIMEOUT=60.0) as (worker,),
        RawClient(worker.url) as client,
        RawClient(worker.url) as other,
    ):
        asked = [client.ask("hold", gate) for _ in range(20 * HANDLERS)]
        while state(other)["handled"].get(gate, 0) < HANDLERS:
            pass
        # What more is sent stays with the client, once the network holds no more.
        rest = send_until_blocked(client, other)

        other.request("post", f"/release/{gate}")

        assert rest
        client.send_rest(rest)
        assert [client.answer(one) for one in asked] == [gate] * len(asked)


def test_a_connection_that_is_not_read_has_not_timed_out(gate: str) -> None:
    """Its answers to pings are among what is not read."""
    with (
        start(ROOMS_WAITING_TIMEOUT=60.0, ping_timeout=1) as (worker,),
        RawClient(worker.url) as client,
    ):
        client.request("put", "/join/all")
        asked = [client.ask("hold", gate) for _ in range(HANDLERS + 1)]
        for _ in range(3):
            clock = open_websocket(worker.url)
            clock.send("40")
            while clock.recv() != "2":
                pass
            clock.shutdown()  # type: ignore[no-untyped-call]
            with RawClient(worker.url) as other:  # or python-engineio has nothing to write
                other.request("post", "/say/all/1/1")
        with RawClient(worker.url) as other:
            other.request("post", f"/release/{gate}")

        assert [client.answer(one) for one in asked] == [gate] * len(asked)


def test_a_client_that_goes_silent_has_timed_out() -> None:
    """As one without a network does: nothing says that it has gone, and it answers no ping."""
    with (
        start(ping_timeout=1) as (worker,),
        RawClient(worker.url) as silent,
        RawClient(worker.url) as other,
    ):
        deadline = time.monotonic() + PATIENCE
        while not (gone := state(other)["gone"]):
            assert time.monotonic() < deadline

        assert gone == [{"sid": silent.sid, "reason": "ping timeout"}]


def test_slots_are_taken_and_given_back() -> None:
    slots, waited = Slots(2), []

    def wait() -> bool:
        waited.append(1)
        if len(waited) == 3:
            slots.release()
        return len(waited) < 5

    assert [slots.take_patiently(0, wait) for _ in range(3)] == [True, True, False]
    assert slots.take_patiently(60, wait)
    assert len(waited) == 3
    assert not slots.take_patiently(60, wait)
    assert len(waited) == 5


def test_an_application_that_is_dropped_is_not_kept_by_its_connections() -> None:
    """A test suite makes hundreds, and seldom disconnects every client."""
    app = make_app()
    engine = Rooms(app).socketio.server.eio
    engine.sockets["session"] = EngineSocket(engine, "session")
    environ = {"flask.app": app, "QUERY_STRING": "EIO=4", "REMOTE_ADDR": "127.0.0.1"}
    engine._trigger_event("connect", "session", environ, run_async=False)
    assert engine.sockets["session"].queue.eio_sid == "session"  # it is known, and watched

    dropped = weakref.ref(app)
    del app, engine, environ
    gc.collect()

    assert dropped() is None
