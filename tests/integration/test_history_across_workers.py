"""Pages that move between workers while others speak, as the documentation has it."""

from __future__ import annotations

import json
import threading

import pytest

from tests.support.brokers import Broker
from tests.support.documents import blocks
from tests.support.javascript import Node, require_npm
from tests.support.workers import Worker, cluster

WITH_ROOMS_JS, PLAIN = blocks("docs/history.md", "js")

#: Two pages with the code of the documentation. `enter(url)` moves both, until they have caught up.
BEGIN = """(async () => {
  const { rooms } = await load("%(url)s/js/rooms.js"), { io } = npm("socket.io-client");
  const begin = () => io("%(url)s", { transports: ["websocket"], forceNew: true });
  globalThis.pages = { plain: [], withRoomsJs: [] };
  const sockets = { plain: begin(), withRoomsJs: begin() };
  const api = rooms(sockets.withRoomsJs);

  await (async (socket, show) => {
    %(with_rooms_js)s
  })(sockets.withRoomsJs, (text) => pages.withRoomsJs.push(text));
  ((socket, show) => {
    %(plain)s
  })(sockets.plain, (text) => pages.plain.push(text));

  const [connected] = sockets.plain.listeners("connect");
  sockets.plain.off("connect");
  const back = {
    plain: () => new Promise((resolve) =>
      sockets.plain.once("connect", () => connected().then(resolve))),
    withRoomsJs: () => new Promise((resolve) => {
      const end = api.restored(() => (end(), resolve()));
    }),
  };
  globalThis.enter = (url) => Promise.all(Object.entries(sockets).map(([name, socket]) => {
    const caughtUp = back[name]();
    socket.disconnect();
    socket.io.uri = url;
    socket.connect();
    return caughtUp;
  }));
  globalThis.leave = () => Object.values(sockets).forEach((socket) => socket.disconnect());
})()"""

TEXTS = 60


def speak(worker: Worker, name: str) -> None:
    for number in range(0, TEXTS, 5):
        worker.post("/talks/1", texts=[f"{name} {one}" for one in range(number, number + 5)])


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_pages_that_move_while_others_speak_lose_and_double_nothing(
    broker: str, redis_broker: Broker, request: pytest.FixtureRequest
) -> None:
    """The history is kept in Redis, whatever the workers tell each other by."""
    url = request.getfixturevalue(broker).url
    kept = json.dumps({"ROOMS_HISTORY_URL": redis_broker.url})
    with (
        cluster(url, 2, "tests.support.history_app", "", "--config", kept) as workers,
        Node(require_npm("socket.io-client")) as node,
    ):
        code = {"with_rooms_js": WITH_ROOMS_JS, "plain": PLAIN}
        node.run(BEGIN % {"url": workers[0].url, **code})
        node.run(f"enter('{workers[0].url}').then(() => 0)")
        threads = [
            threading.Thread(target=speak, args=[worker, f"worker {number}"])
            for number, worker in enumerate(workers)
        ]
        for thread in threads:
            thread.start()
        turn = 0
        while any(thread.is_alive() for thread in threads):
            turn += 1
            node.run(f"enter('{workers[turn % 2].url}').then(() => 0)")
        for thread in threads:
            thread.join()
        node.run(f"enter('{workers[0].url}').then(() => 0)")
        pages = node.run("(leave(), pages)")

    said = sorted(f"worker {w} {n}" for w in range(2) for n in range(TEXTS))
    assert [sorted(shown) for shown in pages.values()] == [said, said]
