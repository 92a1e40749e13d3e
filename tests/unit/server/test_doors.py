"""Who is no client of the application's own pages gets no connection, and nothing of others."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgpack
import pytest
from flask import Request, request, session
from flask_socketio import SocketIO
from socketio.packet import CONNECT, EVENT
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client as Browser

from flask_rooms import Rooms
from flask_rooms.protocol.messages import Emit
from tests.support.apps import HEARTBEAT, PATIENCE, LocalCluster, Worker, in_thread, make_app
from tests.support.polling import ENDPOINT, NoSession, PollingClient

OPEN = f"{ENDPOINT}?EIO=4&transport=polling"


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def worker(cluster: LocalCluster) -> Worker:
    return worker_with(cluster)


def worker_with(cluster: LocalCluster, **options: Any) -> Worker:
    """Return a worker whose SocketIO has these options."""
    app = make_app()
    app.add_url_rule("/who", view_func=lambda: [session.get("user")])
    rooms = Rooms(app, SocketIO(**options), backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    return cluster.adopt(app, rooms)


def connections(worker: Worker) -> int:
    """Return how many connections of Engine.IO a worker has."""
    return len(worker.socketio.server.eio.sockets)


# -- connections that there are not ---------------------------------------------------------------


def test_a_body_for_a_connection_that_has_ended_is_refused(worker: Worker) -> None:
    """By python-engineio with an exception, if that is the first to notice."""
    client = PollingClient(worker.app).connect()
    worker.socketio.server.eio.sockets[client.eio_sid].closed = True

    response = client.browser.post(f"{OPEN}&sid={client.eio_sid}", data="3")

    assert response.status_code == 400
    assert connections(worker) == 0


@pytest.mark.mode_independent
def test_connections_that_a_client_makes_up_are_warned_of_as_one(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Else one client could use up the warnings about all others."""
    address = {"REMOTE_ADDR": "10.0.0.1"}
    there_is = PollingClient(worker.app, environ_base=address).eio_sid
    for eio_sid in ("made up", "and again", there_is):
        assert Browser(worker.app).post(f"{OPEN}&sid={eio_sid}", data="no").status_code == 400

    text = "has reached the limit malformed_packets"
    assert [message.partition(text)[0] for message in caplog.messages if text in message] == [
        "A client ",
        "A client at '10.0.0.1' ",
    ]


@pytest.mark.mode_independent
def test_a_server_without_websocket_refuses_one(cluster: LocalCluster) -> None:
    """As uWSGI with threads, where each attempt would leave a traceback."""
    worker = worker_with(cluster, async_mode="threading")
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}

    client = PollingClient(worker.app)

    for of in ("", f"&sid={client.eio_sid}"):  # the latter as an upgrade of a connection
        response = client.browser.get(f"{ENDPOINT}?EIO=4&transport=websocket{of}", headers=headers)
        assert response.status_code == 400


@pytest.mark.mode_independent
@pytest.mark.parametrize("hidden", ["\n", "\x1b[31m", "\x00", "\u202e", "\x85"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_a_client_makes_up_writes_no_line_of_its_own_into_the_log(
    worker: Worker, caplog: pytest.LogCaptureFixture, hidden: str, method: str
) -> None:
    """python-engineio logs the first one as it is."""
    name = quote(f"x{hidden}CRITICAL")

    response = Browser(worker.app).open(f"{OPEN}&sid={name}", method=method, data="3")

    assert response.status_code == 400
    assert "CRITICAL" not in caplog.text


@pytest.mark.mode_independent
def test_nor_does_an_origin(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    origin = {"HTTP_ORIGIN": "https://x\x1b[31mCRITICAL"}  # some servers let this through

    response = Browser(worker.app).get(OPEN, environ_overrides=origin)

    assert response.status_code == 400
    assert "CRITICAL" not in caplog.text


# -- pages of other origins -----------------------------------------------------------------------

ORIGINS = [{}, {"cors_allowed_origins": "*"}, {"cors_allowed_origins": ["https://shop.example"]}]


@pytest.mark.parametrize("options", ORIGINS, ids=repr)
@pytest.mark.parametrize("index", ["&j=0", "&j=7", "&j=", "&j", "&j=x", "&j=0&j=1", "&%6A=0"])
def test_jsonp_is_refused(cluster: LocalCluster, options: dict[str, Any], index: str) -> None:
    """Any page may load a script, and would read in it the ID by which a connection is used."""
    worker = worker_with(cluster, **options)
    browser = Browser(worker.app)

    response = browser.get(OPEN + index)

    assert response.status_code == 400
    assert "sid" not in response.text
    assert connections(worker) == 0


def test_jsonp_is_refused_for_a_connection_that_there_is(worker: Worker) -> None:
    """Its packets would be a script as well."""
    client = PollingClient(worker.app)

    response = client.browser.get(f"{OPEN}&sid={client.eio_sid}&j=0")

    assert response.status_code == 400
    assert client.connect().sid


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_page_of_another_site_needs_an_origin(
    cluster: LocalCluster, worker: Worker, site: str, transport: str
) -> None:
    """Browsers leave it out for scripts, images and frames; a sibling is another site, too."""
    headers = {"Sec-Fetch-Site": site}
    if transport == "websocket":
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}

    response = Browser(worker.app).get(f"{ENDPOINT}?EIO=4&transport={transport}", headers=headers)

    assert response.status_code == 400
    assert "Origin" in response.text
    assert connections(worker) == 0


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_an_origin_that_is_allowed_may_connect_from_there(cluster: LocalCluster, site: str) -> None:
    """And one that is not may not."""
    worker = worker_with(cluster, cors_allowed_origins=["https://shop.example"])
    headers = {"Sec-Fetch-Site": site, "Origin": "https://shop.example"}

    assert PollingClient(worker.app, headers=headers).connect().sid
    with pytest.raises(NoSession):
        PollingClient(worker.app, headers=headers | {"Origin": "https://evil.example"})


@pytest.mark.mode_independent
@pytest.mark.parametrize("where", ["configuration", "request class"])
def test_a_host_that_is_not_trusted_gets_no_connection(cluster: LocalCluster, where: str) -> None:
    """As it gets no page: its name may have been made to resolve to this server by its owner."""
    worker = worker_with(cluster)
    if where == "configuration":
        worker.app.config["TRUSTED_HOSTS"] = [".shop.example"]
    else:
        trusted = {"trusted_hosts": [".shop.example"]}
        worker.app.request_class = type("OurRequest", (Request,), trusted)
    browser = Browser(worker.app)

    for host in ("evil.example", "evil.example:443", "shop.example.evil.example", ""):
        assert browser.get(OPEN, headers={"Host": host}).status_code == 400
    assert connections(worker) == 0
    headers = {"Host": "www.shop.example:8443"}
    client = PollingClient(worker.app, headers=headers).connect()
    response = browser.post(f"{OPEN}&sid={client.eio_sid}", data="3", headers={"Host": "evil"})
    assert response.status_code == 400


@pytest.mark.mode_independent
def test_a_host_that_a_proxy_names_is_the_one_that_is_trusted(cluster: LocalCluster) -> None:
    worker = worker_with(cluster)
    worker.app.config["TRUSTED_HOSTS"] = ["shop.example"]
    headers = {"Host": "127.0.0.1:8000", "X-Forwarded-Host": "shop.example"}
    response = Browser(worker.app).get(OPEN, headers=headers)
    assert response.status_code == 400
    assert "ProxyFix after Rooms" in response.text

    proxied = ProxyFix(worker.app.wsgi_app, x_host=1)
    worker.app.wsgi_app = proxied  # type: ignore[method-assign]

    assert PollingClient(worker.app, headers=headers).connect().sid


@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_pages_of_the_application_and_programs_may_connect(
    worker: Worker, site: str | None
) -> None:
    """Browsers send no Origin with a GET of the same origin, and programs send neither."""
    headers = {"Sec-Fetch-Site": site} if site else {}

    assert PollingClient(worker.app, headers=headers).connect().sid


@pytest.mark.parametrize(
    "allowed",
    ["*", ["https://shop.example", "*"], ("*",), [], "null", ["https://a.example", "null"]],
)
def test_an_application_that_allows_every_origin_is_warned_at_the_start(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture, allowed: Any
) -> None:
    """[] means the same as "*", and "null" is the origin of any page's sandboxed frame."""
    with caplog.at_level(logging.WARNING, "flask_rooms"):
        worker_with(cluster, cors_allowed_origins=allowed)

    [record] = caplog.records
    assert f"cors_allowed_origins={allowed!r}" in record.message
    assert "GET route" in record.message


@pytest.mark.parametrize("allowed", [None, "https://shop.example", ["https://shop.example"]])
def test_an_application_that_names_its_origins_is_not_warned(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture, allowed: Any
) -> None:
    with caplog.at_level(logging.WARNING, "flask_rooms"):
        worker_with(cluster, cors_allowed_origins=allowed)

    assert caplog.records == []


# -- events that are nobody's to send -------------------------------------------------------------

RESERVED = [
    *["*", "connect", "connect_error", "disconnect", "disconnecting", "error"],
    *["newListener", "removeListener", "__disconnect_final"],
]


@pytest.mark.parametrize("namespace", ["/", "/chat"])
@pytest.mark.parametrize("event", RESERVED)
@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_client_cannot_send_an_event_that_has_a_meaning(
    worker: Worker, namespace: str, event: str, acknowledged: bool
) -> None:
    """`*` would run the handler for all events, with a first argument that the client chooses."""
    called: list[Any] = []
    space = "" if namespace == "/" else f"{namespace},"
    for name in (*RESERVED, "fence"):
        worker.socketio.on(name, namespace=namespace)(
            lambda *args, name=name: called.append((name, args))
        )
    client = PollingClient(worker.app)
    client.send(f"40{space}")
    assert client.receive().startswith(f"40{space}" + "{")
    called.clear()  # of its own connection

    client.send(f"42{space}{7 if acknowledged else ''}{json.dumps([event, 'chosen', 'x'])}")
    if acknowledged:
        [answer] = json.loads(client.receive().removeprefix(f"43{space}7"))
        assert answer["statusCode"] == 400
        assert event in answer["body"]["message"]
    client.send(f'42{space}8["fence"]')

    assert client.receive().startswith(f"43{space}8[")
    assert [name for name, _ in called] == ["fence"]


def test_a_handler_for_all_events_hears_of_the_others(worker: Worker) -> None:
    """With their own names, and as the sockets that have sent them: none can be chosen."""
    called: list[Any] = []

    @worker.socketio.on("*")
    def catch_all(event: str, *args: Any) -> None:
        called.append((request.sid, event, *args))  # type: ignore[attr-defined]

    client, other = (PollingClient(worker.app).connect() for _ in range(2))

    client.emit("hello", 1)
    client.emit("*", other.sid, "chosen")
    client.emit("*", "hello", other.sid)

    assert called == [(client.sid, "hello", 1)]


def test_a_class_of_handlers_is_not_run_by_such_a_name(worker: Worker) -> None:
    """python-socketio calls the method `on_` with the name of the event behind it."""
    import flask_socketio

    called: list[str] = []

    class Chat(flask_socketio.Namespace):
        def on_connect(self, auth: Any = None) -> None:
            called.append("connect")

        def on_disconnect(self, reason: Any = None) -> None:
            called.append("disconnect")

        def on_error(self, *args: Any) -> None:
            called.append("error")

    worker.socketio.on_namespace(Chat("/"))
    client = PollingClient(worker.app).connect()

    for event in RESERVED:
        [answer] = client.emit(event)
        assert answer["statusCode"] == 400

    assert called == ["connect"]


@pytest.mark.parametrize("namespace", ["*", "", "chat", "*/", "\x00", "/a,b"])
def test_a_namespace_begins_with_a_slash_and_has_no_comma(
    cluster: LocalCluster, namespace: str
) -> None:
    """msgpack can name any, and `*` is python-socketio's name for all handlers of all of them."""
    worker = worker_with(cluster, serializer="msgpack", namespaces="*")
    called: list[Any] = []
    worker.socketio.on("connect", namespace="*")(lambda *args: called.append(args))
    worker.socketio.on("*", namespace="*")(lambda *args: called.append(args))
    server = worker.socketio.server
    client = PollingClient(worker.app)

    for packet in (
        {"type": CONNECT, "nsp": namespace, "data": None},
        {"type": EVENT, "nsp": namespace, "data": ["event", "chosen"], "id": 1},
    ):
        server._handle_eio_message(client.eio_sid, msgpack.packb(packet))

    if namespace:  # which is the default one
        assert called == []
        assert list(server.manager.get_namespaces()) == []


# -- while a connect handler decides --------------------------------------------------------------


class Gate:
    """A connect handler that thinks, and lets in who says the password."""

    def __init__(self, worker: Worker) -> None:
        self.asking, self.may_answer = threading.Event(), threading.Event()
        self.asked: list[Any] = []
        self.secrets: list[str] = []
        worker.socketio.on("connect")(self.connect)
        worker.socketio.on("secret")(self.secret)

    def connect(self, auth: Any) -> bool:
        """Decide about a client."""
        self.asked.append(auth)
        self.asking.set()
        assert self.may_answer.wait(PATIENCE)
        return bool(auth == {"password": "right"})

    def secret(self) -> str:
        """Handle an event that is for those who were let in."""
        self.secrets.append(request.sid)  # type: ignore[attr-defined]
        return "the secret"


@pytest.mark.parametrize("first", ["wrong", "right"])
@pytest.mark.parametrize("second", ["wrong", "right"])
def test_a_second_connect_while_the_handler_decides_is_refused(
    worker: Worker, first: str, second: str
) -> None:
    """Only the attempt that the handler has accepted is accepted."""
    gate = Gate(worker)
    client = PollingClient(worker.app)
    connecting = in_thread(lambda: client.send(f'40{{"password":"{first}"}}'))
    assert gate.asking.wait(PATIENCE)

    client.send('421["secret"]')
    client.send(f'40{{"password":"{second}"}}')
    client.send('422["secret"]')
    client.send('423["get",{"url":"/who"}]')
    refused = client.receive()
    gate.may_answer.set()
    connecting.result(PATIENCE)
    decided = client.receive()
    client.send('424["secret"]')

    assert refused == '44"Unable to connect"'
    assert gate.asked == [{"password": first}]
    if first == "right":
        assert decided.startswith('40{"sid":')
        assert client.receive() == '434["the secret"]'
        assert len(gate.secrets) == 1
    else:
        assert decided.startswith("44")
        assert gate.secrets == []
        assert worker.socketio.server.manager.rooms.get("/", {}) == {}


def test_a_refusal_is_for_the_namespace_that_was_asked_for(worker: Worker) -> None:
    worker.socketio.on("connect", namespace="/chat")(lambda: None)
    worker.rooms.before_connect(lambda auth: False)
    client = PollingClient(worker.app)

    client.send("40/chat,")

    assert client.receive().startswith("44/chat,")


@pytest.mark.parametrize("refusal", ["before_connect", "user_loader"])
def test_nor_while_a_hook_or_the_loader_decides(worker: Worker, refusal: str) -> None:
    """They come before the handler, which is not asked about such a client."""
    gate = Gate(worker)
    if refusal == "before_connect":
        worker.rooms.before_connect(gate.connect)
    else:

        @worker.rooms.user_loader
        def load(auth: Any) -> str:
            if not gate.connect(auth):
                raise PermissionError
            return "ann"

    client = PollingClient(worker.app)
    connecting = in_thread(lambda: client.send('40{"password":"wrong"}'))
    assert gate.asking.wait(PATIENCE)
    client.send('40{"password":"right"}')
    assert client.receive() == '44"Unable to connect"'
    gate.may_answer.set()
    connecting.result(PATIENCE)

    assert client.receive().startswith("44")
    assert gate.asked == [{"password": "wrong"}]
    client.send('421["secret"]')
    assert gate.secrets == []


def test_who_was_refused_may_try_again(worker: Worker) -> None:
    """Over the same connection, once the handler has decided."""
    gate = Gate(worker)
    gate.may_answer.set()
    client = PollingClient(worker.app)

    client.send('40{"password":"wrong"}')
    assert client.receive().startswith("44")

    assert client.connect({"password": "right"}).emit("secret") == ["the secret"]


# -- what the broker gets to know -----------------------------------------------------------------


def test_the_admin_ui_publishes_no_secret_of_a_handshake(cluster: LocalCluster) -> None:
    """Its development mode reports handshakes to admins of every worker, by way of the broker."""
    wire = cluster.listen()
    here, there = worker_with(cluster), worker_with(cluster)
    admin = here.socketio.server.instrument(auth=False, mode="development")
    try:
        there.cluster.start()
        browser = Browser(here.app)
        browser.set_cookie("session", "the cookie")
        headers = {
            "Authorization": "Bearer the token",
            "X-Api-Key": "the key",
            "User-Agent": "a browser",
            "Sec-WebSocket-Key": "the nonce",
        }
        client = PollingClient(
            here.app, browser=browser, headers=headers, query="&token=the+query"
        ).connect({"password": "the password"})
        admin._introduce(["the newcomer"])  # an admin of another worker, who has just come
        client.send("41")
        said = wire.published_by(here)
    finally:
        admin.uninstrument()

    reports = [one for one in said if isinstance(one, Emit) and one.namespace == "/admin"]
    connected = [one for one in reports if client.sid in repr(one) and "a browser" in repr(one)]
    assert {one.rooms for one in connected} == {None, ("the newcomer",)}
    for secret in ("cookie", "the token", "the key", "the nonce", "the query", "the password"):
        assert secret not in repr(said)
    assert client.eio_sid not in repr(said)


def test_nothing_secret_is_in_a_representation(cluster: LocalCluster) -> None:
    """Of what an application may log: its Rooms, its sockets, its backend, a packet's error."""
    app = make_app()
    app.config["SECRET_KEY"] = "the key"
    rooms = Rooms(app, backend_url="redis://user:the-password@localhost:1/0")
    parts = app.extensions["rooms_parts"]

    for one in (rooms, rooms.sockets, parts, parts.cluster, parts.cluster.backend, parts.registry):
        assert "the key" not in repr(one)
        assert "the-password" not in repr(one)
