"""The example: its documented answers word for word, its people, and its bans."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIOTestClient
from sqlalchemy import event

from example_app import create_app, people
from example_app.models import Connection, User, db
from example_app.visitor import Answer, Visitor
from example_app.workers import Worker
from tests.support.brokers import Broker

pytestmark = pytest.mark.mode_independent

SECRET_KEY = secrets.token_hex()
ROOM = "kitchen"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """One worker, on the memory backend."""
    with running(database=str(tmp_path / "people.sqlite")) as app:
        yield app


@contextmanager
def running(*arguments: Any, **config: Any) -> Iterator[Flask]:
    app = create_app(*arguments, TESTING=True, SECRET_KEY=SECRET_KEY, **config)
    try:
        yield app
    finally:
        app.extensions["rooms_parts"].cluster.stop()


def connect(app: Flask, auth: object = None) -> SocketIOTestClient:
    return app.extensions["rooms"].socketio.test_client(app, auth=auth)


def ask(client: SocketIOTestClient, verb: str, url: str, **data: Any) -> Answer:
    answer = client.emit(verb, {"url": url, "data": data, "headers": {}}, callback=True)
    return Answer(answer["statusCode"], answer["body"])


def texts(client: SocketIOTestClient) -> list[str]:
    """What a client has been sent in its rooms so far."""
    return [said["args"]["text"] for said in client.get_received() if said["name"] == "message"]


def message(status: int, text: str) -> Answer:
    return Answer(status, {"message": text})


# ---- the documented endpoint, and its counterpart


@pytest.mark.parametrize("url", ["/leave-fun-room", "/join-fun-room"])
def test_without_a_room_name_the_request_is_refused(app: Flask, url: str) -> None:
    expected = message(400, "`roomName` is required.")
    over_http = app.test_client().put(url, json={})
    assert (over_http.status_code, over_http.json) == expected
    assert ask(connect(app), "put", url) == expected
    assert ask(connect(app), "put", url, roomName=None) == expected


@pytest.mark.parametrize("url", ["/leave-fun-room", "/join-fun-room"])
@pytest.mark.parametrize(
    "request_",
    [{"json": {"roomName": ROOM}}, {"data": {"roomName": ROOM}}, {"query_string": "roomName=x"}],
    ids=["json", "form", "query"],
)
def test_over_http_the_request_is_refused(app: Flask, url: str, request_: dict[str, Any]) -> None:
    answer = app.test_client().put(url, **request_)
    assert answer.status_code == 400
    assert answer.json == {"message": "This endpoints only supports socket requests."}


@pytest.mark.parametrize("body", ["[]", '"roomName"', "3", "{", "null", ""])
def test_a_body_that_is_no_object_names_no_room(app: Flask, body: str) -> None:
    answer = app.test_client().put("/leave-fun-room", data=body, content_type="application/json")
    assert (answer.status_code, answer.json) == message(400, "`roomName` is required.")


def test_a_socket_joins_and_leaves(app: Flask) -> None:
    ada, bob = connect(app, {"name": "Ada"}), connect(app, {"name": "Bob"})
    joined = ask(ada, "put", "/join-fun-room", roomName=ROOM)
    assert joined == message(200, f"Joined a fun room called {ROOM}!")
    ask(bob, "post", "/speak", roomName=ROOM, text="one")

    left = ask(ada, "put", "/leave-fun-room", roomName=ROOM)

    assert left == message(200, f"Left a fun room called {ROOM}!")
    ask(bob, "post", "/speak", roomName=ROOM, text="two")
    ask(bob, "post", "/speak", roomName=socket_id(ada), text="fence")
    assert texts(ada) == ["one", "fence"]


def test_leaving_a_room_that_one_is_not_in_is_no_failure(app: Flask) -> None:
    left = ask(connect(app), "put", "/leave-fun-room", roomName=ROOM)
    assert left == message(200, f"Left a fun room called {ROOM}!")


@pytest.mark.parametrize("url", ["/leave-fun-room", "/join-fun-room"])
@pytest.mark.parametrize("room", ["", 3, {"a": 1}])
def test_a_room_name_that_is_none_is_refused_with_a_message(
    app: Flask, url: str, room: object
) -> None:
    answer = ask(connect(app), "put", url, roomName=room)
    assert answer.status == 400
    assert "room" in answer.body["message"]


# ---- leaving other sockets by ID


def test_sockets_are_taken_out_of_a_room_by_their_ids_over_http(app: Flask) -> None:
    tabs = [connect(app, {"name": name}) for name in ("Ada", "Ada", "Bob")]
    for tab in tabs:
        ask(tab, "put", "/join-fun-room", roomName=ROOM)
    left = app.test_client().put(
        "/leave-fun-room-by-id",
        json={"roomName": ROOM, "socketIds": [socket_id(tab) for tab in tabs[:2]]},
    )
    assert (left.status_code, left.json) == message(200, f"2 left a fun room called {ROOM}!")
    ask(tabs[2], "post", "/speak", roomName=ROOM, text="Who is left?")
    assert [texts(tab) for tab in tabs] == [[], [], ["Who is left?"]]


@pytest.mark.parametrize(
    ("data", "missing"), [({"roomName": ROOM}, "socketIds"), ({"socketIds": ["x"]}, "roomName")]
)
def test_what_leaving_by_id_needs_is_named(app: Flask, data: dict[str, Any], missing: str) -> None:
    answer = app.test_client().put("/leave-fun-room-by-id", json=data)
    assert (answer.status_code, answer.json) == message(400, f"`{missing}` is required.")


# ---- people


def test_sockets_of_a_person_are_kept_up(app: Flask) -> None:
    tabs = [connect(app, {"name": "Ada"}), connect(app, {"name": " Ada "}), connect(app)]
    assert named(app) == {"Ada": 2, "guest": 1}
    assert ask(tabs[0], "get", "/me").body["name"] == "Ada"
    tabs[0].disconnect()
    assert named(app) == {"Ada": 1, "guest": 1}
    tabs[1].disconnect()
    assert named(app) == {"Ada": 0, "guest": 1}


@pytest.mark.parametrize("name", ["", "  ", 3, None, "x" * 41])
def test_a_name_that_is_none_is_refused(app: Flask, name: object) -> None:
    assert not connect(app, {"name": name}).is_connected()
    assert named(app) == {}


def test_every_user_receives_the_list_of_users(app: Flask) -> None:
    ada = connect(app, {"name": "Ada"})
    ada.get_received()
    connect(app, {"name": "Bob"})
    people_seen = [e["args"][0] for e in ada.get_received() if e["name"] == "people"]
    assert [person["name"] for person in people_seen[-1]] == ["Ada", "Bob"]


# ---- bans


def test_banning_without_a_name_is_a_clear_error(app: Flask) -> None:
    with app.app_context(), pytest.raises(people.UnknownUser, match="no user with the ID 7"):
        people.ban_user(7)
    for verb in ("put", "delete"):
        answer = app.test_client().open("/users/7/ban", method=verb)
        assert (answer.status_code, answer.json) == message(404, "There is no user with the ID 7.")


def test_banning_a_user_without_a_live_socket_holds_for_later_ones(app: Flask) -> None:
    connect(app, {"name": "Ada"}).disconnect()
    with app.app_context():
        assert people.ban_user(id_of("Ada")) == 0
    ada = connect(app, {"name": "Ada"})
    assert ask(ada, "put", "/join-fun-room", roomName=ROOM) == message(403, "Ada is banned.")
    assert ask(ada, "post", "/speak", roomName=ROOM, text="x") == message(403, "Ada is banned.")


def test_a_ban_takes_all_of_a_persons_sockets_out_of_all_rooms(app: Flask) -> None:
    tabs, bob = [connect(app, {"name": "Ada"}) for _ in range(2)], connect(app)
    for tab, room in zip(tabs, ("kitchen", "cellar"), strict=True):
        ask(tab, "put", "/join-fun-room", roomName=room)
    with app.app_context():
        answer = app.test_client().put(f"/users/{id_of('Ada')}/ban")
    assert (answer.status_code, answer.json) == message(
        200, "Banned, and taken out of all rooms in 2 tabs."
    )
    for room in ("kitchen", "cellar", *map(socket_id, tabs)):
        ask(bob, "post", "/speak", roomName=room, text=room)
    assert [texts(tab) for tab in tabs] == [[socket_id(tab)] for tab in tabs]


def test_the_forgiven_may_join_again(app: Flask) -> None:
    ada = connect(app, {"name": "Ada"})
    with app.app_context():
        people.ban_user(id_of("Ada"))
        answer = app.test_client().delete(f"/users/{id_of('Ada')}/ban")
    assert (answer.status_code, answer.json) == message(200, "No longer banned.")
    assert ask(ada, "put", "/join-fun-room", roomName=ROOM).status == 200


def test_many_are_banned_at_once_or_none(app: Flask) -> None:
    tabs = [connect(app, {"name": name}) for name in ("Ada", "Bob", "Cleo")]
    for tab in tabs:
        ask(tab, "put", "/join-fun-room", roomName=ROOM)
    with app.app_context():
        ada, bob = map(id_of, ("Ada", "Bob"))
    bans = app.test_client().put("/users/ban", json={"userIds": [ada, 99, bob]})
    assert (bans.status_code, bans.json) == message(404, "There is no user with the ID 99.")
    bans = app.test_client().put("/users/ban", json={"userIds": [ada, bob]})
    assert (bans.status_code, bans.json) == message(
        200, "Banned, and taken out of all rooms in 2 tabs."
    )
    ask(tabs[2], "post", "/speak", roomName=ROOM, text="Who is left?")
    assert [texts(tab) for tab in tabs] == [[], [], ["Who is left?"]]


def test_a_ban_that_comes_while_its_person_joins_wins(app: Flask) -> None:
    """The ban comes when the socket has joined, and just before a ban could know the room."""
    ada, bob = connect(app, {"name": "Ada"}), connect(app)
    with app.app_context():
        engine, ada_id = db.engine, id_of("Ada")

    @event.listens_for(engine, "before_cursor_execute")
    def ban(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith("INSERT INTO visit"):
            with app.app_context():
                people.ban_user(ada_id)

    assert ask(ada, "put", "/join-fun-room", roomName=ROOM) == message(403, "Ada is banned.")
    ask(bob, "post", "/speak", roomName=ROOM, text="x")
    ask(bob, "post", "/speak", roomName=socket_id(ada), text="fence")
    assert texts(ada) == ["fence"]


# ---- several workers that share a database


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "people.sqlite")


@contextmanager
def worker(broker: Broker, database: str) -> Iterator[Worker]:
    with Worker(broker.url, database, SECRET_KEY) as started:
        started.wait_until_listening()
        yield started


def test_a_ban_is_confirmed_by_the_worker_that_holds_the_socket(
    redis_broker: Broker, database: str
) -> None:
    with (
        worker(redis_broker, database) as one,
        worker(redis_broker, database) as two,
        Visitor("Ada", one.url) as ada,
        Visitor("Bob", two.url) as bob,
    ):
        ada.request("put", "/join-fun-room", roomName=ROOM)
        ada_id = {u["name"]: u["id"] for u in bob.request("get", "/users").body}["Ada"]
        assert bob.request("put", f"/users/{ada_id}/ban") == message(
            200, "Banned, and taken out of all rooms in 1 tab."
        )
        bob.request("post", "/speak", roomName=ROOM, text="not for Ada")
        bob.request("post", "/speak", roomName=ada.socket_id, text="fence")
        assert ada.hears() == "fence"


def test_a_worker_that_does_not_answer_makes_the_leave_fail_with_500(
    redis_broker: Broker, database: str
) -> None:
    with (
        worker(redis_broker, database) as mute,
        Visitor("Ada", mute.url) as ada,
        running(redis_broker.url, database, ROOMS_CONFIRM_TIMEOUT=0.2) as app,
    ):
        ada.request("put", "/join-fun-room", roomName=ROOM)
        ids = {"roomName": ROOM, "socketIds": [ada.socket_id]}
        assert app.test_client().put("/leave-fun-room-by-id", json=ids).status_code == 200
        with app.app_context():
            ban = f"/users/{id_of('Ada')}/ban"
        mute.process.send_signal(signal.SIGSTOP)
        try:
            failed = app.test_client().put("/leave-fun-room-by-id", json=ids)
            ban_failed = app.test_client().put(ban)
        finally:
            mute.process.send_signal(signal.SIGCONT)
        for answer in (failed, ban_failed):
            assert answer.status_code == 500
            assert answer.get_json()["message"].startswith(
                "No confirmation within 0.2 seconds from"
            )
        with app.app_context():
            assert db.session.scalars(db.select(User.banned).filter_by(name="Ada")).one()


@pytest.mark.parametrize("rooms", [[], [ROOM]])
def test_sockets_of_a_killed_worker_are_forgotten_by_a_ban(
    redis_broker: Broker, database: str, rooms: list[str]
) -> None:
    with (
        worker(redis_broker, database) as killed,
        Visitor("Ada", killed.url) as ada,
        running(redis_broker.url, database, ROOMS_CONFIRM_TIMEOUT=60.0) as app,
    ):
        for room in rooms:
            ada.request("put", "/join-fun-room", roomName=room)
        killed.process.kill()
        with app.app_context():
            assert people.ban_user(id_of("Ada")) == 0
            assert db.session.query(Connection).count() == 0


def test_sockets_of_a_killed_worker_are_forgotten_when_their_person_comes_back(
    redis_broker: Broker, database: str
) -> None:
    with (
        worker(redis_broker, database) as killed,
        Visitor("Ada", killed.url),
        running(redis_broker.url, database, ROOMS_CONFIRM_TIMEOUT=60.0) as app,
    ):
        killed.process.kill()
        ada = connect(app, {"name": "Ada"})
        with app.app_context():
            people.forget_lost(id_of("Ada"))
            left = db.session.scalars(db.select(Connection.socket_id)).all()
        assert left == [socket_id(ada)]


# ---- helpers that look inside


def socket_id(client: SocketIOTestClient) -> str:
    return str(ask(client, "get", "/me").body["socketId"])


def named(app: Flask) -> dict[str, int]:
    """How many sockets each person has."""
    return {p["name"]: p["tabs"] for p in app.test_client().get("/users").get_json()}


def id_of(name: str) -> int:
    return int(db.session.scalars(db.select(User.id).filter_by(name=name)).one())
