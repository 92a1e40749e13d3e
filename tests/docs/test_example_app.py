"""The example: its documented answers word for word, its people, its private rooms and its bans."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from example_app import controls, create_app
from example_app.visitor import Answer, Visitor
from example_app.workers import Worker
from flask_rooms.testing import Client, LocalCluster, cluster
from tests.support.brokers import Broker

pytestmark = pytest.mark.mode_independent

SECRET_KEY = secrets.token_hex()
ROOM = "kitchen"
#: Seconds to wait for what heartbeats decide, on a machine that is busy.
PATIENCE = 30.0
MODERATOR = {"moderator": "yes"}
NOT_ALLOWED = "You may not join this room: it is private, or you are banned from it."


@pytest.fixture
def make_app(tmp_path: Path) -> Callable[[], Flask]:
    """The factory of workers that share a database."""
    database = str(tmp_path / "chat.sqlite")
    return lambda: create_app(TESTING=True, SECRET_KEY=SECRET_KEY, DATABASE=database)


@pytest.fixture
def workers(make_app: Callable[[], Flask]) -> Iterator[LocalCluster]:
    """Two workers."""
    with cluster(make_app) as workers:
        yield workers


@pytest.fixture
def app(workers: LocalCluster) -> Flask:
    """One of them."""
    return workers[0].app


def connect(worker: Any, name: str | None = None, **form: str) -> Client:
    """Connect to a worker; sign in first, unless the name is None."""
    browser = worker.app.test_client()
    if name is not None:
        assert browser.post("/sign-in", data={"name": name, **form}).status_code == 302
    client: Client = worker.connect(flask_test_client=browser)
    return client


def ask(client: Client, verb: str, url: str, **data: Any) -> Answer:
    response = client.request(verb, url, data)
    return Answer(response.status_code, response.body)


def join(client: Client, room: str = ROOM) -> Answer:
    return ask(client, "put", "/join-fun-room", roomName=room)


def say(client: Client, text: str, room: str = ROOM, key: str | None = None) -> Answer:
    key = key or secrets.token_hex(8)
    answer = ask(client, "post", f"/rooms/{room}/messages", text=text, key=key)
    assert answer.status == 201, answer
    return answer


def texts(client: Client) -> list[str]:
    """What a client has been sent in its rooms since the last call."""
    return [data["text"] for event, data in client.received() if event == "message"]


def message(status: int, text: str) -> Answer:
    return Answer(status, {"message": text})


# ---- the documented endpoint, and its counterpart


@pytest.mark.parametrize("url", ["/leave-fun-room", "/join-fun-room"])
def test_without_a_room_name_the_request_is_refused(workers: LocalCluster, url: str) -> None:
    expected = message(400, "`roomName` is required.")
    over_http = workers[0].app.test_client().put(url, json={})
    assert (over_http.status_code, over_http.json) == expected
    assert ask(connect(workers[0]), "put", url) == expected
    assert ask(connect(workers[0]), "put", url, roomName=None) == expected


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


def test_a_socket_joins_and_leaves(workers: LocalCluster) -> None:
    ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob")
    assert join(ada) == message(200, f"Joined a fun room called {ROOM}!")
    join(bob)
    say(bob, "one")
    assert texts(ada) == ["one"]

    left = ask(ada, "put", "/leave-fun-room", roomName=ROOM)

    assert left == message(200, f"Left a fun room called {ROOM}!")
    say(bob, "two")
    assert (texts(ada), texts(bob)) == ([], ["one", "two"])


def test_leaving_a_room_that_one_is_not_in_is_no_failure(workers: LocalCluster) -> None:
    left = ask(connect(workers[0]), "put", "/leave-fun-room", roomName=ROOM)
    assert left == message(200, f"Left a fun room called {ROOM}!")


@pytest.mark.parametrize("url", ["/leave-fun-room", "/join-fun-room"])
@pytest.mark.parametrize("room", ["", 3, {"a": 1}])
def test_a_room_name_that_is_none_is_refused_with_a_message(
    workers: LocalCluster, url: str, room: object
) -> None:
    answer = ask(connect(workers[0]), "put", url, roomName=room)
    assert answer.status == 400
    assert "room" in answer.body["message"]


# ---- leaving other sockets by ID


def test_sockets_are_taken_out_of_a_room_by_their_ids_over_http(workers: LocalCluster) -> None:
    here, there = workers
    tabs = [connect(here, "Ada"), connect(there, "Ada"), connect(there, "Bob")]
    for tab in tabs:
        join(tab)
    left = here.app.test_client().put(
        "/leave-fun-room-by-id",
        json={"roomName": ROOM, "socketIds": [tab.sid for tab in tabs[:2]]},
    )
    assert (left.status_code, left.json) == message(200, f"2 left a fun room called {ROOM}!")
    say(tabs[2], "Who is left?")
    assert [texts(tab) for tab in tabs] == [[], [], ["Who is left?"]]


@pytest.mark.parametrize(
    ("data", "missing"), [({"roomName": ROOM}, "socketIds"), ({"socketIds": ["x"]}, "roomName")]
)
def test_what_leaving_by_id_needs_is_named(app: Flask, data: dict[str, Any], missing: str) -> None:
    answer = app.test_client().put("/leave-fun-room-by-id", json=data)
    assert (answer.status_code, answer.json) == message(400, f"`{missing}` is required.")


def test_a_worker_that_does_not_answer_makes_the_leave_fail_with_500(
    redis_broker: Broker, tmp_path: Path
) -> None:
    config = {
        "SECRET_KEY": SECRET_KEY,
        "DATABASE": str(tmp_path / "chat.sqlite"),
        "ROOMS_BACKEND_URL": redis_broker.url,
        "ROOMS_CHANNEL": secrets.token_hex(),
    }
    app = create_app(**config, TESTING=True, ROOMS_CONFIRM_TIMEOUT=0.2)
    with Worker(config) as mute:
        mute.wait_until_listening()
        with Visitor("Ada", mute.url) as ada:
            ada.request("put", "/join-fun-room", roomName=ROOM)
            ids = {"roomName": ROOM, "socketIds": [ada.socket_id]}
            mute.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, mute.process.pid, os.WSTOPPED | os.WNOWAIT)
            try:
                failed = app.test_client().put("/leave-fun-room-by-id", json=ids)
            finally:
                mute.process.send_signal(signal.SIGCONT)
    app.extensions["rooms_parts"].cluster.stop()
    assert failed.status_code == 500
    assert failed.get_json()["message"].startswith("No confirmation within 0.2 seconds")


# ---- people


@pytest.mark.parametrize("name", ["", "  ", " .", "x" * 31, "<b>", "a/b", "a\nb"])
def test_a_name_that_is_none_is_refused(app: Flask, name: str) -> None:
    refused = app.test_client().post("/sign-in", data={"name": name})
    assert refused.status_code == 400
    assert "A name has 1 to 30 letters, digits and spaces." in refused.text


def test_pages_are_told_who_is_there_and_each_person_is_one(workers: LocalCluster) -> None:
    here, there = workers
    bob = connect(there, "Bob", **MODERATOR)
    tabs = [connect(here, "Ada"), connect(there, "Ada")]
    join(bob)
    join(tabs[0])
    # Or the other worker may hear of her first tab after the second, and tell that she came sooner.
    deadline = time.monotonic() + PATIENCE
    while not (told_bob := came_and_went(bob)):
        assert time.monotonic() < deadline, "she has not come"
    assert told_bob == [(["Ada"], [])]
    join(tabs[1])
    (state,) = [data for event, data in tabs[1].received() if event == "presence_state"]
    told = {person["user"]: person["data"] for person in state["people"]}
    assert told == {"Ada": [{"moderator": False}], "Bob": [{"moderator": True}]}
    assert came_and_went(bob) == []
    ask(tabs[0], "put", "/leave-fun-room", roomName=ROOM)
    assert came_and_went(bob) == []
    ask(tabs[1], "put", "/leave-fun-room", roomName=ROOM)
    assert came_and_went(bob) == [([], ["Ada"])]


def test_the_people_of_a_killed_worker_go_with_it(workers: LocalCluster) -> None:
    here, there = workers
    ada, bob = connect(here, "Ada"), connect(there, "Bob")
    for client in (ada, bob):
        join(client)
    bob.received()
    here.crash()
    deadline = time.monotonic() + PATIENCE
    while ([], ["Ada"]) not in came_and_went(bob):
        assert time.monotonic() < deadline, "she is still there"


def came_and_went(client: Client) -> list[tuple[list[str], list[str]]]:
    """Who came and who went, as a client has been told since the last call."""
    told = [data for event, data in client.received() if event == "presence_diff"]
    return [(names(one["joined"]), names(one["left"])) for one in told]


def names(people: list[dict[str, Any]]) -> list[str]:
    return [person["user"] for person in people]


def test_typing_is_told_to_the_others(workers: LocalCluster) -> None:
    ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob")
    for client in (ada, bob):
        join(client)
    ask(ada, "post", f"/rooms/{ROOM}/typing")
    assert ("typing", {"room": ROOM, "user": "Ada"}) in bob.received()
    assert "typing" not in dict(ada.received())


# ---- messages


def test_a_message_that_is_sent_again_is_stored_once(workers: LocalCluster) -> None:
    ada = connect(workers[0], "Ada")
    join(ada)
    first, again = say(ada, "Hello", key="k"), say(ada, "Hello", key="k")
    assert first == again
    assert say(ada, "Anyone?").body["number"] > first.body["number"]
    url = f"/rooms/{ROOM}/messages"
    everything = ask(ada, "get", url).body["messages"]
    assert [one["text"] for one in everything] == ["Hello", "Anyone?"]
    after = ask(ada, "get", url, after=first.body["number"]).body["messages"]
    assert after == everything[1:]


@pytest.mark.parametrize("text", ["", "  ", "x" * 2001, None, 3, {"a": 1}])
def test_a_message_that_is_none_is_refused(workers: LocalCluster, text: Any) -> None:
    ada = connect(workers[0], "Ada")
    join(ada)
    url = f"/rooms/{ROOM}/messages"
    assert ask(ada, "post", url, text=text, key="k").status == 400
    for key in (None, "", ["x"], "x" * 41):
        assert ask(ada, "post", url, text="x", key=key).status == 400
    assert texts(ada) == []


@pytest.mark.parametrize(
    ("verb", "url"),
    [("get", "messages"), ("post", "messages"), ("get", "bans"), ("post", "typing")],
)
def test_a_room_is_for_those_who_are_in_it(workers: LocalCluster, verb: str, url: str) -> None:
    stranger = connect(workers[0], "Ada")
    refused = ask(stranger, verb, f"/rooms/{ROOM}/{url}", text="x", key="x")
    assert refused == message(403, "You are not in this room.")
    assert ask(connect(workers[0]), verb, f"/rooms/{ROOM}/{url}").status == 401
    over_http = workers[0].app.test_client()
    over_http.post("/sign-in", data={"name": "Ada"})
    assert over_http.open(f"/rooms/{ROOM}/{url}", method=verb).status_code == 400


# ---- moderators


def test_who_is_kicked_may_come_back(workers: LocalCluster) -> None:
    here, there = workers
    tabs, bob = [connect(here, "Ada"), connect(there, "Ada")], connect(there, "Bob", **MODERATOR)
    for client in (*tabs, bob):
        join(client)
    kicked = ask(bob, "delete", f"/rooms/{ROOM}/people/Ada")
    assert kicked == message(200, f"Ada is out of {ROOM}: 2 tabs.")
    say(bob, "Who is left?")
    for tab in tabs:
        events = tab.received()
        assert ("removed", {"room": ROOM}) in events
        assert "message" not in dict(events)
        assert join(tab).status == 200


def test_who_is_banned_may_not_until_forgiven(workers: LocalCluster) -> None:
    ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob", **MODERATOR)
    join(ada), join(bob)
    banned = ask(bob, "put", f"/rooms/{ROOM}/bans/Ada")
    assert banned == message(200, f"Ada is banned from {ROOM}: 1 tab left.")
    assert ("bans", {"room": ROOM}) in bob.received()
    say(bob, "Who is left?")
    assert texts(ada) == []
    assert join(ada) == message(403, NOT_ALLOWED)
    assert join(ada, "garden").status == 200
    assert ask(bob, "get", f"/rooms/{ROOM}/bans").body == {"banned": ["Ada"]}
    forgiven = ask(bob, "delete", f"/rooms/{ROOM}/bans/Ada")
    assert forgiven == message(200, f"Ada may join {ROOM} again.")
    assert ("bans", {"room": ROOM}) in bob.received()
    assert join(ada).status == 200


def test_who_is_banned_does_not_come_back_as_nobody(workers: LocalCluster) -> None:
    ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob", **MODERATOR)
    join(ada), join(bob)
    ask(bob, "put", f"/rooms/{ROOM}/bans/Ada")

    assert ask(ada, "post", "/sign-out").status == 302  # for this socket alone
    for nobody in (ada, connect(workers[0])):
        assert join(nobody) == message(403, NOT_ALLOWED)


def test_a_ban_holds_also_while_the_broker_is_down(make_app: Callable[[], Flask]) -> None:
    with cluster(make_app, confirm_timeout=0.2) as workers:
        ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob", **MODERATOR)
        join(ada), join(bob)
        workers.down()
        failed = ask(bob, "put", f"/rooms/{ROOM}/bans/Ada")
        assert failed.status == 500
        assert failed.body["message"].startswith("No confirmation within 0.2 seconds from")
        assert workers[0].name in failed.body["message"]
        workers.up()
        say(bob, "Who is left?")
        assert texts(ada) == []
        assert join(ada) == message(403, NOT_ALLOWED)


@pytest.mark.parametrize(
    ("verb", "url"), [("delete", "people"), ("put", "bans"), ("delete", "bans")]
)
def test_only_moderators_moderate(workers: LocalCluster, verb: str, url: str) -> None:
    ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob")
    join(bob)
    refused = ask(ada, verb, f"/rooms/{ROOM}/{url}/Bob")
    assert refused == message(403, "Only moderators may do that.")
    assert ask(connect(workers[0]), verb, f"/rooms/{ROOM}/{url}/Bob").status == 401
    assert bob.rooms == {ROOM}


@pytest.mark.parametrize("name", ["<b>", "x" * 31, " ", "%0A"])
def test_who_cannot_have_signed_in_is_not_banned(workers: LocalCluster, name: str) -> None:
    bob = connect(workers[1], "Bob", **MODERATOR)
    join(bob)
    assert ask(bob, "put", f"/rooms/{ROOM}/bans/{name}").status == 400
    assert ask(bob, "get", f"/rooms/{ROOM}/bans").body["banned"] == []


# ---- rooms


def test_a_new_room_is_listed_for_all(workers: LocalCluster) -> None:
    ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob")
    assert ask(ada, "post", "/rooms", name="attic") == Answer(201, {"room": "attic"})
    assert ("rooms", {}) in bob.received()
    assert "attic" in ask(bob, "get", "/rooms").body["rooms"]
    again = ask(bob, "post", "/rooms", name="attic")
    assert again == message(409, "There is a room called attic already.")


@pytest.mark.parametrize("name", [None, "", "a/b", "private:x", "<b>", 3, ["x"], "x" * 31])
def test_a_room_name_that_is_none_makes_no_room(workers: LocalCluster, name: object) -> None:
    ada = connect(workers[0], "Ada")
    before = ask(ada, "get", "/rooms")
    assert ask(ada, "post", "/rooms", name=name).status == 400
    assert ask(ada, "get", "/rooms") == before


def test_a_private_room_is_for_its_guests(workers: LocalCluster) -> None:
    ada, bob = connect(workers[0], "Ada", **MODERATOR), connect(workers[1], "Bob")
    room = ask(ada, "post", "/rooms", name="den", private=True).body["room"]
    assert join(ada, room).status == 200
    assert room not in ask(bob, "get", "/rooms").body["rooms"]
    assert join(bob, room) == message(403, NOT_ALLOWED)
    assert ask(bob, "put", f"/rooms/{room}/guests/Bob").status == 403

    assert ask(ada, "put", f"/rooms/{room}/guests/Bob") == message(200, f"Bob may join {room}.")
    assert ("rooms", {}) in bob.received()
    assert room in ask(bob, "get", "/rooms").body["rooms"]
    assert join(bob, room).status == 200

    kicked = ask(ada, "delete", f"/rooms/{room}/people/Bob")
    assert kicked == message(200, f"Bob is out of {room}: 1 tab.")
    assert join(bob, room) == message(403, NOT_ALLOWED)


# ---- underneath


def test_the_panel_shows_workers_and_how_long_a_confirmation_took(workers: LocalCluster) -> None:
    ada, bob = connect(workers[0], "Ada"), connect(workers[1], "Bob", **MODERATOR)
    shown = ask(ada, "get", "/underneath").body
    assert {one["name"] for one in shown["workers"]} == {worker.name for worker in workers}
    assert (shown["complete"], shown["controls"]) == (True, False)
    before = sent(shown, workers[0].name)
    join(ada)
    ask(bob, "delete", f"/rooms/{ROOM}/people/Ada")
    lines: dict[str, Any] = {}
    deadline = time.monotonic() + PATIENCE
    while f"Ada left {ROOM} (remote)" not in lines:  # the signal of a leave comes in its own time
        assert time.monotonic() < deadline, "she has not left"
        told = [data for event, data in ada.received() if event == "underneath"]
        lines |= {line["text"]: line for line in told}
    assert lines["Kick Ada: 1 removed, confirmed"]["milliseconds"] > 0
    assert sent(ask(ada, "get", "/underneath").body, workers[0].name) > before


def sent(shown: dict[str, Any], worker: str) -> int:
    """Return the number up to which a worker's stream has been sent, as the panel shows it."""
    (numbers,) = [one["numbers"] for one in shown["workers"] if one["name"] == worker]
    return int(numbers["sent"])


def test_the_admin_page_is_for_moderators(app: Flask) -> None:
    statuses = []
    for form in (None, {"name": "Ada"}, {"name": "Bob", **MODERATOR}):
        browser = app.test_client()
        if form is not None:
            browser.post("/sign-in", data=form)
        statuses.append(browser.get("/admin/").status_code)
    assert statuses == [403, 403, 200]
    page = app.test_client()
    page.post("/sign-in", data={"name": "Bob"})
    assert 'href="/admin/"' in page.get("/").text


def test_nothing_can_be_killed_where_the_demonstration_did_not_start_it(
    workers: LocalCluster,
) -> None:
    bob = connect(workers[0], "Bob", **MODERATOR)
    assert ask(bob, "delete", "/controls/broker").status == 404
    assert ask(bob, "delete", "/controls/workers/1").status == 404


def test_only_moderators_kill_and_only_over_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "tell", lambda *command: pytest.fail(str(command)))
    database = str(tmp_path / "chat.sqlite")
    app = create_app(TESTING=True, DATABASE=database, CONTROLS="nowhere")
    browser = app.test_client()
    assert browser.delete("/controls/workers/1").status_code == 401
    browser.post("/sign-in", data={"name": "Ada"})
    assert browser.delete("/controls/workers/1").status_code == 403
    browser.post("/sign-in", data={"name": "Ada", **MODERATOR})
    refused = browser.delete("/controls/workers/1")
    assert (refused.status_code, refused.json) == message(400, "Only over the socket.")
