"""Flask-Limiter: socket requests count as requests over HTTP do."""

from __future__ import annotations

from uuid import uuid4

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from tests.support.apps import LocalCluster, make_app
from tests.support.brokers import Broker


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
