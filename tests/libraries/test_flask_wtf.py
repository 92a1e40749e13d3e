"""Flask-WTF: a write over a socket needs the CSRF token of its session."""

from __future__ import annotations

import pytest
from flask_wtf.csrf import CSRFProtect, generate_csrf

from tests.support.apps import Client, LocalCluster, Worker, make_app

WRITES = ("post", "put", "patch", "delete")


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
