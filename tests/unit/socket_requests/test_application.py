"""An application stays what it is, and all that is put around it sees socket requests as HTTP."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import cached_property
from io import BytesIO
from typing import Any
from unittest import mock
from wsgiref.validate import validator

import flask_socketio
import pytest
from flask import Flask, Request, got_request_exception, request
from flask.wrappers import Response
from werkzeug.exceptions import NotFound
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.utils import environ_property

from flask_rooms import ConfigurationError, Rooms
from tests.support.apps import LocalCluster, Worker, make_app
from tests.support.polling import PollingClient

Environ = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


class Own(Request):
    """A request class of an application."""

    about = "the application's own"


class Another(Request):
    """One that the application has taken to later."""

    about = "another one"


def ask(worker: Worker) -> list[Any]:
    """Return what a route sees of its request, over HTTP and over a socket."""
    over_http = worker.app.test_client().get("/request").json
    over_socket = worker.connect().ask("get", "/request")["body"]
    return [over_http, over_socket]


def add_route(app: Flask) -> Flask:
    def see() -> list[Any]:
        return [getattr(request, "about", None), request.is_socket]  # type: ignore[attr-defined]

    app.add_url_rule("/request", view_func=see)
    return app


# -- request_class --------------------------------------------------------------------------------


def test_a_request_class_may_be_set_before_and_after_and_again(cluster: LocalCluster) -> None:
    """Whichever is set when a request comes is the one that the route sees."""
    app = add_route(make_app())
    app.request_class = Own
    worker = cluster.worker(app)
    assert ask(worker) == [[Own.about, False], [Own.about, True]]

    app.request_class = Another
    assert ask(worker) == [[Another.about, False], [Another.about, True]]

    app.request_class = Request
    assert ask(worker) == [[None, False], [None, True]]


def test_a_request_class_is_that_of_a_subclass_of_flask(cluster: LocalCluster) -> None:
    """As Flask's documentation recommends."""

    class App(Flask):
        request_class = Own

    app = add_route(App("application"))

    assert ask(cluster.worker(app)) == [[Own.about, False], [Own.about, True]]


def test_what_is_set_is_what_is_there(cluster: LocalCluster) -> None:
    """Extended only: an isinstance() of the application's goes on to hold."""
    app = add_route(make_app())
    worker = cluster.worker(app)
    app.request_class = Own

    with app.test_request_context():
        assert isinstance(request._get_current_object(), Own)  # type: ignore[attr-defined]
    assert issubclass(app.request_class, Own)
    assert app.request_class is app.request_class
    app.request_class = app.request_class  # as one who wraps it may do
    assert ask(worker) == [[Own.about, False], [Own.about, True]]


def test_event_handlers_have_the_request_class_as_well(cluster: LocalCluster) -> None:
    """Flask-SocketIO makes their requests from the same class."""
    app = make_app()
    worker = cluster.worker(app)
    app.request_class = Own
    worker.socketio.on("event")(
        lambda: [request.about, request.is_socket]  # type: ignore[attr-defined]
    )

    assert worker.connect().emit("event") == [Own.about, True]


@pytest.mark.mode_independent
@pytest.mark.parametrize("name", ["sid", "namespace"])
def test_over_http_a_request_says_that_it_has_no_socket(name: str) -> None:
    """Flask-SocketIO's join_room() reads it in any route, and shows what is raised."""
    app = make_app()
    app.request_class = Own
    Rooms(app)

    with app.test_request_context("/"):
        assert not hasattr(request, name)
        with pytest.raises(AttributeError, match=rf"`{name}`.*came over HTTP.*`request.is_socket`"):
            getattr(request, name)
    with app.test_request_context("/"), pytest.raises(AttributeError, match="came over HTTP"):
        flask_socketio.join_room("red")


def test_what_a_request_class_knows_by_itself_stays(cluster: LocalCluster) -> None:
    class Guessing(Request):
        def __getattr__(self, name: str) -> str:
            if name in ("about", "sid"):
                return f"its own {name}"
            raise AttributeError(name)

    app = add_route(make_app())
    app.request_class = Guessing
    worker = cluster.worker(app)

    assert ask(worker) == [["its own about", False], ["its own about", True]]
    with app.test_request_context("/"):
        assert getattr(request, "sid", None) == "its own sid"


class Typed(Request):
    """One that gives the names of a socket a default, as for a type checker."""

    sid: str | None = None
    namespace = "none"


class Settable(Request):
    """One with a property, which Flask-SocketIO sets as well."""

    sid = "none"

    @property
    def namespace(self) -> str:
        """What was set, or a default."""
        return str(self.environ.get("app.namespace", "none"))

    @namespace.setter
    def namespace(self, given: str) -> None:
        self.environ["app.namespace"] = given


class Derived(Settable):
    """One that has them from its base, in part."""

    sid = "another"


@pytest.mark.parametrize(
    ("own", "over_http"),
    [(Typed, [None, "none"]), (Settable, ["none", "none"]), (Derived, ["another", "none"])],
)
def test_over_http_the_names_of_a_socket_are_what_the_request_class_says(
    cluster: LocalCluster, own: type[Request], over_http: list[Any]
) -> None:
    """Over a socket they are set, as in any application with Flask-SocketIO."""

    def see() -> list[Any]:
        current: Any = request
        return [current.is_socket, current.sid, current.namespace]

    app = make_app()
    app.request_class = own
    app.add_url_rule("/request", view_func=see)
    worker = cluster.worker(app)
    worker.socketio.on("see", namespace="/chat")(see)
    client = worker.connect("/chat")

    assert app.test_client().get("/request").json == [False, *over_http]
    assert client.ask("get", "/request")["body"] == [True, client.sid, "/chat"]
    assert client.emit("see") == [True, client.sid, "/chat"]


@pytest.mark.parametrize("name", ["is_socket", "sid", "namespace"])
@pytest.mark.parametrize("make", [property, cached_property, environ_property])
def test_a_request_class_that_computes_a_name_of_a_socket_is_refused(name: str, make: Any) -> None:
    """Flask-SocketIO cannot set it, or what is computed would be lost."""
    base = type("Base", (Request,), {name: make(lambda self: "its own")})
    before, after = make_app(), make_app()
    Rooms(after)
    remedy = rf"`Computing\.{name}` is computed.*another name"

    before.request_class = type("Computing", (base,), {})
    with pytest.raises(ConfigurationError, match=remedy):
        Rooms(before)
    with pytest.raises(ConfigurationError, match=remedy):
        after.request_class = before.request_class


def test_a_request_class_may_be_derived_from_the_extended_one(cluster: LocalCluster) -> None:
    app = add_route(make_app())
    worker = cluster.worker(app)

    app.request_class = type("Derived", (app.request_class,), {"about": "derived"})

    assert ask(worker) == [["derived", False], ["derived", True]]


def test_a_request_class_may_be_patched_for_a_while(cluster: LocalCluster) -> None:
    """As tests do: what was not set is deleted then."""
    app = add_route(make_app())
    worker = cluster.worker(app)

    with mock.patch.object(app, "request_class", Own):
        assert ask(worker) == [[Own.about, False], [Own.about, True]]

    assert ask(worker) == [[None, False], [None, True]]
    with pytest.raises(AttributeError):
        del app.request_class


def test_a_request_knows_its_socket_in_the_constructor_of_its_own_class(
    cluster: LocalCluster,
) -> None:
    class Knowing(Request):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.about = [self.is_socket, self.sid] if self.is_socket else False  # type: ignore[attr-defined]

    app = add_route(make_app())
    worker = cluster.worker(app)
    app.request_class = Knowing
    client = worker.connect()

    assert client.ask("get", "/request")["body"] == [[True, client.sid], True]
    assert app.test_client().get("/request").json == [False, False]


def test_what_walks_through_the_environment_finds_no_token_that_it_has_left_out() -> None:
    """As what reports errors does, to which tokens and cookies are to be unknown."""
    app = Flask("application")
    app.config["SECRET_KEY"] = "of the tests"
    Rooms(app)

    @app.get("/")
    def report() -> str:
        shown = {name: one for name, one in request.environ.items() if name != "HTTP_AUTHORIZATION"}
        return json.dumps(shown, default=str)

    token = {"Authorization": "Bearer the token"}
    assert "the token" not in app.test_client().get("/", headers=token).text


def test_a_request_without_a_route_is_gone_with_its_context() -> None:
    """As that of every event: in Flask it and all frames of its callers are a cycle."""
    app = Flask("application")
    app.config["SECRET_KEY"] = "of the tests"
    Rooms(app)
    gc.disable()
    try:
        with app.test_request_context("/socket.io/"):
            assert isinstance(request.routing_exception, NotFound)
            seen = weakref.ref(request._get_current_object())  # type: ignore[attr-defined]
        assert seen() is None
    finally:
        gc.enable()


def test_a_function_that_makes_requests_is_refused_with_the_remedy() -> None:
    """Flask would call it; it failed with a TypeError at the first request."""
    before, after = make_app(), make_app()
    Rooms(after)
    remedy = r"derive one from flask\.Request"

    before.request_class = Own.from_values  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match=remedy):
        Rooms(before)
    with pytest.raises(ConfigurationError, match=remedy):
        after.request_class = Own.from_values  # type: ignore[assignment]


# -- the class of the application -----------------------------------------------------------------


def test_an_application_of_a_subclass_stays_one(cluster: LocalCluster) -> None:
    """With its methods, which call their super(), and its name."""
    called: list[str] = []

    class Shop(Flask):
        json_sorts = False

        def __call__(self, environ: Environ, start_response: Any) -> Any:
            called.append(environ["PATH_INFO"])
            return super().__call__(environ, start_response)

        def make_response(self, rv: Any) -> Response:
            response = super().make_response(rv)
            response.headers["X-Shop"] = "open"
            return response

    app = add_route(Shop("shop"))
    before = repr(app)
    worker = cluster.worker(app)

    answer = worker.connect().ask("get", "/request")

    assert answer["headers"]["x-shop"] == "open"
    assert called == ["/request"]
    assert isinstance(app, Shop)
    assert type(app).__name__ == "Shop"
    assert repr(app) == before


def test_another_application_is_left_alone(cluster: LocalCluster) -> None:
    """It is this object that is extended, and no class that others have."""
    cluster.worker()
    other = Flask("other")

    assert type(other) is Flask
    with other.test_request_context():
        assert not hasattr(request, "is_socket")


def test_who_is_registered_twice_is_extended_once() -> None:
    app = make_app()
    rooms = Rooms(app)
    extended = type(app)

    with pytest.raises(ConfigurationError):
        rooms.init_app(app)

    assert type(app) is extended


# -- wsgi_app -------------------------------------------------------------------------------------


def test_wsgi_app_is_like_the_middleware_that_was_put_there(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To what looks at it: a factory may ask whether it has put it there before."""
    app = add_route(make_app())
    worker = cluster.worker(app)
    inner = app.wsgi_app
    fixed = ProxyFix(app.wsgi_app, x_for=2)

    app.wsgi_app = fixed  # type: ignore[method-assign]

    assert isinstance(app.wsgi_app, ProxyFix)
    assert app.wsgi_app == fixed
    assert repr(app.wsgi_app) == repr(fixed)
    assert (app.wsgi_app.app, app.wsgi_app.x_for) == (inner, 2)
    kept = app.wsgi_app
    with monkeypatch.context() as patched:
        patched.setattr(app, "wsgi_app", lambda environ, start_response: [])
    assert app.wsgi_app is kept
    other = cluster.worker().app
    other.wsgi_app = kept  # type: ignore[method-assign]
    assert other.wsgi_app is not kept
    assert ask(worker) == [[None, False], [None, True]]


def test_a_wsgi_app_that_is_deleted_is_that_of_flask() -> None:
    """As where a test has patched it before Rooms: what was not set is deleted then."""
    app = add_route(make_app())
    with mock.patch.object(app, "wsgi_app", ProxyFix(app.wsgi_app)):
        Rooms(app)

    assert app.wsgi_app == Flask.wsgi_app.__get__(app)
    assert app.test_client().get("/request").json == [None, False]


def drops_keys(inner: Any) -> Any:
    """As middleware does that makes an environment of its own."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        kept = {key for key in environ if not key.startswith("flask_rooms")}
        return inner({key: environ[key] for key in kept}, start_response)  # type: ignore[no-any-return]

    return call


def reads_the_body(inner: Any) -> Any:
    """As middleware does that logs or checks it."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        return inner(environ, start_response)  # type: ignore[no-any-return]

    return call


@pytest.mark.parametrize("middleware", [drops_keys, reads_the_body, validator])
@pytest.mark.parametrize("when", ["before Rooms", "after Rooms"])
def test_a_socket_request_stays_one_through_middleware(
    cluster: LocalCluster, middleware: Callable[[Any], Any], when: str
) -> None:
    """Whatever that does to the environment; the last of them checks all that PEP 3333 says."""
    app = make_app()

    @app.post("/about")
    def about() -> list[Any]:
        environ, sid = request.environ, getattr(request, "sid", None)
        keys = ("version", "url_scheme", "multithread", "multiprocess", "run_once")
        return [sid, request.get_json(), *(environ[f"wsgi.{key}"] for key in keys)]

    if when == "before Rooms":
        app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[method-assign]
    worker = cluster.worker(app)
    if when == "after Rooms":
        app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[method-assign]
    client = worker.connect()

    answer = client.ask("post", "/about", {"a": "body"})

    assert answer["statusCode"] == 200
    assert answer["body"] == [client.sid, {"a": "body"}, [1, 0], "http", True, True, False]
    with app.test_client().post("/about", json={"a": "body"}) as over_http:
        assert over_http.json is not None
        assert over_http.json[:2] == [None, {"a": "body"}]


# -- agents ---------------------------------------------------------------------------------------

#: The environment that an agent has seen last on its way in, as Sentry's has its scope.
_current: ContextVar[Environ] = ContextVar("current")


class Agent:
    """What wraps `Flask.__call__`, and reports requests and errors: Sentry and others do."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.errors: list[tuple[str, str, str]] = []

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the method, as an agent does when it is initialised."""
        inner = Flask.__call__

        def call(app: Flask, environ: Environ, start_response: Any) -> Iterable[bytes]:
            self.requests.append(self.about(environ))
            token = _current.set(environ)
            try:
                return inner(app, environ, start_response)
            finally:
                _current.reset(token)

        monkeypatch.setattr(Flask, "__call__", call)

    def on_error(self, app: Flask, exception: Exception, **_: Any) -> None:
        """Report an error with the request that it has happened in."""
        self.errors.append(self.about(_current.get()))

    def about(self, environ: Environ) -> tuple[str, str, str]:
        """Return what a report would say."""
        return environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]


def fail() -> str:
    raise ZeroDivisionError


@pytest.mark.parametrize("when", ["before Rooms", "after Rooms"])
@pytest.mark.parametrize("transport", ["polling", "test client"])
def test_an_agent_reports_a_socket_request_with_its_own_method_and_url(
    cluster: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
    transport: str,
) -> None:
    """And not as `GET /socket.io/`, which is what has carried it."""
    agent, app = Agent(), make_app()
    app.add_url_rule("/fail", view_func=fail, methods=["PUT"])
    if when == "before Rooms":
        agent.patch(monkeypatch)
    worker = cluster.worker(app)
    if when == "after Rooms":
        agent.patch(monkeypatch)
    got_request_exception.connect(agent.on_error, app)

    ask: Callable[..., Any]
    ask = PollingClient(app).connect().request if transport == "polling" else worker.connect().ask
    answer = ask("put", "/fail?really=yes")

    assert answer["statusCode"] == 500
    expected = ("PUT", "/fail", "really=yes")
    assert agent.errors == [expected]
    assert agent.requests.count(expected) == 1
    over_http = app.test_client().put("/fail?really=yes")
    assert over_http.status_code == 500
    assert agent.errors == [expected] * 2


def test_the_environment_is_seen_once_by_everything_on_the_way(cluster: LocalCluster) -> None:
    """Each request starts from what the handshake was before any middleware, as a copy."""
    app = make_app()
    app.add_url_rule("/seen", view_func=lambda: [request.environ.get("app.seen")])
    worker = cluster.worker(app)
    inner = app.wsgi_app

    def middleware(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["app.seen"] = environ.get("app.seen", "") + "+"
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    client = PollingClient(app).connect()

    for _ in range(3):
        assert client.request("get", "/seen")["body"] == ["+"]
    assert app.test_client().get("/seen").json == ["+"]
    assert worker.connect().ask("get", "/seen")["body"] == ["+"]
