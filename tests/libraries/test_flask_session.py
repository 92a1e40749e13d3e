"""Flask-Session: sessions on the server are shared by a browser's requests and its socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from cachelib.file import FileSystemCache
from flask import request, session
from flask_session import Session

from tests.support.apps import Client, LocalCluster, Worker, make_app
from tests.support.brokers import Broker


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


def test_a_session_that_ends_meanwhile_does_not_come_back(session_worker: Worker) -> None:
    """A page disconnects because its user logs out, and the hook only reads."""
    browser = session_worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client, other = (session_worker.connect(flask_test_client=browser) for _ in range(2))
    seen: list[Any] = []

    @session_worker.rooms.after_disconnect
    def gone(reason: str, rooms: frozenset[Any]) -> None:
        seen.append(session["user"])
        browser.delete("/session")

    client.disconnect()

    assert seen == ["Ada"]
    assert session_of(other) == {}


def test_what_ends_meanwhile_does_not_come_back_with_what_a_hook_writes(
    session_worker: Worker,
) -> None:
    browser = session_worker.app.test_client()
    browser.put("/session", json={"user": "Ada"})
    client, other = (session_worker.connect(flask_test_client=browser) for _ in range(2))

    @session_worker.rooms.after_disconnect
    def gone(reason: str, rooms: frozenset[Any]) -> None:
        session["last"] = [session["user"], reason]
        browser.delete("/session")

    client.disconnect()

    assert session_of(other) == {}


def test_a_hook_and_a_request_that_write_at_the_same_time_keep_each_others_values(
    session_worker: Worker,
) -> None:
    """A logout may leave the rest of a session, as Flask-Login's does."""
    browser = session_worker.app.test_client()
    browser.put("/session", json={"user": "Ada", "tabs": [1], "shape": "round"})
    client, other = (session_worker.connect(flask_test_client=browser) for _ in range(2))

    @session_worker.rooms.after_disconnect
    def gone(reason: str, rooms: frozenset[Any]) -> None:
        session["tabs"].append(2)
        del session["shape"]
        browser.put("/session", json={"user": None, "colour": "red"})

    client.disconnect()

    assert session_of(other) == {"user": None, "tabs": [1, 2], "colour": "red"}
