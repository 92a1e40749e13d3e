"""With standing requests clients are in their rooms again after a kill and after a deploy."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
import socketio

from flask_rooms.client import AsyncRoomsClient, Repetition, RoomsClient
from tests.support.brokers import Broker
from tests.support.clients import TIMEOUT
from tests.support.javascript import Node, require_npm
from tests.support.workers import Worker, cluster

ROOMS = ("one", "two", "three")

#: After each reconnect come what the standing requests came to, and the rooms of the socket, which
#: were asked for before it.
NODE = """(async () => {
  const module = await load("%(url)s/js/rooms.js");
  globalThis.socket = io("%(url)s", { reconnectionDelay: 20, reconnectionDelayMax: 20 });
  globalThis.api = module.rooms(socket, { timeout: 20_000 });
  for (const room of ["one", "two", "three"]) {
    await api.put(`/rooms/${room}`, null, { standing: true });
  }
  await api.put("/rooms/once");
  globalThis.said = new Promise((resolve) => socket.on("said", resolve));
  socket.on("disconnect", () => {
    globalThis.rooms = api.get("/rooms");
    globalThis.back = new Promise((resolve) => {
      const end = api.restored((repetitions) => (end(), resolve(repetitions)));
    });
    gone();
  });
  globalThis.expect = () => {
    globalThis.left = new Promise((resolve) => (globalThis.gone = resolve));
  };
})()"""


class InNode:
    """A page."""

    def __init__(self, node: Node, worker: Worker) -> None:
        self._node = node
        node.run("globalThis.io = npm('socket.io-client').io; 0")
        node.run(NODE % {"url": worker.url})

    def move(self, worker: Worker) -> None:
        """Have it connect to another worker when it has lost this one."""
        self._node.run(f"socket.io.uri = '{worker.url}'; expect(); 0")

    def come_back(self) -> tuple[list[Any], list[str]]:
        """Return what the standing requests came to, and the rooms."""
        came = self._node.run(
            "left.then(() => back).then((all) => all.map("
            "({ url, response, error, kept }) => [url, (response ?? error).status, kept]))"
        )
        return came, self._node.run("rooms.then(({ body }) => body)")

    def close(self) -> str:
        """Disconnect, and return what was said."""
        said: str = self._node.run("said.then((text) => (socket.disconnect(), text))")
        return said


class InPython:
    """A program with threads."""

    def __init__(self, worker: Worker) -> None:
        self._said = SimpleQueue[str]()
        self._came = SimpleQueue[list[Repetition]]()
        self._connections: list[Any] = []
        self._sio: Any = self._make(reconnection_delay=0.02, randomization_factor=0)
        self._sio.on("connect", lambda: self._connections.append(self._sio.eio.ws))
        self._sio.on("said", self._hear)
        self._api.restored(self._came.put)
        where = {"transports": ["websocket"], "wait_timeout": TIMEOUT}
        self._wait(self._sio.connect(worker.url, **where))
        for room in ROOMS:
            self._wait(self._api.put(f"/rooms/{room}", standing=True))
        self._wait(self._api.put("/rooms/once"))

    def _make(self, **options: Any) -> Any:
        sio = socketio.Client(handle_sigint=False, **options)
        self._api: Any = RoomsClient(sio, timeout=TIMEOUT)
        return sio

    def _wait(self, value: Any) -> Any:
        return value

    def _hear(self, text: str) -> None:
        self._said.put(text)

    def move(self, worker: Worker) -> None:
        """Have it connect to another worker when it has lost this one."""
        self._sio.connection_url = worker.url

    def come_back(self) -> tuple[list[Any], list[str]]:
        """Return what the standing requests came to, and the rooms."""
        repetitions = self._came.get(timeout=TIMEOUT)
        results = []
        for one in repetitions:
            answer: Any = one.response or one.error
            results.append([one.url, answer.status, one.kept])
        return results, self._wait(self._api.get("/rooms")).body

    def close(self) -> str:
        """Disconnect, and return what was said."""
        said = self._said.get(timeout=TIMEOUT)
        self._wait(self._sio.disconnect())
        self._close_connections()
        return said

    def _close_connections(self) -> None:
        for one in self._connections:
            one.shutdown()  # python-engineio leaves one open that was lost


class InAsyncio(InPython):
    """A program with asyncio."""

    def __init__(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        super().__init__(worker)

    def _make(self, **options: Any) -> Any:
        async def make() -> Any:
            sio = socketio.AsyncClient(handle_sigint=False, **options)
            self._api = AsyncRoomsClient(sio, timeout=TIMEOUT)
            return sio

        return self._wait(make())

    def _wait(self, value: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(value, self._loop).result(TIMEOUT)

    def _close_connections(self) -> None:
        pass


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(TIMEOUT)
    loop.close()


@pytest.mark.skipif(
    os.environ.get("ROOMS_TEST_MODE", "threading") != "threading",
    reason="asyncio does not run in a patched process",
)
def test_clients_are_in_their_rooms_again_after_a_kill_and_after_a_deploy(
    redis_broker: Broker,
) -> None:
    options = ("tests.support.standing_app", "", "--heartbeat", "0.5")
    urls = [f"/rooms/{room}" for room in ROOMS]
    with ExitStack() as stack:
        node = stack.enter_context(Node(require_npm("socket.io-client")))
        loop = stack.enter_context(running_loop())
        first, second, third = stack.enter_context(cluster(redis_broker.url, 3, *options))
        clients: list[InNode | InPython] = [
            InNode(node, first),
            InPython(first),
            InAsyncio(first, loop),
        ]

        for client in clients:
            client.move(second)
        first.kill()
        for client in clients:
            came, rooms = client.come_back()
            assert came == [[url, 200, True] for url in urls]
            assert set(ROOMS) <= set(rooms)
            assert "once" not in rooms

        third.post("/refuse", two=403, three=503)
        for client in clients:
            client.move(third)
        second.terminate()
        for client in clients:
            came, rooms = client.come_back()
            assert came == [[urls[0], 200, True], [urls[1], 403, False], [urls[2], 503, True]]
            assert not {"two", "three", "once"} & set(rooms)

        third.post("/say")
        assert [client.close() for client in clients] == ["hello"] * 3
