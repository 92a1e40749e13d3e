"""Real Socket.IO clients for the tests: python-socketio's, and the JavaScript one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any

import socketio

from example_app.visitor import OrderedClient
from flask_rooms.client.connecting import notice_early_end

#: Seconds for anything that is waited for.
TIMEOUT = 20.0

JAVASCRIPT = Path(__file__).parent / "js" / "client.js"


class Client:
    """
    A Python client that is connected over a WebSocket.

    Args:
        url: The worker to connect to.
        namespaces: Where to connect; the methods are for the first unless they name another.
        answer: Returns what an event is acknowledged with.
        auth: What the connect handlers get as `auth`.
        options: As python-socketio's client takes them.
    """

    def __init__(
        self,
        url: str,
        *namespaces: str,
        answer: Callable[..., Any] = lambda event, *args: None,
        auth: Any = None,
        **options: Any,
    ) -> None:
        self._client = OrderedClient(handle_sigint=False, reconnection=False, **options)
        self._namespaces = list(namespaces) or ["/"]
        self._answer = answer
        self._received: dict[str, Queue[list[Any]]] = {}
        for namespace in self._namespaces:
            self._received[namespace] = Queue()
            self._listen(namespace)
        notice_early_end(self._client)
        self._client.connect(
            url,
            auth=auth,
            transports=["websocket"],
            namespaces=self._namespaces,
            wait_timeout=TIMEOUT,
        )
        self._websocket = self._client.eio.ws
        hang_up_at_once(self._client)
        self.sid = self.sid_in(self._namespaces[0])

    def sid_in(self, namespace: str) -> str:
        """Return the socket ID of a namespace."""
        return str(self._client.get_sid(namespace))

    def call(self, event: str, *args: Any, namespace: str | None = None) -> Any:
        """Send an event, and return what it is acknowledged with."""
        namespace = namespace or self._namespaces[0]
        return self._client.call(event, args, namespace=namespace, timeout=TIMEOUT)

    def request(self, verb: str, url: str, *, namespace: str | None = None, **data: Any) -> Any:
        """Send a socket request, and return the body of a good answer."""
        answer = self.call(verb, {"url": url, "data": data}, namespace=namespace)
        assert answer["statusCode"] == 200, answer
        return answer["body"]

    def receive(self, namespace: str | None = None) -> list[Any]:
        """Return the next event with its arguments; ["disconnect"] when the socket has ended."""
        return self._received[namespace or self._namespaces[0]].get(timeout=TIMEOUT)

    def send(self, event: str, *args: Any) -> None:
        """Send an event without asking for an acknowledgement."""
        self._client.emit(event, args, namespace=self._namespaces[0])

    def leave(self) -> None:
        """Disconnect from all namespaces, and keep the thread that receives."""
        with suppress(RuntimeError):  # the server does so at the same moment
            self._client.disconnect()

    def disconnect(self) -> None:
        """Leave, and close the connection."""
        self.leave()
        self._websocket.shutdown()

    def _listen(self, namespace: str) -> None:
        received = self._received[namespace]

        def hear(event: str, *args: Any) -> Any:
            received.put([event, *args])
            return self._answer(event, *args)

        self._client.on("*", hear, namespace=namespace)
        self._client.on("disconnect", lambda *_: received.put(["disconnect"]), namespace=namespace)


@contextmanager
def connection(url: str, **options: Any) -> Iterator[Client]:
    """Connect a client for as long as the context lasts; the options are those of Client."""
    client = Client(url, **options)
    try:
        yield client
    finally:
        client.disconnect()


def hang_up_at_once(client: socketio.Client) -> None:
    """Have a client that is connected not wait for the server's goodbye when it disconnects."""
    websocket = client.eio.ws

    def hang_up() -> None:
        # Not every server says goodbye, and the client's own close would wait three seconds for it.
        if websocket.sock is not None:
            # The socket itself stays until the thread that reads from it has noticed.
            with suppress(OSError):
                websocket.sock.shutdown(socket.SHUT_RDWR)
        # The thread that writes may have taken the end of the queue before it was to look for it,
        # and would wait for half a minute.
        client.eio.queue.put(None)

    websocket.close = hang_up


class JavaScriptClient:
    """
    The JavaScript client of npm, in a Node process that it controls, as a context manager.

    Args:
        url: The worker to connect to.
        node_modules: Where npm has put socket.io-client.
    """

    def __init__(self, url: str, node_modules: Path) -> None:
        node = shutil.which("node")
        assert node is not None
        self._received: deque[list[Any]] = deque()
        self._process = subprocess.Popen(
            [node, str(JAVASCRIPT), str(node_modules / "socket.io-client"), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.sid = ""

    def __enter__(self) -> JavaScriptClient:
        try:
            self.sid = self._next("connected")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, event: str, *args: Any) -> Any:
        """Send an event, and return what it is acknowledged with."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([event, *args]) + "\n")
        self._process.stdin.flush()
        return self._next("acknowledged")

    def request(self, verb: str, url: str, **data: Any) -> Any:
        """Send a socket request, and return the body of a good answer."""
        answer = self.call(verb, {"url": url, "data": data})
        assert answer["statusCode"] == 200, answer
        return answer["body"]

    def receive(self) -> list[Any]:
        """Return the next event with its arguments; ["disconnect"] when the socket has ended."""
        return self._received.popleft() if self._received else self._next("received")

    def close(self) -> None:
        """End the process; it has nothing to lose."""
        self._process.kill()
        self._process.communicate()

    def _next(self, kind: str) -> Any:
        """Return what the process says next of *kind*; what it has received meanwhile is kept."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if kind in message:
                return message[kind]
            self._received.append(message["received"])
        raise EOFError("The JavaScript client has ended; it says why on the standard error.")


def find_node_modules() -> Path | None:
    """Return the directory with socket.io-client, or None when Node or the client is missing."""
    named = os.environ.get("ROOMS_NODE_MODULES")
    checkout = Path(__file__).parents[2] / ".dev" / "node" / "node_modules"
    directory = Path(named) if named else checkout
    if shutil.which("node") is None or not (directory / "socket.io-client").is_dir():
        return None
    return directory
