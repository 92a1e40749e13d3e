"""Flask-JWT-Extended: a token comes with the handshake, or with each socket request."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    decode_token,
    get_jwt_identity,
    jwt_required,
)

from tests.support.apps import PATIENCE, LocalCluster, Worker, make_app

pytestmark = pytest.mark.mode_independent


@pytest.fixture(name="worker")
def _worker(cluster: LocalCluster) -> Worker:
    app = make_app()
    app.config["JWT_SECRET_KEY"] = "of the tokens, and long enough for HMAC"
    JWTManager(app)
    app.get("/me")(jwt_required()(lambda: {"me": get_jwt_identity()}))
    worker = cluster.worker(app)

    @worker.rooms.user_loader
    def load(auth: object) -> str | None:
        if not isinstance(auth, dict):
            return None
        claims = decode_token(auth["token"])
        worker.rooms.login_expires(claims["exp"])
        return str(claims["sub"])

    return worker


def token(worker: Worker, user: str, **options: timedelta) -> str:
    with worker.app.app_context():
        return str(create_access_token(user, **options))


def test_each_request_may_carry_its_token(worker: Worker) -> None:
    client = worker.connect()
    bearer = {"Authorization": f"Bearer {token(worker, 'ann')}"}
    expired = token(worker, "ann", expires_delta=timedelta(seconds=-1))

    assert client.ask("get", "/me", **bearer)["body"] == {"me": "ann"}
    assert client.ask("get", "/me")["statusCode"] == 401
    assert client.ask("get", "/me", Authorization=f"Bearer {expired}")["statusCode"] == 401


def test_a_token_of_the_handshake_holds_for_all_requests_and_is_not_replaced(
    worker: Worker,
) -> None:
    client = worker.connect(headers={"Authorization": f"Bearer {token(worker, 'ann')}"})

    other = {"Authorization": f"Bearer {token(worker, 'bob')}"}
    assert client.ask("get", "/me")["body"] == {"me": "ann"}
    assert client.ask("get", "/me", **other)["body"] == {"me": "ann"}


def test_a_token_in_auth_names_the_user_of_the_socket(worker: Worker) -> None:
    client = worker.connect(auth={"token": token(worker, "ann")})

    assert worker.sockets.join(user="ann", room="red").result(PATIENCE).changed == 1
    assert worker.rooms_of(client) == {"red"}
    assert not worker.connect(auth={"token": "made up"}).is_connected()
