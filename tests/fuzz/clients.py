"""Clients that send noise, each in a thread of its own, until they are told to leave."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from websocket import ABNF, WebSocketException, WebSocketTimeoutException, create_connection

from tests.fuzz.noise import Noise
from tests.support.raw import RawClient

#: Seconds after which a client that cannot send looks whether its connection has ended.
STUCK = 5.0

#: Characters of a request: more would be no request, but a message that is too large.
LARGEST = 500_000

#: What ends a connection, and not the run.
ENDS = (WebSocketException, OSError, EOFError, http.client.HTTPException)


class NoisyClient(ABC, threading.Thread):
    """
    A client that sends noise.

    Args:
        url: The worker.
        noise: What to send.
        patience: Seconds within which a worker takes, or says, something, or ends the connection.

    Attributes:
        counts: What it has done, and how often.
        complaints: What must not happen.
    """

    def __init__(self, url: str, noise: Noise, patience: float) -> None:
        super().__init__(daemon=True)
        self.noise = noise
        self.patience = patience
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._url = url
        self._leaving = threading.Event()

    def leave(self) -> None:
        """Have the client end its connections soon."""
        self._leaving.set()

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to leave."""
        return self._leaving.is_set()

    def run(self) -> None:
        while not self.is_leaving:
            self.counts["connections"] += 1
            try:
                self._use_connection()
            except TimeoutError as error:
                self.complaints.append(f"A connection is neither served nor ended: {error!r}")
            except ENDS:
                self.counts["connections ended by the worker"] += 1
                self._leaving.wait(0.01)
            except Exception as error:  # noqa: BLE001 - it makes the run fail
                self.complaints.append(f"A client has failed: {error!r}")
                return

    @abstractmethod
    def _use_connection(self) -> None:
        """Connect, send noise, and leave."""


class FrameClient(NoisyClient):
    """Sends packets over a WebSocket, some in frames that no client sends."""

    def _use_connection(self) -> None:
        address = self._url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        websocket = create_connection(address, timeout=self.patience)
        tcp = websocket.sock
        assert tcp is not None
        websocket.settimeout(STUCK)
        try:
            if self.noise.happens(0.9):
                websocket.send("40")
            reads = self.noise.happens(0.9)
            while not self.is_leaving and self.noise.happens(0.95):
                for _ in range(20):
                    # Not by its own method, which tries without an end.
                    tcp.sendall(self._frame().format())
                    self.counts["packets"] += 1
                if reads:
                    self._read(websocket)
        except TimeoutError:
            _wait_for_end(tcp, self.patience)
        finally:
            websocket.shutdown()  # type: ignore[no-untyped-call]

    def _frame(self) -> ABNF:
        text = self.noise.text()
        if self.noise.happens(0.1):
            return ABNF.create_frame(self.noise.junk(), ABNF.OPCODE_BINARY)
        if self.noise.happens(0.01):
            code = self.noise.random.choice(sorted(ABNF.OPCODES))
            return _frame(self.noise.junk(), code, self.noise.random.randrange(2))
        return _frame(text, ABNF.OPCODE_TEXT)

    def _read(self, websocket: Any) -> None:
        websocket.settimeout(0.02)
        with suppress(WebSocketTimeoutException):
            for _ in range(60):
                message = websocket.recv()
                if not message:
                    raise EOFError
                if message == "2":
                    websocket.send("3")
        websocket.settimeout(STUCK)


def _wait_for_end(tcp: socket.socket, patience: float) -> None:
    """Return at the end of a connection that cannot be sent to; the worker misses our pongs."""
    tcp.settimeout(patience)
    while tcp.recv(2**16):
        pass


def _frame(data: bytes, code: int, is_last: int = 1) -> ABNF:
    # Not create_frame(), which encodes the text and checks the rest.
    return ABNF(is_last, 0, 0, 0, code, 1, data)


class PollingClient(NoisyClient):
    """Sends bodies to a polling connection, and handshakes that are none."""

    def _use_connection(self) -> None:
        if self.noise.happens(0.3):
            self._request("GET", "/socket.io/?" + quote(self.noise.query(), "=&%"))
            return
        path = "/socket.io/?EIO=4&transport=polling"
        opened = self._request("GET", path)
        packet = opened.partition(b"\x1e")[0]  # a ping may follow on a machine that is slow
        path += f"&sid={json.loads(packet[1:])['sid']}"
        with suppress(*ENDS):
            self._request("POST", path, b"40")
            for _ in range(self.noise.random.randrange(5)):
                self._request("POST", path, self.noise.body())
                self.counts["bodies"] += 1
                self._request("GET", path)
        if self.noise.happens(0.7):  # else it is missed when it does not answer a ping
            self._request("POST", path, b"1")

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        address = urlsplit(self._url)
        assert address.hostname is not None
        connection = http.client.HTTPConnection(
            address.hostname, address.port, timeout=self.patience
        )
        kind = self.noise.random.choice(("text/plain", "application/json", "multipart/form-data"))
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            data = answer.read()
            self.counts[f"{answer.status} over HTTP"] += 1
            return data if answer.status == 200 else b'0{"sid":"refused"}'
        finally:
            connection.close()


class TcpClient(NoisyClient):
    """Goes away in the middle of a request, or sends no WebSocket where it has asked for one."""

    # Bytes that are no HTTP at all are met by the server in front, which logs each line of them.
    STARTS: ClassVar = (
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n",
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 999\r\n\r\n",
    )

    def _use_connection(self) -> None:
        address = urlsplit(self._url)
        assert address.port is not None
        with socket.create_connection((address.hostname, address.port), self.patience) as tcp:
            start = self.noise.random.choice(self.STARTS)
            tcp.sendall(start + (self.noise.junk()[:900] if start.endswith(b"\r\n\r\n") else b""))
        self._leaving.wait(0.1)  # there is no answer to wait for


class RequestClient(NoisyClient):
    """Sends socket requests of every shape; each has to be answered, and ends no connection."""

    def _use_connection(self) -> None:
        with RawClient(self._url) as client:
            while not self.is_leaving and self.noise.happens(0.98):
                ids = [(client.ask(*event), event) for event in self._requests()]
                self.counts["requests"] += len(ids)
                if self.noise.happens(0.02):
                    return  # without its answers
                for id, event in ids:
                    self._check(client, id, event)

    def _requests(self) -> list[list[Any]]:
        made = [self.noise.request() for _ in range(self.noise.random.randrange(1, 40))]
        return [one for one in made if len(json.dumps(one)) < LARGEST]

    def _check(self, client: RawClient, id: int, event: list[Any]) -> None:
        try:
            answer = client.answer(id)
        except EOFError:
            self.complaints.append(f"No answer to {_brief(event)}")
            raise
        status = answer.get("statusCode") if isinstance(answer, dict) else None
        if not isinstance(status, int) or {"body", "headers"} - answer.keys() or status >= 500:
            self.complaints.append(f"{_brief(answer)} is the answer to {_brief(event)}")
        self.counts[f"answers with {status}"] += 1


def _brief(value: Any) -> str:
    return f"{value!r:.500}"
