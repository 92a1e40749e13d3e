"""A Socket.IO client that sends raw frames, as a hostile one may."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from types import TracebackType
from typing import Any

from websocket import ABNF, WebSocket, WebSocketException, create_connection

#: Seconds for anything that is waited for.
TIMEOUT = 30.0


class Refused(Exception):
    """A client may not connect; the argument is the answer that it got."""


class RawClient:
    """
    A WebSocket to a worker, connected to the default namespace; a context manager.

    Args:
        url: The worker.
        auth: What to send with the connection.
        connect: Whether to connect to the namespace.
        timeout: Seconds for anything that is waited for.
        options: As websocket-client takes them: `header`, `origin`, `cookie`.

    Attributes:
        sid: The socket ID.

    Raises:
        Refused: The worker does not want this client.
    """

    def __init__(
        self,
        url: str,
        auth: Any = None,
        *,
        connect: bool = True,
        timeout: float = TIMEOUT,
        **options: Any,
    ) -> None:
        address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        self._websocket: WebSocket = create_connection(address, timeout=timeout, **options)
        self._last_id = 10**6  # lower ones are the tests' own
        self._answers: dict[int, Any] = {}
        try:
            assert self.receive()[0] == "0"
            self.sid = self._connect(auth) if connect else ""
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, without a packet that says so."""
        self._websocket.shutdown()  # type: ignore[no-untyped-call]

    def _connect(self, auth: Any) -> str:
        self.send("40" if auth is None else f"40{json.dumps(auth)}")
        answer = self.receive()
        handshake = json.loads(answer[2:])
        if not answer.startswith("40"):
            raise Refused(handshake)
        return str(handshake["sid"])

    def give_up_after(self, seconds: float) -> None:
        """Have a send fail that takes longer."""
        self._websocket.settimeout(seconds)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the handshake's response, with names in lower case."""
        headers: dict[str, str] = self._websocket.getheaders() or {}
        return headers

    def send(self, frame: str | bytes) -> None:
        """Send a frame: text or binary, as the type says."""
        code = ABNF.OPCODE_TEXT if isinstance(frame, str) else ABNF.OPCODE_BINARY
        self._websocket.send(frame, code)

    def try_to_send_now(self, data: memoryview) -> int:
        """Send as many bytes as the network takes, and return how many that were."""
        sock = self._websocket.sock
        assert sock is not None
        sock.settimeout(0)
        try:
            return sock.send(data)
        except BlockingIOError:
            return 0
        finally:
            sock.settimeout(TIMEOUT)

    def send_rest(self, data: memoryview) -> None:
        """Send the rest of a frame."""
        assert self._websocket.sock is not None
        self._websocket.sock.sendall(data)

    def send_without_end(self, piece: str, times: int) -> None:
        """Send a text in pieces, of which none is the last, for as long as they are taken."""
        with suppress(WebSocketException, OSError):
            for number in range(times):
                code = ABNF.OPCODE_CONT if number else ABNF.OPCODE_TEXT
                self._websocket.send_frame(ABNF.create_frame(piece, code, fin=0))

    def ping(self) -> None:
        """Send a ping of WebSocket's own."""
        self._websocket.ping()

    def send_as_text(self, frame: bytes) -> None:
        """Send bytes as a text frame, whether they are UTF-8 or not."""
        self._websocket.send_frame(ABNF.create_frame(frame, ABNF.OPCODE_TEXT))

    def receive(self) -> str:
        """Return the next text frame that is no ping; raise EOFError at the end."""
        while True:
            try:
                frame = self._websocket.recv()
            except (WebSocketException, OSError) as error:
                raise EOFError from error
            if frame == "2":
                self.send("3")
            elif isinstance(frame, str) and frame:
                return frame
            elif not frame:
                raise EOFError

    def ask(self, *event: Any) -> int:
        """Send an event, and return the ID of the acknowledgement to wait for."""
        self._last_id += 1
        self.send(f"42{self._last_id}{json.dumps(event)}")
        return self._last_id

    def answer(self, id: int) -> Any:
        """Return what the event of that ID is acknowledged with."""
        while id not in self._answers:
            frame = self.receive()
            if acknowledged := re.match(r"43(\d+)(\[.*)", frame, re.DOTALL):
                self._answers[int(acknowledged[1])] = json.loads(acknowledged[2])[0]
        return self._answers.pop(id)

    def request(self, verb: str, url: str, *data: Any) -> Any:
        """Make a socket request, and return its acknowledgement."""
        payload = {"url": url, "data": data[0]} if data else {"url": url}
        return self.answer(self.ask(verb, payload))

    def receive_binary(self) -> bytes:
        """Return the next frame, which has to be a binary one."""
        frame = self._websocket.recv()
        assert isinstance(frame, bytes)
        return frame

    def survives(self) -> bool:
        """Whether the connection is still open: it answers, or it ends."""
        for _ in range(2):  # the first may be taken for the end of what was sent before
            self.try_to_send("40/chat,")
        try:
            while not self.receive().startswith(("40/chat,", "44/chat,")):
                pass
        except EOFError:
            return False
        return True

    def try_to_send(self, frame: str) -> bool:
        """Send a text frame; False where the connection has ended."""
        try:
            self.send(frame)
        except (WebSocketException, OSError):
            return False
        return True
