"""What is sent to clients is JSON, in the words of Flask's provider, wherever it is sent from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import flask
import flask_socketio
import pytest
from flask import Flask, current_app, request
from flask.json.provider import DefaultJSONProvider
from flask_socketio import SocketIO
from werkzeug.routing import Rule

from flask_rooms import InvalidArgument, Rooms
from tests.support.apps import HEARTBEAT, Client, LocalCluster, Worker, fence, make_app
from tests.support.clients import Client as RealClient
from tests.support.clients import JavaScriptClient
from tests.support.javascript import require_npm
from tests.support.workers import cluster as processes

pytestmark = pytest.mark.mode_independent

MSGPACK = ["--config", json.dumps({"MODULE": "msgpack"})]


@dataclass
class Place:
    """An object that Flask's provider knows how to encode."""

    name: str
    height: Any


class Colour:
    """An object that only the application's own provider knows how to encode."""

    def __repr__(self) -> str:
        return "a colour"  # the same in every process, for the names of the tests


class Provider(DefaultJSONProvider):
    """A provider of an application."""

    @staticmethod
    def default(value: Any) -> Any:
        """Encode what JSON does not know."""
        if isinstance(value, Colour):
            return "red"
        if isinstance(value, set):
            return sorted(value)
        return DefaultJSONProvider.default(value)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def worker_with(cluster: LocalCluster, app: Flask | None = None, **options: Any) -> Worker:
    """Return a worker whose SocketIO has these options."""
    app = app or make_app()
    rooms = Rooms(app, SocketIO(**options), backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    return cluster.adopt(app, rooms)


def own_provider() -> Flask:
    app = make_app()
    app.json = Provider(app)
    return app


# -- what JSON does not know ----------------------------------------------------------------------

VALUES = {
    "date": date(1969, 7, 20),
    "time": datetime(1969, 7, 20, 20, 17, tzinfo=timezone.utc),
    "decimal": Decimal("1.50"),
    "uuid": UUID(int=7),
    "dataclass": Place("Ben Nevis", 1345),
    "nested": {"a": [date(1969, 7, 20), {"b": (Decimal("0.1"), UUID(int=1))}]},
    "plain": {"1": [None, True, 1.5, "é"]},
}

#: By which an application sends something to a client. send() is an event of another name.
CALLS: dict[str, Callable[[Worker, str, Any], object]] = {
    "broadcast": lambda worker, sid, value: worker.rooms.sockets.broadcast(sid, "said", value),
    "blast": lambda worker, sid, value: worker.rooms.sockets.blast("said", value),
    "emit": lambda worker, sid, value: worker.socketio.emit("said", value, to=sid),
    "emit to all": lambda worker, sid, value: worker.socketio.emit("said", value),
}

calls = pytest.mark.parametrize("call", CALLS)
wheres = pytest.mark.parametrize("where", ["same worker", "another worker"])


def answered(worker: Worker, client: Client, value: Any) -> Any:
    """Return what a client gets where a route returns this."""
    worker.app.view_functions["value"] = lambda: flask.jsonify(value)
    if "value" not in {rule.endpoint for rule in worker.app.url_map.iter_rules()}:
        worker.app.url_map.add(Rule("/value", endpoint="value"))
    answer = client.ask("get", "/value")
    assert answer["statusCode"] == 200
    return answer["body"]


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@calls
@wheres
def test_an_event_has_the_words_of_an_answer(
    cluster: LocalCluster, where: str, call: str, value: Any
) -> None:
    """So that a client needs to know one form of a date only."""
    there = worker_with(cluster)
    here = there if where == "same worker" else worker_with(cluster)
    client = there.connect()

    CALLS[call](here, client.sid, [value])
    fence(here, client)

    assert client.received() == [("said", [answered(there, client, [value])])]


@pytest.mark.parametrize("value", [*VALUES.values(), Colour(), {3, 1}], ids=repr)
def test_an_acknowledgement_has_them_too(cluster: LocalCluster, value: Any) -> None:
    """It is what a handler of Flask-SocketIO returns."""
    worker = worker_with(cluster, own_provider())
    worker.socketio.on("ask")(lambda: {"value": value})
    client = worker.connect()

    assert client.emit("ask") == answered(worker, client, {"value": value})


@pytest.mark.parametrize("value", [Colour(), {3, 1}], ids=repr)
@calls
def test_the_applications_own_provider_is_asked_whenever_it_is_set(
    cluster: LocalCluster, call: str, value: Any
) -> None:
    """Without it such an object cannot be sent, and nobody gets anything."""
    worker = worker_with(cluster)
    client = worker.connect()
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        CALLS[call](worker, client.sid, [value])

    worker.app.json = Provider(worker.app)
    CALLS[call](worker, client.sid, [value])

    assert client.received() == [("said", [answered(worker, client, [value])])]


def test_a_provider_may_ask_for_its_application(cluster: LocalCluster) -> None:
    """An acknowledgement is encoded after the context of its handler has ended."""
    worker = worker_with(cluster)

    class Asking(DefaultJSONProvider):
        @staticmethod
        def default(value: Any) -> Any:
            return current_app.name

    worker.app.json = Asking(worker.app)
    worker.socketio.on("ask")(lambda: Colour())

    assert worker.connect().emit("ask") == worker.app.name


def test_a_handler_emits_in_the_same_words(cluster: LocalCluster) -> None:
    """With Flask-SocketIO's own call, and bytes beside them."""
    worker = worker_with(cluster)

    @worker.socketio.on("ask")
    def handle() -> None:
        flask_socketio.emit("said", (VALUES["nested"], b"\x00"), broadcast=True)

    client = worker.connect()
    client.emit("ask")

    expected = answered(worker, client, VALUES["nested"])
    assert client.received() == [("said", [expected, b"\x00"])]


# -- a JSON module or serializer of the application's own -----------------------------------------


class OwnJSON:
    """A module as fast ones are: it writes characters as they are, and dates in its own way."""

    @staticmethod
    def dumps(value: Any, **options: Any) -> str:
        """Encode."""
        return json.dumps(value, default=lambda one: f"own: {one}", ensure_ascii=False)

    @staticmethod
    def loads(text: str | bytes, **options: Any) -> Any:
        """Decode."""
        return json.loads(text)


def test_a_json_module_of_the_application_stays(cluster: LocalCluster) -> None:
    """What it is given is what Flask-SocketIO gives it, and nothing is encoded before."""
    worker = worker_with(cluster, json=OwnJSON)
    worker.socketio.on("ask")(lambda: VALUES["date"])
    client = worker.connect()

    for call in CALLS.values():
        call(worker, client.sid, VALUES["date"])

    assert client.received() == [("said", ["own: 1969-07-20"])] * len(CALLS)
    assert client.emit("ask") == "own: 1969-07-20"


class Decimals(OwnJSON):
    """Makes of numbers what json does not encode."""

    @staticmethod
    def loads(text: str | bytes, **options: Any) -> Any:
        """Decode."""
        return json.loads(text, parse_float=Decimal)


def test_a_json_module_does_not_change_the_data_of_a_socket_request(cluster: LocalCluster) -> None:
    """It is JSON to the route, which decodes it as over HTTP; that of an event is not."""
    worker = worker_with(cluster, json=Decimals)
    worker.app.add_url_rule("/data", view_func=lambda: request.get_data(), methods=["PUT"])
    worker.socketio.on("type")(lambda data: type(data[1]).__name__)
    client = worker.connect()

    assert client.ask("put", "/data", ["get", 1.5])["body"] == '["get", 1.5]'
    assert client.emit("type", ["get", 1.5]) == "Decimal"


def test_a_json_module_is_that_of_its_own_application_alone(cluster: LocalCluster) -> None:
    """python-socketio keeps it for the whole process, in which there may be others."""
    worker_with(cluster, json=OwnJSON)
    second = worker_with(cluster)
    client = second.connect()

    second.socketio.emit("said", VALUES["date"])

    assert client.received() == [("said", [answered(second, client, VALUES["date"])])]


def test_msgpack_has_the_words_of_the_provider_as_well() -> None:
    """It writes NaN, which is a number to it, and every date as in JSON."""
    with processes("memory://", 1, "tests.support.json_app", "", *MSGPACK) as (worker,):
        client = RealClient(worker.url, serializer="msgpack")
        try:
            expected = client.call("get", {"url": "/date"})["body"]
            client.call("say", "date")
            assert client.receive() == ["said", expected]
            assert client.call("ask", "date") == expected
            client.call("say", "nan")
            assert math.isnan(client.receive()[1])
            # An answer is JSON before it is msgpack, and is the same to every client.
            assert client.call("get", {"url": "/nan"})["body"] == {"v": None}
            # What cannot be encoded at all ends no connection, and is replaced in an answer.
            assert client.call("ask", "lone") == "\N{REPLACEMENT CHARACTER}!"
            assert client.call("get", {"url": "/ok"})["body"] == {"ok": 1}
        finally:
            client.disconnect()


# -- what is no JSON ------------------------------------------------------------------------------

NUMBERS = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize("options", [{}, {"json": OwnJSON}, {"json": flask.json}], ids=repr)
@calls
def test_a_number_that_is_no_json_cannot_be_sent(
    cluster: LocalCluster, call: str, options: dict[str, Any], number: float
) -> None:
    """A browser would end its connection: the caller is told, and nothing is sent."""
    worker = worker_with(cluster, **options)
    client = worker.connect()

    for value in (number, [number], {"deep": [{"er": number}]}, {"key": 1, "NaN": [number]}):
        with worker.app.app_context(), pytest.raises(InvalidArgument, match="cannot be sent"):
            CALLS[call](worker, client.sid, value)

    assert client.received() == []


@calls
def test_text_that_only_looks_like_such_a_number_is_sent(cluster: LocalCluster, call: str) -> None:
    """In a value, a key or beside them, in a namespace with a name of that kind."""
    worker = worker_with(cluster)
    client = worker.connect()
    text = {"NaN": "NaN, [Infinity", "a": [", -Infinity]", "\\NaN", '"NaN']}

    CALLS[call](worker, client.sid, text)

    assert client.received() == [("said", [text])]
    worker.socketio.on("hello", namespace="/NaN[Infinity")(print)
    other = worker.connect("/NaN[Infinity")
    worker.socketio.emit("said", text, namespace="/NaN[Infinity")
    assert other.received() == [("said", [text])]


@pytest.mark.parametrize("options", [{}, {"json": OwnJSON}, {"json": flask.json}], ids=repr)
def test_in_an_acknowledgement_it_becomes_null(
    cluster: LocalCluster, options: dict[str, Any]
) -> None:
    """Its client waits for an answer, and none can be told."""
    worker = worker_with(cluster, **options)
    answer = {"n": NUMBERS, "t": (1.5, math.nan), "b": b"\x00", "d": {"x": {"y": math.inf}}}
    worker.socketio.on("ask")(lambda: answer)

    expected = {"n": [None] * 3, "t": [1.5, None], "b": b"\x00", "d": {"x": {"y": None}}}
    assert worker.connect().emit("ask") == expected


def test_it_becomes_null_where_the_provider_has_written_it(cluster: LocalCluster) -> None:
    """As in a dataclass, which only the provider can look into."""
    worker = worker_with(cluster)
    place = Place("nowhere", math.nan)
    worker.socketio.on("ask")(lambda: {"place": place, "list": [place, b"\x00"]})
    client = worker.connect()

    null = {"name": "nowhere", "height": None}
    assert client.emit("ask") == {"place": null, "list": [null, b"\x00"]}
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        worker.socketio.emit("said", place)
    assert client.received() == []


class Unknown:
    """What no JSON provider knows."""


class Odd:
    """What an application's JSON provider fails on."""


class OddProvider(DefaultJSONProvider):
    """A provider with a bug."""

    @staticmethod
    def default(value: Any) -> Any:
        """Return what a value is in JSON."""
        if isinstance(value, Odd):
            raise KeyError("a bug")
        return DefaultJSONProvider.default(value)


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


NO_ANSWERS: dict[str, Any] = {
    "an object": Unknown(),
    "a set of them": {Unknown()},
    "beside bytes": [b"\x00", Unknown()],
    "beside NaN": [math.nan, Unknown()],
    "a key": {(1, 2): 3},
    "what contains itself": _itself(),
    "too deep": _nested(100_000),
    "a bug": Odd(),
}


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_an_answer_that_cannot_be_sent_is_a_500_and_one_line_of_the_log(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    """Its client waits, and would wait for ever; the next event is answered as ever."""
    worker = worker_with(cluster)
    worker.app.json = OddProvider(worker.app)
    worker.socketio.on("ask")(lambda: NO_ANSWERS[answer])
    worker.socketio.on("two")(lambda: ("one", NO_ANSWERS[answer]))
    worker.socketio.on("well")(lambda: "well")
    client = worker.connect()

    for event in ("ask", "two"):
        caplog.clear()
        got = client.emit(event)

        assert got == {
            "body": {"message": "Internal Server Error"},
            "headers": {},
            "statusCode": 500,
        }
        assert [record.getMessage() for record in caplog.records] == [
            "An acknowledgement cannot be encoded, and is sent as an error."
        ]
    assert client.emit("well") == "well"


LONE = ["\ud800", "a\udfff!", "\ude00\ud83d"]


@pytest.mark.parametrize("text", LONE, ids=ascii)
def test_half_a_character_ends_no_connection(cluster: LocalCluster, text: str) -> None:
    """JSON can write it as an escape; where a module does not, nobody gets it as it is."""
    worker = worker_with(cluster)
    own = worker_with(cluster, json=OwnJSON)
    for one in (worker, own):
        one.socketio.on("ask")(lambda: {text: [text, "é"]})
    client, other = worker.connect(), own.connect()

    worker.socketio.emit("said", text)
    assert client.received() == [("said", [text])]
    assert client.emit("ask") == {text: [text, "é"]}
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        own.socketio.emit("said", text)
    replaced = "".join(
        "\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in text
    )
    assert other.emit("ask") == {replaced: [replaced, "é"]}
    fence(worker, other)
    assert other.received() == [("said", [text])]


# -- in JavaScript --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["default", "own"])
def test_the_javascript_client_stays_connected(module: str) -> None:
    """It closes its connection over whatever it cannot parse."""
    node_modules = require_npm("socket.io-client")
    options = ["--config", json.dumps({"MODULE": module})]
    with (
        processes("memory://", 1, "tests.support.json_app", "", *options) as (worker,),
        JavaScriptClient(worker.url, node_modules) as client,
    ):
        for name in ("nan", "infinity", "lone", "date", "huge"):
            assert client.call("get", {"url": f"/{name}"})["statusCode"] == 200
            client.call("ask", name)
            client.call("say", name)
        assert client.call("get", {"url": "/nan"})["body"] == {"v": None}
        assert client.call("get", {"url": "/huge"})["body"] == {"v": [None, None]}
        assert client.call("ask", "nan") is None
        assert client.call("ask", "infinity") == [None, None]
        answer = client.call("get", {"url": "/sid"})
        assert answer["body"] == {"sid": client.sid}  # the connection is still the first one
