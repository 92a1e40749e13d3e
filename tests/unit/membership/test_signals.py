"""Signals: sent on real change, by the owner, in order, and harmless when a receiver is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest
from flask import Flask, current_app, request
from flask_socketio import join_room

from flask_rooms import Outcome, Rooms, signals, sockets
from flask_rooms.membership import notifications
from flask_rooms.membership.namespace import MembershipEvent, Origin
from flask_rooms.membership.notifications import SignalQueue
from tests.support.apps import (
    HEARTBEAT,
    PATIENCE,
    Client,
    LocalCluster,
    Worker,
    as_a_function,
    make_app,
)

pytestmark = pytest.mark.every_python

FENCE = "fence"


class Ear:
    """Hears the signals of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._heard: Queue[tuple[str, dict[str, Any]]] = Queue()
        for signal in (signals.room_created, signals.joined, signals.left, signals.room_deleted):
            receiver = self._receiver(signal.name)
            signal.connect(receiver, worker.app)
            setattr(self, signal.name, receiver)  # they are held weakly

    def _receiver(self, name: str) -> Any:
        def receive(app: Any, **about: Any) -> None:
            assert current_app == app == self._worker.app
            self._heard.put((name, about))

        return receive

    def heard(self, client: Client) -> list[tuple[str, dict[str, Any]]]:
        """Return the signals since the last call; those of *client* come last."""
        self._worker.sockets.join(client.sid, FENCE).result(PATIENCE)
        self._worker.sockets.leave(client.sid, FENCE).result(PATIENCE)
        heard = []
        while True:
            name, about = self._heard.get(timeout=PATIENCE)
            if about["room"] != FENCE:
                heard.append((name, about))
            elif name == "room-deleted":
                return heard

    def short(self, client: Client) -> list[tuple[str, str, str]]:
        """Return the same, each with its room and its reason alone."""
        return [(name, about["room"], about["reason"]) for name, about in self.heard(client)]


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(name="here")
def _here(cluster: LocalCluster) -> Worker:
    app = make_app()

    @app.put("/join/<room>")
    def join(room: str) -> dict[str, int]:
        return {"changed": sockets.join(request, room).result(PATIENCE).changed}

    @app.put("/kick/<sid>/<room>")
    def kick(sid: str, room: str) -> dict[str, int]:
        return {"changed": sockets.leave(sid, room).result(PATIENCE).changed}

    rooms = Rooms(app, backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    rooms.user_loader(lambda auth: auth)
    rooms.socketio.on_event("flask-socketio", join_room)
    return cluster.adopt(app, rooms)


@pytest.fixture(name="there")
def _there(cluster: LocalCluster) -> Worker:
    return cluster.worker()


def test_a_signal_has_all_that_is_known(here: Worker, there: Worker) -> None:
    ear, client, last = Ear(here), here.connect(auth="ann"), here.connect()

    there.sockets.join(client.sid, "red").result(PATIENCE)

    about = {
        "namespace": "/",
        "sid": client.sid,
        "user": "ann",
        "room": "red",
        "reason": "remote",
        "worker": there.name,
        "by": None,
    }
    assert ear.heard(last) == [("room-created", about), ("joined", about)]


def test_a_signal_names_the_caller(here: Worker, there: Worker) -> None:
    ear, client, admin = Ear(here), here.connect(), there.connect()
    there.app.put("/kick/<sid>/<room>")(here.app.view_functions["kick"])

    client.ask("put", "/join/red")
    here.sockets.join(client.sid, ["blue", "green"])
    other = here.connect()
    other.ask("put", f"/kick/{client.sid}/blue")
    admin.ask("put", f"/kick/{client.sid}/green")

    heard = {
        (name, about["room"]): (about["reason"], about["worker"], about["by"])
        for name, about in ear.heard(other)
    }
    assert heard["joined", "red"] == ("request", here.name, client.sid)
    assert heard["joined", "blue"] == ("call", here.name, None)
    assert heard["left", "blue"] == ("call", here.name, other.sid)
    assert heard["left", "green"] == ("remote", there.name, admin.sid)


def test_only_real_changes_send_signals(here: Worker, there: Worker) -> None:
    ear, client, last = Ear(here), here.connect(), here.connect()

    for worker in (here, there):
        worker.sockets.join(client.sid, "red").result(PATIENCE)
        worker.sockets.leave(client.sid, "blue").result(PATIENCE)

    assert ear.short(last) == [("room-created", "red", "call"), ("joined", "red", "call")]


def test_a_room_begins_with_the_first_and_ends_with_the_last(here: Worker) -> None:
    ear, one, two, last = Ear(here), here.connect(), here.connect(), here.connect()

    here.sockets.join([one.sid, two.sid], "red")
    here.sockets.leave([two.sid, one.sid], "red")

    assert [name for name, _ in ear.heard(last)] == [
        "room-created",
        "joined",
        "joined",
        "left",
        "left",
        "room-deleted",
    ]


def test_only_the_owner_tells(here: Worker, there: Worker) -> None:
    mine, others = Ear(here), Ear(there)
    client, last, theirs = here.connect(), here.connect(), there.connect()

    there.sockets.join(client.sid, "red").result(PATIENCE)

    assert len(mine.heard(last)) == 2
    assert others.heard(theirs) == []


@pytest.mark.parametrize("end", ["goes", "is disconnected", "is expelled"])
def test_the_end_of_a_socket_sends_a_signal_for_each_room(
    here: Worker, there: Worker, end: str
) -> None:
    client = here.connect()
    here.sockets.join(client.sid, ["red", "blue"])
    rooms_at_end: Queue[set[Any]] = Queue()
    here.socketio.on("disconnect")(
        lambda *_: rooms_at_end.put(
            set(here.socketio.server.rooms(request.sid))  # type: ignore[attr-defined]
        )
    )
    ear, last = Ear(here), here.connect()

    if end == "goes":
        client.disconnect()
    elif end == "is disconnected":
        assert there.sockets.disconnect(client.sid).result(PATIENCE) == Outcome(1)
    else:
        here.cluster.restart("a test says so")
        last = here.connect()

    reason = "expelled" if end == "is expelled" else "disconnect"
    signals_sent = ear.short(last)
    for room in ("red", "blue"):
        assert ("left", room, reason) in signals_sent
        assert ("room-deleted", room, reason) in signals_sent
    if end != "is expelled":
        assert rooms_at_end.get(timeout=PATIENCE) == {client.sid, "red", "blue"}


@pytest.mark.parametrize("end", ["goes", "is disconnected", "is disconnected there", "is expelled"])
def test_the_signals_of_an_end_wait_for_no_other_call(
    here: Worker, there: Worker, end: str
) -> None:
    """Nor, where a call ends the memberships, for a disconnect handler that does not return."""
    client, told, go_on = here.connect(), threading.Event(), threading.Event()
    here.sockets.join(client.sid, "red").result(PATIENCE)
    if end != "goes":
        here.socketio.on("disconnect")(lambda *_: go_on.wait(2 * PATIENCE))

    with signals.left.connected_to(lambda app, **about: told.set(), here.app):
        if end == "goes":
            client.disconnect()
        elif end == "is expelled":
            here.cluster.restart("a test says so")
        else:
            (here if end == "is disconnected" else there).sockets.disconnect(client.sid)
        was_told = told.wait(PATIENCE)
    go_on.set()

    assert was_told


def test_flask_socketios_calls_send_signals_too(here: Worker) -> None:
    ear, client, last = Ear(here), here.connect(), here.connect()

    client.emit("flask-socketio", "red")

    assert ear.short(last) == [("room-created", "red", "request"), ("joined", "red", "request")]


def test_a_receiver_that_raises_harms_no_other_receiver(
    here: Worker, there: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    client, last = here.connect(), here.connect()

    def fail(app: Any, **about: Any) -> None:
        raise ZeroDivisionError

    with signals.joined.connected_to(fail, here.app):
        ear = Ear(here)
        assert there.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)
        assert here.sockets.join(client.sid, "blue").result(0) == Outcome(1)

        assert [about["room"] for name, about in ear.heard(last) if name == "joined"] == [
            "red",
            "blue",
        ]
    assert "ZeroDivisionError" in caplog.text


def test_an_async_receiver_is_run(here: Worker) -> None:
    """As one of Flask's own signals, by the function that runs async views."""
    here.app.async_to_sync = as_a_function  # type: ignore[assignment,method-assign]
    client, rooms = here.connect(), []

    async def note(app: Any, room: str, **about: Any) -> None:
        rooms.append(room)

    with signals.joined.connected_to(note, here.app):
        assert here.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)

    assert rooms == ["red"]


def test_a_receiver_that_hangs_holds_up_no_change_of_other_workers(
    here: Worker, there: Worker
) -> None:
    client = here.connect()
    hanging, may_go_on = threading.Event(), threading.Event()

    def hang(app: Any, **about: Any) -> None:
        hanging.set()
        assert may_go_on.wait(PATIENCE)

    with signals.joined.connected_to(hang, here.app):
        there.sockets.join(client.sid, "red").result(PATIENCE)
        assert hanging.wait(PATIENCE)

        assert there.sockets.leave(client.sid, "red").result(PATIENCE) == Outcome(1)
        assert here.sockets.join(client.sid, "blue").result(0) == Outcome(1)
        may_go_on.set()


def test_a_receiver_that_hangs_delays_no_other_one_and_gets_its_signals_in_order(
    here: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor a call; what is about the same change comes later than to others, once it returns."""
    monkeypatch.setattr(notifications, "PATIENCE", 0.05)
    client, may_go_on = here.connect(), threading.Event()
    slow: Queue[str] = Queue()
    others: Queue[str] = Queue()

    class Hanging:
        __hash__ = None  # type: ignore[assignment]  # a receiver need not be hashable

        def receive(self, app: Any, room: str, **about: Any) -> None:
            slow.put(room)
            assert may_go_on.wait(PATIENCE)

    def hear(app: Any, room: str, **about: Any) -> None:
        others.put(room)

    hanging = Hanging()
    with (
        signals.joined.connected_to(hanging.receive, here.app),
        signals.joined.connected_to(hear, here.app),
    ):
        for room in ("red", "blue", "green"):
            here.sockets.join(client.sid, room).result(PATIENCE)

        assert [others.get(timeout=PATIENCE) for _ in range(3)] == ["red", "blue", "green"]
        assert [slow.get(timeout=PATIENCE), slow.qsize()] == ["red", 0]
        may_go_on.set()
        assert [slow.get(timeout=PATIENCE) for _ in range(2)] == ["blue", "green"]
        here.sockets.join(client.sid, "white").result(PATIENCE)
        assert slow.get(timeout=PATIENCE) == "white"
    lines = [one.getMessage() for one in caplog.records if "not returned" in one.getMessage()]
    assert len(lines) == 1


def test_a_receiver_may_make_calls_itself(here: Worker) -> None:
    """The signals of its own changes come after the one that it handles."""
    client, last = here.connect(), here.connect()

    def move_on(app: Any, sid: str, room: str, **about: Any) -> None:
        if room == "lobby":
            sockets.leave(sid, "lobby")
            sockets.join(sid, "hall")

    with signals.joined.connected_to(move_on, here.app):
        ear = Ear(here)
        here.sockets.join(client.sid, "lobby")

        rooms = [about["room"] for name, about in ear.heard(last) if name in ("joined", "left")]
        assert rooms == ["lobby", "lobby", "hall"]


def test_without_receivers_nothing_is_kept(here: Worker) -> None:
    client = here.connect()
    here.sockets.join(client.sid, "red")

    ear, last = Ear(here), here.connect()

    assert ear.heard(last) == []


def test_a_signal_that_is_muted_is_not_sent(here: Worker) -> None:
    ear, client, last = Ear(here), here.connect(), here.connect()

    with signals.joined.muted():
        here.sockets.join(client.sid, "red").result(PATIENCE)
    here.sockets.join(client.sid, "blue").result(PATIENCE)

    assert ear.short(last) == [
        ("room-created", "red", "call"),
        ("room-created", "blue", "call"),
        ("joined", "blue", "call"),
    ]


class InPlace:
    """Runs in place what is meant for the background."""

    def start(self, function: Callable[..., object], *args: object) -> object:
        return function(*args)

    def spawn(
        self, function: Callable[..., object], *args: object, kind: str | None = None
    ) -> object:
        return function(*args)

    def run_apart(self, function: Callable[[], Any], kind: str) -> Any:
        return function()

    def create_event(self) -> threading.Event:
        return threading.Event()


def events(*rooms: str) -> list[MembershipEvent]:
    return [MembershipEvent("/", "a", None, room, joined=True, edge=False) for room in rooms]


def test_whether_a_signal_is_muted_is_known_when_it_happens() -> None:
    """And not when it is sent, which may be later."""
    app, heard = Flask("application"), []
    queue = SignalQueue(app, InPlace())

    with signals.joined.connected_to(lambda app, room, **about: heard.append(room), app):
        queue.add(events("before"), Origin("call"))
        with signals.joined.muted():
            queue.flush()
            queue.add(events("muted"), Origin("call"))
        queue.flush()

    assert heard == ["before"]


def test_what_waits_for_receivers_that_do_not_return_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond that, signals are dropped, which is said once; what waits is sent in order."""
    monkeypatch.setattr(notifications, "WAITING", 3)
    app = Flask("application")
    queue = SignalQueue(app, InPlace())
    heard: list[str] = []

    def hear(app: Any, room: str, **about: Any) -> None:
        heard.append(room)

    with signals.joined.connected_to(hear, app):
        assert not queue.add([], Origin("call"))
        assert queue.add(events("1", "2"), Origin("call"))
        assert queue.add(events("3", "4"), Origin("call"))
        assert queue.add(events("5"), Origin("call"))
        queue.flush()
        assert queue.add(events("6"), Origin("call"))
        queue.flush()

    assert heard == ["1", "2", "3", "6"]
    [record] = caplog.records
    assert record.getMessage() == (
        "3 changes wait for receivers of signals that do not return: dropping signals."
    )
