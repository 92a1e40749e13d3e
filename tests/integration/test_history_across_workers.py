"""A page that moves between workers while others speak, as the documentation has it."""

from __future__ import annotations

import threading

from tests.support.brokers import Broker
from tests.support.clients import find_node_modules
from tests.support.documents import blocks
from tests.support.javascript import Node, require_npm
from tests.support.workers import Worker, cluster

(PAGE,) = blocks("docs/history.md", "js")

#: Connects, with the code of the documentation, and counts each time that it has caught up.
BEGIN = """(async () => {
  globalThis.shown = [];
  const show = (text) => shown.push(text);
  globalThis.socket = npm("socket.io-client").io("%(url)s", { transports: ["websocket"] });
  %(page)s
  const [connected] = socket.listeners("connect");
  globalThis.enter = (url) => new Promise((resolve) => {
    socket.off("connect");
    socket.once("connect", () => connected().then(resolve));
    socket.disconnect();
    socket.io.uri = url;
    socket.connect();
  });
})()"""

TEXTS = 60


def speak(worker: Worker, name: str) -> None:
    for number in range(0, TEXTS, 5):
        worker.post("/talks/1", texts=[f"{name} {one}" for one in range(number, number + 5)])


def test_a_page_that_moves_while_others_speak_loses_and_doubles_nothing(
    redis_broker: Broker,
) -> None:
    require_npm("socket.io-client")

    modules = find_node_modules()
    assert modules is not None
    with (
        cluster(redis_broker.url, 2, "tests.support.history_app") as workers,
        Node(modules) as page,
    ):
        page.run(BEGIN % {"url": workers[0].url, "page": PAGE})
        page.run(f"enter('{workers[0].url}').then(() => 0)")
        threads = [
            threading.Thread(target=speak, args=[worker, f"worker {number}"])
            for number, worker in enumerate(workers)
        ]
        for thread in threads:
            thread.start()
        turn = 0
        while any(thread.is_alive() for thread in threads):
            turn += 1
            page.run(f"enter('{workers[turn % 2].url}').then(() => 0)")
        for thread in threads:
            thread.join()
        page.run(f"enter('{workers[0].url}').then(() => 0)")
        shown = page.run("(socket.disconnect(), shown)")

    assert sorted(shown) == sorted(f"worker {w} {n}" for w in range(2) for n in range(TEXTS))
