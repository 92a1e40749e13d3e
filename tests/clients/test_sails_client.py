"""sails.io.js 1.2.1 with socket.io-client 4, in Node and in a browser, against real workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.brokers import Broker
from tests.support.javascript import CONSOLES, Console, Node, require_npm
from tests.support.workers import Worker, cluster

# What follows is the same in both: `io` with its eager `io.socket`, and these three.
#
# ask           makes a request, and returns what its callback is given
# hear          returns a function that returns the next message to a socket, as a promise
# RECONNECTING  the options of a socket that reconnects by itself, at once
COMMON = """
globalThis.ask = (socket, method, ...args) => new Promise((resolve) =>
  socket[method](...args, (body, jwr) => resolve({
    body: body instanceof Error ? { error: body.message } : body,
    status: jwr.statusCode, headers: jwr.headers, same: jwr.body === body,
    error: jwr.error instanceof Error ? jwr.error.message : null,
  })));

globalThis.RECONNECTING = {
  reconnection: true, reconnectionDelay: 1, reconnectionDelayMax: 1 };

globalThis.hear = (socket) => {
  const heard = [], waiting = [];
  socket.on("message", (said) => waiting.length ? waiting.shift()(said) : heard.push(said));
  return () => new Promise((resolve) =>
    heard.length ? resolve(heard.shift()) : waiting.push(resolve));
};
"""

# The adapter is the one that the worker serves, and Node takes it as a browser does.
NODE = """(async () => {
  globalThis.io = npm("socket.io-client");
  await load("%(url)s/js/sails-adapter.js");
  npm("sails.io.js")(io);
  io.sails.url = "%(url)s";
  io.sails.environment = "production";
})()"""


@pytest.fixture(scope="module", name="workers")
def _workers(redis_broker: Broker) -> Iterator[list[Worker]]:
    require_npm("socket.io-client", "sails.io.js")
    with cluster(redis_broker.url, 2, "tests.support.clients_app") as workers:
        yield workers


@pytest.fixture(scope="module", name="node")
def _node() -> Iterator[Node]:
    with Node(require_npm("socket.io-client", "sails.io.js")) as node:
        yield node


@pytest.fixture(name="console", params=CONSOLES)
def _console(request: pytest.FixtureRequest, workers: list[Worker]) -> Console:
    """Where sails.io.js is, with its eager socket going to the first worker."""
    if request.param == "chromium":
        tab: Console = request.getfixturevalue("chromium").tab(f"{workers[0].url}/page")
        tell(tab, COMMON)
        return tab
    node: Console = request.getfixturevalue("node")
    tell(node, COMMON)
    node.run(NODE % {"url": workers[0].url})
    return node


def tell(console: Console, statements: str) -> None:
    """Run statements, and ignore their values."""
    console.run(f"{statements}; null")


def ask(console: Console, method: str, *args: Any, socket: str = "io.socket") -> Any:
    """Make a request with one of the socket's methods, and return what it was answered."""
    return console.run(f"ask({socket}, {', '.join(map(json.dumps, (method, *args)))})")


def test_every_verb_is_answered(console: Console) -> None:
    for method in ("get", "post", "put", "patch", "delete"):
        answer = ask(console, method, "/echo?b=2", {"a": "1"})

        assert answer["status"] == 200
        assert answer["same"]
        assert answer["error"] is None
        assert answer["headers"]["content-type"] == "application/json"
        assert answer["body"]["method"] == method.upper()
        in_query = method in ("get", "delete")
        assert answer["body"]["json"] == (None if in_query else {"a": "1"})
        assert answer["body"]["query"] == {"b": "2"} | ({"a": "1"} if in_query else {})


def test_data_can_be_left_out_and_be_an_array(console: Console) -> None:
    assert ask(console, "get", "/echo")["body"]["query"] == {}
    assert ask(console, "post", "/echo")["body"]["json"] == {}
    assert ask(console, "post", "/echo", [1, None])["body"]["json"] == [1, None]


def test_a_request_of_its_own_has_method_headers_and_data(console: Console) -> None:
    asked = {"method": "PUT", "url": "/echo", "data": {"a": 1}, "headers": {"X-One": "yes"}}

    body = ask(console, "request", asked)["body"]

    assert (body["method"], body["json"], body["headers"]["x-one"]) == ("PUT", {"a": 1}, "yes")


def test_global_headers_can_be_overridden_by_a_request_and_left_out(console: Console) -> None:
    tell(console, "io.socket.headers = {'X-One': '1', 'X-Two': '2', 'X-Three': '3'}")

    asked = "{url: '/echo', headers: {'X-Two': 'other', 'X-Three': undefined}}"
    headers = console.run(f"ask(io.socket, 'request', {asked})")["body"]["headers"]

    assert {name: value for name, value in headers.items() if name.startswith("x-")} == {
        "x-one": "1",
        "x-two": "other",
    }


def test_an_error_of_the_server_is_the_error_of_the_answer(console: Console) -> None:
    for status in (404, 503):
        answer = ask(console, "post", f"/status/{status}")

        assert answer["status"] == status
        assert answer["headers"]["x-said"] == str(status)
        assert answer["body"] == {"message": f"This is {status}."}
        assert f"This is {status}." in answer["error"]


def test_what_is_no_socket_request_is_an_error(console: Console) -> None:
    answer = ask(console, "get", "nowhere")

    assert answer["status"] == 400
    assert "message" in answer["body"]
    assert "status code" in answer["error"]


def test_bytes_come_back(console: Console) -> None:
    """Those of a request stand alone: sails.io.js itself sends nothing but objects."""
    asked = "ask(io.socket, 'post', '/bytes', new Uint8Array([0, 1, 255]))"

    received = console.run(f"{asked}.then((answer) => Array.from(new Uint8Array(answer.body)))")

    assert received == [255, 1, 0]


def test_requests_made_before_the_connection_are_answered(console: Console) -> None:
    """And events are heard for which a handler was there before."""
    answers = console.run(
        """(() => {
          globalThis.early = io.sails.connect(io.sails.url);
          globalThis.next = hear(early);
          const answers = [1, 2, 3].map((number) => ask(early, "get", "/echo", { number }));
          return early.isConnected() ? "too late" : Promise.all(answers);
        })()"""
    )
    ask(console, "post", "/join", {"rooms": "early"}, socket="early")
    ask(console, "post", "/broadcast", {"rooms": "early", "say": ["heard"]})

    assert [answer["body"]["query"]["number"] for answer in answers] == ["1", "2", "3"]
    assert console.run("next()") == "heard"


def test_a_request_without_an_answer_ends_with_the_connection(console: Console) -> None:
    ask(console, "get", "/id")
    answer = console.run(
        """(() => {
          const answer = ask(io.socket, "get", "/wait/for-ever");
          io.socket.disconnect();
          return answer;
        })()"""
    )

    assert answer["status"] == 0
    assert "disconnected" in answer["body"]["error"]


def test_a_socket_that_reconnects_sends_what_was_asked_meanwhile(console: Console) -> None:
    first = ask(console, "get", "/id")["body"]["sid"]
    answers = console.run(
        """(async () => {
          io.socket.disconnect();
          const answers = [ask(io.socket, "get", "/id"), ask(io.socket, "get", "/echo", { a: 1 })];
          io.socket.reconnect();
          return Promise.all(answers);
        })()"""
    )

    assert answers[0]["body"]["sid"] not in (first, None)
    assert answers[1]["body"]["query"] == {"a": "1"}


def test_a_socket_that_reconnects_by_itself_sends_what_was_asked_meanwhile(
    console: Console,
) -> None:
    """socket.io-client 4 reports a reconnection to its manager, and no longer to the socket."""
    for _ in range(2):
        answer = console.run(
            """(async () => {
              globalThis.again ??= io.sails.connect(io.sails.url, RECONNECTING);
              const { body } = await ask(again, "get", "/id");
              again._raw.io.engine.close();
              if (again.isConnected()) return "not disconnected";
              const answer = await ask(again, "get", "/id");
              return { changed: answer.body.sid !== body.sid, status: answer.status };
            })()"""
        )

        assert answer == {"changed": True, "status": 200}


def test_a_socket_that_was_refused_can_connect_again(
    console: Console, workers: list[Worker]
) -> None:
    asked = json.dumps({"query": "refuse=yes"})
    console.run(
        f"""(async () => {{
          globalThis.refused = io.sails.connect(io.sails.url, {asked});
          await new Promise((resolve) => refused.on("connect_error", resolve));
          refused.query = "";
          refused.reconnect();
        }})()"""
    )

    assert ask(console, "get", "/id", socket="refused")["status"] == 200


def test_a_refusal_is_heard_after_all_listeners_were_removed(
    console: Console,
) -> None:
    asked = json.dumps({"query": "refuse=yes"})

    heard = console.run(
        f"""(async () => {{
          const refused = io.sails.connect(io.sails.url, {asked}), heard = [];
          refused.removeAllListeners();
          refused.on("error", () => heard.push("error"));
          await new Promise((resolve) => refused.on("connect_error", resolve));
          return heard;
        }})()"""
    )

    assert heard == ["error"]


def test_the_options_of_a_socket_reach_the_server(console: Console) -> None:
    """Those that sails.io.js adds, and those of the page."""
    tell(console, "globalThis.other = io.sails.connect(io.sails.url, { query: 'colour=red' })")

    said = ask(console, "get", "/handshake", socket="other")["body"]

    assert said["__sails_io_sdk_version"] == "1.2.1"
    assert said["__sails_io_sdk_language"] == "javascript"
    assert said["__sails_io_sdk_platform"] in ("node", "browser")
    assert (said["colour"], said["transport"]) == ("red", "websocket")


def test_a_client_is_taken_out_by_another_worker(console: Console, workers: list[Worker]) -> None:
    here, there = workers
    tell(console, "globalThis.next = hear(io.socket)")
    sid = ask(console, "get", "/id")["body"]["sid"]

    joined = ask(console, "post", "/join", {"rooms": "fun"})["body"]
    there.post("/broadcast", rooms="fun", say=["Hello, fun!"])
    assert joined == {"changed": 1, "unchanged": 0, "unknown": []}
    assert console.run("next()") == "Hello, fun!"

    assert there.post("/leave", sids=sid, rooms="fun")["changed"] == 1

    for worker in (there, here):
        worker.post("/broadcast", rooms="fun", say=["Still there?"])
        worker.post("/broadcast", rooms=sid, say=[f"fence of {worker.name}"])
        assert console.run("next()") == f"fence of {worker.name}"


@pytest.mark.parametrize("console", CONSOLES[1:], indirect=True)
def test_a_page_of_another_origin_gets_a_cookie_first(
    console: Console, workers: list[Worker]
) -> None:
    """sails.io.js loads it as a script, and the handshake then brings the session along."""
    tell(console, f"globalThis.abroad = io.sails.connect({json.dumps(workers[1].url)})")

    # Chromium, which is shared by the run, may have brought a session of another test along.
    session = ask(console, "get", "/session", socket="abroad")["body"]
    assert session["begun"] == "by /__getcookie"


def test_many_requests_at_once_are_sent_within_a_window(console: Console) -> None:
    result = console.run("""(async () => {
      await ask(io.socket, "get", "/echo");
      const all = Array.from({ length: 250 }, (_, n) => ask(io.socket, "put", `/rooms/r${n}`));
      const sent = Object.keys(io.socket._raw.acks).length;
      const answers = await Promise.all(all);
      return { sent, served: answers.filter((one) => one.status === 200).length };
    })()""")

    assert result == {"sent": 64, "served": 250}


def test_requests_that_wait_are_not_sent_after_their_callbacks_were_called(
    console: Console, workers: list[Worker]
) -> None:
    """One without a callback is, which has not failed for the page."""
    name = f"ended-{type(console).__name__}"
    statuses, requested = console.run(
        f"""(async () => {{
          const socket = io.sails.connect(io.sails.url, RECONNECTING);
          await ask(socket, "get", "/id");
          const all = Array.from({{ length: 64 }}, () => ask(socket, "get", "/wait/{name}"));
          socket.post("/echo?silent");
          all.push(ask(socket, "post", "/echo?ended"));
          socket._raw.io.engine.close();
          const statuses = (await Promise.all(all)).map(({{ status }}) => status);
          await ask(socket, "post", "/echo?meanwhile");
          return [statuses, (await ask(socket, "get", "/requested")).body];
        }})()"""
    )
    workers[0].post(f"/release/{name}")

    assert statuses == [0] * 65
    assert requested == ["/echo?silent", "/echo?meanwhile", "/requested"]


def test_a_request_at_the_end_of_a_sleep_is_not_sent_over_the_next_connection(
    console: Console,
) -> None:
    """The socket learns only by it that its connection is lost."""
    status, requested = console.run("""(async () => {
      const socket = io.sails.connect(io.sails.url, RECONNECTING), now = Date.now;
      await ask(socket, "get", "/id");
      Date.now = () => now() + 3_600_000;
      const ended = ask(socket, "post", "/echo?ended");
      socket.post("/echo?silent");
      Date.now = now;
      const { status } = await ended;
      return [status, (await ask(socket, "get", "/requested")).body];
    })()""")

    assert status == 0
    assert requested == ["/echo?silent", "/requested"]


@pytest.mark.parametrize("removal", ["removeAllListeners()", "off('disconnect')"])
def test_a_lost_connection_empties_the_window_also_without_listeners(
    console: Console, workers: list[Worker], removal: str
) -> None:
    name = f"removed-{type(console).__name__}-{removal.partition('(')[0]}"
    sent = console.run(
        f"""(async () => {{
          const socket = io.sails.connect(io.sails.url, RECONNECTING), sent = [];
          await ask(socket, "get", "/id");
          for (let n = 0; n < 64; n++) socket.get("/wait/{name}");
          socket.{removal};
          const again = new Promise((resolve) => socket.on("connect", resolve));
          socket._raw.io.engine.close();
          await again;
          socket._raw.onAnyOutgoing((verb, {{ url }}) => sent.push(url));
          socket.get("/echo");
          return sent;
        }})()"""
    )
    workers[0].post(f"/release/{name}")

    assert sent == ["/echo"]


def test_the_other_sockets_of_a_page_are_as_without_the_adapter(console: Console) -> None:
    """Such as that of rooms.js, which has a window of its own."""
    sent = console.run("""(async () => {
      const socket = io(io.sails.url), connected = new Promise((go) => socket.on("connect", go));
      await connected;
      for (let n = 0; n < 65; n++) socket.emit("get", { url: "/echo" }, () => {});
      return Object.keys(socket.acks).length;
    })()""")

    assert sent == 65


def test_what_cannot_be_encoded_takes_no_place_in_the_window(console: Console) -> None:
    """It is the error of the call, or of the page if the request has waited."""
    result = console.run("""(async () => {
      await ask(io.socket, "get", "/echo");
      let thrown = 0;
      for (let n = 0; n < 64; n++) {
        try { io.socket.post("/echo", { n: 1n }); } catch { thrown++; }
      }
      const uncaught = new Promise((resolve) => {
        if (globalThis.process) process.once("uncaughtException", ({ name }) => resolve(name));
        else addEventListener("error", (event) => {
          event.preventDefault();
          resolve(event.error.name);
        }, { once: true });
      });
      const ahead = Array.from({ length: 64 }, () => ask(io.socket, "get", "/echo"));
      io.socket.post("/echo", { n: 1n });
      const answers = await Promise.all([...ahead, ask(io.socket, "get", "/echo")]);
      return [thrown, await uncaught, new Set(answers.map(({ status }) => status)).size];
    })()""")

    assert result == [64, "TypeError", 1]
