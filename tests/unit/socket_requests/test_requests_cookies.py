"""A socket has a cookie jar: it begins with the handshake's cookies and follows Set-Cookie."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, make_response, request, session
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from werkzeug.http import dump_cookie

from flask_rooms import Refused
from flask_rooms.socket_requests.cookies import COOKIE_BYTES, COOKIES, Cookies
from flask_rooms.socket_requests.wsgi import RESPONSE_BYTES
from tests.support.apps import Client, LocalCluster, Worker, eventually, make_app

pytestmark = pytest.mark.oldest_dependencies

GONE = "Thu, 01 Jan 1970 00:00:00 GMT"
FAR = "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture
def worker() -> Iterator[Worker]:
    with LocalCluster() as cluster:
        yield cluster.worker(make_session_app())


def make_session_app() -> Flask:
    app = make_app()

    @app.post("/set")
    @app.post("/below/set")
    def set_cookies() -> Response:
        response = make_response("done")
        for header in request.get_json():
            response.headers.add("Set-Cookie", header)
        return response

    @app.get("/cookies")
    @app.get("/below/cookies")
    @app.get("/beside/cookies")
    def cookies() -> dict[str, str]:
        return request.cookies.to_dict()

    @app.put("/session")
    def put_session() -> dict[str, Any]:
        session.update(request.get_json())
        return dict(session)

    @app.put("/session/<how>")
    def put_session_and_fail(how: str) -> Response:
        session.update(request.get_json())
        return Response(FAILING[how]())

    app.add_url_rule("/session", view_func=lambda: dict(session), endpoint="get_session")
    return app


def fail_late() -> Iterator[bytes]:
    yield b"the first part"
    raise RuntimeError("in the middle")


def fail_at_once() -> Iterator[bytes]:
    yield b""
    raise RuntimeError("before anything")


#: Bodies that a socket is not sent, by what is wrong with them.
FAILING: dict[str, Callable[[], Any]] = {
    "late": fail_late,
    "at-once": fail_at_once,
    "too-large": lambda: [b"x" * (RESPONSE_BYTES + 1)],
}


def make_jar(cookies: str = "") -> Cookies:
    return Cookies(cookies, ["/shop/socket.io/", "/account"])


def cookies_of(client: Client, path: str = "/cookies") -> Any:
    return client.ask("get", path)["body"]


# -- the jar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], "given=1; other=2"),
        (["a=b"], "a=b; given=1; other=2"),
        (["a=b; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"], "a=b; given=1; other=2"),
        (["a=b; Domain=.shop.example; Path=/"], "a=b; given=1; other=2"),
        ([f"a=b; Expires={FAR}"], "a=b; given=1; other=2"),
        (["a=b; Max-Age=60"], "a=b; given=1; other=2"),
        ([f"a=b; Max-Age=60; Expires={GONE}"], "a=b; given=1; other=2"),
        (["a=b; Max-Age=60.5; Path=/"], "a=b; given=1; other=2"),
        ([f"a=b; Max-Age=soon; Expires={GONE}"], "given=1; other=2"),
        (["a=b; Max-Age"], "a=b; given=1; other=2"),
        (["given=new"], "given=new; other=2"),
        (["given=; Max-Age=0"], "other=2"),
        ([f"given=; Expires={GONE}"], "other=2"),
        (["a=b", "a=; Max-Age=0"], "given=1; other=2"),
        (["a=b", "a=c"], "a=c; given=1; other=2"),
        (["a"], "a; given=1; other=2"),
        (["", ";", "=", "; Path=/"], "given=1; other=2"),
    ],
)
def test_what_a_response_sets_is_sent_with_the_next_request(
    headers: list[str], expected: str
) -> None:
    jar = make_jar("given=1; ;other=2;")
    assert jar.header("/") == "given=1; other=2"

    for header in headers:
        jar.update([header], "/")

    assert jar.header("/") == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["a=b; Path=/", "a=; Max-Age=0; Path=/"], "given=1"),
        (["a=b; Path=/", f"a=; Expires={GONE}; Path=/"], "given=1"),
        (["a=; Max-Age=0; Path=/", "a=b; Path=/"], "a=b; given=1"),
        (["a=b; Path=/", "a=; Max-Age=0; Path=/", "a=c; Path=/"], "a=c; given=1"),
        (["given=2; Path=/", "given=; Max-Age=0; Path=/"], ""),
    ],
)
def test_of_what_one_response_says_of_a_cookie_the_last_counts(
    headers: list[str], expected: str
) -> None:
    """Such as an after_request function that deletes what a view has set."""
    jar = make_jar("given=1")

    jar.update(headers, "/")

    assert jar.header("/") == expected


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        *[("/below", True), ("/below/", True), ("/below/deeper", True)],
        *[("/", False), ("/belower", False), ("/elsewhere", False)],
    ],
)
def test_a_cookie_is_sent_below_its_path(path: str, sent: bool) -> None:
    jar = make_jar("")
    jar.update(["a=b; Path=/below"], "/")

    assert jar.header(path) == ("a=b" if sent else "")


# Those of the handshake, of which it had a cookie, and of sessions.
@pytest.mark.parametrize("path", ["/", "/shop", "/shop/", "/shop/socket.io/", "/account"])
def test_a_cookie_that_the_handshake_may_have_had_is_replaced(path: str) -> None:
    jar = make_jar("given=1; other=2")

    jar.update([f"given=; Max-Age=0; Secure; Path={path} ; HttpOnly"], "/")

    assert jar.header("/shop/x") == "other=2"


@pytest.mark.parametrize("path", ["/old", "/sho", "/shopping", "/shop/x", "/shop/socket.io/x"])
def test_a_cookie_for_another_path_is_another_one(path: str) -> None:
    """As it was not sent with the handshake; a browser keeps both."""
    jar = make_jar("given=1; other=2")

    jar.update([f"given=; Max-Age=0; Path={path}"], "/")
    assert jar.header(path) == "given=1; other=2"
    jar.update([f"given=new; Path={path}"], "/")

    assert jar.header("/") == "given=1; other=2"
    assert jar.header(path) == "given=new; given=1; other=2"


@pytest.mark.parametrize(("path", "expected"), [("/shop/set", ""), ("/below/set", "given=1")])
def test_without_a_path_the_directory_of_its_request_counts(path: str, expected: str) -> None:
    jar = make_jar("given=1")

    jar.update(["given=; Max-Age=0"], path)

    assert jar.header("/") == expected


@pytest.mark.parametrize("path", ["/caf%C3%A9/a+b", "/caf%c3%a9/a%2Bb", "/café/a+b"])
@pytest.mark.parametrize("url", ["/caf%C3%A9/a+b/x", "/caf%c3%a9/a%2Bb"])
def test_a_path_is_the_same_however_it_is_encoded(path: str, url: str) -> None:
    jar = make_jar()
    jar.update([f"a=b; Path={path}"], "/")

    assert jar.header(url) == "a=b"
    assert jar.header("/caf%C3%A9/a") == ""


def test_the_closest_path_comes_first() -> None:
    jar = make_jar("")
    jar.update(["a=root; Path=/", "a=deep; Path=/x/y", "a=middle; Path=/x"], "/")

    assert jar.header("/x/y/z") == "a=deep; a=middle; a=root"


def test_outside_any_request_there_are_those_of_all_paths() -> None:
    jar = make_jar("given=1")
    jar.update(["a=root; Path=/", "a=deep; Path=/x/y", "b=2; Path=/z", "c=3; Max-Age=0"], "/")

    assert jar.header(None) == "a=deep; b=2; a=root; given=1"


def test_without_a_path_a_cookie_belongs_to_the_directory_of_its_request() -> None:
    jar = make_jar("")
    jar.update(["a=b"], "/below/set")

    assert (jar.header("/below/x"), jar.header("/beside")) == ("a=b", "")


@pytest.mark.parametrize("value", ["plain", "a b", 'a"b', "a;b", "a,b", "é世", "a=b", "", "%20"])
def test_a_value_comes_back_as_it_was_set(worker: Worker, value: str) -> None:
    client = worker.connect()
    client.ask("post", "/set", [dump_cookie("a", value)])

    assert cookies_of(client)["a"] == value


def test_a_cookie_that_is_replaced_is_there_at_every_moment() -> None:
    """A guard may look in another thread, and would take the socket for one without a login."""
    jar, seen = make_jar("a=old"), set()

    class Watched(list[str]):
        def __iter__(self) -> Iterator[str]:
            seen.add(jar.header(None))
            yield from super().__iter__()
            seen.add(jar.header(None))

    jar.update(Watched(["a=new; Path=/"]), "/")

    assert seen == {"a=old"}
    assert jar.header(None) == "a=new"


def test_a_jar_is_as_large_as_a_browsers() -> None:
    jar = make_jar("")
    for number in range(3 * COOKIES):
        jar.update([f"cookie{number}=1; Path=/{number % 7}", "big=" + "x" * COOKIE_BYTES], "/")

    kept = [jar.header(f"/{number}") for number in range(7)]
    assert sum(header.count("=") for header in kept) == COOKIES


def test_a_cookie_that_is_set_each_time_is_kept() -> None:
    """Such as that of a session, which is the oldest of them."""
    jar = make_jar("")
    for number in range(2 * COOKIES):
        jar.update(["session=1; Path=/", f"cookie{number}=1; Path=/"], "/")

    assert "session=1" in jar.header("/").split("; ")


def test_a_path_that_is_none_is_that_of_the_request() -> None:
    """https://www.rfc-editor.org/rfc/rfc6265#section-5.2.4"""
    jar = make_jar("")
    jar.update(["a=b; Path=below; Secure"], "/here/page")

    assert (jar.header("/here/other"), jar.header("/elsewhere")) == ("a=b", "")


@pytest.mark.parametrize("excess", [0, 1])
def test_a_cookie_is_as_long_as_a_browsers(excess: int) -> None:
    """Name and value together."""
    jar = make_jar("")
    cookie = "a=" + "x" * (COOKIE_BYTES - len("a") + excess)

    jar.update([cookie], "/")

    assert jar.header("/") == ("" if excess else cookie)


def test_a_cookie_that_is_too_long_replaces_none() -> None:
    """Else a session that grows would end its login."""
    jar, long = make_jar("given=1"), "x" * COOKIE_BYTES
    jar.update(["set=2; Path=/"], "/")

    jar.update([f"given={long}; Path=/", f"set={long}; Path=/"], "/")

    assert jar.header("/") == "set=2; given=1"


@pytest.mark.mode_independent
@pytest.mark.parametrize("pair", [";", "a;", "a=b; "])
def test_a_jar_takes_no_more_than_the_cookies_of_its_handshake(pair: str) -> None:
    """Each of its sockets has one, and a server may let a client send megabytes of them."""
    handshake = pair * 100_000
    tracemalloc.start()
    try:
        jar = make_jar(handshake)
        jar.update(["c=d"], "/")
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert jar.header("/").startswith("c=d")
    assert kept < 2 * len(handshake) + 2**16


# -- sockets ----------------------------------------------------------------------------------


def test_a_cookie_stays_with_its_socket_and_out_of_the_clients_sight(worker: Worker) -> None:
    client, other = worker.connect(), worker.connect()

    answer = client.ask("post", "/set", ["a=secret; Path=/below", "b=secret"])

    assert "secret" not in str(answer)
    assert not any("cookie" in name.lower() for name in answer["headers"] if name != "vary")
    assert cookies_of(client) == {"b": "secret"}
    assert cookies_of(client, "/below/cookies") == {"a": "secret", "b": "secret"}
    assert cookies_of(other) == {}


def test_it_ends_with_its_socket(worker: Worker) -> None:
    client = worker.connect()
    client.ask("post", "/set", ["a=b"])
    client.disconnect()

    assert cookies_of(worker.connect()) == {}


def test_a_session_that_a_request_has_written_is_there_in_the_next(worker: Worker) -> None:
    client, other = worker.connect(), worker.connect()

    client.ask("put", "/session", {"user": "Ada"})
    client.ask("put", "/session", {"colour": "red"})

    assert client.ask("get", "/session")["body"] == {"user": "Ada", "colour": "red"}
    assert other.ask("get", "/session")["body"] == {}


@pytest.mark.parametrize(("how", "kept"), [("late", True), ("too-large", True), ("at-once", False)])
def test_a_session_is_written_with_the_first_bytes_of_a_body_that_fails(
    worker: Worker, how: str, kept: bool
) -> None:
    """As over HTTP, where the headers are sent with them."""
    client = worker.connect()

    assert client.ask("put", f"/session/{how}", {"user": "Ada"})["statusCode"] == 500
    assert client.ask("get", "/session")["body"] == ({"user": "Ada"} if kept else {})


def test_a_session_that_began_over_http_goes_on(worker: Worker) -> None:
    browser = worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client = worker.connect(flask_test_client=browser)

    client.ask("put", "/session", {"colour": "red"})

    assert client.ask("get", "/session")["body"] == {"user": "Ada", "colour": "red"}
    assert worker.connect(flask_test_client=browser).ask("get", "/session")["body"] == {
        "user": "Ada"
    }


def test_an_emptied_session_is_empty(worker: Worker) -> None:
    def logout() -> str:
        session.clear()
        return "bye"

    worker.app.add_url_rule("/logout", view_func=logout)
    browser = worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client = worker.connect(flask_test_client=browser)

    client.ask("get", "/logout")

    assert client.ask("get", "/session")["body"] == {}


def test_a_session_with_a_path_below_a_prefix(worker: Worker) -> None:
    """Whether a client writes the prefix or not, it is below it."""
    worker.app.config["SESSION_COOKIE_PATH"] = "/shop"
    client = worker.connect()
    environ = worker.socketio.server.get_environ(client.sid)
    environ["SCRIPT_NAME"] = "/shop"

    client.ask("put", "/shop/session", {"user": "Ada"})

    assert client.ask("get", "/shop/session")["body"] == {"user": "Ada"}
    assert client.ask("get", "/session")["body"] == {"user": "Ada"}


def test_a_session_outlasts_the_deletion_of_one_for_another_path(worker: Worker) -> None:
    """As an application deletes it that has once had another path."""
    browser = worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client = worker.connect(flask_test_client=browser)

    client.ask("post", "/set", [f"session=; Expires={GONE}; Path=/old"])

    assert client.ask("get", "/session")["body"] == {"user": "Ada"}


def test_a_logout_ends_a_session_below_a_prefix_that_a_proxy_takes_off(worker: Worker) -> None:
    """The application knows it from its configuration alone."""
    worker.app.config["SESSION_COOKIE_PATH"] = "/shop"
    browser = worker.app.test_client()
    sent = browser.put("/session", json={"user": "Ada"}).headers["Set-Cookie"]
    client = worker.connect(headers={"Cookie": sent.partition(";")[0]})
    assert client.ask("get", "/session")["body"] == {"user": "Ada"}

    client.ask("post", "/set", [f"session=; Expires={GONE}; Path=/shop"])

    assert client.ask("get", "/session")["body"] == {}


# -- Flask-Login ------------------------------------------------------------------------------


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture
def login(worker: Worker) -> Worker:
    """A worker whose application lets Ada and Bob log in."""
    manager = LoginManager(worker.app)
    manager.user_loader(User)

    @worker.app.post("/login/<name>")
    def enter(name: str) -> str:
        login_user(User(name), remember="remember" in request.args)
        return "welcome"

    @worker.app.get("/me")
    @login_required
    def me() -> list[str]:
        return [current_user.id]

    return worker


def test_a_login_over_the_socket_holds_for_that_socket(login: Worker) -> None:
    client, other = login.connect(), login.connect()
    assert client.ask("get", "/me")["statusCode"] == 401

    answer = client.ask("post", "/login/Ada")

    assert answer["body"] == "welcome"
    assert client.ask("get", "/me")["body"] == ["Ada"]
    assert other.ask("get", "/me")["statusCode"] == 401
    other.ask("post", "/login/Bob")
    assert [one.ask("get", "/me")["body"] for one in (client, other)] == [["Ada"], ["Bob"]]


def test_a_login_over_http_holds_for_sockets_that_connect_then(login: Worker) -> None:
    browser = login.app.test_client()
    early = login.connect(flask_test_client=browser)
    browser.post("/login/Ada")

    assert login.connect(flask_test_client=browser).ask("get", "/me")["body"] == ["Ada"]
    assert early.ask("get", "/me")["statusCode"] == 401


def test_a_guard_sees_a_login_over_the_socket(login: Worker) -> None:
    login.rooms.guard("of/<name>")(
        lambda name: current_user.is_authenticated and current_user.id == name
    )
    client = login.connect()
    with pytest.raises(Refused):
        login.sockets.join(client.sid, "of/Ada").result()

    client.ask("post", "/login/Ada")

    assert login.sockets.join(client.sid, "of/Ada").result().changed == 1
    with pytest.raises(Refused):
        login.sockets.join(client.sid, "of/Bob").result()


@pytest.mark.parametrize("path", ["/login", "/shop"])
def test_guards_and_hooks_see_a_login_whose_cookie_is_for_a_part_of_the_paths(
    login: Worker, path: str
) -> None:
    """As APPLICATION_ROOT makes it below a prefix."""
    login.app.config["SESSION_COOKIE_PATH"] = path
    gone: list[Any] = []
    login.rooms.guard("members")(lambda: current_user.is_authenticated)
    login.rooms.after_disconnect(lambda reason, rooms: gone.append(current_user.get_id()))
    client = login.connect()
    login.socketio.server.get_environ(client.sid)["SCRIPT_NAME"] = "/shop"

    client.ask("post", "/login/Ada")

    assert login.sockets.join(client.sid, "members").result().changed == 1
    client.disconnect()
    eventually(login, lambda: gone)
    assert gone == ["Ada"]


# Flask-Login asks for the time in a way that Python 3.12 advises against.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_being_remembered_is_a_cookie_as_any_other(login: Worker) -> None:
    client = login.connect()
    client.ask("post", "/login/Ada?remember")
    client.ask("post", "/set", [f"session=; Expires={GONE}; Path=/"])

    assert client.ask("get", "/me")["body"] == ["Ada"]
