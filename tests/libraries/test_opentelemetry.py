"""OpenTelemetry: a socket request is a span, and so is a call, on the other workers as well."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.request import Request, urlopen

import flask.json
import pytest
from flask.json.provider import DefaultJSONProvider
from flask_socketio import SocketIO
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_rooms import Refused, Rooms
from flask_rooms.errors import InvalidArgument
from flask_rooms.protocol.messages import Change, Tell
from tests.support import brokers, clients, workers
from tests.support.apps import PATIENCE, Client, LocalCluster, Worker, eventually, make_app
from tests.support.documents import blocks

pytestmark = pytest.mark.mode_independent

Call = Callable[[Worker, str], Any]


@pytest.mark.parametrize("first", ["rooms", "instrumentation"])
def test_a_span_has_the_method_and_the_route(cluster: LocalCluster, first: str) -> None:
    app = make_app()
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app.put("/rooms/<room>")(lambda room: {"room": room})

    if first == "instrumentation":
        FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
    worker = cluster.worker(app)
    if first == "rooms":
        FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
    client = worker.connect()
    spans.clear()

    assert client.ask("put", "/rooms/red")["body"] == {"room": "red"}

    [span] = spans.get_finished_spans()
    assert span.name == "PUT /rooms/<room>"
    assert span.attributes is not None
    assert 200 in (
        span.attributes.get("http.status_code"),
        span.attributes.get("http.response.status_code"),
    )
    FlaskInstrumentor().uninstrument_app(app)


# -- calls, and what other workers do for them ------------------------------------------------


class Pair:
    """Two workers of this process, and a socket of the second one in the room `red`."""

    def __init__(self, cluster: LocalCluster, exporter: InMemorySpanExporter) -> None:
        self.here, self.there = cluster.worker(), cluster.worker()
        self.client: Client = self.there.connect()
        self._exporter = exporter
        # A provider that is set late is found within a second.
        eventually(self.here, lambda: self.spans_of(lambda: self.here.sockets.count("red")))
        self.spans_of(lambda: self.here.sockets.join(self.client.sid, "red"), 2)

    def spans_of(self, call: Callable[[], object], count: int = 0) -> dict[str, ReadableSpan]:
        """Return the spans of a call, by their names, when there are as many."""
        self._exporter.clear()
        call()
        eventually(self.here, lambda: len(self._exporter.get_finished_spans()) >= count)
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    """What records all spans of this process, as a provider is set once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def pair(cluster: LocalCluster, exporter: InMemorySpanExporter) -> Pair:
    return Pair(cluster, exporter)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of this package, without their prefix."""
    given = span.attributes or {}
    return {
        name.removeprefix("flask_rooms."): value
        for name, value in given.items()
        if name.startswith("flask_rooms.")
    }


CALLS: dict[str, tuple[Call, str, dict[str, int], dict[str, int]]] = {
    "sockets.join": (
        lambda worker, sid: worker.sockets.join([sid], ["blue", "green"]),
        "process join",
        {"sockets": 1, "rooms": 2, "changed": 2, "unchanged": 0, "unknown": 0},
        {"changed": 2, "unchanged": 0, "unknown": 0, "refused": 0},
    ),
    "sockets.leave": (
        lambda worker, sid: worker.sockets.leave(sid, "red"),
        "process leave",
        {"sockets": 1, "rooms": 1, "changed": 1, "unchanged": 0, "unknown": 0},
        {"changed": 1, "unchanged": 0, "unknown": 0, "refused": 0},
    ),
    "sockets.leave_all": (
        lambda worker, sid: worker.sockets.leave_all("red"),
        "process leave_all",
        {"sockets": 0, "rooms": 0, "changed": 1, "unchanged": 0, "unknown": 0},
        {"changed": 1, "unchanged": 0, "unknown": 0, "refused": 0},
    ),
    "sockets.add_room_members_to_rooms": (
        lambda worker, sid: worker.sockets.add_room_members_to_rooms("red", "blue"),
        "process join",
        {"sockets": 0, "rooms": 1, "changed": 1, "unchanged": 0, "unknown": 0},
        {"changed": 1, "unchanged": 0, "unknown": 0, "refused": 0},
    ),
    "sockets.remove_room_members_from_rooms": (
        lambda worker, sid: worker.sockets.remove_room_members_from_rooms("red", "red"),
        "process leave",
        {"sockets": 0, "rooms": 1, "changed": 1, "unchanged": 0, "unknown": 0},
        {"changed": 1, "unchanged": 0, "unknown": 0, "refused": 0},
    ),
    "sockets.disconnect": (
        lambda worker, sid: worker.sockets.disconnect(sid),
        "process disconnect",
        {"sockets": 1, "rooms": 0, "changed": 1, "unchanged": 0, "unknown": 0},
        {"changed": 1, "unchanged": 0, "unknown": 0, "refused": 0},
    ),
    "sockets.set_data": (
        lambda worker, sid: worker.sockets.set_data(sid, {"device": "phone"}),
        "process set_data",
        {"sockets": 1, "rooms": 0, "changed": 1, "unchanged": 0, "unknown": 0},
        {"changed": 1, "unchanged": 0, "unknown": 0, "refused": 0},
    ),
    "rooms.recheck": (
        lambda worker, sid: worker.rooms.recheck("red"),
        "process recheck",
        {"sockets": 0, "rooms": 1, "changed": 0, "unchanged": 1, "unknown": 0},
        {"changed": 0, "unchanged": 1, "unknown": 0, "refused": 0},
    ),
    "sockets.broadcast": (
        lambda worker, sid: worker.sockets.broadcast(["red", "blue"], "hello"),
        "process broadcast",
        {"rooms": 2},
        {},
    ),
    "sockets.blast": (
        lambda worker, sid: worker.sockets.blast("hello"),
        "process broadcast",
        {"rooms": 0},
        {},
    ),
    "sockets.ask": (
        lambda worker, sid: worker.sockets.ask("red", "ready?", None, timeout=0.1),
        "process ask",
        {
            **{"rooms": 1, "answers": 0, "silent": 1, "left": 0, "failed": 0},
            **{"complete": 1, "missing": 0},
        },
        {},
    ),
    "rooms.tell": (
        lambda worker, sid: worker.rooms.tell("settings", {"dark": True}),
        "process tell",
        {"changed": 0, "unchanged": 0, "unknown": 0, "workers": 2},
        {},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_a_span_and_what_the_other_worker_does_its_child(pair: Pair, name: str) -> None:
    call, there, numbers, numbers_there = CALLS[name]

    spans = pair.spans_of(lambda: call(pair.here, pair.client.sid), 2)

    assert set(spans) == {name, there}
    said, done = spans[name], spans[there]
    assert (said.kind, done.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)
    assert said.context is not None
    assert done.parent is not None
    assert (done.parent.trace_id, done.parent.span_id, done.parent.is_remote) == (
        said.context.trace_id,
        said.context.span_id,
        True,
    )
    assert [link.context.span_id for link in done.links] == [said.context.span_id]
    assert (attributes(said), attributes(done)) == (numbers, numbers_there)
    assert said.attributes is not None
    assert said.attributes["messaging.operation.name"] == name
    assert (said.attributes["messaging.operation.type"], said.status.status_code) == (
        "send",
        trace.StatusCode.UNSET,
    )


def test_no_span_has_an_id_of_a_socket_or_the_name_of_a_room(pair: Pair) -> None:
    spans: list[ReadableSpan] = []
    for call, *_ in CALLS.values():
        spans += pair.spans_of(partial(call, pair.here, pair.client.sid), 2).values()

    text = "".join(span.to_json() for span in spans)
    assert len(spans) == 2 * len(CALLS)
    assert pair.client.sid not in text
    assert not any(name in text for name in ("red", "blue", "green", "dark", "phone", "ready?"))


def test_the_call_is_a_child_of_the_current_span(pair: Pair) -> None:
    tracer = trace.get_tracer("application")

    def call() -> None:
        with tracer.start_as_current_span("work"):
            pair.here.sockets.leave(pair.client.sid, "red")
            pair.here.sockets.broadcast("red", "bye")

    spans = pair.spans_of(call, 5)

    work = spans["work"].context
    assert work is not None
    for name in ("sockets.leave", "sockets.broadcast"):
        assert spans[name].parent == work
    assert {span.context.trace_id for span in spans.values() if span.context} == {work.trace_id}


def test_what_a_call_does_is_in_its_span(pair: Pair, cluster: LocalCluster) -> None:
    """So are the spans of other libraries, such as that of the broker's."""
    current: list[trace.Span] = []

    class Noting(DefaultJSONProvider):
        def dumps(self, obj: Any, **options: Any) -> str:
            current.append(trace.get_current_span())
            return super().dumps(obj, **options)

    app = make_app()
    app.json = Noting(app)
    rooms = Rooms(app, SocketIO(json=flask.json), backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)

    spans = pair.spans_of(lambda: worker.sockets.broadcast("red", "hello"), 3)

    said = spans["sockets.broadcast"].context
    assert said is not None
    assert said.span_id in {span.get_span_context().span_id for span in current}


def test_a_call_on_a_socket_of_this_worker_is_one_span(pair: Pair) -> None:
    own = pair.here.connect()

    spans = pair.spans_of(lambda: pair.here.sockets.join(own.sid, "red"))

    assert set(spans) == {"sockets.join"}
    assert attributes(spans["sockets.join"])["changed"] == 1


QUERIES: dict[str, Call] = {
    "sockets.members": lambda worker, sid: worker.sockets.members("red", by="user"),
    "sockets.count": lambda worker, sid: worker.sockets.count("red"),
    "sockets.rooms": lambda worker, sid: worker.sockets.rooms(),
    "sockets.rooms_of": lambda worker, sid: worker.sockets.rooms_of(sid),
    "sockets.users": lambda worker, sid: worker.sockets.users(),
    "sockets.describe": lambda worker, sid: worker.sockets.describe(sid),
    "sockets.workers": lambda worker, sid: worker.sockets.workers(),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_a_span_of_the_worker_that_asks(pair: Pair, name: str) -> None:
    spans = pair.spans_of(lambda: QUERIES[name](pair.here, pair.client.sid))

    assert set(spans) == {name}
    assert spans[name].kind == trace.SpanKind.CLIENT
    assert attributes(spans[name]) == {"complete": True, "missing": 0}


# -- errors -------------------------------------------------------------------------------------


def test_a_call_that_fails_ends_its_span_with_the_name_of_the_error(pair: Pair) -> None:
    pair.there.rooms.guard("staff")(lambda: False)

    def call() -> None:
        with pytest.raises(Refused):
            pair.here.sockets.join(pair.client.sid, "staff").result(PATIENCE)

    spans = pair.spans_of(call, 2)

    said, done = spans["sockets.join"], spans["process join"]
    assert said.status.status_code == trace.StatusCode.ERROR
    assert said.attributes is not None
    assert said.attributes["error.type"] == "Refused"
    assert (said.status.description, said.events) == (None, ())
    assert attributes(done)["refused"] == 1


def test_so_does_one_that_raises_at_once(pair: Pair) -> None:
    def call() -> None:
        with pytest.raises(InvalidArgument):
            pair.here.sockets.broadcast("red", b"x" * 5_000_000)

    [span] = pair.spans_of(call, 1).values()

    assert span.attributes is not None
    assert (span.name, span.attributes["error.type"]) == ("sockets.broadcast", "InvalidArgument")


# -- what is on the wire ------------------------------------------------------------------------


def test_a_call_that_is_not_sampled_costs_the_others_nothing(
    pair: Pair, cluster: LocalCluster
) -> None:
    wire = cluster.listen()
    unsampled = trace.SpanContext(1, 1, is_remote=False, trace_flags=trace.TraceFlags(0))

    def call() -> None:
        with trace.use_span(trace.NonRecordingSpan(unsampled)):
            pair.here.sockets.leave(pair.client.sid, "red").result(PATIENCE)
            published = wire.published_by(pair.here)
        assert [operation.trace for operation in published if isinstance(operation, Change)] == [""]

    assert pair.spans_of(call) == {}


def test_what_is_on_the_wire_is_the_traceparent_alone(pair: Pair, cluster: LocalCluster) -> None:
    wire = cluster.listen()
    state = trace.TraceState([("vendor", "x" * 200)])
    parent = trace.SpanContext(5, 6, False, trace.TraceFlags(1), state)

    with trace.use_span(trace.NonRecordingSpan(parent)):
        pair.here.rooms.tell("settings").result(PATIENCE)

    [tell] = [one for one in wire.published_by(pair.here) if isinstance(one, Tell)]
    assert tell.trace.startswith(f"00-{5:032x}-")
    assert len(tell.trace) == 55


@pytest.mark.parametrize("hostile", ["x" * 64, "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\0"])
def test_a_trace_that_is_none_is_ignored(pair: Pair, hostile: str) -> None:
    change = Change("leave", "/", (pair.client.sid,), ("red",), trace=hostile)
    outcomes: list[Any] = []

    spans = pair.spans_of(
        lambda: outcomes.append(pair.here.cluster.calls.change(change).result(PATIENCE))
    )

    assert outcomes[0].changed == 1
    assert spans == {}


# -- processes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["threading", "eventlet", "gevent"])
def test_a_trace_goes_from_a_request_to_the_other_worker(
    monkeypatch: pytest.MonkeyPatch, redis_broker: brokers.Broker, mode: str
) -> None:
    """Over a socket as over HTTP, in each mode, on a real broker."""
    pytest.importorskip(mode)
    monkeypatch.setenv("ROOMS_TEST_MODE", mode)

    def request_and_its_spans(ask: Callable[[str], Any]) -> list[dict[str, Any]]:
        with clients.connection(there.url) as client:
            ask(client.sid)
        return [span for worker in (here, there) for span in worker.post("/spans")]

    def over_http(sid: str) -> None:
        headers = {"Content-Type": "application/json"}
        asked = Request(f"{here.url}/kick", json.dumps({"sid": sid}).encode(), headers)
        asked.method = "PUT"
        with urlopen(asked, timeout=PATIENCE) as answer:
            assert json.load(answer) == {"changed": 0, "unchanged": 1}

    with workers.cluster(redis_broker.url, 2, "tests.support.traced_app") as (here, there):

        def over_a_socket(sid: str) -> None:
            with clients.connection(here.url) as client:
                assert client.request("put", "/kick", sid=sid) == {"changed": 0, "unchanged": 1}

        for ask in (over_http, over_a_socket):
            spans = {span["name"]: span for span in request_and_its_spans(ask)}

            assert set(spans) == {"PUT /kick", "sockets.leave", "process leave"}
            asked, said, done = (spans[name] for name in sorted(spans, key=_order))
            assert (asked["kind"], asked["parent"]) == ("SERVER", None)
            assert (said["parent"], done["parent"]) == (asked["id"], said["id"])
            assert said["trace"] == done["trace"] == asked["trace"]


def _order(name: str) -> int:
    return ["PUT /kick", "sockets.leave", "process leave"].index(name)


def test_nothing_is_traced_and_nothing_imported_where_it_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None;"
        "from flask import Flask; from flask_rooms import Rooms;"
        "app = Flask('quiet'); rooms = Rooms(app);"
        "rooms.sockets.broadcast('red', 'hello'); rooms.sockets.leave_all('red').result();"
        "print('flask_rooms.cluster.spans' in sys.modules)"
    )

    assert output(code) == "False\n"


def test_the_program_of_the_documentation_traces_a_call_in_a_request() -> None:
    _, program = blocks("docs/monitoring.md", "python")
    code = (
        f"{program}\nclient = rooms.socketio.test_client(app);"
        "sid = rooms.socketio.server.manager.sid_from_eio_sid(client.eio_sid, '/');"
        "app.test_client().put('/leave', json={'sid': sid}); provider.shutdown()"
    )

    text = output(code)

    assert text.index('"name": "sockets.leave"') < text.index('"name": "PUT /leave"')


def output(code: str) -> str:
    """Run a program, and return what it prints, which is no warning."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout
