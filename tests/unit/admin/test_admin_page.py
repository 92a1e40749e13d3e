"""The admin page: whom it admits, what it answers, and what it does and logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, abort, redirect
from werkzeug.test import TestResponse

from flask_rooms import ConfigurationError, Rooms, admin
from flask_rooms.globals import parts_of
from flask_rooms.server.audit_log import MOST
from tests.support.admin_page_app import create_app
from tests.support.apps import PATIENCE, Client, LocalCluster, Worker, eventually, fence, make_app

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: What the page's own script sends.
OWN = {"X-Flask-Rooms-Admin": "1", "Origin": "http://localhost"}
PATHS = ("", "admin.js", "admin.css", "data/cluster", "data/room?name=red", "data/people")


class Office:
    """Two workers with the page, a socket on each, and an operator with a browser."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.workers = [self._worker(cluster) for _ in range(2)]
        self.here, self.there = self.workers
        self.mine, self.other = (self._connect(one, name) for one, name in self._people())
        fence(self.here, self.other)
        self.here.sockets.join([self.mine.sid, self.other.sid], "red").result(PATIENCE)
        self.browser = self.here.app.test_client()
        self.browser.get("/sign-in/Eve")

    def _worker(self, cluster: LocalCluster) -> Worker:
        app = create_app(ROOMS_BACKEND_URL=cluster.hub, ROOMS_HEARTBEAT_INTERVAL=0.2)
        return cluster.adopt(app, app.extensions["rooms"])

    def _people(self) -> list[tuple[Worker, str]]:
        return list(zip(self.workers, ["ann", "bob"], strict=True))

    def _connect(self, worker: Worker, user: str) -> Client:
        return worker.connect(auth={"user": user})

    def get(self, path: str) -> TestResponse:
        """Have the operator look at something."""
        return self.browser.get(f"/admin/{path}")

    def data(self, path: str) -> Any:
        """Return what the page shows."""
        response = self.get(f"data/{path}")
        assert response.status_code == 200, response.text
        return response.get_json()

    def act(self, headers: dict[str, str] = OWN, **what: Any) -> TestResponse:
        """Have the operator do something."""
        return self.browser.post("/admin/acts", json=what, headers=headers)


@pytest.fixture(name="office")
def _office() -> Iterator[Office]:
    with LocalCluster() as cluster:
        yield Office(cluster)


# -- who is admitted --------------------------------------------------------------------------


def test_there_is_no_page_by_default() -> None:
    app = make_app()
    Rooms(app)

    assert "rooms_admin" not in app.blueprints


@pytest.mark.parametrize("check", [None, "admin", True])
def test_there_is_no_page_without_a_check(check: Any) -> None:
    with pytest.raises(ConfigurationError, match="no default that lets anyone in"):
        admin.blueprint(check)


@pytest.mark.parametrize("path", PATHS)
def test_nobody_gets_anything_without_the_check(office: Office, path: str) -> None:
    stranger = office.here.app.test_client()

    refused = stranger.get(f"/admin/{path}")
    assert refused.status_code == 403
    assert "red" not in refused.text
    assert office.get(path).status_code == 200


def test_the_check_is_asked_again_each_time(office: Office) -> None:
    assert office.get("data/cluster").status_code == 200
    with office.browser.session_transaction() as session:
        session.clear()

    assert office.get("data/cluster").status_code == 403
    assert office.act(act="disconnect", sid=office.mine.sid).status_code == 403
    assert office.mine.is_connected()


@pytest.mark.parametrize(
    ("answer", "status"),
    [(None, 403), (False, 403), ("", 403), ("Eve", 200), (True, 500), (7, 500)],
)
def test_only_a_name_lets_in(answer: Any, status: int) -> None:
    app = make_app()
    app.register_blueprint(admin.blueprint(lambda: answer))
    Rooms(app)

    assert app.test_client().get("/").status_code == status


def test_the_check_may_send_to_a_login_or_raise() -> None:
    app = make_app()
    app.register_blueprint(admin.blueprint(lambda: abort(redirect("/login"))), url_prefix="/a")
    Rooms(app)
    assert app.test_client().get("/a/").headers["Location"] == "/login"

    app = make_app()
    app.register_blueprint(admin.blueprint(lambda: str(1 / 0)))
    Rooms(app)
    assert app.test_client().get("/").status_code == 500


def test_a_client_cannot_reach_it_over_its_socket(office: Office) -> None:
    assert office.mine.ask("get", "/admin/data/cluster")["statusCode"] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"X-Flask-Rooms-Admin": "1"},
        {**OWN, "Origin": "http://evil.example"},
        {**OWN, "Origin": "null"},
        {**OWN, "Sec-Fetch-Site": "cross-site"},
        {**OWN, "Sec-Fetch-Site": "same-site"},
        {**OWN, "Sec-Fetch-Site": "none"},
    ],
)
def test_no_other_page_can_have_an_operator_act(office: Office, headers: dict[str, str]) -> None:
    refused = office.act(headers, act="disconnect", sid=office.mine.sid)

    assert refused.status_code == 403
    assert office.mine.is_connected()


def test_browsers_that_tell_the_site_are_believed(office: Office) -> None:
    headers = {"X-Flask-Rooms-Admin": "1", "Sec-Fetch-Site": "same-origin"}

    assert office.act(headers, act="leave", room="red", sid=office.mine.sid).status_code == 200


def test_a_browser_is_told_to_be_strict(office: Office) -> None:
    for response in (office.get(""), office.get("data/cluster"), office.get("admin.js")):
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
    assert "<script>" not in office.get("").text
    assert " style=" not in office.get("").text


def test_without_rooms_the_page_says_what_is_missing() -> None:
    app = Flask(__name__)
    app.testing = True
    app.register_blueprint(admin.blueprint(lambda: "Eve"))

    with pytest.raises(ConfigurationError, match=r"call Rooms\(app\)"):
        app.test_client().get("/")


@pytest.mark.parametrize("page", ["\n<!doctype html>", "Please log in.\n", b"Eve", ["Eve"]])
def test_a_page_that_the_check_returns_is_no_name(page: Any) -> None:
    """As that of a decorator for views, which asks for a login."""
    app = make_app()
    app.testing = True
    Rooms(app)
    app.register_blueprint(admin.blueprint(lambda: page))

    with pytest.raises(ConfigurationError, match="returns the name of the operator"):
        app.test_client().get("/")


# -- what it shows ----------------------------------------------------------------------------


def test_the_cluster_is_shown_with_the_numbers_of_each_worker(office: Office) -> None:
    parts_of(office.there.app).refusals.count("unread_bytes")

    shown = office.data("cluster")

    assert shown["complete"]
    assert shown["here"] == office.here.name
    workers = {one["name"]: one["numbers"] for one in shown["workers"]}
    assert set(workers) == {office.here.name, office.there.name}
    assert all(
        one["sockets"] == one["users"] == one["memberships"] == 1 for one in workers.values()
    )
    assert shown["totals"]["sockets"] == 2
    assert workers[office.here.name]["calls"] == 2
    refusals = {name: numbers["refusals"] for name, numbers in workers.items()}
    assert refusals == {office.here.name: 0, office.there.name: 1}


def test_rooms_are_shown_by_size(office: Office) -> None:
    office.here.sockets.join(office.mine.sid, ["blue", "rest"]).result(PATIENCE)

    assert office.data("rooms?namespace=/") == {
        "rooms": [
            {"name": "red", "members": 2},
            {"name": "blue", "members": 1},
            {"name": "rest", "members": 1},
        ],
        "count": 3,
        "complete": True,
    }
    assert [one["name"] for one in office.data("rooms?prefix=re")["rooms"]] == ["red", "rest"]


def test_a_room_shows_its_sockets_and_users(office: Office) -> None:
    shown = office.data("room?name=red")

    where = {one["sid"]: one["worker"]["name"] for one in shown["sockets"]}
    assert where == {office.mine.sid: office.here.name, office.other.sid: office.there.name}
    assert shown["users"] == ["ann", "bob"]


def test_people_are_found_by_a_part_of_their_id(office: Office) -> None:
    assert office.data("people?text=o")["users"] == ["bob"]
    bob = office.data("person?id=bob")
    assert [(one["sid"], one["rooms"]) for one in bob["sockets"]] == [(office.other.sid, ["red"])]
    assert office.data(f"person?id={office.other.sid}")["is_socket"]


@pytest.mark.parametrize(
    "path", ["room?name=", "rooms?namespace=x", "room", "person?id=", "people?namespace="]
)
def test_what_cannot_be_is_an_error_with_a_reason(office: Office, path: str) -> None:
    response = office.get(f"data/{path}")

    assert response.status_code == 400
    assert response.get_json()["error"]


# -- what operators do ------------------------------------------------------------------------


def test_a_socket_of_another_worker_is_taken_out_of_a_room(office: Office) -> None:
    done = office.act(act="leave", room="red", sid=office.other.sid)

    assert done.get_json() == {"changed": 1, "unchanged": 0, "unknown": []}
    assert office.there.rooms_of(office.other) == set()
    assert office.here.rooms_of(office.mine) == {"red"}


def test_so_is_a_user(office: Office) -> None:
    assert office.act(act="leave", room="red", user="bob").get_json()["changed"] == 1
    assert office.there.rooms_of(office.other) == set()


def test_a_room_is_emptied_and_its_members_stay_in_others(office: Office) -> None:
    office.here.sockets.join(office.mine.sid, "blue")

    assert office.act(act="empty", room="red").get_json()["changed"] == 2
    assert office.here.rooms_of(office.mine) == {"blue"}


def test_a_user_is_disconnected(office: Office) -> None:
    assert office.act(act="disconnect", user="bob").get_json()["changed"] == 1
    eventually(office.there, lambda: not office.other.is_connected())
    assert office.mine.is_connected()


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"act": "dance"},
        {"act": "disconnect"},
        {"act": "disconnect", "sid": "a", "user": "b"},
        {"act": "disconnect", "sid": 7},
        {"act": "disconnect", "sid": "not-an-id"},
        {"act": "leave", "room": "red"},
        {"act": "empty", "room": ""},
        {"act": "empty", "room": "red", "namespace": "chat"},
        {"act": "empty", "room": "red", "more": "x"},
        {"act": "empty", "room": ["red"]},
    ],
)
def test_what_is_no_act_changes_nothing(office: Office, what: dict[str, Any]) -> None:
    refused = office.act(**what)

    assert refused.status_code == 400
    assert refused.get_json()["error"]
    assert office.here.rooms_of(office.mine) == {"red"}


def test_a_body_that_is_no_act_is_refused(office: Office) -> None:
    post = office.browser.post
    assert (
        post(
            "/admin/acts", data=b"{", headers=OWN | {"Content-Type": "application/json"}
        ).status_code
        == 400
    )
    assert post("/admin/acts", json=["empty"], headers=OWN).status_code == 400
    assert post("/admin/acts", data={"act": "empty"}, headers=OWN).status_code == 415
    assert post("/admin/acts", json={"act": "x" * 20_000}, headers=OWN).status_code == 413


# -- the log ----------------------------------------------------------------------------------


def test_acts_are_in_the_log_of_every_worker(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.act(act="leave", room="red", user="bob")

    (done,) = office.data("cluster")["acts"]
    about = {key: done[key] for key in ("who", "act", "target", "outcome")}
    assert about == {
        "who": "Eve",
        "act": "leave",
        "target": "namespace '/', room 'red', user 'bob'",
        "outcome": "1 changed, 0 unknown",
    }
    eventually(office.there, lambda: parts_of(office.there.app).audit_log.latest(9) == [done])
    record = next(one for one in caplog.records if "'Eve' has asked for leave" in one.getMessage())
    assert (record.name, record.levelno) == ("flask_rooms.server", logging.WARNING)


def test_an_act_that_fails_is_logged_as_well(office: Office) -> None:
    office.act(act="empty", room="red", namespace="chat")

    (done,) = office.data("cluster")["acts"]
    assert (done["act"], done["outcome"]) == ("empty", "InvalidArgument")


def test_the_log_is_bounded(office: Office) -> None:
    log = parts_of(office.here.app).audit_log
    for number in range(MOST + 2):
        log.add("Eve", "leave", f"user {number}", "1 changed")

    found = [one["target"] for one in log.latest(2 * MOST)]
    assert (len(found), found[0], found[-1]) == (MOST, f"user {MOST + 1}", "user 2")
    assert len(office.data("cluster")["acts"]) < MOST
