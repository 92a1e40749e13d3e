"""Presence: who is in the rooms that are tracked, for callers and for clients, on every worker."""

from __future__ import annotations

import logging
import threading
import time
from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, request
from flask_socketio import SocketIO
from socketio.packet import Packet

from flask_rooms import (
    InvalidArgument,
    InvalidRoom,
    InvalidSocket,
    NotASocketRequest,
    Rooms,
    sockets,
)
from flask_rooms.errors import ConfigurationError, InvalidData
from flask_rooms.globals import parts_of
from flask_rooms.protocol.messages import Change
from flask_rooms.testing import cluster
from flask_rooms.testing.client import Client
from flask_rooms.testing.local_cluster import LocalCluster
from flask_rooms.testing.worker import Worker
from tests.support.apps import PATIENCE, SECRET, in_thread

ROOM = "team:1"


def make(**options: Any) -> LocalCluster:
    """Return a cluster of two workers that track rooms."""
    rooms = Rooms()

    @rooms.user_loader
    def load_user(auth: Any) -> Any:
        return (auth or {}).get("user")

    @rooms.presence("team:<int:id>")
    def describe(id: int) -> dict[str, Any]:
        return {"team": id, "agent": request.headers.get("User-Agent")}

    @rooms.presence("bad:<what>")
    def describe_badly(what: str) -> Any:
        if what == "raise":
            raise RuntimeError("of the application")
        return {"list": ["x"], "long": {"x": "y" * 2000}}[what]

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config["SECRET_KEY"] = SECRET
        rooms.init_app(app)

        @app.put("/rooms/<room>")
        def join(room: str) -> dict[str, Any]:
            sockets.join(request, room).result()
            return {"people": [person.user for person in sockets.presence(room).value]}

        @app.delete("/rooms/<room>")
        def leave(room: str) -> dict[str, Any]:
            sockets.leave(request, room).result()
            return {"people": [person.user for person in sockets.presence(room).value]}

        @app.patch("/rooms/<room>")
        def update(room: str) -> dict[str, Any]:
            return {"done": sockets.presence.update(request, room, request.get_json())}

        return app

    return cluster(create_app, 2, **{"presence_grace": 0.3, **options})


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with make() as workers:
        yield workers


def enter(worker: Worker, user: str | None = None, room: str = ROOM, **options: Any) -> Client:
    """Return a new client that has joined a room."""
    client = worker.connect(auth={"user": user}, **options)
    assert client.request("put", f"/rooms/{room}").status_code == 200
    return client


def users(worker: Worker, room: str = ROOM) -> list[str | None]:
    """Return who is present, as a worker knows it."""
    return [person.user for person in worker.sockets.presence(room).value]


def until(condition: Callable[[], object]) -> None:
    """Return once *condition* is met."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Page:
    """Keeps the list of a room as a page does, and checks that list and changes agree."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.version: int | None = None
        self.people: dict[Any, Any] = {}
        self.log: list[tuple[str, Any]] = []

    def read(self) -> list[Any]:
        """Read what has come, and return who is present."""
        for event, data in self.client.received():
            if event == "presence_state":
                self.version = data["version"]
                self.people = {name(person): person for person in data["people"]}
            elif event == "presence_diff" and self.version is not None:
                self._change(data)
        return sorted(self.people, key=str)

    def _change(self, data: Any) -> None:
        assert self.version is not None
        assert data["version"] == self.version + 1
        self.version += 1
        for kind in ("joined", "changed", "left"):
            for person in data[kind]:
                assert (name(person) in self.people) == (kind != "joined")
                self.log.append((kind, name(person)))
                if kind == "left":
                    del self.people[name(person)]
                else:
                    self.people[name(person)] = person


def name(person: Any) -> Any:
    return person["user"] or person["socket"]


# -- for callers ---------------------------------------------------------------------------


def test_every_worker_knows_who_is_present(workers: LocalCluster) -> None:
    first = enter(workers[0], "ann", headers={"User-Agent": "A"})
    second = enter(workers[1], "ann", headers={"User-Agent": "B"})
    enter(workers[1], "bob")
    first.received()  # so that all has arrived

    for worker in workers:
        ann, bob = worker.sockets.presence(ROOM).value
        assert (ann.user, bob.user) == ("ann", "bob")
        assert ann.sockets == {
            first.sid: {"team": 1, "agent": "A"},
            second.sid: {"team": 1, "agent": "B"},
        }
        assert abs(ann.since - time.time()) < 60


def test_it_is_so_on_return_of_a_call(workers: LocalCluster) -> None:
    client = workers[0].connect(auth={"user": "ann"})

    assert client.request("put", f"/rooms/{ROOM}").body == {"people": ["ann"]}
    assert client.request("delete", f"/rooms/{ROOM}").body == {"people": []}


def test_a_newcomer_is_given_the_whole_list(workers: LocalCluster) -> None:
    for user in ("ann", "bob", "eve"):
        enter(workers[0], user)

    newcomer = workers.add()

    until(lambda: newcomer.sockets.presence(ROOM).complete)
    assert users(newcomer) == ["ann", "bob", "eve"]


def test_with_a_worker_its_people_go_everywhere(workers: LocalCluster) -> None:
    page = Page(enter(workers[1], "eve"))
    enter(workers[0], "ann")
    enter(workers[0], "bob")
    assert page.read() == ["ann", "bob", "eve"]

    workers[0].crash()
    until(lambda: users(workers[1]) == ["eve"])

    assert page.read() == ["eve"]
    assert sorted(page.log) == [
        ("joined", "ann"),
        ("joined", "bob"),
        ("left", "ann"),
        ("left", "bob"),
    ]


def test_a_worker_that_starts_over_is_told_all_again(workers: LocalCluster) -> None:
    enter(workers[0], "ann")
    lost = enter(workers[1], "bob")
    until(lambda: users(workers[0]) == ["ann", "bob"])
    workers[1].cut()
    until(lambda: users(workers[0]) == ["ann"])

    workers[1].restore()

    until(lambda: not lost.connected)
    until(lambda: users(workers[1]) == ["ann"])
    enter(workers[1], "eve").received()
    assert users(workers[0]) == users(workers[1]) == ["ann", "eve"]


def test_who_went_while_a_worker_was_away_is_not_listed_when_it_starts_over(
    workers: LocalCluster,
) -> None:
    gone = enter(workers[0], "ann")
    enter(workers[0], "eve")
    lost = enter(workers[1], "bob")
    until(lambda: users(workers[0]) == users(workers[1]) == ["ann", "eve", "bob"])
    workers[1].cut()
    until(lambda: users(workers[0]) == ["ann", "eve"])
    gone.request("delete", f"/rooms/{ROOM}")

    workers[1].restore()

    until(lambda: not lost.connected)
    until(lambda: workers[1].sockets.presence(ROOM).complete)
    assert users(workers[1]) == ["eve"]


def test_lost_messages_change_nothing(workers: LocalCluster) -> None:
    workers.faults.loss = workers.faults.doubling = 0.2
    clients = [enter(workers[number % 2], f"u{number}") for number in range(20)]
    for client in clients[:10]:
        client.request("delete", f"/rooms/{ROOM}")
    workers.faults.loss = workers.faults.doubling = 0.0
    for worker in workers:
        worker.connect().received()

    remaining = {f"u{number}" for number in range(10, 20)}
    assert set(users(workers[0])) == set(users(workers[1])) == remaining


def test_a_list_follows_where_the_outbox_was_full() -> None:
    with make(outbox_bytes=3000, message_bytes=2000) as workers:
        workers.down()
        for number in range(40):
            enter(workers[0], f"u{number}")
        workers.up()

        until(lambda: len(users(workers[1])) == 40)


def test_a_call_by_another_worker_counts(workers: LocalCluster) -> None:
    client = workers[0].connect(auth={"user": "ann"})

    workers[1].sockets.join(client.sid, ROOM).result(PATIENCE)
    until(lambda: users(workers[1]) == ["ann"])

    workers[1].sockets.disconnect(user="ann").result(PATIENCE)


def test_only_rooms_with_a_rule_are_tracked(workers: LocalCluster) -> None:
    client = workers[0].connect()

    assert client.request("put", "/rooms/other").status_code == 500
    assert not client.received()
    with pytest.raises(InvalidRoom, match="not tracked"):
        workers[0].sockets.presence("other")


@pytest.mark.parametrize("what", ["raise", "list", "long"])
def test_a_function_that_fails_hides_no_member(
    workers: LocalCluster, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "flask_rooms"):
        client = enter(workers[0], "ann", f"bad:{what}")

    (ann,) = workers[0].sockets.presence(f"bad:{what}").value
    assert ann.sockets == {client.sid: {}}
    assert "presence data" in caplog.text


def make_slow(asked: threading.Event, may_answer: threading.Event) -> Flask:
    """Return an application whose function for the room "slow" waits."""
    app = Flask(__name__)
    app.config["SECRET_KEY"] = SECRET
    rooms = Rooms(app)

    @rooms.presence("slow")
    def describe() -> None:
        asked.set()
        assert may_answer.wait(PATIENCE)

    return app


def test_who_leaves_while_its_data_are_asked_for_is_not_listed() -> None:
    asked, may_answer = threading.Event(), threading.Event()
    with cluster(lambda: make_slow(asked, may_answer), 2) as workers:
        client = workers[0].connect()
        workers[1].sockets.join(client.sid, "slow").result(PATIENCE)
        assert asked.wait(PATIENCE)
        workers[0].sockets.leave(client.sid, "slow").result(PATIENCE)
        may_answer.set()
        workers[0].sockets.join(client.sid, "slow").result(PATIENCE)
        until(lambda: len(workers[1].sockets.presence("slow").value) == 1)
        workers[0].sockets.leave(client.sid, "slow").result(PATIENCE)

        until(lambda: not workers[1].sockets.presence("slow").value)


def test_on_return_of_a_call_it_is_so_whichever_thread_asks_for_the_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, may_answer = threading.Event(), threading.Event()
    with cluster(lambda: make_slow(asked, may_answer), 1) as (worker,):
        tracker = worker.sockets.presence._tracker
        client, wait_for = worker.connect(), tracker._wait_for
        change = Change("join", "/", (client.sid,), ("slow",))
        parts_of(worker.app).registry.apply(change)
        other = in_thread(tracker.flush)
        assert asked.wait(PATIENCE)

        def wait(serial: int) -> None:
            may_answer.set()  # not before this thread waits for the other one
            wait_for(serial)

        monkeypatch.setattr(tracker, "_wait_for", wait)
        tracker.flush()

        assert len(worker.sockets.presence("slow").value) == 1
        may_answer.set()
        other.result(PATIENCE)


class Without(Packet):
    """A serializer that does not have all of JSON, as msgpack has no number of 65 bits."""

    def encode(self) -> Any:
        """Encode."""
        text = super().encode()
        if "wrong" in text:
            raise ValueError("That cannot be expressed.")
        return text


@pytest.mark.mode_independent
def test_data_that_a_serializer_does_not_have_hide_no_one() -> None:
    """Else no member of the room, on any worker, would get the list any more."""

    def describe(id: str) -> dict[str, Any]:
        return {"name": request.headers.get("X-Name")}

    def join(room: str) -> dict[str, Any]:
        sockets.join(request, room).result()
        return {}

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config["SECRET_KEY"] = SECRET
        rooms = Rooms(app, SocketIO(serializer=Without))
        rooms.user_loader(lambda auth: auth["user"])
        rooms.presence("team:<id>")(describe)
        app.add_url_rule("/rooms/<room>", methods=["PUT"], view_func=join)
        return app

    with cluster(create_app, 1) as (worker,):
        page = Page(enter(worker, "ann", headers={"X-Name": "Ann"}))
        enter(worker, "eve", headers={"X-Name": "wrong"})
        enter(worker, "bob", headers={"X-Name": "Bob"})
        with pytest.raises(InvalidData):
            worker.sockets.presence.update(page.client.sid, ROOM, {"name": "wrong"})

        assert page.read() == ["ann", "bob", "eve"]
        shown = {user: person["data"] for user, person in page.people.items()}
        assert shown == {"ann": [{"name": "Ann"}], "bob": [{"name": "Bob"}], "eve": [{}]}


class Leaving(UserDict[str, Any]):
    """Data of which the keys are asked for once their socket has gone."""

    def __init__(self, client: Client) -> None:
        super().__init__(away=True)
        self.client = client

    def keys(self) -> Any:
        self.client.disconnect()
        return super().keys()


def test_who_goes_while_its_data_are_changed_does_not_stay(workers: LocalCluster) -> None:
    """As where a page tells that it is hidden, and is closed."""
    ann = enter(workers[0], "ann")

    assert not workers[0].sockets.presence.update(ann.sid, ROOM, Leaving(ann))

    until(lambda: not users(workers[0]) and not users(workers[1]))


def test_a_leave_that_is_late_does_not_hide_a_member_that_has_joined_again(
    workers: LocalCluster,
) -> None:
    ann = enter(workers[0], "ann")
    tracker = workers[0].sockets.presence._tracker
    parts_of(workers[0].app).registry.apply(Change("leave", "/", (ann.sid,), (ROOM,)))
    late = tracker._take_step(only_leave=True)  # by a thread that is interrupted now
    assert late is not None
    workers[0].sockets.join(ann.sid, ROOM).result(PATIENCE)

    tracker._leave(late)

    assert users(workers[0]) == ["ann"]


def test_an_error_does_not_end_the_look_at_who_is_not_back(
    workers: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enter(workers[0], "bob")
    replica = workers[0].sockets.presence._tracker._replica
    tick = replica.tick

    def fail(now: float) -> Any:
        monkeypatch.setattr(replica, "tick", tick)
        raise ZeroDivisionError

    monkeypatch.setattr(replica, "tick", fail)
    ann = enter(workers[0], "ann")
    until(lambda: users(workers[1]) == ["bob", "ann"])
    ann.disconnect()

    until(lambda: users(workers[1]) == ["bob"])
    assert "ZeroDivisionError" in caplog.text


def test_a_rule_has_to_be_one() -> None:
    with pytest.raises(ConfigurationError, match="rule"):
        Rooms().presence(dict)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        Rooms().presence("team:<nothing:id>")(dict)
    with pytest.raises(ConfigurationError):
        Rooms().presence("team")("no function")  # type: ignore[type-var]


def test_one_worker_lists_so_many_members() -> None:
    with make(presence_members=2) as workers:
        for user in ("ann", "bob", "eve"):
            enter(workers[0], user)

        assert users(workers[0]) == ["ann", "bob"]
        with workers[0].app.app_context():
            assert workers[0].app.extensions["rooms"].refusals["presence_members"] == 1


# -- what others are to know -----------------------------------------------------------------


def test_data_are_changed_key_by_key(workers: LocalCluster) -> None:
    page = Page(enter(workers[1], "eve"))
    ann = enter(workers[0], "ann")

    assert ann.request("patch", f"/rooms/{ROOM}", {"away": True, "agent": None}).body["done"]

    page.read()
    assert page.people["ann"]["data"] == [{"team": 1, "away": True}]
    assert page.log == [("joined", "ann"), ("changed", "ann")]
    assert ann.request("patch", f"/rooms/{ROOM}", {"away": True}).body["done"]  # as it was
    page.read()
    assert page.log[2:] == []


def test_data_of_one_who_is_not_there_cannot_be_changed(workers: LocalCluster) -> None:
    client = workers[0].connect(auth={"user": "ann"})

    assert client.request("patch", f"/rooms/{ROOM}", {"away": True}).body == {"done": False}


def test_data_that_cannot_be_told_are_refused(workers: LocalCluster) -> None:
    client = enter(workers[0], "ann")
    update = workers[0].sockets.presence.update

    wrong: Any
    for wrong in (None, [], "x", {"x": "y" * 1100}):
        with pytest.raises(InvalidArgument):
            update(client.sid, ROOM, wrong)
    for wrong in ({"x": object()}, {"x": float("nan")}, {"x": b"bytes"}):
        with pytest.raises(InvalidData):
            update(client.sid, ROOM, wrong)
    with pytest.raises(InvalidRoom):
        update(client.sid, "other", {})
    with pytest.raises(InvalidSocket):
        update((client.sid, enter(workers[0]).sid), ROOM, {})  # type: ignore[arg-type]
    with workers[0].app.test_request_context(), pytest.raises(NotASocketRequest):
        update(request, ROOM, {})
    (ann, _) = workers[0].sockets.presence(ROOM).value
    assert ann.sockets[client.sid]["team"] == 1


# -- for clients -------------------------------------------------------------------------------


def test_a_client_has_the_list_once_and_then_the_differences(workers: LocalCluster) -> None:
    first = Page(enter(workers[0], "ann"))
    second = Page(enter(workers[1], "bob"))
    guest = enter(workers[1])

    everyone = sorted(["ann", "bob", guest.sid], key=str)
    assert first.read() == second.read() == everyone
    assert first.version == 2

    guest.request("delete", f"/rooms/{ROOM}")

    assert first.read() == second.read() == ["ann", "bob"]


def test_no_version_of_a_list_comes_again(workers: LocalCluster) -> None:
    page = Page(enter(workers[0], "ann"))
    page.client.request("patch", f"/rooms/{ROOM}", {"away": True})
    page.read()
    before = page.version
    assert before is not None

    page.client.request("delete", f"/rooms/{ROOM}")  # the last one
    page.client.request("put", f"/rooms/{ROOM}")

    assert page.read() == ["ann"]
    assert page.version is not None
    assert page.version > before


def test_a_user_with_five_tabs_comes_once_and_goes_once(workers: LocalCluster) -> None:
    page = Page(enter(workers[0], "eve"))
    tabs = [enter(workers[number % 2], "ann") for number in range(5)]
    page.read()

    for tab in tabs:
        tab.disconnect()
    until(lambda: users(workers[0]) == ["eve"])

    page.read()
    assert page.log == [("joined", "ann"), ("left", "ann")]


def test_a_page_that_reloads_does_not_flicker() -> None:
    with make(presence_grace=3600.0) as workers:
        page = Page(enter(workers[0], "eve"))
        tab = enter(workers[0], "ann")

        for number in range(4):
            tab.disconnect()
            tab = enter(workers[number % 2], "ann")

        assert page.read() == ["ann", "eve"]
        assert page.log == [("joined", "ann")]


def test_who_is_thrown_out_is_gone_at_once() -> None:
    with make(presence_grace=3600.0) as workers:
        page = Page(enter(workers[0], "eve"))
        ann = enter(workers[1], "ann")
        page.read()

        workers[0].sockets.leave(ann.sid, ROOM).result(PATIENCE)

        until(lambda: page.read() == ["eve"])


def refuse(by: str) -> bool:
    """Refuse the client that is connecting, in one of the ways of python-socketio."""
    if by == "a function that raises":
        raise RuntimeError("of the application")
    if by == "ConnectionRefusedError":
        raise ConnectionRefusedError("We are full.")
    return False


@pytest.mark.parametrize(
    "by", ["False", "ConnectionRefusedError", "always_connect", "a function that raises"]
)
def test_who_is_refused_after_a_join_in_the_connect_handler_is_gone_at_once(by: str) -> None:
    """Neither the client nor its connection has ended it, and it will not be back."""
    with make(presence_grace=3600.0) as workers:
        server = workers[0].app.extensions["socketio"].server
        server.always_connect = by == "always_connect"
        joined: list[list[str | None]] = []

        @workers[0].app.extensions["socketio"].on("connect")
        def connect(auth: Any) -> bool:
            sockets.join(request, ROOM).result()
            joined.append(users(workers[0]))
            return refuse(by)

        with pytest.raises((ConnectionRefusedError, RuntimeError)):
            workers[0].connect(auth={"user": "ann"})

        assert joined == [["ann"]]
        assert users(workers[0]) == []


def test_the_list_never_contradicts_the_changes() -> None:
    """Clients that join while others come and go have the same list in the end."""
    with make(confirm_timeout=PATIENCE) as workers:
        clients = [workers[number].connect(auth={"user": f"u{number}"}) for number in range(2)]

        def come_and_go(client: Client) -> None:
            for _ in range(20):
                workers[0].sockets.join(client.sid, ROOM).result(PATIENCE)
                workers[0].sockets.leave(client.sid, ROOM).result(PATIENCE)

        threads = [threading.Thread(target=come_and_go, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        pages = [Page(enter(workers[number % 2], f"page{number}")) for number in range(4)]
        for page in pages:
            page.read()
        for thread in threads:
            thread.join()

        for page in pages:
            until(lambda page=page: page.read() == ["page0", "page1", "page2", "page3"])  # type: ignore[misc]


def test_only_members_get_the_list(workers: LocalCluster) -> None:
    stranger, enemy = workers[0].connect(), enter(workers[0], "enemy", "team:2")
    enter(workers[0], "ann")
    enter(workers[1], "bob")

    assert stranger.received() == []
    assert {data["room"] for _, data in enemy.received()} == {"team:2"}
