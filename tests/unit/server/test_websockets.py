"""The WebSockets of a worker: bounded on their way in, whole on their way out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from websocket import WebSocketTimeoutException

from tests.support.raw import RawClient
from tests.support.raw_polling import PollingClient
from tests.support.workers import Worker, cluster

#: What no buffers of the system hold, on both sides together, in bytes.
MUCH = 64 * 2**20
#: Seconds after which a client that sends is taken for stopped.
STOPPED = 3.0


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A worker that reads nothing from a connection while the line of its requests is full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAITING_TIMEOUT", "60")
        with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
            yield worker


@pytest.fixture
def impatient() -> Iterator[Worker]:
    """A worker that waits only a moment before it reads on."""
    with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
        yield worker


@pytest.fixture
def other(worker: Worker) -> Iterator[RawClient]:
    with RawClient(worker.url) as other:
        yield other


@pytest.fixture
def name() -> str:
    return uuid4().hex


def handshake(worker: Worker, *headers: str, of: str = "") -> list[str]:
    """Return the head of the response to a request with these headers, line by line."""
    where = urlsplit(worker.url)
    path = f"/socket.io/?EIO=4&transport=websocket{of}"
    head = [f"GET {path} HTTP/1.1", "Host: here", *headers, "", ""]
    with socket.create_connection((where.hostname, where.port or 80), timeout=30) as tcp:
        tcp.sendall("\r\n".join(head).encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += tcp.recv(4096)
    return received.partition(b"\r\n\r\n")[0].decode().split("\r\n")


#: The handshake that RFC 6455 (1.3) has for an example.
EXAMPLE = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def test_a_handshake_is_answered_as_the_standard_has_it(worker: Worker) -> None:
    asked = [f"{name}: {value}" for name, value in EXAMPLE.items()]
    status, *headers = handshake(worker, *asked, "Sec-WebSocket-Extensions: permessage-deflate")

    assert status == "HTTP/1.1 101 Switching Protocols"
    assert sorted(headers) == [
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Upgrade: websocket",
    ]


NO_HANDSHAKES = [
    {"Sec-WebSocket-Key": ""},
    {"Sec-WebSocket-Version": ""},
    {"Sec-WebSocket-Version": "8"},
    {"Sec-WebSocket-Version": "13, 8"},
    {"Upgrade": "h2c"},
    {"Connection": "keep-alive"},
]


@pytest.mark.parametrize("wrong", NO_HANDSHAKES)
def test_what_is_no_handshake_is_refused(worker: Worker, wrong: dict[str, str]) -> None:
    asked = [f"{name}: {value}" for name, value in (EXAMPLE | wrong).items() if value]

    status, *_ = handshake(worker, *asked)

    assert status.split()[1] == "400"


@pytest.mark.parametrize("wrong", NO_HANDSHAKES[:4])  # the others are requests for packets
def test_so_is_what_is_none_for_a_connection_that_polls(
    worker: Worker, wrong: dict[str, str]
) -> None:
    """Once, where a second response would be an error with a traceback."""
    asked = [f"{name}: {value}" for name, value in (EXAMPLE | wrong).items() if value]
    with PollingClient(worker.url) as client:
        status, *_ = handshake(worker, *asked, of=client.address[client.address.index("&sid=") :])

        assert status.split()[1] == "400"
        client.post('420["get",{"url":"/nowhere"}]')
        assert client.receive(1)[0].startswith("430")


def test_a_worker_receives_no_more_than_it_can_take(
    worker: Worker, other: RawClient, name: str
) -> None:
    """While the line of a socket is full, its client cannot send on."""
    with RawClient(worker.url) as client:
        client.give_up_after(STOPPED)
        with pytest.raises(WebSocketTimeoutException):  # noqa: PT012 - whichever it is
            for _ in range(MUCH // 50_000):
                client.ask("post", {"url": f"/hold/{name}", "data": "x" * 50_000})
        other.request("post", f"/release/{name}")


def test_what_a_client_has_sent_before_it_went_is_not_run(impatient: Worker, name: str) -> None:
    with RawClient(impatient.url) as client:
        client.request("post", f"/join/{name}")
        for _ in range(20):  # the client does not read them, so the worker notices that it goes
            client.ask("get", {"url": f"/large/{name}/1000000"})
        for _ in range(2000):
            client.ask("get", {"url": f"/large/{name}/1"})
    with RawClient(impatient.url) as other:
        while [name] not in [one["rooms"] for one in other.request("get", "/gone")["body"]]:
            pass  # each is a round trip

        assert other.request("get", f"/runs/{name}")["body"][0] < 1000


def test_a_large_message_arrives_whole_at_a_client_that_is_late(
    worker: Worker, other: RawClient, name: str
) -> None:
    with RawClient(worker.url) as client:
        asked = client.ask("get", {"url": f"/large/{name}/8000000"})
        after = client.ask("get", {"url": f"/runs/{name}"})
        while not other.request("get", f"/runs/{name}")["body"][0]:
            pass  # until the worker has begun to send

        assert client.answer(asked)["body"] == "x" * 8_000_000
        assert client.answer(after)["statusCode"] == 200
