"""A client cannot say who it is, nor name what it may not reach: headers, URLs and origins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from flask import Flask, redirect, request, url_for
from flask import Request as FlaskRequest
from websocket import WebSocketBadStatusException
from werkzeug.exceptions import Forbidden
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_rooms import NotASocketRequest, signals, sockets
from flask_rooms.socket_requests.payload import DEPTH, HEADER_BYTES, URL_BYTES
from tests.support.apps import Client, LocalCluster, Worker, make_app
from tests.support.raw import RawClient
from tests.support.workers import cluster


@pytest.fixture
def local() -> Iterator[LocalCluster]:
    with LocalCluster() as local:
        yield local


@pytest.fixture
def worker(local: LocalCluster) -> Worker:
    return local.worker(make_echo_app(), request_headers=["X-Api-Key"])


def make_echo_app() -> Flask:
    app = make_app()

    @app.route("/", defaults={"path": ""}, methods=["GET", "PUT"])
    @app.route("/<path:path>", methods=["GET", "PUT"])
    def echo(path: str) -> dict[str, Any]:
        return {
            "path": path,
            "headers": {name.lower(): value for name, value in request.headers},
            "address": request.remote_addr,
            "here": url_for("echo", path=path),
            "json": request.get_json(silent=True),
        }

    app.add_url_rule("/old", view_func=lambda: redirect(url_for("echo", path="new")))
    return app


def headers_of(client: Client, headers: dict[str, str]) -> dict[str, str]:
    body = client.emit("get", {"url": "/", "headers": headers})["body"]
    return dict(body["headers"])


# -- headers ----------------------------------------------------------------------------------

# Some of the headers in which proxies name the authenticated user, and invented ones.
OF_PROXIES = [
    *["X-Remote-User", "X-Auth-Request-Email", "X-Authenticated-Userid", "X-WEBAUTH-USER"],
    *["X-Goog-Authenticated-User-Email", "X-Ms-Client-Principal", "Cf-Access-Jwt-Assertion"],
    *["X-Amzn-Oidc-Data", "SSL-Client-Verify", "X-SSL-Client-DN", "Tailscale-User-Login"],
    *["X-Token-Subject", "X-User", "X-Admin", "Userid", "X-Our-Own-Gateway", "Impersonate-User"],
    *["X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"],
    *["Referer", "User-Agent", "Content-Encoding", "Content-Type", "Set-Cookie"],
]


@pytest.mark.parametrize("name", OF_PROXIES)
def test_a_header_that_is_not_allowed_cannot_be_set_by_a_client(worker: Worker, name: str) -> None:
    headers = headers_of(worker.connect(), {name: "evil", name.upper(): "evil"})

    assert "evil" not in headers.values()


def test_the_application_may_allow_more(worker: Worker, local: LocalCluster) -> None:
    mine = {"X-Api-Key": "mine"}

    assert headers_of(worker.connect(), mine)["x-api-key"] == "mine"
    assert "x-api-key" not in headers_of(local.worker(make_echo_app()).connect(), mine)


@pytest.mark.parametrize("name", ["X-Api-Key", "Authorization"])
def test_what_the_handshake_said_a_request_cannot_unsay(worker: Worker, name: str) -> None:
    """A proxy has seen it, and the request it has not."""
    mine = {name: "Basic YWRtaW46"}

    assert headers_of(worker.connect(), mine)[name.lower()] == "Basic YWRtaW46"
    checked = worker.connect(headers={name: "Basic checked"})
    assert headers_of(checked, mine)[name.lower()] == "Basic checked"


def test_a_request_has_its_own_word_for_what_is_about_it_alone(worker: Worker) -> None:
    sent = {"X-CSRFToken": "old", "Accept-Language": "de", "X-Requested-With": "none"}
    client = worker.connect(headers=sent)
    mine = {"X-CSRFToken": "new", "accept-language": "en", "X-REQUESTED-WITH": "me"}

    headers = headers_of(client, mine)

    assert headers.items() >= {name.lower(): value for name, value in mine.items()}.items()


# What proxies, browsers and agents call one request, or the trace that it belongs to.
OF_ONE_REQUEST = [
    *["X-Request-ID", "X-Correlation-ID", "Request-Id", "X-Amzn-Trace-Id", "traceparent"],
    *["tracestate", "baggage", "sentry-trace", "b3", "X-B3-TraceId", "x-datadog-trace-id"],
    *["elastic-apm-traceparent", "newrelic", "X-Cloud-Trace-Context", "uber-trace-id", "CF-Ray"],
    *["Fly-Request-Id", "X-Request-Start", "X-Queue-Start", "Pragma", "X-Unique-ID"],
    *["X-Amz-Cf-Id", "X-Azure-Ref", "X-Instana-T", "X-Dynatrace", "X-Transaction-Id"],
]
# In which proxies say the URL and the method of a request.
OF_ITS_URL = [
    *["X-Original-URI", "X-Original-URL", "X-Original-Method", "X-Rewrite-URL"],
    *["X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Method", "X-Envoy-Original-Path"],
]


def test_a_cache_may_answer_a_request_although_none_may_answer_its_handshake(
    worker: Worker,
) -> None:
    """Browsers send this with each handshake of a WebSocket."""
    client = worker.connect(headers={"Cache-Control": "no-cache"})

    assert "cache-control" not in headers_of(client, {})
    assert headers_of(client, {"Cache-Control": "no-store"})["cache-control"] == "no-store"


@pytest.mark.parametrize("name", OF_ITS_URL)
def test_the_url_that_a_proxy_has_seen_is_that_of_the_handshake_alone(
    worker: Worker, name: str
) -> None:
    """Else a guard that goes by it would let each request of a socket pass."""
    client = worker.connect(headers={name: "/socket.io/"})

    assert name.lower() not in headers_of(client, {name: "/socket.io/"})


def test_a_media_type_may_be_allowed(local: LocalCluster) -> None:
    client = local.worker(make_echo_app(), request_headers=["content-type"]).connect()
    sent = {"url": "/", "data": {"n": 1}, "headers": {"Content-Type": "application/vnd.api+json"}}

    of_json = client.emit("put", sent)["body"]
    without = client.emit("put", {"url": "/", "headers": sent["headers"]})["body"]

    assert of_json["headers"]["content-type"] == "application/vnd.api+json"
    assert of_json["json"] == {"n": 1}
    assert "content-type" not in without["headers"]


def test_a_header_with_an_underscore_is_left_out(worker: Worker) -> None:
    """As servers do: WSGI cannot tell X_Api_Key from X-Api-Key."""
    headers = headers_of(worker.connect(), {"X_Api_Key": "mine", "accept_language": "en"})

    assert not {"x-api-key", "accept-language"} & headers.keys()


def test_nothing_is_compressed_for_a_socket(worker: Worker) -> None:
    """What browsers accept in the handshake they decompress over HTTP alone."""
    gzip = {"Accept-Encoding": "gzip"}

    assert "accept-encoding" not in headers_of(worker.connect(headers=gzip), gzip)


@pytest.mark.parametrize("name", OF_ONE_REQUEST)
def test_a_request_is_not_taken_for_the_handshake(
    worker: Worker, local: LocalCluster, name: str
) -> None:
    """Else all requests of a socket would have one ID, or be left out as its handshake was."""
    theirs, mine = {name: "of the handshake"}, {name: "of the request"}

    assert name.lower() not in headers_of(worker.connect(headers=theirs), mine)
    allowing = local.worker(make_echo_app(), request_headers=[name])
    assert headers_of(allowing.connect(headers=theirs), mine)[name.lower()] == "of the request"


def test_what_servers_call_the_url_is_that_of_the_request(worker: Worker) -> None:
    worker.app.add_url_rule(
        "/uris", "uris", lambda: [request.environ[key] for key in ("REQUEST_URI", "RAW_URI")]
    )
    asked = {"url": "/uris?x=%C3%A9", "data": {"y": 1}}

    assert worker.connect().emit("get", asked)["body"] == ["/uris?x=%C3%A9&y=1"] * 2


def test_headers_are_bounded(worker: Worker) -> None:
    client = worker.connect()
    many = {f"X-{number}": "x" for number in range(HEADER_BYTES // 4)}

    for headers in ({"Accept": "x" * HEADER_BYTES}, many):
        answer = client.emit("get", {"url": "/", "headers": headers})
        assert answer["statusCode"] == 431
        assert answer["body"]["message"]


def test_a_header_may_be_a_number(worker: Worker) -> None:
    assert headers_of(worker.connect(), {"Accept": 7})["accept"] == "7"  # type: ignore[dict-item]


# -- URLs -------------------------------------------------------------------------------------

SMUGGLED = [
    # another server
    *["//evil.example", "//evil.example/x", "http://evil.example/", "HTTPS://evil.example/"],
    *["ws://evil.example/", "file:///etc/passwd", "javascript:alert(1)", "data:,x", "x:y"],
    *["/\\evil.example", "\\\\evil.example", "/a\\b", "/%5Cevil.example", "/%5c..%5cx"],
    *["/%2Fevil.example", "/%2f/evil.example", "/a%2Fb", "evil.example/x", "@evil.example"],
    # another directory
    *["/..", "/../x", "/x/..", "/x/../y", "/x/./y", "/.", "/%2e%2e/x", "/.%2E/x", "/x/%2E%2E"],
    *["/x%2F..%2Fy", "/..%2fx", "/..%5cx", "..", "../x", "./x"],
    # another request
    *["/x\r\nHost: evil", "/x\n", "/\rx", "/x HTTP/1.1\r\n\r\nGET /admin", "/x\x00", "/x\x7f"],
    *["/x%0d%0aHost:%20evil", "/x%0A", "/%00", "/x%7f", "/\t", "/x?a=\r\nb", "/x?\x00"],
]


@pytest.mark.parametrize("url", SMUGGLED)
def test_nothing_but_a_plain_path_is_a_url(worker: Worker, url: str) -> None:
    answer = worker.connect().ask("get", url)

    assert answer["statusCode"] == 400
    assert "`url`" in answer["body"]["message"]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        *[("/.well-known/x", ".well-known/x"), ("/x..y", "x..y"), ("/...", "..."), ("/x.", "x.")],
        *[("/x%20y", "x y"), ("/%C3%A9", "é"), ("/x;y=z", "x;y=z"), ("/@x:y", "@x:y")],
        *[("/x%25%32%46y", "x%2Fy"), ("/x%252e", "x%2e"), ("/x%zz", "x%zz"), ("/[x]", "[x]")],
        *[("/x?next=//evil&a=%0d%0a..%2f", "x"), ("/x#/../y", "x"), ("/{x}|y", "{x}|y")],
    ],
)
def test_what_only_looks_like_it_is_a_path_as_over_http(
    worker: Worker, url: str, path: str
) -> None:
    assert worker.connect().ask("get", url)["body"]["path"] == path


@pytest.mark.parametrize(
    "payload",
    [
        {"url": "/" + "x" * URL_BYTES},
        {"url": "/?" + "x" * URL_BYTES},
        {"url": "/" + "é" * (URL_BYTES // 6 + 1)},
        {"url": "/", "data": {"x": "x" * URL_BYTES}},
        {"url": "/", "data": {"x": ["xxxx"] * (URL_BYTES // 4)}},
    ],
)
def test_a_url_is_bounded(worker: Worker, payload: Any) -> None:
    answer = worker.connect().emit("get", payload)

    assert answer["statusCode"] == 414
    assert answer["body"]["message"]


@pytest.mark.parametrize("verb", ["get", "put"])
@pytest.mark.parametrize("kind", ["arrays", "objects", "both"])
def test_data_may_be_nested_so_deeply_and_no_deeper(worker: Worker, verb: str, kind: str) -> None:
    def nested(depth: int) -> Any:
        data: Any = {}
        for level in range(depth - 1):
            as_list = kind == "arrays" or (kind == "both" and level % 2)
            data = [data] if as_list else {"x": data}
        return {"data": data}

    # In a query string each value is a text of its own: "data" and a list around it are none.
    room = DEPTH - 1
    client = worker.connect()
    assert client.emit(verb, {"url": "/", "data": nested(room)})["statusCode"] == 200
    answer = client.emit(verb, {"url": "/", "data": nested(room + 5)})
    assert answer["statusCode"] == 413
    assert answer["body"]["message"]


def test_many_brackets_are_not_deep(worker: Worker) -> None:
    data = {"lists": [[]] * (3 * DEPTH), "text": "[{" * DEPTH}

    assert worker.connect().ask("put", "/", data)["body"]["json"] == data


@pytest.mark.parametrize("key", ["__proto__", "constructor", "prototype", "__class__", "toString"])
def test_names_that_other_languages_trip_over_are_names(worker: Worker, key: str) -> None:
    data = {key: {"isAdmin": True}}
    client = worker.connect()

    assert client.ask("put", "/", data)["body"]["json"] == data
    assert client.emit("put", {"url": "/", key: {"url": "/evil"}})["body"]["path"] == ""


def test_the_verb_is_the_event_and_nothing_else_says_another(worker: Worker) -> None:
    @worker.app.route("/method", methods=["PUT", "DELETE"])
    def method() -> list[str]:
        return [request.method]

    client = worker.connect()
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"}
    asked = {"url": "/method?_method=DELETE", "method": "DELETE", "headers": headers}

    assert client.emit("put", asked | {"data": {"_method": "DELETE"}})["body"] == ["PUT"]


@pytest.mark.parametrize("verb", ["GET", "Get", "trace", "connect_", "propfind", "__init__", ""])
def test_another_verb_is_refused_where_the_application_does_not_know_it(
    worker: Worker, verb: str
) -> None:
    client = worker.connect()

    answer = client.ask(verb, "/")

    assert answer["statusCode"] == 405
    assert "get, post, put" in answer["body"]["message"]
    assert answer["headers"] == {"allow": "GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD"}
    for data in ("something else", {"no": "url"}):
        assert client.emit(verb, data) is None  # an event without a handler
    worker.socketio.on(verb)(lambda data: ["mine", data["url"]])
    assert client.ask(verb, "/") == ["mine", "/"]


@pytest.mark.parametrize("namespace", ["/", "/chat", "*"])
def test_a_handler_for_all_events_leaves_the_verbs_to_the_routes(
    worker: Worker, namespace: str
) -> None:
    @worker.socketio.on("*", namespace=namespace)
    def catch_all(event: str, *args: Any) -> list[Any]:
        return [event]

    worker.socketio.on("connect", namespace="/chat")(lambda: None)
    client = worker.connect("/chat" if namespace == "/chat" else "/")

    assert client.ask("get", "/x")["body"]["path"] == "x"
    if namespace != "*":  # there Flask-SocketIO takes the name of the event for the namespace
        assert client.emit("GET", {"url": "/x"}) == ["GET"]


# -- which socket it is -----------------------------------------------------------------------


def track() -> None:
    """Set names of the application's own from what a client says, as for statistics."""
    current: Any = request
    current.sid, current.namespace = current.cookies["sid"], "/chat"


class Tracked(FlaskRequest):
    """A request that has such names from the beginning."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sid, self.namespace = self.cookies["sid"], "/chat"


@pytest.fixture(params=["before_request", "request_class"])
def tracking(request: pytest.FixtureRequest, local: LocalCluster) -> Worker:
    app = make_app()
    if request.param == "before_request":
        app.before_request(track)
    else:
        app.request_class = Tracked
    worker = local.worker(app)
    app.add_url_rule("/join", view_func=join, methods=["PUT"])
    worker.socketio.on("join")(join)
    return worker


def join() -> list[Any]:
    """Have the socket of this request join a room, and return which socket that is."""
    sockets.join(request, "red").result()
    return [request.is_socket, sockets.get_id(request)]  # type: ignore[attr-defined]


def test_over_http_an_id_that_the_application_sets_is_none_of_a_socket(tracking: Worker) -> None:
    app, other, about = tracking.app, tracking.connect(headers={"Cookie": "sid=1"}), []
    current: Any = request

    with (
        signals.joined.connected_to(lambda app, **given: about.append(given), app),
        app.test_request_context("/", headers={"Cookie": f"sid={other.sid}"}),
    ):
        app.preprocess_request()
        assert (current.sid, current.namespace, current.is_socket) == (other.sid, "/chat", False)
        for call in (sockets.get_id, sockets.leave_all, sockets.disconnect):
            with pytest.raises(NotASocketRequest):
                call(request)
        with pytest.raises(NotASocketRequest):
            tracking.rooms.login_expires(0)
        assert sockets.join(other.sid, "red").result().changed == 1

    assert [(one["room"], one["by"], one["reason"]) for one in about] == [("red", None, "call")]


def test_over_a_socket_it_is_not_that_of_another(tracking: Worker) -> None:
    other = tracking.connect(headers={"Cookie": "sid=1"})
    client = tracking.connect(headers={"Cookie": f"sid={other.sid}"})

    assert client.ask("put", "/join")["body"] == [True, client.sid]
    assert client.emit("join") == [True, client.sid]
    assert (tracking.rooms_of(client), tracking.rooms_of(other)) == ({"red"}, set())


def test_before_a_client_is_connected_it_is_that_of_no_socket(tracking: Worker) -> None:
    known: list[bool] = []

    @tracking.rooms.before_connect
    def look(auth: Any) -> None:
        known.append(request.is_socket)  # type: ignore[attr-defined]

    tracking.connect(headers={"Cookie": f"sid={tracking.name}-1"})

    assert known == [False]


# -- where the application is -----------------------------------------------------------------


def below(worker: Worker, prefix: str) -> Client:
    """Return a client whose handshake came in below a prefix."""
    client = worker.connect()
    worker.socketio.server.get_environ(client.sid)["SCRIPT_NAME"] = prefix
    return client


def test_a_proxy_in_front_is_heard_once(worker: Worker) -> None:
    worker.app.wsgi_app = ProxyFix(worker.app.wsgi_app, x_for=1, x_host=1)  # type: ignore[method-assign]
    sent = {"X-Forwarded-For": "198.51.100.1, 192.0.2.1", "X-Forwarded-Host": "shop.example"}
    client = worker.connect(headers=sent)

    body = client.ask("get", "/", **{"X-Forwarded-For": "127.0.0.1"})["body"]

    assert body["address"] == "192.0.2.1"
    assert body["headers"]["host"] == "shop.example"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/shop/x", "x"),
        ("/shop", ""),
        ("/x", "x"),
        ("/shopping", "shopping"),
        ("/shop/shop/x", "shop/x"),
    ],
)
def test_below_a_prefix_a_url_has_it_or_not(worker: Worker, url: str, path: str) -> None:
    client = below(worker, "/shop")

    body = client.ask("get", url)["body"]

    assert (body["path"], body["here"]) == (path, f"/shop/{path}")


def test_a_redirect_below_a_prefix_can_be_followed(worker: Worker) -> None:
    client = below(worker, "/shop")

    location = client.ask("get", "/shop/old")["headers"]["location"]

    assert location == "/shop/new"
    assert client.ask("get", location)["body"]["path"] == "new"


@pytest.mark.parametrize("url", ["/admin", "/shop/admin", "/%61dmin", "/shop/%61dmin"])
def test_middleware_that_guards_a_path_is_not_got_around(worker: Worker, url: str) -> None:
    inner = worker.app.wsgi_app

    def guard(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        guarded = environ["PATH_INFO"].startswith("/admin")
        return (Forbidden() if guarded else inner)(environ, start_response)

    worker.app.wsgi_app = guard  # type: ignore[method-assign]

    assert below(worker, "/shop").ask("get", url)["statusCode"] == 403


def test_socket_io_is_not_served_below_a_prefix_either(worker: Worker) -> None:
    client = below(worker, "/shop")
    before = len(worker.socketio.server.eio.sockets)

    for url in ("/shop/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=polling"):
        assert client.ask("get", url)["statusCode"] == 400

    assert len(worker.socketio.server.eio.sockets) == before


# -- over real connections --------------------------------------------------------------------


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cluster("memory://", 1, "tests.support.proxied_app") as (worker,):
        yield worker.url


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_a_header_that_a_proxy_has_set_in_the_handshake_stands(url: str, scheme: str) -> None:
    sent = {
        "X-Forwarded-For": "198.51.100.1, 192.0.2.1",
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-Host": "example.com",
        "X-Forwarded-Prefix": "/shop",
    }
    with RawClient(url, header=sent, suppress_origin=True) as client:
        lie = dict.fromkeys(sent, "evil")
        for path in ("/shop/where", "/where"):
            answer = client.answer(client.ask("get", {"url": path, "headers": lie}))
            assert answer["body"] == {
                "address": "192.0.2.1",
                "url": "https://example.com/shop/where",
                "here": "https://example.com/shop/where",
            }


def test_a_request_has_no_object_of_the_server_and_its_handshake(url: str) -> None:
    """Such as the connection, or the headers as they came."""
    own = {"wsgi.version", "wsgi.input", "wsgi.errors", "flask_rooms.socket", "flask.app"}
    with RawClient(url) as client:
        kept = client.request("get", "/kept")["body"]

    assert set(kept) == own | {"werkzeug.request", "werkzeug.proxy_fix.orig"}


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "file://"]
)
def test_another_origin_may_not_connect(url: str, origin: str) -> None:
    # gevent-websocket has accepted already when the application refuses: then it hangs up.
    with pytest.raises((WebSocketBadStatusException, EOFError)):
        RawClient(url, origin=origin)


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_another_origin_may_not_poll_either(url: str, origin: str, method: str) -> None:
    address = f"{url}/socket.io/?EIO=4&transport=polling"
    asked = Request(address, method=method, headers={"Origin": origin})

    with pytest.raises(HTTPError) as refused:
        urlopen(asked, timeout=30)
    with refused.value as error:
        assert error.code == 400
        assert "Access-Control-Allow-Origin" not in error.headers


def test_the_same_origin_may_and_so_may_a_client_that_is_no_browser(url: str) -> None:
    for options in ({"origin": url}, {"suppress_origin": True}):
        with RawClient(url, **options) as client:
            assert client.request("get", "/echo")["statusCode"] == 200
