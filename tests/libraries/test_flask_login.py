"""Flask-Login: routes, guards and `user=` know the user of the socket, not that of the caller."""

from __future__ import annotations

from typing import Any

import pytest
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user

from flask_rooms import Outcome, Refused
from tests.support.apps import PATIENCE, Client, LocalCluster, Worker, make_app

pytestmark = pytest.mark.mode_independent


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture(name="worker")
def _worker(cluster: LocalCluster) -> Worker:
    app = make_app()
    LoginManager(app).user_loader(User)

    @app.post("/login/<name>")
    def login(name: str) -> str:
        return str(login_user(User(name)))

    @app.get("/me")
    @login_required
    def me() -> str:
        return str(current_user.id)

    worker = cluster.worker(app)

    @worker.rooms.guard("admins")
    def is_admin() -> bool:
        return bool(current_user.is_authenticated and current_user.id == "admin")

    @app.put("/admins/<sid>")
    def add(sid: str) -> dict[str, int]:
        return {"changed": worker.rooms.sockets.join(sid, "admins").result(PATIENCE).changed}

    app.register_error_handler(Refused, lambda error: ({}, 403))
    return worker


def login(worker: Worker, name: str) -> tuple[Any, Client]:
    browser = worker.app.test_client()
    browser.post(f"/login/{name}")
    return browser, worker.connect(flask_test_client=browser)


def test_a_route_needs_the_login_of_its_socket(worker: Worker) -> None:
    _, bob = login(worker, "bob")

    assert bob.ask("get", "/me")["body"] == "bob"
    assert worker.connect().ask("get", "/me")["statusCode"] == 401


def test_a_guard_asks_about_the_user_of_the_socket(worker: Worker) -> None:
    browser, admin = login(worker, "admin")
    _, bob = login(worker, "bob")

    assert browser.put(f"/admins/{bob.sid}").status_code == 403
    assert bob.ask("put", f"/admins/{admin.sid}")["body"] == {"changed": 1}


def test_its_decorator_refuses_with_a_redirect_where_a_guard_or_a_hook_has_it(
    worker: Worker,
) -> None:
    """A redirect to the page of the login is no yes."""
    worker.app.login_manager.login_view = "form"  # type: ignore[attr-defined]
    worker.app.add_url_rule("/form", "form", lambda: "who are you?")
    worker.rooms.guard("members")(login_required(lambda: True))
    browser = worker.app.test_client()
    browser.post("/login/Ada")
    stranger, ada = worker.connect(), worker.connect(flask_test_client=browser)

    assert worker.sockets.join(ada.sid, "members").result(PATIENCE) == Outcome(1)
    with pytest.raises(Refused):
        worker.sockets.join(stranger.sid, "members").result(PATIENCE)
    worker.rooms.before_connect(login_required(lambda auth: None))
    assert worker.connect(flask_test_client=browser).is_connected()
    assert not worker.connect().is_connected()


def test_the_calls_take_the_user(worker: Worker) -> None:
    clients = [login(worker, name)[1] for name in ("bob", "bob", "admin")]
    worker.sockets.join([client.sid for client in clients], "team")

    assert worker.sockets.leave(user="bob", room="team").result(PATIENCE).changed == 2
    assert worker.sockets.members("team", by="user").value == {"admin"}
