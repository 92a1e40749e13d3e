"""rooms.js in Node and in a browser, against a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.javascript import CONSOLES, Console, Node, require_npm
from tests.support.workers import Worker, cluster

pytestmark = pytest.mark.mode_independent

# The same in both:
#
# connect    returns a new socket; `api` are the functions over the first one
# outcome    returns what a promise comes to, an error as an object with its name
COMMON = """(async () => {
  globalThis.module = await load("%(url)s/js/rooms.js");
  globalThis.connect = (options) =>
    io("%(url)s", { forceNew: true, reconnectionDelay: 1, reconnectionDelayMax: 1, ...options });
  globalThis.socket = connect();
  globalThis.api = module.rooms(socket);
  globalThis.outcome = (promise) => promise.catch((error) => ({
    name: error.name, message: error.message, status: error.status, body: error.body,
    headers: error.headers, isError: error instanceof (module[error.name] ?? Error) }));
})()"""


@pytest.fixture(scope="module", name="worker")
def _worker() -> Iterator[Worker]:
    require_npm("socket.io-client")
    with cluster("memory://", 1, "tests.support.clients_app") as (worker,):
        yield worker


@pytest.fixture(scope="module", name="runtime", params=CONSOLES)
def _runtime(request: pytest.FixtureRequest, worker: Worker) -> Iterator[Console]:
    if request.param == "chromium":
        tab = request.getfixturevalue("chromium").tab(f"{worker.url}/page")
        tab.run("globalThis.load = (url) => import(url); 0")
        yield tab
        return
    with Node(require_npm("socket.io-client")) as node:
        node.run("globalThis.io = npm('socket.io-client').io; 0")
        yield node


@pytest.fixture(name="console")
def _console(runtime: Console, worker: Worker) -> Iterator[Console]:
    """Where there is a new socket for each test."""
    runtime.run(COMMON % {"url": worker.url})
    yield runtime
    runtime.run("socket.disconnect(); 0")


def outcome(console: Console, promise: str) -> Any:
    """Return what a promise comes to."""
    return console.run(f"outcome({promise})")


def test_every_verb_is_a_function(console: Console) -> None:
    for verb in ("get", "post", "put", "patch", "delete"):
        response = outcome(console, f"api.{verb}('/echo?b=2', {{ a: '1' }})")

        assert response["status"] == 200
        assert response["headers"]["content-type"] == "application/json"
        assert response["body"]["method"] == verb.upper()
        in_query = verb in ("get", "delete")
        assert response["body"]["json"] == (None if in_query else {"a": "1"})
        assert response["body"]["query"] == {"b": "2"} | ({"a": "1"} if in_query else {})


def test_request_takes_any_method_and_data(console: Console) -> None:
    assert outcome(console, "api.request({ url: '/echo' })")["body"]["method"] == "GET"
    assert outcome(console, "api.request({ method: 'HEAD', url: '/echo' })")["status"] == 200
    unset = outcome(console, "api.request({ method: undefined, url: '/echo' })")
    assert unset["body"]["method"] == "GET"
    posted = outcome(console, "api.request({ method: 'Post', url: '/echo', data: [1, null] })")
    assert posted["body"]["json"] == [1, None]
    sent = "api.post('/bytes', new Uint8Array([0, 1, 255]))"
    received = outcome(console, f"{sent}.then(({{ body }}) => Array.from(new Uint8Array(body)))")
    assert received == [255, 1, 0]


def test_headers_of_all_requests_and_of_one(console: Console) -> None:
    made = "module.rooms(socket, { headers: { 'X-One': 'all', 'X-Two': 'all', 'X-Three': 'all' } })"
    own = "{ headers: { 'X-Two': 'own', 'X-Three': undefined, 'X-Four': 4 } }"

    headers = outcome(console, f"{made}.get('/echo', undefined, {own})")["body"]["headers"]

    assert {name: value for name, value in headers.items() if name.startswith("x-")} == {
        "x-one": "all",
        "x-two": "own",
        "x-four": "4",
    }


def test_a_status_of_400_or_more_is_an_error(console: Console) -> None:
    for status in (400, 404, 503):
        failed = outcome(console, f"api.post('/status/{status}')")

        assert failed["isError"]
        assert failed["name"] == "RequestFailed"
        assert failed["message"] == (
            f"The answer to POST /status/{status} has status {status}: This is {status}."
        )
        assert failed["status"] == status
        assert failed["body"] == {"message": f"This is {status}."}
        assert failed["headers"]["x-said"] == str(status)
    assert outcome(console, "api.get('/status/302')")["status"] == 302


def test_requests_wait_for_the_connection_in_order(console: Console) -> None:
    """Those that have been given up meanwhile are not sent."""
    sent, answers, late, aborted = console.run(
        """(async () => {
          const early = connect({ autoConnect: false });
          const api = module.rooms(early), answers = [], sent = [];
          early.onAnyOutgoing((verb, { url, data }) => sent.push(data?.number ?? url));
          early.once("connect", () => answers.push(api.get("/echo", { number: 4 })));
          const late = await outcome(api.get("/late?token=secret", null, { timeout: 1 }));
          const controller = new AbortController();
          const first = outcome(api.get("/aborted", null, { signal: controller.signal }));
          for (const number of [1, 2, 3]) answers.push(api.get("/echo", { number }));
          controller.abort(new Error("no more"));
          early.connect();
          await new Promise((resolve) => early.once("connect", resolve));
          const statuses = (await Promise.all(answers)).map(({ status }) => status);
          return [sent, statuses, late, await first];
        })()"""
    )

    assert sent == [1, 2, 3, 4]
    assert answers == [200, 200, 200, 200]
    assert (late["name"], late["isError"]) == ("RequestTimeout", True)
    assert late["message"] == "There was no connection for GET /late within 1 ms."
    assert aborted["message"] == "no more"


def test_an_answer_that_does_not_come_is_an_error(console: Console, worker: Worker) -> None:
    name = type(console).__name__
    assert outcome(console, "api.get('/echo')")["status"] == 200  # it is connected
    late = outcome(console, f"api.get('/wait/{name}', undefined, {{ timeout: 10 }})")
    worker.post(f"/release/{name}")

    assert (late["name"], late["isError"]) == ("RequestTimeout", True)
    assert late["message"] == f"There was no answer to GET /wait/{name} within 10 ms."
    assert outcome(console, "api.get('/echo')")["status"] == 200


def test_data_that_cannot_be_encoded_are_an_error_at_once(console: Console) -> None:
    big = "{ n: 1n }"
    failed = outcome(console, f"api.put('/echo', {big})")
    stands = console.run("""(async () => {
      const failed = await outcome(api.put("/echo", () => 1n, { standing: true }));
      return [failed.name, api.withdraw({ method: "put", url: "/echo" })];
    })()""")

    assert (failed["name"], "BigInt" in failed["message"]) == ("TypeError", True)
    assert stands == ["TypeError", False]
    assert outcome(console, "api.get('/echo')")["status"] == 200


def test_a_timeout_is_what_a_timer_takes(console: Console) -> None:
    for timeout in ("Infinity", "2 ** 31", "-1", "NaN", "'5 s'"):
        options = f"{{ timeout: {timeout} }}"
        for promise in (
            f"api.get('/echo', null, {options})",
            f"(async () => module.rooms(socket, {options}))()",
        ):
            refused = outcome(console, promise)
            assert (refused["name"], "2147483647" in refused["message"]) == ("RangeError", True)
    # One that stands already is kept.
    assert outcome(console, "api.put('/echo', null, { standing: true })")["status"] == 200
    again = "{ standing: true, timeout: Infinity }"
    assert outcome(console, f"api.put('/echo', null, {again})")["name"] == "RangeError"
    assert console.run("api.withdraw({ method: 'put', url: '/echo' })") is True
    longest = "{ timeout: 2 ** 31 - 1 }"
    assert outcome(console, f"api.get('/echo', null, {longest})")["status"] == 200


def test_what_is_undefined_is_not_sent(console: Console) -> None:
    """JSON leaves it out, and msgpack has a value for it that no server takes."""
    sent = console.run("""(async () => {
      const sent = [], names = Object.keys;
      socket.onAnyOutgoing((verb, made) => sent.push([names(made), names(made.headers)]));
      await api.put("/echo");
      await api.put("/echo", () => undefined);
      await api.put("/echo", null, { headers: { "X-One": undefined, "X-Two": "2" } });
      socket.offAnyOutgoing();
      return sent;
    })()""")

    assert sent == [
        [["url", "headers"], []],
        [["url", "headers"], []],
        [["url", "data", "headers"], ["X-Two"]],
    ]


def test_a_request_at_the_end_of_a_sleep_is_not_sent_over_the_next_connection(
    console: Console,
) -> None:
    """The socket learns only by it that its connection is lost."""
    sent, *names = console.run("""(async () => {
      await api.put("/echo?stands", null, { standing: true });
      const sent = [], now = Date.now;
      socket.onAnyOutgoing((verb, { url }) => sent.push(url));
      Date.now = () => now() + 3_600_000;
      const requests = [outcome(api.post("/echo?one")), outcome(api.post("/echo?two"))];
      Date.now = now;
      const answers = await Promise.all(requests);
      await api.get("/echo?next");
      socket.offAnyOutgoing();
      return [sent, ...answers.map(({ name }) => name)];
    })()""")

    assert names == ["Disconnected", "Disconnected"]
    assert sent == ["/echo?stands", "/echo?next"]


def test_a_request_can_be_aborted(console: Console, worker: Worker) -> None:
    name = f"aborted-{type(console).__name__}"
    aborted, before = console.run(
        f"""(async () => {{
          const {{ signal }} = globalThis.controller = new AbortController();
          await api.get("/echo");  // it is connected
          const request = outcome(api.get("/wait/{name}", null, {{ signal }}));
          controller.abort();
          return [await request, await outcome(api.get("/echo", null, {{ signal }}))];
        }})()"""
    )
    worker.post(f"/release/{name}")

    assert aborted["name"] == before["name"] == "AbortError"


def test_a_connection_that_is_lost_is_an_error(console: Console) -> None:
    lost = outcome(console, "api.post('/hang-up')")

    assert (lost["name"], lost["isError"]) == ("Disconnected", True)


def test_requests_go_on_with_the_next_connection(console: Console) -> None:
    response = console.run(
        """(async () => {
          await api.get("/echo");
          socket.io.engine.close();
          if (socket.connected) return "still connected";
          return api.get("/echo", { again: "yes" });
        })()"""
    )

    assert response["body"]["query"] == {"again": "yes"}


def test_options_of_socket_io_client_go_together_with_it(console: Console, worker: Worker) -> None:
    name = f"options-{type(console).__name__}"
    retried = outcome(
        console, "module.rooms(connect({ retries: 1, ackTimeout: 9000 })).get('/echo')"
    )
    late = outcome(console, f"module.rooms(connect({{ ackTimeout: 1 }})).get('/wait/{name}')")
    worker.post(f"/release/{name}")

    assert retried["status"] == 200
    assert late["name"] == "RequestTimeout"


def test_with_retries_what_has_failed_is_not_sent_again(console: Console, worker: Worker) -> None:
    """It would come before the standing requests."""
    name = f"retried-{type(console).__name__}"
    failed, sent = console.run(f"""(async () => {{
      const socket = connect({{ retries: 3, ackTimeout: 9000 }}), sent = [];
      const api = module.rooms(socket);
      await api.put("/echo", 1, {{ standing: true }});
      const failing = [outcome(api.get("/wait/{name}")), outcome(api.post("/echo", 2))];
      socket.onAnyOutgoing((verb) => sent.push(verb));
      socket.disconnect().connect();
      const failed = await Promise.all(failing);
      await api.get("/echo");
      return [failed.map(({{ name }}) => name), sent];
    }})()""")
    worker.post(f"/release/{name}")

    assert failed == ["Disconnected", "Disconnected"]
    assert sent == ["put", "get"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("module.rooms()", "TypeError"),
        ("module.rooms('http://localhost')", "TypeError"),
        ("module.rooms(socket, { timeout: null })", "RangeError"),
    ],
)
def test_what_is_no_socket_or_timeout_is_refused(console: Console, code: str, error: str) -> None:
    assert console.run(f"(() => {{ try {{ {code}; }} catch (e) {{ return e.name; }} }})()") == error


def test_a_promise_is_no_data(console: Console) -> None:
    """It would be sent as an empty object."""
    assert outcome(console, "api.post('/echo', async () => 1)")["name"] == "TypeError"


def test_the_versions_of_a_list_end_with_their_connection(console: Console) -> None:
    """The next worker may have gone on from where this one was."""
    called = console.run("""(async () => {
      await api.get("/echo"); // it is connected
      const [state] = socket.listeners("presence_state"), called = [];
      const [change] = socket.listeners("presence_diff");
      const room = "of two workers", one = (user) => ({ user, since: 0, data: [] });
      api.presence(room, (people) => called.push(people.map(({ user }) => user)));
      state({ room, version: 3, people: [one("ann")] });
      socket.io.engine.close();
      await api.get("/echo");
      change({ room, version: 4, joined: [one("bob")], changed: [], left: [] });
      state({ room, version: 4, people: [one("bob")] });
      return called;
    })()""")

    assert called == [["ann"], ["bob"]]


def test_nothing_is_left_behind_by_a_request(console: Console) -> None:
    before, left = console.run(
        """(async () => {
          const count = () =>
            ["connect", "disconnect"].map((event) => socket.listeners(event).length);
          const before = count();
          await outcome(api.get("/echo"));
          await outcome(api.get("/echo", null, { timeout: 0 }));
          socket.disconnect();
          await outcome(api.get("/echo", null, { timeout: 0 }));
          return [before, count()];
        })()"""
    )

    assert left == before


def test_many_requests_at_once_are_sent_within_a_window(console: Console) -> None:
    result = console.run("""(async () => {
      let unanswered = 0, most = 0;
      const ask = socket.emitWithAck.bind(socket);
      socket.emitWithAck = async (...event) => {
        most = Math.max(most, ++unanswered);
        try { return await ask(...event); } finally { unanswered--; }
      };
      const all = Array.from({ length: 250 }, (_, n) => api.put(`/rooms/r${n}`));
      const answers = await Promise.all(all);
      return { most, served: answers.filter((one) => one.status === 200).length };
    })()""")

    assert result == {"most": 64, "served": 250}


# Closes the connection; `restored` is then what the standing requests came to, and `sent` all
# requests since then.
RESTORED = """(async () => {
  const restored = new Promise((resolve) => {
    const end = api.restored((repetitions) => (end(), resolve(repetitions)));
  });
  const sent = [], record = (verb, { url }) => sent.push(`${verb} ${url}`);
  socket.onAnyOutgoing(record);
  %s
  socket.io.engine.close();
  const late = api.get("/echo");
  const repetitions = await restored;
  await late;
  socket.offAnyOutgoing(record);
  return [sent, repetitions.map(({ method, url, response, error, kept }) =>
    [method, url, response?.status ?? error.status ?? error.name, kept])];
})()"""


def test_standing_requests_are_repeated_in_order_before_others(console: Console) -> None:
    console.run("""(async () => {
      await api.put("/echo?a", { deep: [1] }, { standing: true, headers: { "X-One": "old" } });
      await api.post("/echo?b", null, { standing: true });
      await api.put("/echo?c");
      // The same again stays in its place, and has the latest options.
      await api.put("/echo?a", { deep: [1] }, { standing: true, headers: { "X-One": "new" } });
      await api.request({ url: "/echo?d", standing: true });
    })()""")
    sent, repetitions = console.run(
        RESTORED % "api.restored(([{ response }]) => (globalThis.first = response));"
    )

    assert sent == ["put /echo?a", "post /echo?b", "get /echo?d", "get /echo"]
    assert repetitions == [
        ["put", "/echo?a", 200, True],
        ["post", "/echo?b", 200, True],
        ["get", "/echo?d", 200, True],
    ]
    first = console.run("first.body")
    assert first["json"] == {"deep": [1]}
    assert first["headers"]["x-one"] == "new"

    assert console.run("api.withdraw({ method: 'POST', url: '/echo?b', data: null })") is True
    assert console.run("api.withdraw({ method: 'put', url: '/echo?a' })") is False  # other data
    assert console.run(RESTORED % "")[0] == ["put /echo?a", "get /echo?d", "get /echo"]


#: Has `reported`, the message of the first error that nothing has caught.
REPORTED = """(() => {
  globalThis.reported = new Promise((resolve) => {
    if (globalThis.process) process.once("uncaughtException", ({ message }) => resolve(message));
    else addEventListener("error", (event) => {
      event.preventDefault();
      resolve(event.error.message);
    }, { once: true });
  });
})()"""


def test_a_callback_of_presence_that_throws_keeps_no_other_from_its_call(console: Console) -> None:
    console.run(REPORTED)
    called = console.run("""(async () => {
      const end = api.presence("team:js", () => { end(); throw new Error("of the page"); });
      const next = new Promise((resolve) => api.presence("team:js", () => resolve("called")));
      await api.put("/rooms/team:js");
      return Promise.race([next, api.get("/echo").then(() => "not called")]);
    })()""")

    assert called == "called"
    assert console.run("reported") == "of the page"


def test_one_callback_can_be_given_twice_and_ended_apart(console: Console) -> None:
    """As by two components that share one."""
    twice, once, restored = console.run("""(async () => {
      let people = 0, all = 0, restored = 0;
      const onPeople = () => { people++; }, onRestored = () => { restored++; };
      api.presence("team:twice", () => { all++; });
      const ends = [1, 2].map(() => [
        api.presence("team:twice", onPeople), api.restored(onRestored)]);
      const enter = async () => {
        await api.put("/rooms/team:twice", null, { standing: true });
        await api.get("/echo");
      };
      await enter();
      const twice = people / all;
      for (const end of ends[0]) { end(); end(); }
      people = all = 0;
      const again = new Promise((resolve) => api.restored(resolve));
      socket.disconnect().connect();
      await again;
      await api.get("/echo");
      return [twice, people / all, restored];
    })()""")

    assert (twice, once, restored) == (2, 1, 1)


def test_a_callback_that_throws_at_the_list_that_is_there_can_be_ended(console: Console) -> None:
    console.run("(async () => { await api.put('/rooms/team:there'); await api.get('/echo'); })()")
    console.run(REPORTED)
    ended = console.run("""(() => {
      const end = api.presence("team:there", () => { throw new Error("of the page"); });
      return end();
    })()""")

    assert ended is True
    assert console.run("reported") == "of the page"


def test_a_callback_of_restored_that_throws_keeps_no_other_from_its_call(console: Console) -> None:
    console.run(REPORTED)
    called = console.run("""(async () => {
      await api.put("/echo", null, { standing: true });
      api.restored(() => { throw new Error("of the page"); });
      const next = new Promise((resolve) => api.restored(() => resolve("called")));
      socket.disconnect().connect();
      return Promise.race([next, api.get("/echo").then(() => "not called")]);
    })()""")

    assert called == "called"
    assert console.run("reported") == "of the page"


def test_a_standing_request_that_is_refused_is_not_repeated_again(console: Console) -> None:
    """The same URLs answer with another status after the reconnect."""
    console.run("""(async () => {
      await outcome(api.put("/status/403", null, { standing: true }));  // refused at once
      for (const code of [404, 408, 429, 503]) {
        await api.put(`/status/200?then=${code}&by=${socket.id}`, null, { standing: true });
      }
      const aborted = new AbortController();
      const request = outcome(api.get("/echo", null, { standing: true, signal: aborted.signal }));
      aborted.abort();
      await request;
    })()""")

    _, repetitions = console.run(RESTORED % "")
    assert [one[2:] for one in repetitions] == [
        [404, False],
        [408, True],
        [429, True],
        [503, True],
    ]
    assert len(console.run(RESTORED % "")[1]) == 3


def test_a_disconnect_while_standing_requests_are_repeated_begins_anew(
    console: Console, worker: Worker
) -> None:
    name = f"standing-{type(console).__name__}"
    worker.post(f"/release/{name}")
    console.run(f"""(async () => {{
      await api.put("/echo", null, {{ standing: true }});
      await api.get("/wait/{name}", null, {{ standing: true }});
    }})()""")
    worker.post(f"/hold/{name}")
    sent, repetitions = console.run(
        RESTORED
        % f"""
          let count = 0;
          socket.onAnyOutgoing((verb) => {{
            if (verb !== "get" || ++count > 1) return;
            setTimeout(() => {{
              socket.io.engine.close();
              fetch("{worker.url}/release/{name}", {{ method: "POST" }});
            }});
          }});"""
    )
    repeated = ["put /echo", f"get /wait/{name}"]

    assert sent == [*repeated, *repeated, "get /echo"]
    assert [one[2:] for one in repetitions] == [[200, True], [200, True]]


def test_a_standing_request_that_waits_is_sent_once(console: Console) -> None:
    sent = console.run("""(async () => {
      const early = connect({ autoConnect: false }), api = module.rooms(early), sent = [];
      early.onAnyOutgoing((verb, { url }) => sent.push(url));
      const request = api.put("/echo", null, { standing: true });
      const late = await outcome(api.put("/echo?late", null, { standing: true, timeout: 1 }));
      early.connect();
      await request;
      early.disconnect();
      return [late.name, ...sent];
    })()""")

    assert sent == ["RequestTimeout", "/echo?late", "/echo"]


def test_a_standing_request_that_is_made_anew_before_it_was_sent_is_sent_once(
    console: Console,
) -> None:
    """As by a component that is mounted twice, and by a person who has no connection."""
    sent = console.run("""(async () => {
      const early = connect({ autoConnect: false }), api = module.rooms(early), sent = [];
      early.onAnyOutgoing((verb, { url }) => sent.push(url));
      const aborted = new AbortController(), { signal } = aborted;
      const put = (url, options) => outcome(api.put(url, null, { standing: true, ...options }));
      const requests = [put("/echo?aborted", { signal })];
      aborted.abort();
      requests.push(put("/echo?aborted"));
      await put("/echo?late", { timeout: 1 });
      requests.push(put("/echo?late"));
      early.connect();
      await Promise.all(requests);
      // From now on they keep their places.
      early.disconnect();
      requests.push(put("/echo?late"));
      early.connect();
      await Promise.all(requests);
      early.disconnect();
      return sent;
    })()""")

    once = ["/echo?aborted", "/echo?late"]
    assert sent == [*once, *once, "/echo?late"]


def test_standing_requests_are_few_and_json(console: Console) -> None:
    few, again, data = console.run("""(async () => {
      const apart = module.rooms(connect()), standing = true;
      for (let n = 0; n < 32; n++) await apart.put(`/echo?${n}`, null, { standing });
      return [
        await outcome(apart.put("/echo?32", null, { standing })),
        await outcome(apart.put("/echo?31", null, { standing })),
        await outcome(api.post("/bytes", new Uint8Array([1]), { standing })),
      ];
    })()""")

    assert (few["name"], "32" in few["message"]) == ("RangeError", True)
    assert again["status"] == 200
    assert (data["name"], "JSON" in data["message"]) == ("TypeError", True)


def test_a_function_makes_the_data_each_time_that_a_request_is_sent(console: Console) -> None:
    made = console.run("""(async () => {
      const early = connect({ autoConnect: false }), api = module.rooms(early), made = [];
      let number = 0;
      const late = api.post("/echo?late", () => ({ number }));
      const stands = api.put("/echo", () => ({ number: ++number }), { standing: true });
      number = 7;
      early.connect();
      made.push((await late).body.json, (await stands).body.json);
      const again = new Promise((resolve) => api.restored(([{ response }]) => resolve(response)));
      early.io.engine.close();
      made.push((await again).body.json);
      const withdrawn = api.withdraw({ method: "put", url: "/echo", data: () => 0 });
      early.disconnect();
      return [...made, withdrawn];
    })()""")

    assert made == [{"number": 7}, {"number": 8}, {"number": 9}, True]


def test_a_function_for_the_data_that_fails_ends_its_request(console: Console) -> None:
    first, sent, repetitions, next_one = console.run("""(async () => {
      let broken = true;
      const data = () => { if (broken) throw new RangeError("No data."); return 1; };
      const first = await outcome(api.put("/echo", data, { standing: true }));
      broken = false;
      await api.post("/echo", data, { standing: true });
      broken = true;
      const restored = new Promise((resolve) => api.restored(resolve)), sent = [];
      socket.onAnyOutgoing((verb) => sent.push(verb));
      socket.io.engine.close();
      const next = await api.get("/echo");
      const repetitions = await restored;
      const came = repetitions.map(({ error, kept }) => [error.name, kept]);
      return [first.name, sent, came, next.status];
    })()""")

    assert (first, next_one) == ("RangeError", 200)
    assert sent == ["get"]
    assert repetitions == [["RangeError", False]]


def test_a_client_gets_what_was_said_while_it_was_away(console: Console, worker: Worker) -> None:
    room = f"of-{type(console).__name__}"
    console.run(f"""(async () => {{
      globalThis.said = [];
      socket.on("said", (text) => said.push(text));
      globalThis.had = [api.since("talk:{room}")];
      const data = () => ({{ since: api.since("talk:{room}") }});
      await api.put("/talks/{room}", data, {{ standing: true }});
    }})()""")
    worker.post(f"/talks/{room}", text="one")
    console.run("(async () => { await api.get('/echo'); socket.disconnect(); })()")
    worker.post(f"/talks/{room}", text="two")
    response = console.run("""(async () => {
      const restored = new Promise((resolve) => api.restored(resolve));
      socket.connect();
      return (await restored)[0].response;
    })()""")

    assert response["body"] == {"sent": 1, "gone": False}
    assert console.run("said") == ["one", "two"]
    before, now = console.run(f"[...had, api.since('talk:{room}')]")
    assert before is None
    assert now["offsets"] == [2]


def test_an_event_of_another_epoch_is_no_position_until_that_was_told(console: Console) -> None:
    """It comes where catching up has failed: what was missed of the former epoch is not had."""
    former, present = console.run("""(() => {
      const [note] = socket.listeners("history_offset");
      const room = "of an epoch";
      note({ room, epoch: "former", offset: 3 });
      note({ room, epoch: "present", offset: 1 });
      const former = api.since(room);
      note({ room, epoch: "present", offset: 1, gone: true });
      note({ room, epoch: "present", offset: 2 });
      return [former, api.since(room)];
    })()""")

    assert former == {"epoch": "former", "offsets": [3]}
    assert present == {"epoch": "present", "offsets": [2]}


def test_the_first_gap_stays_among_the_numbers(console: Console) -> None:
    offsets, closed = console.run("""(() => {
      const [note] = socket.listeners("history_offset");
      const room = "long gap";
      for (const offset of [15, ...Array(2000).fill().map((_, one) => one + 17)]) {
        note({ room, epoch: "x", offset });
      }
      const { offsets } = api.since(room);
      note({ room, epoch: "x", offset: 16 });
      return [offsets, api.since(room).offsets];
    })()""")

    assert offsets == [15, *range(2017 - 999, 2017)]
    assert closed == [2016]


def test_numbers_are_sent_from_the_first_gap_on(console: Console) -> None:
    console.run("""(() => {
      const [note] = socket.listeners("history_offset");
      for (const offset of [10, 12, 13, 11, 9, 15, 15]) note({ room: "gap", epoch: "x", offset });
    })()""")

    assert console.run("api.since('gap')") == {"epoch": "x", "offsets": [13, 15]}
