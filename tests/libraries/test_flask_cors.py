"""Flask-CORS: it opens the routes that it names, and no handshake of another origin."""

from __future__ import annotations

import pytest
from flask_cors import CORS

from tests.support.apps import LocalCluster, make_app

pytestmark = pytest.mark.mode_independent

ORIGIN = "https://other.example"


def test_a_handshake_from_another_origin_needs_cors_allowed_origins(
    cluster: LocalCluster,
) -> None:
    app = make_app()
    CORS(app, origins=[ORIGIN], supports_credentials=True)
    app.get("/news")(lambda: {"text": "Hello"})
    cluster.worker(app)
    browser = app.test_client()

    over_http = browser.get("/news", headers={"Origin": ORIGIN})
    handshake = browser.get("/socket.io/?EIO=4&transport=polling", headers={"Origin": ORIGIN})

    assert over_http.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert handshake.status_code == 400
    assert "Access-Control-Allow-Origin" not in handshake.headers


def test_a_socket_request_has_the_origin_of_its_handshake(cluster: LocalCluster) -> None:
    app = make_app()
    CORS(app, origins=[ORIGIN], always_send=False)
    app.get("/news")(lambda: {"text": "Hello"})
    worker = cluster.worker(app)

    allowed = worker.connect(headers={"Origin": ORIGIN}).ask("get", "/news")
    claimed = worker.connect().ask("get", "/news", Origin=ORIGIN)

    assert allowed["headers"]["access-control-allow-origin"] == ORIGIN
    assert claimed["body"] == {"text": "Hello"}
    assert "access-control-allow-origin" not in claimed["headers"]
