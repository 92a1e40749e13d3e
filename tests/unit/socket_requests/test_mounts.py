"""Where an application is mounted, a socket request meets what a request over HTTP meets, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
from flask import Flask, make_response, request, session, url_for
from flask_socketio import SocketIO
from werkzeug.exceptions import Forbidden, NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client
from werkzeug.wsgi import ClosingIterator

from flask_rooms import Outcome, Rooms
from tests.support.apps import PATIENCE, LocalCluster, Worker, eventually, make_app
from tests.support.polling import PollingClient

# Environments and middleware; the routes run in all modes elsewhere.
pytestmark = pytest.mark.mode_independent

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]
Middleware = Callable[[Application], Application]


# -- middleware as applications have it -----------------------------------------------------------


def dispatcher(inner: Application) -> Application:
    """As werkzeug's documentation mounts an application."""
    return DispatcherMiddleware(NotFound(), {"/app": inner})


def accented(inner: Application) -> Application:
    """Its prefix has to be percent-encoded in URLs, and is decoded in the environment."""
    return DispatcherMiddleware(NotFound(), {"/café & co".encode().decode("latin-1"): inner})


def strict_prefix(inner: Application) -> Application:
    """The well-known recipe for a prefix: what is not below it is not found."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/app"):
            return NotFound()(environ, start_response)
        environ["SCRIPT_NAME"] = "/app"
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/app")
        return inner(environ, start_response)

    return call


def reverse_proxied(inner: Application) -> Application:
    """The other one: the proxy says the prefix, and may or may not have taken it off."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        prefix = environ.get("HTTP_X_SCRIPT_NAME", "")
        if prefix:
            environ["SCRIPT_NAME"] = prefix
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix)
        return inner(environ, start_response)

    return call


def tenants(inner: Application) -> Application:
    """The first part of the path is the name of a tenant."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        tenant, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
        environ["app.tenant"] = tenant
        environ["SCRIPT_NAME"] += "/" + tenant
        environ["PATH_INFO"] = "/" + rest
        return inner(environ, start_response)

    return call


def appends_a_header(inner: Application) -> Application:
    """As proxies in Python do, which add to what they find."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["HTTP_X_HOPS"] = environ.get("HTTP_X_HOPS", "") + "+"
        return inner(environ, start_response)

    return call


def drops_what_it_does_not_know(inner: Application) -> Application:
    """As middleware does that makes an environment of its own."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        known = ("wsgi.", "HTTP_", "app.", "REQUEST_", "REMOTE_", "SERVER_", "CONTENT_")
        of_the_path = ("PATH_INFO", "SCRIPT_NAME", "QUERY_STRING")
        kept = {key for key in environ if key.startswith((*known, *of_the_path))}
        return inner({key: environ[key] for key in kept}, start_response)

    return call


def answers_late(inner: Application) -> Application:
    """As middleware does that is a generator: it begins when its answer is read."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        yield from inner(environ, start_response)

    return call


def after_another(inner: Application) -> Application:
    """Another application with Rooms has been asked before, with the same environment."""
    other = make_app("other")
    Rooms(other)

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        path, environ["PATH_INFO"] = environ["PATH_INFO"], "/nothing"
        ClosingIterator(other.wsgi_app(environ, lambda *_: lambda _: None)).close()
        environ["PATH_INFO"] = path
        return inner(environ, start_response)

    return call


def proxy_fix(inner: Application) -> Application:
    """One proxy is trusted, also with the prefix."""
    return ProxyFix(inner, x_for=1, x_proto=1, x_host=1, x_prefix=1)


@dataclass(frozen=True)
class Mount:
    """
    How an application is mounted.

    Args:
        path: Below which it is for the server.
        before: What is put around `wsgi_app` before Rooms, the innermost first.
        inside: What is put around it afterwards, likewise.
        outside: What is put around what is served.
        served: What that is: "app", or its "wsgi_app".
        headers: What a proxy in front says.
        base_url: As werkzeug's test client takes it; its path is the server's SCRIPT_NAME.
        browser: The prefix of a browser's URLs, where that is not `path`.
    """

    path: str = ""
    before: tuple[Middleware, ...] = ()
    inside: tuple[Middleware, ...] = ()
    outside: tuple[Middleware, ...] = ()
    served: str = "app"
    headers: Mapping[str, str] = field(default_factory=dict)
    base_url: str = "http://localhost"
    browser: str | None = None

    @property
    def prefix(self) -> str:
        """Return the prefix that a browser's URLs have."""
        return self.path if self.browser is None else self.browser


FORWARDED = {
    "X-Forwarded-For": "198.51.100.1, 192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.example",
}
SHOP = FORWARDED | {"X-Forwarded-Prefix": "/shop"}

MOUNTS = {
    "nowhere": Mount(),
    "dispatcher inside": Mount("/app", inside=(dispatcher,)),
    "dispatcher outside": Mount("/app", outside=(dispatcher,)),
    "encoded inside": Mount("/caf%C3%A9%20&%20co", inside=(accented,)),
    "encoded outside": Mount("/caf%C3%A9%20&%20co", outside=(accented,)),
    "encoded tenant inside": Mount("/%E6%97%A5%3B%2Bb", inside=(tenants,)),
    "encoded tenant outside": Mount("/%E6%97%A5%3B%2Bb", outside=(tenants,)),
    "encoded prefix of a proxy": Mount(
        inside=(proxy_fix,), headers=FORWARDED | {"X-Forwarded-Prefix": "/a%20b"}, browser="/a%20b"
    ),
    "prefix inside": Mount("/app", inside=(strict_prefix,)),
    "prefix outside": Mount("/app", outside=(strict_prefix,)),
    "tenant inside": Mount("/t1", inside=(tenants,)),
    "tenant outside": Mount("/t1", outside=(tenants,)),
    "tenant inside, dispatcher outside": Mount("/app/t1", inside=(tenants,), outside=(dispatcher,)),
    "tenant in dispatcher, both inside": Mount("/app/t1", inside=(tenants, dispatcher)),
    "dispatcher in tenant, both inside": Mount("/t1/app", inside=(dispatcher, tenants)),
    "server": Mount(base_url="http://localhost/app", browser="/app"),
    "server and tenant": Mount(
        "/t1", inside=(tenants,), base_url="http://localhost/app", browser="/app/t1"
    ),
    "header inside": Mount(inside=(appends_a_header,)),
    "header outside": Mount(outside=(appends_a_header,)),
    "header and dispatcher": Mount("/app", inside=(appends_a_header, dispatcher, appends_a_header)),
    "without keys": Mount("/app", inside=(drops_what_it_does_not_know, dispatcher)),
    "without keys, within": Mount("/app", inside=(dispatcher, drops_what_it_does_not_know)),
    "late": Mount("/app", inside=(dispatcher, answers_late, appends_a_header)),
    "after another": Mount("/app", inside=(dispatcher, after_another, appends_a_header)),
    "after another, outside": Mount("/app", inside=(dispatcher,), outside=(after_another,)),
    "proxy": Mount(inside=(proxy_fix,), headers=FORWARDED),
    "proxy outside": Mount(outside=(proxy_fix,), headers=FORWARDED),
    "proxy with prefix": Mount(inside=(proxy_fix,), headers=SHOP, browser="/shop"),
    "proxy with prefix, outside": Mount(outside=(proxy_fix,), headers=SHOP, browser="/shop"),
    "proxy and tenant": Mount("/t1", inside=(tenants, proxy_fix), headers=SHOP, browser="/shop/t1"),
    "proxy that takes the prefix off": Mount(
        inside=(reverse_proxied,), headers={"X-Script-Name": "/app"}, browser="/app"
    ),
    "proxy that leaves the prefix on": Mount(
        "/app", inside=(reverse_proxied,), headers={"X-Script-Name": "/app"}
    ),
}

# ... and each of them where the server has not the application itself, but its `wsgi_app`.
MOUNTS |= {f"{name}, wsgi_app": replace(one, served="wsgi_app") for name, one in MOUNTS.items()}

mounts = pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def where() -> dict[str, Any]:
    """Say where the application believes to be, and who asks."""
    return {
        "root": request.script_root,
        "path": request.path,
        "url": request.url,
        "here": url_for("where", _external=True),
        "address": request.remote_addr,
        "tenant": request.environ.get("app.tenant"),
        "hops": request.headers.get("X-Hops"),
    }


def wrap(app: Flask, middleware: Iterable[Middleware]) -> None:
    """Put middleware around `wsgi_app`, as Flask's documentation says."""
    for one in middleware:
        app.wsgi_app = one(app.wsgi_app)  # type: ignore[assignment, method-assign]


class Site:
    """A mounted application."""

    def __init__(self, cluster: LocalCluster, mount: Mount, app: Flask | None = None) -> None:
        self.app = app or make_app()
        self.mount = mount
        self.app.add_url_rule("/where", view_func=where)
        self.app.add_url_rule("/admin", view_func=lambda: "secret", endpoint="admin")
        wrap(self.app, mount.before)
        # There are hundreds of applications, of which the clients do not leave: by default each
        # would keep three threads for a minute, and one for ever.
        quiet = SocketIO(monitor_clients=False, ping_interval=0.5)
        self.worker: Worker = cluster.adopt(
            self.app, Rooms(self.app, quiet, backend_url=cluster.hub, heartbeat_interval=0.2)
        )
        wrap(self.app, mount.inside)
        self.served: Application = self.app if mount.served == "app" else self.app.wsgi_app
        for middleware in mount.outside:
            self.served = middleware(self.served)
        self.browser = Client(self.served)

    def get(self, url: str) -> Any:
        """Ask over HTTP, as the server has it: without what the proxy has taken off."""
        return self.browser.get(url, headers=dict(self.mount.headers), base_url=self.mount.base_url)

    def connect(self) -> PollingClient:
        """Return a client that is connected."""
        client = PollingClient(
            self.served,
            self.mount.path,
            browser=self.browser,
            headers=dict(self.mount.headers),
            base_url=self.mount.base_url,
        )
        return client.connect()


@mounts
def test_a_socket_request_sees_what_a_request_over_http_sees(
    cluster: LocalCluster, mount: Mount
) -> None:
    """The URL may be that of the browser, or the one that the application knows."""
    site = Site(cluster, mount)
    over_http = site.get(f"{mount.path}/where").json
    client = site.connect()

    assert unquote(over_http["here"]).endswith(unquote(f"{mount.prefix}/where"))
    for url in ("/where", f"{mount.prefix}/where", over_http["here"]):
        path = url.removeprefix("https://shop.example").removeprefix("http://localhost")
        answer = client.request("get", path)
        assert (answer["statusCode"], answer["body"]) == (200, over_http), path


@pytest.mark.parametrize("name", ["inside", "outside", "tenant inside", "tenant outside"])
def test_what_servers_call_the_url_is_the_one_over_http(cluster: LocalCluster, name: str) -> None:
    """With the prefix that middleware takes off, percent-encoded."""
    mount = MOUNTS[f"encoded {name}"]
    site = Site(cluster, mount)
    names = ("REQUEST_URI", "RAW_URI")
    site.app.add_url_rule("/urls", view_func=lambda: [request.environ[name] for name in names])
    over_http = site.get(f"{mount.path}/urls?a=b").json
    client = site.connect()

    for url in ("/urls?a=b", f"{mount.prefix}/urls?a=b"):
        answer = client.request("get", url)["body"]
        assert [unquote(one) for one in answer] == [unquote(one) for one in over_http]
        assert all(map(str.isascii, answer))


def test_what_eventlet_calls_the_path_is_that_of_the_request(cluster: LocalCluster) -> None:
    """It has no query string, and is percent-encoded."""
    site = Site(cluster, Mount("/t%201", inside=(tenants,)))
    site.app.add_url_rule("/é", "path", lambda: [request.environ["RAW_PATH_INFO"]])
    raw = {"RAW_PATH_INFO": "/t%201/socket.io/"}
    client = PollingClient(site.app, "/t%201", environ_overrides=raw).connect()

    assert client.request("get", "/é?x=1")["body"] == ["/t%201/%C3%A9"]


@mounts
def test_a_second_request_of_the_same_socket_sees_the_same(
    cluster: LocalCluster, mount: Mount
) -> None:
    """Middleware changes the environment that it is given, which is not to be the next one's."""
    client = Site(cluster, mount).connect()

    first, second = (client.request("get", "/where")["body"] for _ in range(2))

    assert first == second


def version_last(inner: Application) -> Application:
    """What an application has is below its first part; what it is asked for may say it first."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        version, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
        environ["PATH_INFO"] = f"/{rest}{version}"
        return inner(environ, start_response)

    return call


def test_middleware_may_make_of_a_path_what_does_not_end_it(cluster: LocalCluster) -> None:
    """Then it has not taken off a prefix, which would have to be put before each path."""
    site = Site(cluster, Mount("/v1", inside=(version_last,)))
    site.app.add_url_rule("/where/v1", view_func=lambda: "found", endpoint="v1")

    assert site.connect().request("get", "/v1/where/")["body"] == "found"


def takes_off_the_prefix(inner: Application) -> Application:
    """The application does not learn below what it is."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/app")
        return inner(environ, start_response)

    return call


@pytest.mark.parametrize("url", ["/where", "/app/where"])
def test_a_prefix_of_which_the_application_knows_nothing_may_be_given(
    cluster: LocalCluster, url: str
) -> None:
    """A page knows it from its own address."""
    client = Site(cluster, Mount("/app", inside=(takes_off_the_prefix,))).connect()

    assert client.request("get", url)["body"]["path"] == "/where"


def takes_the_token(inner: Application) -> Application:
    """What has checked a token passes on who it is, and not the token."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["app.tenant"] = environ.pop("HTTP_AUTHORIZATION", "nobody")
        return inner(environ, start_response)

    return call


def gives_a_token(inner: Application) -> Application:
    """Who has none is a guest."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["app.tenant"] = environ.setdefault("HTTP_AUTHORIZATION", "guest")
        return inner(environ, start_response)

    return call


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (Mount(inside=(takes_the_token,), headers={"Authorization": "Ann"}), "Ann"),
        (Mount(inside=(gives_a_token,)), "guest"),
    ],
    ids=["taken", "given"],
)
def test_a_token_that_middleware_takes_or_gives_is_not_replaced_by_a_clients(
    cluster: LocalCluster, mount: Mount, expected: str
) -> None:
    """The handshake has one, before the middleware or after it, and that is what was checked."""
    client = Site(cluster, mount).connect()

    answer = client.request("get", "/where", headers={"Authorization": "Bob"})

    assert answer["body"]["tenant"] == expected


@pytest.mark.parametrize(
    "key",
    [
        *["wsgi.input_terminated", "wsgi.file_wrapper", "wsgi.websocket", "werkzeug.other"],
        *["gunicorn.sock", "eventlet.posthooks", "headers_raw", "uwsgi.core", "flask.other"],
        *["x-wsgiorg.fdevent.readable", "opentelemetry-flask.starttime_key", "saved_session"],
    ],
)
def test_what_the_server_keeps_with_a_handshake_is_not_that_of_a_request(
    cluster: LocalCluster, key: str
) -> None:
    """Such as its socket, or that it marks the end of the body, which is the handshake's."""
    kept = object()
    site = Site(cluster, Mount())
    site.app.add_url_rule("/kept", view_func=lambda: [request.environ.get(key) is kept])
    client = PollingClient(site.app, environ_overrides={key: kept}).connect()

    assert client.request("get", "/kept")["body"] == [False]


def finds_a_tenant(inner: Application) -> Application:
    """What is found is no text."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["app.tenant"] = {"id": 7}
        return inner(environ, start_response)

    return call


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_what_middleware_has_found_is_there_wherever_the_socket_is(
    cluster: LocalCluster, place: str
) -> None:
    """A number, a dictionary or an object, as well as a text."""
    middleware: Any = {place: (finds_a_tenant,)}
    site = Site(cluster, Mount(**middleware))
    rooms, seen = site.worker.rooms, []

    def look(*_: Any, **__: Any) -> bool:
        seen.append(request.environ.get("app.tenant"))
        return True

    rooms.before_connect(look)
    rooms.guard("red")(look)
    rooms.presence("red")(lambda: {"seen": look()})
    rooms.after_disconnect(look)
    client = site.connect()
    rooms.sockets.join(client.sid, "red").result(PATIENCE)

    assert client.request("get", "/where")["body"]["tenant"] == {"id": 7}
    client.send("41")
    eventually(site.worker, lambda: len(seen) == 4)
    assert seen == [{"id": 7}] * 4


@mounts
def test_what_is_not_there_over_http_is_not_there(cluster: LocalCluster, mount: Mount) -> None:
    """An application that is mounted does not answer twice below its prefix."""
    site = Site(cluster, mount)
    client = site.connect()
    prefix = mount.prefix or "/app"

    for url in ("/nothing", f"{prefix}/nothing", f"{prefix}{prefix}/where"):
        # What a proxy in front leaves of a browser's URL.
        over_http = site.get(mount.path + url.removeprefix(prefix))
        assert client.request("get", url)["statusCode"] == over_http.status_code, url
    assert client.request("get", f"{prefix}s/where")["statusCode"] == 404


@mounts
def test_the_context_of_a_socket_is_below_the_same_prefix(
    cluster: LocalCluster, mount: Mount
) -> None:
    """Guards and hooks see the handshake as the middleware has left it: changed once."""
    site = Site(cluster, mount)
    seen: list[Any] = []

    def look(*_: Any, **__: Any) -> bool:
        about = where()
        seen.append([about[key] for key in ("root", "here", "address", "tenant", "hops")])
        return True

    site.worker.rooms.guard("<name>")(look)
    site.worker.rooms.before_connect(look)
    site.worker.rooms.after_disconnect(look)
    over_http = site.get(f"{mount.path}/where").json
    expected = [over_http[key] for key in ("root", "here", "address", "tenant", "hops")]
    client = site.connect()

    joined = site.worker.rooms.sockets.join(client.sid, "red")
    assert joined.result(PATIENCE) == Outcome(1)
    client.send("41")
    eventually(site.worker, lambda: len(seen) == 3)

    assert seen == [expected] * 3


def test_a_socket_stays_with_the_tenant_of_its_handshake(cluster: LocalCluster) -> None:
    """Else a page of one tenant could act within another one."""
    client = Site(cluster, MOUNTS["tenant inside"]).connect()

    assert client.request("get", "/t2/where")["statusCode"] == 404
    assert client.request("get", "/t1/t2/where")["statusCode"] == 404
    assert client.request("get", "/t1/where")["body"]["tenant"] == "t1"


@mounts
@pytest.mark.parametrize("place", ["around the mount", "within the mount"])
def test_a_path_that_middleware_guards_is_not_got_around(
    cluster: LocalCluster, mount: Mount, place: str
) -> None:
    """However the URL is written, the middleware sees the path that it sees over HTTP."""
    # Inside the application: no socket request comes past what is around a mount outside of it.
    within = place == "within the mount" or bool(mount.outside)
    path = unquote_to_bytes(mount.path).decode("latin-1")
    guarded = "/admin" if within else f"{path}/admin"

    def guard(inner: Application) -> Application:
        def call(environ: Environ, start_response: Any) -> Iterable[bytes]:
            is_guarded = environ["PATH_INFO"].startswith(guarded)
            return (Forbidden() if is_guarded else inner)(environ, start_response)

        return call

    inside = (guard, *mount.inside) if within else (*mount.inside, guard)
    site = Site(cluster, replace(mount, inside=inside))
    assert site.get(f"{mount.path}/admin").status_code == 403
    client = site.connect()

    for url in ("/admin", "/%61dmin", "/admin?x", "/admin#x", "/admin;x"):
        for prefix in ("", mount.prefix, mount.path, mount.path.replace("a", "%61")):
            answer = client.request("get", prefix + url)
            assert answer["body"] != "secret", prefix + url
            assert answer["statusCode"] in (403, 404), prefix + url
    assert client.request("get", "/where")["statusCode"] == 200


@mounts
def test_a_cookie_below_the_prefix_comes_back(cluster: LocalCluster, mount: Mount) -> None:
    """Its path is the browser's, which the application knows from its own URLs."""
    site = Site(cluster, mount)

    @site.app.put("/cookie")
    def cookie() -> Any:
        response = make_response("")
        response.set_cookie("colour", "red", path=request.script_root or "/")
        response.set_cookie("shape", "round", path="/elsewhere")
        return response

    site.app.add_url_rule("/cookies", view_func=lambda: dict(request.cookies))
    client = site.connect()

    client.request("put", "/cookie")

    for url in ("/cookies", f"{mount.prefix}/cookies"):
        assert client.request("get", url)["body"] == {"colour": "red"}


@mounts
def test_a_login_over_http_holds_over_the_socket_below_a_prefix(
    cluster: LocalCluster, mount: Mount
) -> None:
    """And one over the socket for the next request of it."""
    app = make_app()
    site = Site(cluster, mount, app)

    @app.put("/login/<name>")
    def login(name: str) -> str:
        session["user"] = name
        return ""

    app.add_url_rule("/who", view_func=lambda: [session.get("user")])
    headers = dict(mount.headers)
    site.browser.put(f"{mount.path}/login/ann", headers=headers, base_url=mount.base_url)
    client = site.connect()

    assert client.request("get", "/who")["body"] == ["ann"]
    client.request("put", f"{mount.prefix}/login/bob")
    assert client.request("get", "/who")["body"] == ["bob"]


@pytest.mark.parametrize("name", ["proxy", "proxy outside", "proxy, wsgi_app"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_may_say_the_scheme_of_a_websocket(
    cluster: LocalCluster, name: str, scheme: str
) -> None:
    """As Traefik does; URLs, and the origin of its pages, are those of HTTP."""
    origin = f"{scheme}://shop.example"
    said = {"X-Forwarded-Proto": scheme.replace("http", "ws"), "Origin": origin}
    site = Site(cluster, replace(MOUNTS[name], headers=FORWARDED | said))
    seen: list[Any] = []

    def look(*_: Any, **__: Any) -> bool:
        seen.append((request.headers["X-Forwarded-Proto"], url_for("where", _external=True)))
        return True

    site.worker.rooms.guard("red")(look)
    site.worker.rooms.before_connect(look)
    site.worker.rooms.after_disconnect(look)
    site.worker.socketio.on("look")(look)
    client = site.connect()
    answer = client.request("get", "/where")
    joined = site.worker.rooms.sockets.join(client.sid, "red")

    assert joined.result(PATIENCE) == Outcome(1)
    assert (answer["statusCode"], answer["body"]["here"]) == (200, f"{origin}/where")
    client.send('42["look"]')
    client.send("41")
    eventually(site.worker, lambda: len(seen) == 4)
    assert seen == [(scheme, f"{origin}/where")] * 4


# -- orders ---------------------------------------------------------------------------------------

#: Middleware, and below which path it has the application.
ORDERS: dict[str, tuple[str, tuple[Middleware, ...]]] = {
    "nothing": ("", ()),
    "header": ("", (appends_a_header,)),
    "proxy": ("", (proxy_fix,)),
    "dispatcher": ("/app", (dispatcher,)),
    "prefix": ("/app", (strict_prefix,)),
    "tenant": ("/t1", (tenants,)),
    "tenant, proxy": ("/t1", (tenants, proxy_fix)),
}


@pytest.mark.parametrize("served", ["app", "wsgi_app", "wsgi_app of before"])
@pytest.mark.parametrize("before", ORDERS)
@pytest.mark.parametrize("after", ORDERS)
def test_in_any_order_each_middleware_is_met_as_over_http(
    cluster: LocalCluster, before: str, after: str, served: str
) -> None:
    """Before Rooms or after it; and not at all where the server has what is inside of it."""
    inner_path, inner = ORDERS[before]
    outer_path, outer = ORDERS[after]
    site = Site(cluster, Mount(before=inner, headers=FORWARDED, served=served.split()[0]))
    wrap(site.app, outer)
    if served == "wsgi_app":
        site.served = site.app.wsgi_app
    elif served == "wsgi_app of before":
        outer_path = ""
    browser = Client(site.served)
    url = f"{outer_path}{inner_path}/where"

    over_http = browser.get(url, headers=FORWARDED)
    client = PollingClient(site.served, outer_path, browser=browser, headers=FORWARDED).connect()

    assert over_http.status_code == 200
    for _ in range(2):
        assert client.request("get", url)["body"] == over_http.json
    assert client.request("get", f"{url}/nothing")["statusCode"] == 404


@pytest.mark.parametrize("served", ["app", "wsgi_app"])
def test_an_application_within_another_has_its_own_sockets(
    cluster: LocalCluster, served: str
) -> None:
    """Both have Rooms, and a socket request of each begins where its own handshake did."""
    inner = Site(cluster, Mount(served=served, inside=(appends_a_header,)))

    def mounts_it(outer: Application) -> Application:
        return DispatcherMiddleware(outer, {"/inner": inner.served})

    outer = Site(cluster, Mount(served=served, inside=(mounts_it, appends_a_header)))

    for path, site, hops in (("/inner", inner, "++"), ("", outer, "+")):
        over_http = outer.get(f"{path}/where").json
        client = PollingClient(outer.served, path).connect()
        assert site.worker.sockets.join(client.sid, "red").result(0) == Outcome(1)
        assert over_http["hops"] == hops
        assert client.request("get", "/where")["body"] == over_http
