"""flask_rooms.client over each of python-socketio's clients, against a real worker."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import socket
import threading
from collections import UserDict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

import pytest
import socketio
from engineio.payload import Payload

from flask_rooms import RoomsError
from flask_rooms.client import (
    AsyncRoomsClient,
    Disconnected,
    PresenceDifference,
    Repetition,
    RequestFailed,
    RequestTimeout,
    Response,
    RoomsClient,
)
from flask_rooms.client.base import WINDOW
from flask_rooms.errors import InvalidArgument, InvalidData
from tests.support.apps import in_thread
from tests.support.clients import TIMEOUT, hang_up_at_once
from tests.support.workers import Worker, cluster

pytestmark = pytest.mark.oldest_dependencies

# What is patched for eventlet or gevent has no event loop of asyncio; the client is the same there.
unpatched = pytest.mark.skipif(
    os.environ.get("ROOMS_TEST_MODE", "threading") != "threading",
    reason="asyncio does not run in a patched process",
)


class Program:
    """
    What uses a client: the same for those of threads and those of asyncio.

    Args:
        kind: One of python-socketio's four clients.
        loop: Where one of asyncio runs.
        options: Of RoomsClient or AsyncRoomsClient.
    """

    def __init__(
        self, kind: type[Any], loop: asyncio.AbstractEventLoop | None, **options: Any
    ) -> None:
        self._loop = loop
        self.simple = "Simple" in kind.__name__
        self._close: Callable[[], object] = lambda: None
        self.sio = kind(reconnection=False, handle_sigint=False)
        self.api: Any = (AsyncRoomsClient if loop else RoomsClient)(self.sio, **options)

    def connect(self, worker: Worker, namespace: str = "/") -> None:
        """Connect to a worker."""
        where = {"namespace": namespace} if self.simple else {"namespaces": [namespace]}
        self.start(
            self.sio.connect, worker.url, transports=["websocket"], wait_timeout=TIMEOUT, **where
        ).result(TIMEOUT)
        self.end_at_once()

    def end_at_once(self) -> None:
        """Have the present connection closed when it is disconnected."""
        if self._loop is None:
            hang_up_at_once(self.client)
            self._close = self.client.eio.ws.shutdown

    @property
    def client(self) -> Any:
        """The client itself, or the one in a simple client."""
        return self.sio.client if self.simple else self.sio

    def disconnect(self) -> None:
        """Disconnect, if that has not happened yet."""
        self.start(self.sio.disconnect).result(TIMEOUT)
        self._close()

    def start(self, function: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
        """Call something, in a thread or as a coroutine, and return what it will return."""
        if self._loop is None:
            return in_thread(lambda: function(*args, **options))
        return asyncio.run_coroutine_threadsafe(_call(function, *args, **options), self._loop)

    def ask(self, verb: str, *args: Any, **options: Any) -> Response:
        """Make a request with one of the client's methods."""
        answer = self.start(getattr(self.api, verb), *args, **options).result(TIMEOUT)
        assert isinstance(answer, Response)
        return answer


async def _call(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    return await function(*args, **options)


Make = Callable[..., Program]


@pytest.fixture(scope="module", name="worker")
def _worker() -> Iterator[Worker]:
    with cluster("memory://", 1, "tests.support.clients_app") as (worker,):
        yield worker


@pytest.fixture(scope="module", name="loop")
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    import_module("aiohttp")  # without it python-socketio just never connects
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(TIMEOUT)
    loop.close()


@pytest.fixture(
    name="make",
    params=[
        "Client",
        "SimpleClient",
        pytest.param("AsyncClient", marks=unpatched),
        pytest.param("AsyncSimpleClient", marks=unpatched),
    ],
)
def _make(request: pytest.FixtureRequest) -> Iterator[Make]:
    loop = request.getfixturevalue("loop") if "Async" in request.param else None
    with ExitStack() as stack:

        def make(**options: Any) -> Program:
            program = Program(getattr(socketio, request.param), loop, **options)
            stack.callback(program.disconnect)
            return program

        yield make


@pytest.fixture(name="program")
def _program(make: Make, worker: Worker) -> Program:
    program = make()
    program.connect(worker)
    return program


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete"])
def test_every_verb_is_a_method(program: Program, verb: str) -> None:
    response = program.ask(verb, "/echo?b=2", {"a": 1})

    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.body["method"] == verb.upper()
    in_query = verb in ("get", "delete")
    assert response.body["json"] == (None if in_query else {"a": 1})
    assert response.body["query"] == {"b": "2"} | ({"a": "1"} if in_query else {})


def test_request_takes_any_method_and_data(program: Program) -> None:
    assert program.ask("request", "HEAD", "/echo").status == 200
    assert program.ask("request", "Post", "/echo", [1, None]).body["json"] == [1, None]
    assert program.ask("post", "/bytes", b"\x00\x01\xff").body == b"\xff\x01\x00"


def test_headers_of_the_client_go_with_each_request_that_has_no_other(
    make: Make, worker: Worker
) -> None:
    program = make(headers={"X-One": "of the client", "X-Two": "of the client", "X-Three": 3})
    program.connect(worker)

    sent = {"X-Two": "of the request", "X-Three": None, "X-Four": "4"}
    headers = program.ask("get", "/echo", headers=sent).body["headers"]

    assert {name: value for name, value in headers.items() if name.startswith("x-")} == {
        "x-one": "of the client",
        "x-two": "of the request",
        "x-four": "4",
    }


@pytest.mark.parametrize("status", [400, 404, 503])
def test_a_status_of_400_or_more_is_an_error(program: Program, status: int) -> None:
    expected = f"POST /status/{status} has status {status}: This is {status}"
    with pytest.raises(RequestFailed, match=expected) as failed:
        program.ask("post", f"/status/{status}")

    assert isinstance(failed.value, RoomsError)
    assert failed.value.status == status
    assert failed.value.body == {"message": f"This is {status}."}
    assert failed.value.headers["x-said"] == str(status)


def test_a_redirect_is_none(program: Program) -> None:
    assert program.ask("get", "/status/302").status == 302


def test_requests_wait_for_the_connection(make: Make, worker: Worker) -> None:
    program = make()
    early = program.start(program.api.get, "/echo", {"early": True})

    expected = r"no connection for GET /echo within 0\.01 seconds"  # and no query string
    with pytest.raises(RequestTimeout, match=expected):
        program.ask("get", "/echo?token=secret", timeout=0.01)
    program.connect(worker)

    assert early.result(TIMEOUT).body["query"] == {"early": "true"}


def test_an_answer_that_does_not_come_is_an_error(make: Make, worker: Worker) -> None:
    program = make(timeout=0.01)
    program.connect(worker)
    name = type(program.sio).__name__

    expected = rf"no answer to GET /wait/{name} within 0\.01 seconds"
    with pytest.raises(RequestTimeout, match=expected) as late:
        program.ask("get", f"/wait/{name}")
    worker.post(f"/release/{name}")

    assert isinstance(late.value, TimeoutError)
    assert isinstance(late.value, RoomsError)
    assert program.ask("get", "/echo", timeout=TIMEOUT).status == 200


def test_a_connection_that_is_lost_is_an_error_at_once(program: Program) -> None:
    with pytest.raises(Disconnected, match="the answer to POST /hang-up") as lost:
        program.ask("post", "/hang-up", timeout=10 * TIMEOUT)

    assert isinstance(lost.value, ConnectionError)
    assert isinstance(lost.value, RoomsError)


def test_a_client_that_connects_again_goes_on(program: Program, worker: Worker) -> None:
    first = program.ask("get", "/id").body["sid"]
    program.disconnect()
    program.connect(worker)

    assert program.ask("get", "/id").body["sid"] not in (first, None)


def test_a_request_goes_to_the_namespace_of_the_client(make: Make, worker: Worker) -> None:
    program = make()
    if not program.simple:  # which knows its own
        program = make(namespace="/chat")
    program.connect(worker, "/chat")

    sid = program.ask("get", "/id").body["sid"]

    assert sid == program.client.get_sid("/chat") is not None


class Recorder(socketio.AsyncClient):
    """A client that remembers what it has sent."""

    sent: ClassVar[list[str]] = []

    async def emit(self, event: str, data: Any = None, *args: Any, **options: Any) -> None:
        """Send, and remember the URL."""
        self.sent.append(data["url"])
        await super().emit(event, data, *args, **options)


@unpatched
def test_requests_of_asyncio_are_sent_in_the_order_in_which_they_were_made(worker: Worker) -> None:
    urls = [f"/echo?number={number}" for number in range(20)]

    async def program() -> list[Response]:
        sio = Recorder(reconnection=False)
        api = AsyncRoomsClient(sio, timeout=TIMEOUT)
        first = asyncio.ensure_future(api.get("/given-up"))
        waiting = [asyncio.ensure_future(api.get(url)) for url in urls]
        second = asyncio.ensure_future(api.get("/given-up"))
        await asyncio.sleep(0)  # all of them have begun
        first.cancel()
        second.cancel()
        await sio.connect(worker.url, transports=["websocket"], wait_timeout=TIMEOUT)
        responses = await asyncio.gather(*waiting, api.get("/id"))
        await sio.disconnect()
        return responses

    assert all(response.status == 200 for response in asyncio.run(program()))
    assert Recorder.sent == [*urls, "/id"]


def test_errors_can_be_sent_to_another_process() -> None:
    error = RequestFailed(404, "text", {"a": "b"}, "GET /tea")
    failed = pickle.loads(pickle.dumps(error))

    assert (failed.status, failed.body, failed.headers) == (404, "text", {"a": "b"})
    assert str(failed) == str(error) == "The answer to GET /tea has status 404."
    assert str(RequestFailed(404, "text", {})) == "The answer has status 404."


def test_a_client_that_polls_takes_the_responses_to_all_requests_of_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Payload, "max_decode_packets", 16)  # as in a process without a server

    RoomsClient(socketio.Client(handle_sigint=False))

    payload = "\x1e".join(["43[1]"] * WINDOW)
    assert len(Payload(encoded_payload=payload).packets) == WINDOW


def test_many_requests_at_once_are_sent_within_a_window(program: Program) -> None:
    unanswered, most, held = [0], [0], SimpleQueue[Callable[[], None]]()
    emit = program.client.emit
    filled, counting = threading.Event(), threading.Lock()

    def counted(event: str, payload: Any, namespace: str, callback: Callable[[Any], None]) -> Any:
        with counting:
            unanswered[0] += 1
            most[0] = max(most[0], unanswered[0])
            if unanswered[0] == WINDOW:
                filled.set()  # and the answer to this request is still to come

        def answered(answer: Any) -> None:
            held.put(lambda: take(answer))
            if filled.is_set():
                release()

        def take(answer: Any) -> None:
            with counting:
                unanswered[0] -= 1
            callback(answer)

        return emit(event, payload, namespace, answered)

    def release() -> None:
        """Give the client the answers that came before its window was full."""
        with suppress(Empty):
            while True:
                held.get_nowait()()

    program.client.emit = counted
    asked = [program.start(program.api.put, f"/rooms/r{n}", timeout=TIMEOUT) for n in range(250)]

    assert {one.result(TIMEOUT).status for one in asked} == {200}
    assert most == [WINDOW]


class EndsEarly(threading.Event):
    """Ends a connection when the sockets of its client are connected, before connect() goes on."""

    def __init__(self, client: Any, passes: int) -> None:
        super().__init__()
        self._client = client
        self._passes = passes  # connections that last
        self.has_ended = threading.Event()

    def lose(self) -> None:
        """Lose the connection, and return when the client has noticed."""
        websocket, reader = self._client.eio.ws, self._client.eio.read_loop_task
        websocket.sock.shutdown(socket.SHUT_RDWR)
        reader.join(TIMEOUT)
        websocket.shutdown()  # python-socketio does not close what it has lost

    def wait(self, timeout: float | None = None) -> bool:
        came = super().wait(timeout)
        self._passes -= came
        if self._passes == -1:
            self.lose()
            self.has_ended.set()
        return came


class EndsEarlyAsync(asyncio.Event):
    """The same for asyncio."""

    def __init__(self, client: Any, passes: int) -> None:
        super().__init__()
        self._client = client
        self._passes = passes
        self.has_ended = threading.Event()

    async def lose(self) -> None:
        await self._client.eio.ws.close()
        while self._client.sid is not None:
            await asyncio.sleep(0)

    async def wait(self) -> Any:
        await super().wait()
        self._passes -= 1
        if self._passes == -1:
            await self.lose()
            self.has_ended.set()


def end_early(program: Program, passes: int, **options: Any) -> list[EndsEarly | EndsEarlyAsync]:
    """Have a connection of a program end early; return a list that gets what does that."""
    made: list[EndsEarly | EndsEarlyAsync] = []

    def prepare(client: Any) -> Any:
        vars(client).update(options)
        kind = EndsEarlyAsync if "Async" in type(client).__name__ else EndsEarly
        client._connect_event = kind(client, passes)
        made.append(client._connect_event)
        return client

    if program.simple:
        make_client = program.sio.client_class
        program.sio.client_class = lambda *args, **options: prepare(make_client(*args, **options))
    else:
        prepare(program.sio)
    return made


# python-engineio does not close the session of aiohttp, where it connects while that is due.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("again", [False, True], ids=["at first", "again"])
def test_a_connection_that_ends_while_the_client_connects_is_made_again(
    make: Make, worker: Worker, again: bool
) -> None:
    """Where a server ends in that moment; python-socketio would take the client for connected."""
    program = make()
    made = end_early(program, int(again), reconnection=True, reconnection_delay=0.01)
    program.start(program.sio.connect, worker.url, transports=["websocket"]).result(TIMEOUT)
    if again:
        program.start(made[0].lose).result(TIMEOUT)
    assert made[0].has_ended.wait(TIMEOUT)

    answer = None
    while answer is None:
        with suppress(Disconnected):  # sent over the connection that is ending
            answer = program.ask("get", "/echo")
    assert answer.status == 200
    program.end_at_once()
    gc.collect()


def test_it_is_an_error_where_the_client_does_not_connect_again(make: Make, worker: Worker) -> None:
    program = make()
    end_early(program, 0)

    with pytest.raises(socketio.exceptions.ConnectionError, match="has ended while"):
        program.start(program.sio.connect, worker.url, transports=["websocket"]).result(TIMEOUT)


def reconnect(program: Program, worker: Worker) -> tuple[list[Repetition], list[str]]:
    """Connect again; return what the standing requests came to, and all that was requested."""
    came = SimpleQueue[list[Repetition]]()
    end = program.api.restored(came.put)
    program.disconnect()
    late = program.start(program.api.get, "/requested", timeout=TIMEOUT)
    program.connect(worker)
    repetitions = came.get(timeout=TIMEOUT)
    end()
    return repetitions, late.result(TIMEOUT).body


def test_standing_requests_are_repeated_in_order_before_others(
    program: Program, worker: Worker
) -> None:
    by = program.client.get_sid("/")
    unavailable, unknown = (f"/status/200?then={status}&by={by}" for status in (503, 404))
    program.ask("put", "/echo?a", {"deep": [1]}, standing=True, headers={"X-One": "old"})
    program.ask("post", "/echo?b", standing=True)
    program.ask("put", "/echo?c")
    # The same again stays in its place, and has the latest options.
    program.ask("put", "/echo?a", {"deep": [1]}, standing=True, headers={"X-One": "new"})
    program.ask("get", unavailable, standing=True)
    program.ask("get", unknown, standing=True)
    with pytest.raises(RequestFailed):
        program.ask("put", "/status/403", standing=True)

    repetitions, requested = reconnect(program, worker)

    urls = ["/echo?a", "/echo?b", unavailable, unknown]
    assert requested == [*urls, "/requested"]
    assert [(one.method, one.url) for one in repetitions] == list(
        zip(["put", "post", "get", "get"], urls, strict=True)
    )
    assert [one.kept for one in repetitions] == [True, True, True, False]
    assert repetitions[0].response is not None
    assert repetitions[0].response.body["json"] == repetitions[0].data == {"deep": [1]}
    assert repetitions[0].response.body["headers"]["x-one"] == "new"
    errors = [one.error for one in repetitions]
    assert [getattr(one, "status", None) for one in errors] == [None, None, 503, 404]

    assert program.api.withdraw("post", "/echo?b") is True
    assert program.api.withdraw("post", "/echo?b") is False
    assert reconnect(program, worker)[1] == ["/echo?a", unavailable, "/requested"]


def test_a_disconnect_while_standing_requests_are_repeated_begins_anew(
    program: Program, worker: Worker
) -> None:
    name = f"standing-{type(program.sio).__name__}"
    worker.post(f"/release/{name}")
    program.ask("put", "/echo", standing=True)
    program.ask("get", f"/wait/{name}", standing=True)
    came = SimpleQueue[list[Repetition]]()
    program.api.restored(came.put)
    worker.post(f"/hold/{name}")
    program.disconnect()
    late = program.start(program.api.get, "/requested", timeout=TIMEOUT)

    program.connect(worker)
    assert worker.post(f"/begun/{name}") == {"begun": True}
    program.disconnect()
    worker.post(f"/release/{name}")
    program.connect(worker)

    assert late.result(TIMEOUT).body == ["/echo", f"/wait/{name}", "/requested"]
    assert [one.kept for one in came.get(timeout=TIMEOUT)] == [True, True]
    assert came.empty()


def test_standing_requests_are_few_and_json(make: Make, worker: Worker) -> None:
    program = make()
    with pytest.raises(InvalidData, match="must be JSON"):
        program.ask("post", "/bytes", b"\x00", standing=True)
    early = [
        program.start(program.api.put, f"/echo?{n}", standing=True, timeout=TIMEOUT)
        for n in range(31)
    ]
    with pytest.raises(RequestTimeout):
        program.ask("put", "/echo?late", standing=True, timeout=0.01)
    with pytest.raises(InvalidArgument, match="At most 32 requests"):
        program.ask("put", "/echo?32", standing=True)
    came = SimpleQueue[list[Repetition]]()
    program.api.restored(came.put)

    program.connect(worker)

    # It was given up before it could be sent; the others are sent for the first time.
    assert [one.url for one in came.get(timeout=TIMEOUT)] == ["/echo?late"]
    assert {one.result(TIMEOUT).status for one in early} == {200}


def test_a_standing_request_that_is_made_anew_before_it_was_sent_is_sent_once(
    make: Make, worker: Worker
) -> None:
    program = make()
    with pytest.raises(RequestTimeout):
        program.ask("put", "/echo", standing=True, timeout=0.01)
    early = program.start(program.api.put, "/echo", standing=True, timeout=TIMEOUT)
    program.connect(worker)
    early.result(TIMEOUT)

    assert program.ask("get", "/requested").body == ["/echo", "/requested"]
    assert reconnect(program, worker)[1] == ["/echo", "/requested"]


def test_a_standing_request_keeps_its_place_once_it_has_been_repeated(
    make: Make, worker: Worker
) -> None:
    program = make()
    with pytest.raises(RequestTimeout):
        program.ask("put", "/echo?late", standing=True, timeout=0.01)
    program.connect(worker)
    program.ask("get", "/echo?another")
    program.disconnect()
    requests = [
        program.start(getattr(program.api, verb), url, timeout=TIMEOUT, standing=verb == "put")
        for verb, url in (("get", "/echo?another"), ("put", "/echo?late"))
    ]
    program.connect(worker)
    for request in requests:
        request.result(TIMEOUT)

    requested = program.ask("get", "/requested").body
    assert requested[0] == "/echo?late"
    assert sorted(requested[1:]) == ["/echo?another", "/echo?late", "/requested"]


def test_a_callback_of_restored_can_wait_for_the_next_connection(worker: Worker) -> None:
    program = Program(socketio.Client, None)
    program.connect(worker)
    program.ask("put", "/echo", standing=True)
    lost, came = threading.Event(), SimpleQueue[int]()

    def on_restored(_: list[Repetition]) -> None:
        end()
        program.disconnect()
        lost.set()
        came.put(program.api.get("/echo", timeout=TIMEOUT).status)

    end = program.api.restored(on_restored)
    program.disconnect()
    program.connect(worker)
    assert lost.wait(TIMEOUT)
    program.connect(worker)

    assert came.get(timeout=TIMEOUT) == 200
    program.disconnect()


def test_the_callbacks_of_restored_come_in_the_order_of_the_connections(worker: Worker) -> None:
    program = Program(socketio.Client, None)
    program.connect(worker)
    program.ask("put", "/echo", standing=True)
    may_end, came = threading.Event(), SimpleQueue[str]()

    def on_restored(_: list[Repetition]) -> None:
        came.put("begins")
        if not may_end.is_set():
            assert may_end.wait(TIMEOUT)
        came.put("ends")

    program.api.restored(on_restored)
    for _ in range(2):
        program.disconnect()
        program.connect(worker)
        program.ask("get", "/echo")  # after the standing one
    may_end.set()

    assert [came.get(timeout=TIMEOUT) for _ in range(4)] == ["begins", "ends"] * 2
    program.disconnect()


def test_standing_requests_are_repeated_once_where_no_thread_can_be_started(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(socketio.Client, None)
    program.connect(worker)
    program.ask("put", "/echo", standing=True)
    came = SimpleQueue[int]()
    program.api.restored(lambda repetitions: came.put(len(repetitions)))
    start = threading.Thread.start

    def start_another(thread: threading.Thread) -> None:
        if "tell" in repr(thread._target):  # type: ignore[attr-defined]
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_another)
    program.disconnect()
    program.connect(worker)

    assert came.get(timeout=TIMEOUT) == 1
    assert program.ask("get", "/requested").body == ["/echo", "/requested"]
    program.disconnect()


def test_standing_requests_are_repeated_although_a_failure_cannot_be_logged(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(socketio.Client, None)
    program.connect(worker)
    program.ask("put", "/echo", standing=True)
    emit, failures = socketio.Client.emit, [OSError("once")]

    def emit_later(*args: Any, **options: Any) -> None:
        if failures:
            raise failures.pop()
        emit(*args, **options)

    class Away(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the server of the log is away")

    away = Away()
    logging.getLogger("flask_rooms").addHandler(away)
    try:
        program.disconnect()
        monkeypatch.setattr(socketio.Client, "emit", emit_later)
        program.connect(worker)
        assert program.ask("get", "/requested").body == ["/echo", "/requested"]
    finally:
        logging.getLogger("flask_rooms").removeHandler(away)
        program.disconnect()


def test_a_function_makes_the_data_each_time_that_a_request_is_sent(
    make: Make, worker: Worker
) -> None:
    program, number = make(), [0]

    def count() -> dict[str, int]:
        number[0] += 1
        return {"number": number[0]}

    early = program.start(program.api.put, "/echo", count, standing=True, timeout=TIMEOUT)
    with pytest.raises(RequestTimeout):
        program.ask("put", "/echo?late", count, timeout=0.01)
    assert number == [0]
    program.connect(worker)
    assert early.result(TIMEOUT).body["json"] == {"number": 1}

    (repetition,), _ = reconnect(program, worker)

    assert repetition.response is not None
    assert repetition.response.body["json"] == {"number": 2}
    assert repetition.data is count
    assert program.api.withdraw("put", "/echo") is True


def test_a_function_for_the_data_that_fails_ends_its_request(
    program: Program, worker: Worker
) -> None:
    data: list[Any] = [b"no JSON"]
    with pytest.raises(InvalidData, match="not JSON serializable"):
        program.ask("put", "/echo", lambda: data[0], standing=True)
    with pytest.raises(InvalidData, match="division"):
        program.ask("put", "/echo", lambda: 1 / 0)
    data[0] = 1
    program.ask("post", "/echo", lambda: data[0], standing=True)
    data[0] = b"no JSON"

    (repetition,), requested = reconnect(program, worker)

    assert (repetition.method, repetition.kept) == ("post", False)
    assert isinstance(repetition.error, InvalidData)
    assert requested == ["/requested"]


def test_a_client_gets_what_was_said_while_it_was_away(program: Program, worker: Worker) -> None:
    room = f"of-{type(program.sio).__name__}"
    said = SimpleQueue[str]()
    if not program.simple:
        program.client.on("said", said.put)

    def hear() -> Any:
        if program.simple:
            return program.start(program.sio.receive, timeout=TIMEOUT).result(TIMEOUT)[1]
        return said.get(timeout=TIMEOUT)

    def since() -> dict[str, Any]:
        return {"since": program.api.since(f"talk:{room}")}

    assert since() == {"since": None}
    program.ask("put", f"/talks/{room}", since, standing=True)
    worker.post(f"/talks/{room}", text="one")
    assert hear() == "one"
    program.ask("get", "/echo")
    program.disconnect()
    worker.post(f"/talks/{room}", text="two")

    (repetition,), _ = reconnect(program, worker)

    assert repetition.response is not None
    assert repetition.response.body == {"sent": 1, "gone": False}
    assert hear() == "two"
    program.ask("get", "/echo")
    assert since()["since"]["offsets"] == [2]


Person = dict[str, Any]


def follow(program: Program, room: str) -> tuple[list[list[Any]], SimpleQueue[Callable[[], Any]]]:
    """Follow a room; return the data of the people in each list, and the events, to be handled."""
    lists: list[list[Any]] = []
    held = SimpleQueue[Callable[[], Any]]()
    program.api.presence(
        room, lambda people, difference: lists.append([one["data"] for one in people])
    )
    # python-socketio's threads may handle events at any time, and in any order.
    handlers = program.client.handlers["/"]
    for event in ("presence_state", "presence_diff"):
        handlers[event] = lambda told, handle=handlers[event]: held.put(lambda: handle(told))
    return lists, held


def set_number(program: Program, room: str, number: int) -> None:
    """Make a difference."""
    assert program.ask("patch", f"/rooms/{room}", {"number": number}).body == {"present": True}


def test_events_of_presence_are_taken_in_whatever_their_order(program: Program) -> None:
    room = f"team:order-{type(program.sio).__name__}"
    lists, held = follow(program, room)
    program.ask("put", f"/rooms/{room}")
    for number in range(3):
        set_number(program, room, number)
    state, *differences = [held.get(timeout=TIMEOUT) for _ in range(4)]

    for event in (differences[2], differences[0], state, differences[1]):
        event()

    assert lists == [[[{}]], *([[{"number": number}]] for number in range(3))]


def test_a_list_that_comes_after_its_differences_is_that_of_the_latest_join(
    program: Program,
) -> None:
    room = f"team:join-{type(program.sio).__name__}"
    lists, held = follow(program, room)
    program.ask("put", f"/rooms/{room}")
    for number in range(3):
        set_number(program, room, number)
    first = [held.get(timeout=TIMEOUT) for _ in range(4)]
    program.ask("delete", f"/rooms/{room}")
    program.ask("put", f"/rooms/{room}")
    set_number(program, room, 7)
    state, difference = [held.get(timeout=TIMEOUT) for _ in range(2)]

    for event in (*first, difference, state, first[0], first[2]):
        event()

    assert lists[-1] == [[{"number": 7}]]


@pytest.mark.parametrize("name", ["Client", "SimpleClient"])
def test_callbacks_of_presence_are_called_one_at_a_time(worker: Worker, name: str) -> None:
    program = Program(getattr(socketio, name), None)
    lists, entered, go = SimpleQueue[list[Any]](), threading.Event(), threading.Event()

    def follow(people: list[Person], _: PresenceDifference) -> None:
        data = [one["data"] for one in people]
        if data == [[{"number": 0}]]:
            entered.set()
            assert go.wait(TIMEOUT)
        lists.put(data)

    room = f"team:turn-{name}"
    program.api.presence(room, follow)
    program.connect(worker)
    program.ask("put", f"/rooms/{room}")
    set_number(program, room, 0)
    assert entered.wait(TIMEOUT)
    set_number(program, room, 1)
    program.ask("get", "/echo")
    go.set()

    assert [lists.get(timeout=TIMEOUT) for _ in range(3)] == [
        [[{}]],
        [[{"number": 0}]],
        [[{"number": 1}]],
    ]
    program.disconnect()


def test_a_callback_of_presence_that_raises_keeps_no_other_from_its_call(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    room = f"team:raise-{type(program.sio).__name__}"
    lists = SimpleQueue[list[Person]]()
    program.api.presence(room, lambda people, difference: 1 / 0)
    program.api.presence(room, lambda people, difference: lists.put(people))

    program.ask("put", f"/rooms/{room}")

    assert len(lists.get(timeout=TIMEOUT)) == 1
    assert "A callback of presence() has failed." in caplog.text


def test_events_are_handled_from_before_the_connection_on(make: Make, worker: Worker) -> None:
    program = make()
    room = f"team:early-{type(program.sio).__name__}"
    lists = SimpleQueue[list[Person]]()
    end = program.api.presence(room, lambda people, difference: lists.put(people))
    assert program.api.since("talk:early") is None

    for _ in range(2):  # a simple client has another client now
        program.connect(worker)
        program.ask("put", f"/rooms/{room}")
        sid = program.client.get_sid("/")
        while sid not in [one["socket"] for one in lists.get(timeout=TIMEOUT)]:
            pass
        program.disconnect()
    end()


def test_standing_requests_survive_a_disconnect_in_the_middle(worker: Worker) -> None:
    program = Program(socketio.SimpleClient, None)
    connected, disconnected = threading.Event(), threading.Event()

    def disconnect_once() -> dict[str, Any]:
        if connected.wait(TIMEOUT) and not disconnected.is_set():
            program.sio.disconnect()  # which leaves it without a client
            disconnected.set()
        return {}

    disconnected.set()
    connected.set()
    program.connect(worker)
    program.ask("put", "/echo", disconnect_once, standing=True)
    program.disconnect()
    connected.clear()
    disconnected.clear()
    program.connect(worker)
    connection = program.client.eio.ws
    connected.set()
    assert disconnected.wait(TIMEOUT)
    connection.shutdown()  # python-engineio leaves it open

    program.connect(worker)

    assert program.ask("get", "/requested", timeout=TIMEOUT).body == ["/echo", "/requested"]
    program.disconnect()


class Headers(UserDict[str, Any]):
    """Headers of a program that fail once."""

    fails = False

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        if self.fails:
            self.fails = False
            raise OSError("of the program")
        return super().__iter__()


def test_standing_requests_survive_an_error_of_any_kind(
    program: Program, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    headers = Headers({"X-One": "1"})
    program.ask("put", "/echo", standing=True, headers=headers)
    headers.fails = True

    repetitions, requested = reconnect(program, worker)

    assert [one.kept for one in repetitions] == [True]
    assert requested == ["/echo", "/requested"]
    assert "of the program" in caplog.text
    assert not headers.fails


@unpatched
def test_a_coroutine_of_restored_that_raises_keeps_no_other_from_its_run(
    loop: asyncio.AbstractEventLoop, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    program = Program(socketio.AsyncClient, loop)
    program.connect(worker)
    program.ask("put", "/echo", standing=True)
    came = SimpleQueue[list[Repetition]]()

    async def fail(_: list[Repetition]) -> None:
        raise OSError("of the program")

    async def take(repetitions: list[Repetition]) -> None:
        came.put(repetitions)

    program.api.restored(fail)
    program.api.restored(take)
    program.disconnect()
    program.connect(worker)

    assert len(came.get(timeout=TIMEOUT)) == 1
    assert "of the program" in caplog.text
    program.disconnect()


@pytest.mark.parametrize(
    ("make_client", "message"),
    [
        (lambda: RoomsClient("http://localhost"), "RoomsClient takes a .*, not a str.* connect it"),
        (lambda: RoomsClient(socketio.Client), "not a type. Make one"),
        (lambda: AsyncRoomsClient(None), "AsyncRoomsClient takes a socketio.AsyncClient"),
        (lambda: RoomsClient(socketio.AsyncClient()), "AsyncClient, use AsyncRoomsClient"),
        (lambda: RoomsClient(socketio.AsyncSimpleClient()), "Client, use AsyncRoomsClient"),
        (lambda: AsyncRoomsClient(socketio.Client()), r"Client, use RoomsClient"),
        (lambda: AsyncRoomsClient(socketio.SimpleClient()), "Client, use RoomsClient"),
    ],
)
def test_a_client_for_the_other_class_or_none_is_an_error(
    make_client: Callable[[], Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make_client()


@pytest.mark.parametrize("timeout", ["1", None, True, -1, float("nan"), float("inf"), 1e300])
def test_a_timeout_is_a_number_of_seconds(make: Make, timeout: Any) -> None:
    with pytest.raises(InvalidArgument, match="a finite number of seconds, 0 or more, not"):
        make(timeout=timeout)
    if timeout is not None:  # which is the client's
        with pytest.raises(InvalidArgument, match="a finite number of seconds, 0 or more, not"):
            make().ask("get", "/echo", timeout=timeout)
