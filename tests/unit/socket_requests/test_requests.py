"""A socket request runs the Flask route as an HTTP request does, and is always acknowledged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import flask_socketio
import pytest
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    abort,
    current_app,
    g,
    redirect,
    request,
    send_from_directory,
    session,
    stream_with_context,
    url_for,
)
from flask.json.provider import DefaultJSONProvider
from flask.views import MethodView
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rooms.socket_requests.handler import VERBS
from flask_rooms.socket_requests.payload import Malformed, parse
from tests.support.apps import Client, LocalCluster, Worker, make_app

pytestmark = pytest.mark.every_python


class Stopped(BaseException):
    """As eventlet's and gevent's Timeout, which no `except Exception` catches."""


WITH_BODY = [verb for verb in VERBS if verb not in ("get", "head", "delete")]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def app() -> Flask:
    return make_echo_app()


@pytest.fixture
def worker(cluster: LocalCluster, app: Flask) -> Worker:
    return cluster.worker(app)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A socket of an application that echoes every request."""
    with LocalCluster() as cluster:
        yield cluster.worker(make_echo_app()).connect()


def make_echo_app() -> Flask:
    app = make_app()

    @app.route("/echo", methods=[verb.upper() for verb in VERBS])
    @app.route("/echo/<path:path>", methods=[verb.upper() for verb in VERBS])
    def echo(path: str = "") -> tuple[dict[str, Any], dict[str, str]]:
        answer = {
            "method": request.method,
            "path": path,
            "query": request.args.to_dict(flat=False),
            "json": request.get_json(silent=True),
            "text": request.get_data(as_text=True),
            "content_type": request.content_type,
            "headers": dict(request.headers),
            "address": request.remote_addr,
        }
        return answer, {"X-Echo": json.dumps(answer["query"])}

    return app


def refused(answer: Any) -> bool:
    """Whether this is how a malformed request is acknowledged: 400, and why."""
    message = answer["body"]["message"]
    return bool(answer["statusCode"] == 400 and message and "Traceback" not in message)


# -- what goes in -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_runs_the_route_of_its_method(client: Client, verb: str) -> None:
    answer = client.ask(verb, "/echo/there")

    assert sorted(answer) == ["body", "headers", "statusCode"]
    assert answer["statusCode"] == 200
    if verb == "head":
        assert answer["body"] == ""
    else:
        assert (answer["body"]["method"], answer["body"]["path"]) == (verb.upper(), "there")


@pytest.mark.parametrize("verb", ["get", "head", "delete"])
def test_data_of_a_verb_without_a_body_goes_to_the_query_string(client: Client, verb: str) -> None:
    data = {"a": "b c&d", "n": 1, "x": True, "many": ["1", 2], "none": None, "deep": {"é": [1]}}

    answer = client.ask(verb, "/echo?a=first", data)

    assert json.loads(answer["headers"]["x-echo"]) == {
        "a": ["first", "b c&d"],
        "n": ["1"],
        "x": ["true"],
        "many": ["1", "2"],
        "none": [""],
        "deep": [json.dumps({"é": [1]})],
    }
    if verb != "head":
        assert answer["body"]["text"] == ""
        assert answer["body"]["content_type"] is None


@pytest.mark.parametrize("verb", WITH_BODY)
@pytest.mark.parametrize("data", [{"a": [1, None, "é"]}, [], [1, [2]], "text", 0, False, 1.5])
def test_data_of_other_verbs_is_a_json_body(client: Client, verb: str, data: Any) -> None:
    body = client.ask(verb, "/echo?a=1", data)["body"]

    assert body["json"] == data
    assert body["content_type"] == "application/json"
    assert body["query"] == {"a": ["1"]}


def test_without_data_there_is_no_body(client: Client) -> None:
    body = client.ask("put", "/echo")["body"]

    assert (body["text"], body["json"], body["content_type"]) == ("", None, None)


def test_bytes_are_a_body_as_they_are(client: Client) -> None:
    body = client.ask("post", "/echo", b"some bytes")["body"]

    assert body["text"] == "some bytes"
    assert body["content_type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        ("/echo/a%20b", "a b", {}),
        ("/echo/é世", "é世", {}),
        ("/echo/%C3%A9", "é", {}),
        ("/echo/a?x=1&x=2&y=", "a", {"x": ["1", "2"], "y": [""]}),
        ("/echo/a?x=a+b%26c", "a", {"x": ["a b&c"]}),
        ("/echo/a?x=é世", "a", {"x": ["é世"]}),
        ("/echo/a?x=1#fragment?y=2", "a", {"x": ["1"]}),
        ("/echo/a%3Fx=1", "a?x=1", {}),
        ("/echo/a?x=1?y", "a", {"x": ["1?y"]}),
    ],
)
def test_a_url_means_what_it_means_over_http(
    client: Client, url: str, path: str, query: dict[str, list[str]]
) -> None:
    body = client.ask("get", url)["body"]

    assert (body["path"], body["query"]) == (path, query)


def test_max_content_length_holds(worker: Worker) -> None:
    worker.app.config["MAX_CONTENT_LENGTH"] = 100
    connected = worker.connect()

    assert connected.ask("put", "/echo", "x" * 90)["statusCode"] == 200
    assert connected.ask("put", "/echo", "x" * 101)["statusCode"] == 413


# -- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "body"),
    [
        pytest.param(lambda: {"a": [1, "é"]}, {"a": [1, "é"]}, id="json"),
        pytest.param(lambda: [1, 2], [1, 2], id="list"),
        pytest.param(lambda: Response("null", mimetype="application/json"), None, id="null"),
        pytest.param(
            lambda: Response('{"title": 1}', mimetype="application/problem+json"),
            {"title": 1},
            id="json by suffix",
        ),
        pytest.param(lambda: "<p>é</p>", "<p>é</p>", id="text"),
        pytest.param(lambda: ("", 204), "", id="nothing"),
        pytest.param(lambda: Response(b"\xff\x00", mimetype="image/png"), b"\xff\x00", id="bytes"),
        pytest.param(lambda: Response(b"\xff", mimetype="text/plain"), b"\xff", id="not text"),
        pytest.param(lambda: Response(b"GIF", mimetype="image/gif"), b"GIF", id="bytes like text"),
        pytest.param(lambda: Response("text", content_type=""), "text", id="of no type"),
        pytest.param(
            lambda: Response("{", mimetype="application/json"), b"{", id="not the json it says"
        ),
        pytest.param(
            lambda: Response(stream_with_context(iter([b"a", b"b"])), mimetype="text/plain"),
            "ab",
            id="stream",
        ),
    ],
)
def test_a_body_is_what_its_media_type_says(
    worker: Worker, make: Callable[[], Any], body: Any
) -> None:
    worker.app.add_url_rule("/body", view_func=make, endpoint="body")

    assert worker.connect().ask("get", "/body")["body"] == body


def test_blueprints_hooks_and_error_handlers_run(app: Flask, cluster: LocalCluster) -> None:
    ran = []
    blueprint = Blueprint("shop", __name__, url_prefix="/shop")

    @app.before_request
    def before() -> tuple[str, int] | None:
        g.before = "before"
        return ("Not you", 401) if "other" in request.args else None

    @app.after_request
    def after(response: Response) -> Response:
        response.headers["X-After"] = g.before
        return response

    app.teardown_request(lambda error: ran.append(type(error)))

    @app.errorhandler(404)
    def not_found(error: Exception) -> tuple[dict[str, str], int]:
        return {"lost": request.path}, 404

    @blueprint.errorhandler(ZeroDivisionError)
    def divided(error: Exception) -> tuple[str, int]:
        return "Infinity", 422

    @blueprint.put("/item/<int:number>")
    def item(number: int) -> dict[str, Any]:
        return {"rest": 1 % number, "endpoint": request.endpoint}

    @blueprint.get("/teapot")
    def teapot() -> str:
        abort(418)

    app.register_blueprint(blueprint)
    connected = cluster.worker(app).connect()

    fine = connected.ask("put", "/shop/item/2")
    assert (fine["statusCode"], fine["body"]) == (200, {"rest": 1, "endpoint": "shop.item"})
    assert fine["headers"]["x-after"] == "before"
    divided_by_zero = connected.ask("put", "/shop/item/0")
    assert (divided_by_zero["statusCode"], divided_by_zero["body"]) == (422, "Infinity")
    assert connected.ask("get", "/shop/teapot")["statusCode"] == 418
    assert connected.ask("get", "/nowhere")["body"] == {"lost": "/nowhere"}
    assert connected.ask("get", "/shop/item/1")["statusCode"] == 405
    assert connected.ask("get", "/shop/teapot?other=1")["statusCode"] == 401
    assert len(ran) == 6


def test_a_redirect_is_returned_and_not_followed(worker: Worker) -> None:
    worker.app.add_url_rule("/old", view_func=lambda: redirect(url_for("echo")), endpoint="old")

    answer = worker.connect().ask("get", "/old")

    assert answer["statusCode"] == 302
    assert answer["headers"]["location"] == "/echo"


def test_url_for_knows_the_host_of_the_connection(worker: Worker) -> None:
    def where() -> list[str]:
        return [url_for("echo", path="a"), url_for("echo", path="a", _external=True)]

    worker.app.add_url_rule("/where", view_func=where)
    connected = worker.connect(headers={"Host": "shop.example:8443"})

    assert connected.ask("get", "/where")["body"] == [
        "/echo/a",
        "http://shop.example:8443/echo/a",
    ]


def test_middleware_around_the_application_sees_socket_requests(worker: Worker) -> None:
    inner = worker.app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["HTTP_X_MIDDLEWARE"] = "was here"
        return inner(environ, start_response)

    worker.app.wsgi_app = middleware  # type: ignore[method-assign]

    headers = worker.connect().ask("get", "/echo")["body"]["headers"]
    assert headers["X-Middleware"] == "was here"


def test_a_cookie_that_is_set_is_hidden_from_the_client(worker: Worker) -> None:
    def login() -> Response:
        session["user"] = "Ada"
        response = Response("welcome")
        response.set_cookie("other", "secret")
        return response

    worker.app.add_url_rule("/login", view_func=login, methods=["POST"])

    answer = worker.connect().ask("post", "/login")

    assert answer["body"] == "welcome"
    assert not any("cookie" in name.lower() for name in answer["headers"] if name != "vary")
    assert "secret" not in str(answer)


def test_the_session_is_that_of_the_handshake(worker: Worker) -> None:
    def login() -> str:
        session["user"] = "Ada"
        return "welcome"

    worker.app.add_url_rule("/login", view_func=login)
    worker.app.add_url_rule("/user", view_func=lambda: {"user": session.get("user")})
    browser = worker.app.test_client()
    browser.get("/login")

    assert worker.connect(flask_test_client=browser).ask("get", "/user")["body"] == {"user": "Ada"}
    assert worker.connect().ask("get", "/user")["body"] == {"user": None}


# -- failures of the application --------------------------------------------------------------


@pytest.mark.parametrize("setting", ["", "TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
def test_a_route_that_raises_is_a_500_without_a_trace(
    worker: Worker, caplog: pytest.LogCaptureFixture, setting: str
) -> None:
    def fail() -> str:
        raise RuntimeError("a secret")

    worker.app.config[setting or "TESTING"] = bool(setting)
    worker.app.add_url_rule("/fail", view_func=fail)
    connected = worker.connect()

    with caplog.at_level(logging.ERROR):
        answer = connected.ask("get", "/fail")

    assert answer["statusCode"] == 500
    assert "a secret" not in str(answer)
    assert "Traceback" not in str(answer)
    assert "a secret" in caplog.text
    assert connected.ask("get", "/echo")["statusCode"] == 200


def test_a_stream_that_breaks_off_is_a_500(worker: Worker) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half of "
        raise RuntimeError("a secret")

    worker.app.add_url_rule("/broken", view_func=lambda: Response(broken()), endpoint="broken")

    assert worker.connect().ask("get", "/broken")["statusCode"] == 500


# -- what the route knows ---------------------------------------------------------------------


def test_is_socket_sid_and_namespace(worker: Worker) -> None:
    def who() -> list[Any]:
        names = ("is_socket", "sid", "namespace")
        return [getattr(request, name, "nothing") for name in names]

    worker.app.add_url_rule("/who", view_func=who)
    worker.socketio.on("who")(who)
    worker.socketio.on("who", namespace="/chat")(who)

    for namespace in ("/", "/chat"):
        connected = worker.connect(namespace)
        expected = [True, connected.sid, namespace]
        assert connected.ask("get", "/who")["body"] == expected
        assert connected.emit("who") == expected
    assert worker.app.test_client().get("/who").json == [False, "nothing", "nothing"]


def test_over_http_flask_socketios_calls_fail_instead_of_addressing_every_client(
    worker: Worker,
) -> None:
    worker.app.add_url_rule("/tell", view_func=lambda: flask_socketio.emit("secret", "mine") or "")
    other = worker.connect()

    assert worker.app.test_client().get("/tell").status_code == 500
    assert other.ask("get", "/tell")["statusCode"] == 200
    assert other.received() == [("secret", ["mine"])]


def test_files_arrive_whole(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("text\n")
    (tmp_path / "image.png").write_bytes(b"\x89PNG" * 10_000)
    worker.app.add_url_rule(
        "/files/<name>",
        endpoint="files",
        view_func=lambda name: send_from_directory(tmp_path, name),
    )
    connected = worker.connect()

    assert connected.ask("get", "/files/page.txt")["body"] == "text\n"
    assert connected.ask("get", "/files/image.png")["body"] == b"\x89PNG" * 10_000
    assert connected.ask("head", "/files/page.txt")["headers"]["content-length"] == "5"
    part = connected.ask("get", "/files/page.txt", Range="bytes=1-2")
    assert (part["statusCode"], part["body"]) == (206, "ex")
    assert connected.ask("get", "/files/nothing")["statusCode"] == 404


def test_headers_for_a_server_in_front_do_not_reach_the_client(worker: Worker) -> None:
    headers = {
        "X-Sendfile": "/srv/secret",
        "X-Accel-Redirect": "/secret",
        "Connection": "close",
        "Keep-Alive": "timeout=5",
        "Trailer": "Expires",
        "Transfer-Encoding": "chunked",
        "Upgrade": "websocket",
        "X-Other": "other",
    }
    worker.app.add_url_rule("/sent", view_func=lambda: ("body", headers), endpoint="sent")

    received = worker.connect().ask("get", "/sent")["headers"]

    assert received.keys() & {name.lower() for name in headers} == {"x-other"}


@pytest.mark.parametrize("name", ["X-Sendfile", "X-Accel-Redirect"])
def test_a_body_that_a_proxy_is_to_send_is_not_taken_for_an_empty_one(
    worker: Worker, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "page.txt").write_text("text")
    worker.app.config["USE_X_SENDFILE"] = True

    @worker.app.route("/page")
    def page() -> Response:
        if name == "X-Sendfile":
            return send_from_directory(tmp_path, "page.txt")
        return Response(headers={name: "/page.txt"})

    connected = worker.connect()

    assert connected.ask("get", "/page")["statusCode"] == 500
    assert name.lower() in caplog.text
    assert connected.ask("head", "/page")["statusCode"] == 200


def test_what_fails_when_a_response_is_closed_does_not_change_it(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Over HTTP it has been sent by then."""

    @worker.app.route("/closed")
    def respond() -> Response:
        response = Response("whole", headers={"X-Other": "other"})
        response.set_cookie("color", "blue")
        response.call_on_close(lambda: 1 / 0)
        return response

    worker.app.add_url_rule("/color", view_func=lambda: request.cookies["color"])
    connected = worker.connect()

    answer = connected.ask("get", "/closed")

    assert (answer["statusCode"], answer["body"]) == (200, "whole")
    assert answer["headers"]["x-other"] == "other"
    assert "ZeroDivisionError" in caplog.text
    assert connected.ask("get", "/color")["body"] == "blue"


@pytest.mark.parametrize("ends", [0, 1, 2])
def test_a_response_is_closed_wherever_it_ends(worker: Worker, ends: int) -> None:
    closed = []

    def stream() -> Iterator[bytes]:
        for number in range(3):
            if number == ends:
                raise RuntimeError
            yield b"part"

    def respond() -> Response:
        response = Response(stream())
        response.call_on_close(lambda: closed.append(ends))
        return response

    worker.app.add_url_rule("/stream", view_func=respond)

    assert worker.connect().ask("get", "/stream")["statusCode"] == 500
    assert closed == [ends]


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, Stopped])
def test_what_would_end_a_thread_is_a_500(
    worker: Worker, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def stop() -> str:
        raise error

    worker.app.add_url_rule("/stop", view_func=stop)
    connected = worker.connect()

    assert connected.ask("get", "/stop")["statusCode"] == 500
    assert "A socket request for /stop failed." in caplog.messages
    assert connected.ask("get", "/echo")["statusCode"] == 200


def test_an_interrupt_ends_more_than_a_request(worker: Worker) -> None:
    """It is the operator's, who stops the worker."""

    def stop() -> str:
        raise KeyboardInterrupt

    worker.app.add_url_rule("/stop", view_func=stop)
    connected = worker.connect()

    with pytest.raises(KeyboardInterrupt):
        connected.ask("get", "/stop")
    assert connected.ask("get", "/echo")["statusCode"] == 200


@pytest.mark.parametrize("depth", [200, 5_000])
def test_an_answer_that_is_too_deep_is_a_500_or_bytes(worker: Worker, depth: int) -> None:
    text = "[" * depth + "]" * depth
    worker.app.add_url_rule(
        "/deep", view_func=lambda: Response(text, mimetype="application/json"), endpoint="deep"
    )
    connected = worker.connect()

    answer = connected.ask("get", "/deep")

    assert answer["statusCode"] in (200, 500)
    assert connected.ask("get", "/echo")["statusCode"] == 200


def test_options_and_head_answer_by_themselves(worker: Worker) -> None:
    worker.app.add_url_rule("/get", view_func=lambda: "body", endpoint="get")
    connected = worker.connect()

    options, head = connected.ask("options", "/get"), connected.ask("head", "/get")

    assert set(options["headers"]["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert (head["statusCode"], head["body"]) == (200, "")
    assert connected.ask("options", "/nowhere")["statusCode"] == 404


def test_method_views_and_context_locals(worker: Worker) -> None:
    class Item(MethodView):
        def get(self, number: int) -> dict[str, Any]:
            g.number = number
            return {"number": g.number, "endpoint": request.endpoint, "app": current_app.name}

        def delete(self, number: int) -> tuple[str, int]:
            return "", 204

    worker.app.add_url_rule("/item/<int:number>", view_func=Item.as_view("item"))
    connected = worker.connect()

    expected = {"number": 7, "endpoint": "item", "app": worker.app.name}
    assert connected.ask("get", "/item/7")["body"] == expected
    assert connected.ask("delete", "/item/7")["statusCode"] == 204
    assert connected.ask("put", "/item/7")["statusCode"] == 405


def test_a_response_without_an_end_is_given_up(worker: Worker) -> None:
    closed = []

    def stream() -> Any:
        try:
            while True:
                yield "more" * 100_000
        finally:
            closed.append(True)

    worker.app.add_url_rule("/stream", view_func=lambda: worker.app.response_class(stream()))

    assert worker.connect().ask("get", "/stream")["statusCode"] == 500
    assert closed == [True]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_json_becomes_null(worker: Worker, number: str) -> None:
    """A browser drops the connection over NaN, which Python writes."""
    body = f'{{"average": [{number}, 1.5]}}'
    response = worker.app.response_class(body, mimetype="application/json")
    worker.app.add_url_rule("/average", view_func=lambda: response)

    assert worker.connect().ask("get", "/average")["body"] == {"average": [None, 1.5]}


def test_what_the_handshake_says_stands(worker: Worker) -> None:
    """A proxy in front authenticates the connection; it never sees a socket request."""
    worker.app.add_url_rule("/user", view_func=lambda: [request.headers.get("X-User", "no user")])
    connected = worker.connect(headers={"X-User": "mallory"})

    answer = connected.ask("get", "/user", **{"X-User": "admin", "X-Auth-Request-User": "admin"})

    assert answer["body"] == ["mallory"]


def test_over_http_no_client_can_pretend_to_be_a_socket(worker: Worker) -> None:
    def is_socket() -> list[bool]:
        return [request.is_socket]  # type: ignore[attr-defined]

    worker.app.add_url_rule("/is", view_func=is_socket)
    sid = worker.connect().sid
    headers = dict.fromkeys(("flask_rooms.socket", "sid", "X-Socket", "namespace"), sid)

    answer = worker.app.test_client().get(f"/is?sid={sid}&namespace=/", headers=headers)

    assert answer.json == [False]


def test_an_application_keeps_its_request_class_and_its_json(cluster: LocalCluster) -> None:
    class OwnRequest(Request):
        own = "own"

    class OwnJson(DefaultJSONProvider):
        def loads(self, s: str | bytes, **kwargs: Any) -> Any:
            return {"loaded by": "own"}

    app = make_app()
    app.request_class = OwnRequest
    app.json = OwnJson(app)

    @app.put("/own")
    def own() -> list[Any]:
        assert isinstance(request, OwnRequest)
        return [request.own, request.get_json(), request.is_socket]  # type: ignore[attr-defined]

    worker = cluster.worker(app)

    assert worker.connect().ask("put", "/own", 1)["body"] == ["own", {"loaded by": "own"}, True]
    over_http = worker.app.test_client().put("/own", json=1)
    assert json.loads(over_http.data) == ["own", {"loaded by": "own"}, False]


def test_flask_socketio_works_inside_a_route(worker: Worker) -> None:
    def use() -> list[Any]:
        flask_socketio.join_room("red")
        joined = flask_socketio.rooms()
        flask_socketio.emit("event", "for me")
        flask_socketio.emit("event", "for red", to="red")
        flask_socketio.leave_room("red")
        flask_socketio.emit("event", "too late", to="red")
        return [sorted(set(joined) - {request.sid}), len(flask_socketio.rooms())]  # type: ignore[attr-defined]

    worker.app.add_url_rule("/use", view_func=use, methods=["POST"])
    worker.socketio.on("hello", namespace="/chat")(print)

    for namespace in ("/", "/chat"):
        connected, bystander = worker.connect(namespace), worker.connect(namespace)
        assert connected.ask("post", "/use")["body"] == [["red"], 1]
        assert connected.received() == [("event", ["for me"]), ("event", ["for red"])]
        assert bystander.received() == []


def test_routes_are_there_in_every_namespace_that_is(worker: Worker) -> None:
    class Chat(flask_socketio.Namespace):
        def on_hello(self) -> str:
            return "hello"

    worker.socketio.on_namespace(Chat("/chat"))
    connected = worker.connect("/chat")

    assert connected.emit("hello") == "hello"
    assert connected.ask("get", "/echo")["statusCode"] == 200


@pytest.mark.parametrize("namespace", ["/", "/chat", "*"])
def test_an_event_handler_of_the_application_comes_first(
    cluster: LocalCluster, namespace: str
) -> None:
    app, socketio = make_echo_app(), flask_socketio.SocketIO()

    @socketio.on("get", namespace=namespace)
    def get(*args: Any) -> str:
        return "mine"

    worker = cluster.worker(app, socketio=socketio)
    worker.socketio.on("hello", namespace="/chat")(print)
    connected = worker.connect("/" if namespace == "/" else "/chat")

    assert connected.ask("get", "/echo") == "mine"
    assert connected.ask("put", "/echo")["statusCode"] == 200


def test_a_method_of_a_namespace_class_comes_first(worker: Worker) -> None:
    class Chat(flask_socketio.Namespace):
        def on_get(self, data: Any) -> list[Any]:
            return ["mine", data["url"], request.is_socket]  # type: ignore[attr-defined]

    worker.socketio.on_namespace(Chat("/chat"))
    connected = worker.connect("/chat")

    assert connected.ask("get", "/echo") == ["mine", "/echo", True]
    assert connected.ask("put", "/echo")["statusCode"] == 200


def test_socket_io_itself_is_not_served_over_a_socket(client: Client) -> None:
    for url in ("/socket.io/?EIO=4&transport=polling", "/socket.io/", "/%73ocket.io/?EIO=4"):
        assert refused(client.ask("get", url))


# -- headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Authorization", "X-CSRFToken", "Accept", "Accept-Language", "If-None-Match"]
)
def test_a_client_may_set_headers_of_its_request(client: Client, name: str) -> None:
    headers = client.emit("get", {"url": "/echo", "headers": {name: "mine"}})["body"]["headers"]

    assert {key.lower(): value for key, value in headers.items()}[name.lower()] == "mine"


@pytest.mark.parametrize(
    "name",
    [
        *["Cookie", "COOKIE", "Host", "Origin", "Forwarded", "Via"],
        *["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"],
        *["x-forwarded-for", "X-Real-IP", "Remote-Addr", "Remote-User"],
        *["X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP"],
        *["X_Forwarded_For", "X-Forwarded_For", "x_real_ip", "Remote_Addr", "HTTP_COOKIE"],
        *["Connection", "Upgrade", "Transfer-Encoding", "TE", "Trailer", "Expect"],
        *["Content-Length", "Content-Type", "Sec-WebSocket-Key", "Proxy-Authorization", "Proxy"],
    ],
)
def test_a_client_may_not_set_its_identity_or_how_it_is_connected(
    client: Client, name: str
) -> None:
    answer = client.emit("put", {"url": "/echo", "data": 1, "headers": {name: "evil"}})

    assert "evil" not in str(answer)


def test_what_the_connection_said_stays(cluster: LocalCluster) -> None:
    worker = cluster.worker(make_echo_app())
    sent = {
        "Host": "shop.example",
        "Origin": "https://shop.example",
        "X-Forwarded-For": "192.0.2.1",
        "User-Agent": "browser",
    }
    browser = worker.app.test_client()
    browser.environ_base["REMOTE_ADDR"] = "192.0.2.2"
    browser.set_cookie("a", "b", domain="shop.example")
    connected = worker.connect(headers=sent, flask_test_client=browser)
    others = {name: "evil" for name in (*sent, "Cookie") if name != "User-Agent"}

    body = connected.emit("get", {"url": "/echo", "headers": others})["body"]

    assert sent.items() <= body["headers"].items()
    assert body["headers"]["Cookie"] == "a=b"
    assert body["address"] == "192.0.2.2"


def test_headers_about_the_handshake_are_not_about_the_request(cluster: LocalCluster) -> None:
    worker = cluster.worker(make_echo_app())
    sent = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "key",
        "Content-Type": "text/plain",
        "If-None-Match": '"etag"',
        "Range": "bytes=0-1",
    }

    body = worker.connect(headers=sent).ask("get", "/echo")["body"]

    assert sent.keys() & body["headers"].keys() == set()


@pytest.mark.parametrize("verb", VERBS)
def test_the_length_of_a_body_is_what_it_is_over_http(cluster: LocalCluster, verb: str) -> None:
    app = make_app()
    lengths: list[int | None] = []

    @app.route("/", methods=[one.upper() for one in VERBS])
    def index() -> str:
        lengths.append(request.content_length)
        return request.get_data(as_text=True)

    connected = cluster.worker(app).connect(headers={"Content-Length": "5"})

    connected.ask(verb, "/")
    assert lengths == [0 if verb in ("post", "put") else None]
    if verb in ("post", "put", "patch"):
        assert connected.ask(verb, "/", {"a": 1})["body"] == '{"a": 1}'
        assert lengths[1] == len('{"a": 1}')


# -- malformed --------------------------------------------------------------------------------

BAD_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "none": (),
    "two": ({"url": "/echo"}, {"url": "/echo"}),
    "null": (None,),
    "string": ("/echo",),
    "list": (["/echo"],),
    "number": (1,),
    "bytes": (b"/echo",),
    "empty object": ({},),
}

BAD_URLS: list[Any] = [
    *["", " ", "echo", " /echo", "//evil", "///echo", "//evil.example/echo", "/\t/echo"],
    *["http://x/echo", "https://x/", "javascript:alert(1)", "..", "../echo", "?a=1", "#a", "*"],
    *["/echo\r\nX: y", "/echo\n", "/echo\x00", "/echo\x7f", "/echo?a=\x01", "/\ud800"],
    *["/echo?a=\ud800", None, 1, True, ["/echo"], {"path": "/echo"}, b"/echo"],
]

BAD_HEADERS: list[Any] = [
    *["X: y", [], [["X", "y"]], 1, True, b"X: y"],
    *[{"": "y"}, {"X Y": "z"}, {"X:Y": "z"}, {"X\r\nY": "z"}, {"X\n": "z"}, {"é": "z"}],
    *[{"X": "a\r\nB: c"}, {"X": "a\nb"}, {"X": "\x00"}, {"X": "é"}, {"X": "\ud800"}],
    *[{"X": None}, {"X": ["a"]}, {"X": {}}, {"X": b"a"}, {"Fine": "fine", "X": None}],
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("arguments", BAD_ARGUMENTS)
def test_a_request_is_one_object_with_a_url(client: Client, verb: str, arguments: str) -> None:
    assert refused(client.emit(verb, *BAD_ARGUMENTS[arguments]))


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_is_a_path(client: Client, url: Any) -> None:
    answer = client.emit("get", {"url": url})

    assert refused(answer)
    assert "`url`" in answer["body"]["message"]


@pytest.mark.parametrize("headers", BAD_HEADERS)
def test_headers_are_names_and_lines_of_text(client: Client, headers: Any) -> None:
    answer = client.emit("get", {"url": "/echo", "headers": headers})

    assert refused(answer)
    assert "header" in answer["body"]["message"].lower()


@pytest.mark.parametrize("data", [[1], "text", 1, True, b"bytes"])
@pytest.mark.parametrize("verb", ["get", "head", "delete"])
def test_data_for_a_query_string_is_an_object(client: Client, verb: str, data: Any) -> None:
    answer = client.ask(verb, "/echo", data)

    assert refused(answer)
    assert "`data`" in answer["body"]["message"]


@pytest.mark.parametrize("data", [{"a": float("nan")}, {"a": float("inf")}, {"a": {"b": b"c"}}])
@pytest.mark.parametrize("verb", VERBS)
def test_data_is_something_that_json_can_express(client: Client, verb: str, data: Any) -> None:
    answer = client.ask(verb, "/echo", data)

    assert refused(answer)
    assert "`data`" in answer["body"]["message"]


def test_what_is_malformed_does_not_reach_the_application(worker: Worker) -> None:
    reached = []
    worker.app.before_request(lambda: reached.append(request.path))
    connected = worker.connect()

    connected.emit("get")
    connected.emit("get", {"url": "//echo"})
    connected.emit("put", {"url": "/echo", "headers": {"X Y": "z"}})
    connected.emit("put", {"url": "/echo", "data": {"a": float("nan")}})

    assert reached == []
    assert connected.received() == []  # nothing but the acknowledgements


@pytest.mark.parametrize("namespace", ["/", "/chat"])
def test_a_request_without_an_acknowledgement_runs_all_the_same(
    worker: Worker, namespace: str
) -> None:
    worker.socketio.on("connect", namespace=namespace)(lambda: None)
    connected = worker.connect(namespace)
    reached = []
    worker.app.before_request(lambda: reached.append(request.path))

    connected.send("get", {"url": "/echo"})
    connected.send("get", "malformed")

    assert reached == ["/echo"]
    [(event, [error])] = connected.received()  # as in Sails, because there is no acknowledgement
    assert event == "sails:parseError"
    assert sorted(error) == ["code", "message", "status"]
    assert error["code"] == "SAILS:HOOK:SOCKETS:PARSE_VIRTUAL_REQ"
    assert error["status"] == 400


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner, max_size=3)
    ),
    max_leaves=6,
)
payloads = st.fixed_dictionaries(
    {"url": st.text().map("/echo/".__add__) | st.text().map("/echo?".__add__) | anything},
    optional={
        "data": anything,
        "headers": st.dictionaries(st.text(max_size=5), st.text(max_size=5)) | anything,
    },
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(VERBS), st.lists(payloads | anything, min_size=1, max_size=2))
def test_whatever_a_client_sends_is_parsed_or_malformed(verb: str, arguments: list[Any]) -> None:
    with suppress(Malformed):
        parse(verb, tuple(arguments))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VERBS), payloads)
def test_whatever_a_client_sends_is_acknowledged(client: Client, verb: str, payload: Any) -> None:
    arguments = json.loads(json.dumps(payload, default=repr, skipkeys=True))

    answer = client.emit(verb, arguments)

    assert answer["statusCode"] in (200, 308, 400, 404)


@pytest.mark.parametrize("name", [1, None, b"X", ("X",)])
def test_a_serializer_that_is_not_json_may_give_names_that_are_no_strings(name: Any) -> None:
    with pytest.raises(Malformed):
        parse("get", ({"url": "/", "headers": {name: "value"}},))


def test_data_that_is_nested_too_deeply_is_malformed() -> None:
    data: Any = []
    for _ in range(100_000):
        data = [data]

    for verb in ("get", "put"):
        with pytest.raises(Malformed):
            parse(verb, ({"url": "/", "data": {"a": data}},))
