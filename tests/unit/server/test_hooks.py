"""The application's functions at the beginning and at the end of a socket's life."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flask_socketio
import pytest
from flask import Request, abort, redirect, request, session
from flask.sessions import SecureCookieSession, SessionInterface, SessionMixin
from markupsafe import Markup
from werkzeug.exceptions import Unauthorized

from flask_rooms import ConfigurationError
from flask_rooms.globals import parts_of
from tests.support.apps import LocalCluster, Worker, make_app
from tests.support.raw import RawClient, Refused
from tests.support.workers import cluster


class Row(NamedTuple):
    """As SQLAlchemy's rows are tuples, too."""

    name: str


@pytest.fixture
def local() -> Iterator[LocalCluster]:
    with LocalCluster() as local:
        yield local


@pytest.fixture
def worker(local: LocalCluster) -> Worker:
    app = make_app()

    @app.put("/session")
    def put_session() -> dict[str, Any]:
        session.update(request.get_json())
        return dict(session)

    return local.worker(app)


# -- before_connect ---------------------------------------------------------------------------


def test_before_connect_knows_auth_and_handshake(worker: Worker) -> None:
    seen = []

    @worker.rooms.before_connect
    def look(auth: Any) -> None:
        seen.append((auth, session.get("user"), request.args["city"], request.remote_addr))

    browser = worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})

    client = worker.connect(flask_test_client=browser, auth={"a": 1}, query_string="city=Paris")

    assert seen == [({"a": 1}, "Ada", "Paris", "127.0.0.1")]
    assert client.is_connected()


@pytest.mark.parametrize("returned", [None, True, 0, 7, frozenset(), Row("Ada")], ids=str)
def test_what_is_neither_false_nor_a_response_lets_in(worker: Worker, returned: Any) -> None:
    worker.rooms.before_connect(lambda auth: returned)

    assert worker.connect().is_connected()


def test_a_client_that_is_refused_reaches_no_handler(worker: Worker) -> None:
    called: list[str] = []

    @worker.rooms.before_connect
    def refuse(auth: Any) -> bool:
        called.append("refuse")
        return False

    worker.rooms.before_connect(lambda auth: called.append("next"))
    worker.rooms.user_loader(lambda auth: called.append("user"))
    worker.socketio.on("connect")(lambda: called.append("connect"))
    worker.rooms.after_disconnect(lambda reason, rooms: called.append("gone"))

    assert not worker.connect().is_connected()
    assert called == ["refuse"]


def test_the_order_of_a_connection(worker: Worker) -> None:
    called: list[str] = []
    worker.rooms.before_connect(lambda auth: called.append("before"))
    worker.rooms.user_loader(lambda auth: called.append("user"))
    worker.socketio.on("connect")(lambda: called.append("connect"))

    worker.connect()

    assert called == ["before", "user", "connect"]


def test_a_hook_that_fails_refuses(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    worker.rooms.before_connect(lambda auth: 1 / 0)

    with caplog.at_level(logging.ERROR):
        assert not worker.connect().is_connected()

    assert "ZeroDivisionError" in caplog.text


def test_a_hook_that_aborts_refuses_and_has_not_failed(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.rooms.before_connect(lambda auth: abort(403))

    assert not worker.connect().is_connected()
    assert caplog.records == []


def test_an_async_hook_is_run_and_not_taken_for_a_yes(worker: Worker) -> None:
    """Without asgiref, Flask cannot run it, and that refuses, too."""

    @worker.rooms.before_connect
    async def before(auth: Any) -> bool:
        return False

    assert not worker.connect().is_connected()


RESPONSES = [redirect("/login"), ("Forbidden", 403), ("Please log in",), Unauthorized()]
PAGES = ["Please log in", Markup("<h1>Please log in</h1>"), "", b"no", bytearray(b"no")]


@pytest.mark.parametrize("response", [*RESPONSES, *PAGES, {"message": "no"}, {}, ["no"]], ids=repr)
def test_a_response_refuses(
    worker: Worker, response: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Decorators for views, such as login_required, refuse with one."""
    worker.rooms.before_connect(lambda auth: response)

    assert not worker.connect().is_connected()
    assert f"not a {type(response).__name__}" in caplog.text


def test_a_coroutine_that_nobody_has_awaited_refuses(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """As of an async hook below a decorator that is not."""

    async def before(auth: Any) -> bool:
        return False

    coroutine = before(None)
    worker.rooms.before_connect(lambda auth: coroutine)

    assert not worker.connect().is_connected()
    assert "not a coroutine" in caplog.text
    coroutine.close()


# -- after_disconnect -------------------------------------------------------------------------


@pytest.fixture
def gone(worker: Worker) -> list[Any]:
    """How sockets have ended."""
    ended: list[Any] = []

    @worker.rooms.after_disconnect
    def after(reason: str, rooms: frozenset[Any]) -> None:
        who = (request.sid, request.namespace, session.get("user"))  # type: ignore[attr-defined]
        members = worker.sockets.members("red").value
        ended.append((*who, reason, sorted(rooms), sorted(members)))

    return ended


def test_after_disconnect_knows_session_rooms_and_reason(worker: Worker, gone: list[Any]) -> None:
    client, other = worker.connect(), worker.connect()
    worker.sockets.join([client.sid, other.sid], ["red", "blue"])
    client.ask("put", "/session", {"user": "Ada"})

    client.disconnect()

    expected = (client.sid, "/", "Ada", "client disconnect", ["blue", "red"], [other.sid])
    assert gone == [expected]


@pytest.mark.parametrize("way", ["flask_socketio", "sockets"])
def test_it_is_called_when_the_server_disconnects(
    worker: Worker, gone: list[Any], way: str
) -> None:
    worker.socketio.on("hello", namespace="/chat")(print)
    client = worker.connect("/chat")
    worker.sockets.join(client.sid, "red", namespace="/chat")

    if way == "sockets":
        worker.sockets.disconnect(client.sid, namespace="/chat").result()
        while not gone:  # which happens in the background
            worker.socketio.sleep(0)
    else:
        worker.socketio.server.disconnect(client.sid, "/chat")

    assert gone == [(client.sid, "/chat", None, "server disconnect", ["red"], [])]


def test_it_is_called_once_and_with_every_namespace(worker: Worker, gone: list[Any]) -> None:
    worker.socketio.on("hello", namespace="/chat")(print)
    client = worker.connect()
    client.connect("/chat")

    worker.socketio.server.eio.handlers["disconnect"](client.eio_sid, "transport close")

    assert sorted(one[1] for one in gone) == ["/", "/chat"]
    assert {one[3] for one in gone} == {"transport close"}


def test_a_disconnect_handler_that_fails_does_not_keep_it_from_being_called(
    worker: Worker, gone: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    worker.socketio.on("disconnect")(lambda: 1 / 0)
    client = worker.connect()

    with caplog.at_level(logging.CRITICAL), pytest.raises(ZeroDivisionError):
        parts_of(worker.app).disconnects.on_session_end(client.eio_sid, "transport close")

    assert [one[0] for one in gone] == [client.sid]


def test_what_a_disconnect_handler_raises_is_not_torn_down_with_the_hooks(worker: Worker) -> None:
    """A teardown that rolls back for an error would lose what they have written."""
    torn: list[Any] = []
    worker.socketio.on("disconnect")(lambda: 1 / 0)
    worker.rooms.after_disconnect(lambda reason, rooms: torn.clear())
    worker.app.teardown_appcontext(torn.append)
    client = worker.connect()

    with pytest.raises(ZeroDivisionError):
        parts_of(worker.app).disconnects.on_session_end(client.eio_sid, "transport close")

    assert torn == [None]


def test_a_hook_that_fails_is_no_business_of_the_others(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    called = []
    worker.rooms.after_disconnect(lambda reason, rooms: 1 / 0)
    worker.rooms.after_disconnect(lambda reason, rooms: called.append(reason))

    with caplog.at_level(logging.ERROR):
        worker.connect().disconnect()

    assert called == ["client disconnect"]
    assert "ZeroDivisionError" in caplog.text


def test_a_client_that_was_refused_has_not_been_connected(worker: Worker, gone: list[Any]) -> None:
    @worker.socketio.on("connect")
    def connect() -> None:
        raise flask_socketio.ConnectionRefusedError("no")

    assert not worker.connect().is_connected()
    assert gone == []


class OneSession(SessionInterface):
    """The session of everybody, on the server: one that has ended begins anew under its name."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}
        self.saved = 0

    def open_session(self, *_: Any) -> SessionMixin:
        return SecureCookieSession(self.stored)

    def save_session(self, app: Any, session: SessionMixin, response: Any) -> None:
        self.stored = dict(session)
        self.saved += 1


@pytest.fixture
def sessions(worker: Worker) -> OneSession:
    worker.app.session_interface = sessions = OneSession()
    return sessions


@pytest.mark.parametrize(
    ("before", "meanwhile", "after"),
    [
        ({}, {}, {"last": "client disconnect"}),
        ({"user": "Ada"}, {"user": "Ada"}, {"user": "Ada", "last": "client disconnect"}),
        ({"user": "Ada"}, {}, {}),
    ],
    ids=["none before", "goes on", "has ended"],
)
def test_what_a_hook_writes_is_saved_unless_the_session_has_ended(
    worker: Worker,
    sessions: OneSession,
    before: dict[str, str],
    meanwhile: dict[str, str],
    after: dict[str, str],
) -> None:
    @worker.rooms.after_disconnect
    def write(reason: str, rooms: frozenset[Any]) -> None:
        session["last"] = reason
        sessions.stored = meanwhile

    sessions.stored = before

    worker.connect().disconnect()

    assert sessions.stored == after


def test_a_session_that_a_hook_has_only_read_is_not_saved(
    worker: Worker, sessions: OneSession
) -> None:
    sessions.stored, read = {"user": "Ada"}, []
    worker.rooms.after_disconnect(lambda reason, rooms: read.append(session["user"]))

    worker.connect().disconnect()

    assert (read, sessions.saved) == (["Ada"], 0)


def unopened() -> SessionMixin:
    raise ConnectionError("The store is down.")


@pytest.mark.parametrize(
    "opened",
    [unopened, lambda: SecureCookieSession({"rows": (row for row in "ab")})],
    ids=["cannot be opened", "cannot be copied"],
)
def test_a_hook_is_called_though_the_session(
    worker: Worker, opened: Callable[[], SessionMixin], caplog: pytest.LogCaptureFixture
) -> None:
    """It may need none."""
    called, torn = [], []

    @worker.rooms.after_disconnect
    def after(reason: str, rooms: frozenset[Any]) -> None:
        called.append((request.sid, reason))  # type: ignore[attr-defined]

    worker.app.teardown_appcontext(lambda error: torn.append(error))
    client = worker.connect()
    sessions = worker.app.session_interface = OneSession()
    sessions.open_session = lambda *_: opened()  # type: ignore[method-assign]
    torn.clear()

    client.disconnect()

    assert called == [(client.sid, "client disconnect")]
    assert torn == [None]
    assert (sessions.saved, "session could not" in caplog.text) == (0, True)


def test_a_request_that_cannot_be_made_keeps_no_connection(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Request):
        def __init__(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError

    worker.rooms.after_disconnect(lambda reason, rooms: None)
    client = worker.connect()
    worker.app.request_class = Broken

    client.disconnect()

    assert parts_of(worker.app).disconnects.are_done
    assert "ZeroDivisionError" in caplog.text


def test_a_hook_is_a_function(worker: Worker) -> None:
    for register in (worker.rooms.before_connect, worker.rooms.after_disconnect):
        with pytest.raises(ConfigurationError):
            register("not a function")  # type: ignore[type-var]


# -- over real connections --------------------------------------------------------------------


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
        yield worker.url


@pytest.mark.parametrize(
    ("way", "answer"),
    [
        ("reason", {"message": "Not on a Sunday.", "data": {"opens": "Monday"}}),
        ("plainly", {"message": "Not on a Sunday."}),
        ("no number", {"message": "Not on a Sunday.", "data": None}),
        # What cannot be sent is left out: a client waits for an answer.
        ("unsendable", {"message": "Connection rejected by server"}),
        ("bytes", {"message": "Connection rejected by server"}),
        ("no", {"message": "Connection rejected by server"}),
        ("error", {"message": "Connection rejected by server"}),
    ],
)
def test_the_reason_reaches_the_client(url: str, way: str, answer: Any) -> None:
    with pytest.raises(Refused) as refused:
        RawClient(url, {"refuse": way})

    assert refused.value.args[0] == answer


def test_after_disconnect_over_a_real_connection(url: str) -> None:
    with RawClient(url) as client:
        client.request("put", "/session", {"user": "Ada"})
        client.request("post", "/join/red")

    with RawClient(url) as other:
        while not (gone := other.request("get", "/gone")["body"]):
            pass

    [one] = [one for one in gone if one["session"]]
    assert one["session"] == {"user": "Ada"}
    assert one["rooms"] == ["red"]
    assert one["reason"] in ("transport close", "transport error")
