"""Extensions of Flask that keep sessions, guard forms and count requests work over sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from cachelib.file import FileSystemCache
from flask import Flask, request, session
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_session import Session
from flask_wtf.csrf import CSRFProtect, generate_csrf

from tests.support.apps import Client, LocalCluster, Worker, make_app
from tests.support.brokers import Broker

WRITES = ("post", "put", "patch", "delete")


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


# -- Flask-Session ----------------------------------------------------------------------------


@pytest.fixture(params=["redis", "cachelib"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The configuration of sessions that are kept on the server."""
    if request.param == "cachelib":
        return {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": FileSystemCache(str(tmp_path))}
    broker: Broker = request.getfixturevalue("redis_broker")
    return {"SESSION_TYPE": "redis", "SESSION_REDIS": redis.Redis.from_url(broker.url)}


@pytest.fixture
def session_worker(cluster: LocalCluster, sessions: dict[str, Any]) -> Worker:
    app = make_app()
    app.config.update(sessions)
    Session(app)

    @app.put("/session")
    def put_session() -> dict[str, Any]:
        session.update(request.get_json())
        return dict(session)

    @app.get("/session")
    def get_session() -> dict[str, Any]:
        return {key: value for key, value in session.items() if key != "_permanent"}

    @app.delete("/session")
    def delete_session() -> str:
        session.clear()
        return "bye"

    return cluster.worker(app)


def session_of(client: Client) -> Any:
    return client.ask("get", "/session")["body"]


def test_a_session_on_the_server_holds_for_its_socket(session_worker: Worker) -> None:
    client, other = session_worker.connect(), session_worker.connect()

    answer = client.ask("put", "/session", {"user": "Ada"})

    assert answer["statusCode"] == 200
    assert "set-cookie" not in answer["headers"]
    assert session_of(client) == {"user": "Ada"}
    assert session_of(other) == {}


def test_it_is_shared_with_the_browsers_requests(session_worker: Worker) -> None:
    browser = session_worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client = session_worker.connect(flask_test_client=browser)

    client.ask("put", "/session", {"colour": "red"})
    browser.put("/session", json={"shape": "round"})

    everything = {"user": "Ada", "colour": "red", "shape": "round"}
    assert session_of(client) == browser.get("/session").json == everything


def test_a_logout_over_http_logs_the_socket_out(session_worker: Worker) -> None:
    browser = session_worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client = session_worker.connect(flask_test_client=browser)
    assert session_of(client) == {"user": "Ada"}

    browser.delete("/session")

    assert session_of(client) == {}


def test_what_after_disconnect_writes_is_saved(session_worker: Worker) -> None:
    @session_worker.rooms.after_disconnect
    def gone(reason: str, rooms: frozenset[Any]) -> None:
        session["last"] = [session["user"], reason, sorted(rooms)]

    browser = session_worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client = session_worker.connect(flask_test_client=browser)
    session_worker.sockets.join(client.sid, "red")

    client.disconnect()

    found = browser.get("/session").json
    assert found == {"user": "Ada", "last": ["Ada", "client disconnect", ["red"]]}


# -- Flask-WTF --------------------------------------------------------------------------------


@pytest.fixture
def protected(cluster: LocalCluster) -> Worker:
    app = make_app()
    CSRFProtect(app)
    app.add_url_rule("/token", view_func=lambda: [generate_csrf()], endpoint="token")
    app.add_url_rule(
        "/write",
        view_func=lambda: "written",
        endpoint="write",
        methods=[verb.upper() for verb in WRITES],
    )
    return cluster.worker(app)


def token_of(client: Client) -> str:
    [token] = client.ask("get", "/token")["body"]
    return str(token)


@pytest.mark.parametrize("verb", WRITES)
def test_a_write_needs_the_token_of_its_session(protected: Worker, verb: str) -> None:
    client, other = protected.connect(), protected.connect()
    token, others = token_of(client), token_of(other)

    assert client.ask(verb, "/write")["statusCode"] == 400
    assert client.ask(verb, "/write", **{"X-CSRFToken": others})["statusCode"] == 400
    assert client.ask(verb, "/write", **{"X-CSRFToken": token})["body"] == "written"
    assert client.ask(verb, "/write", **{"X-CSRF-Token": token})["body"] == "written"


def test_the_token_of_the_page_is_good_for_its_socket(protected: Worker) -> None:
    browser = protected.app.test_client()
    [token] = browser.get("/token").get_json()
    client = protected.connect(flask_test_client=browser)

    assert client.ask("post", "/write", **{"X-CSRFToken": token})["body"] == "written"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *[("https://shop.example", 200), ("https://evil.example", 400)],
        *[("null", 400), ("", 400)],
    ],
)
def test_over_https_the_referrer_is_the_origin_of_the_connection(
    protected: Worker, origin: str, status: int
) -> None:
    """Browsers send no Referer with a WebSocket, and Flask-WTF insists on one."""
    headers = {"Host": "shop.example"} | ({"Origin": origin} if origin else {})
    client = protected.connect(headers=headers)
    protected.socketio.server.get_environ(client.sid)["wsgi.url_scheme"] = "https"
    headers = {"X-CSRFToken": token_of(client), "Referer": "https://shop.example/"}

    assert client.ask("post", "/write", **headers)["statusCode"] == status


# -- Flask-Limiter ----------------------------------------------------------------------------


def make_limited_app(storage: str) -> Flask:
    app = make_app()
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri=storage,
        key_prefix=uuid4().hex,
        headers_enabled=True,
    )
    limited = limiter.limit("2 per day")(lambda: "fine")
    app.add_url_rule("/limited", view_func=limited, endpoint="limited")
    return app


def test_the_limit_of_an_address_counts_its_sockets_and_its_http(
    cluster: LocalCluster, redis_broker: Broker
) -> None:
    worker = cluster.worker(make_limited_app(redis_broker.url))
    client, other = worker.connect(), worker.connect()
    stranger = worker.connect()
    worker.socketio.server.get_environ(stranger.sid)["REMOTE_ADDR"] = "192.0.2.1"

    assert client.ask("get", "/limited")["statusCode"] == 200
    assert other.ask("get", "/limited")["statusCode"] == 200
    refused = client.ask("get", "/limited")
    over_http = worker.app.test_client().get("/limited")

    assert (refused["statusCode"], over_http.status_code) == (429, 429)
    assert refused["headers"]["x-ratelimit-limit"] == "2"
    assert stranger.ask("get", "/limited")["statusCode"] == 200
