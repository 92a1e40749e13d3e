"""The signals user_joined and user_left: one worker of the cluster sends them, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_rooms import Rooms
from flask_rooms.signals import user_joined, user_left
from flask_rooms.testing import cluster
from flask_rooms.testing.client import Client
from flask_rooms.testing.local_cluster import LocalCluster
from flask_rooms.testing.worker import Worker
from tests.support.apps import PATIENCE, SECRET
from tests.unit.presence.test_presence import ROOM, until


class Told:
    """What the receivers of the signals were told, and by which application."""

    def __init__(self) -> None:
        self.all: list[tuple[Flask, str, Any]] = []
        self.fails = False

    def listen(self, app: Flask) -> None:
        user_joined.connect(self.on_joined, app)
        user_left.connect(self.on_left, app)

    def on_joined(self, app: Flask, **about: Any) -> None:
        self.all.append((app, "joined", about))

    def on_left(self, app: Flask, **about: Any) -> None:
        self.all.append((app, "left", about))
        if self.fails:
            raise RuntimeError("of the application")

    @property
    def log(self) -> list[tuple[str, str | None]]:
        return [(kind, about["user"]) for _, kind, about in self.all]


@pytest.fixture(name="told")
def _told() -> Told:
    return Told()


@pytest.fixture(name="workers")
def _workers(told: Told) -> Iterator[LocalCluster]:
    rooms = Rooms()
    rooms.user_loader(lambda auth: (auth or {}).get("user"))
    rooms.presence("team:<id>")(lambda id: None)

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config["SECRET_KEY"] = SECRET
        rooms.init_app(app)
        told.listen(app)
        return app

    with cluster(create_app, 2, presence_grace=0.1, confirm_timeout=PATIENCE) as workers:
        yield workers


def enter(worker: Worker, user: str | None) -> Client:
    """Return a new client that has joined the room."""
    client = worker.connect(auth={"user": user})
    worker.sockets.join(client.sid, ROOM).result(PATIENCE)
    return client


def test_a_user_with_tabs_on_two_workers_is_told_of_once(workers: LocalCluster, told: Told) -> None:
    tabs = [enter(workers[number % 2], "ann") for number in range(4)]
    until(lambda: told.log == [("joined", "ann")])

    for tab in tabs:
        tab.disconnect()
    until(lambda: len(told.log) == 2)

    (first, _, joined), (second, _, left) = told.all
    assert told.log == [("joined", "ann"), ("left", "ann")]
    assert first is second
    assert joined == left
    assert joined["room"] == ROOM
    assert joined["namespace"] == "/"
    assert joined["number"] > 0


def test_one_application_is_told_of_all(workers: LocalCluster, told: Told) -> None:
    clients = [enter(workers[number % 2], f"u{number}") for number in range(6)]
    guest = enter(workers[1], None)
    until(lambda: len(told.all) == 7)

    assert len({id(app) for app, _, _ in told.all}) == 1
    assert {about["sid"] for _, _, about in told.all} == {None, guest.sid}
    workers[1].sockets.leave([clients[0].sid, guest.sid], ROOM).result(PATIENCE)
    until(lambda: len(told.all) == 9)
    assert sorted(told.log[7:], key=str) == [("left", "u0"), ("left", None)]


def test_when_the_worker_that_tells_dies_another_one_goes_on(
    workers: LocalCluster, told: Told
) -> None:
    enter(workers[0], "ann")
    enter(workers[1], "bob")
    until(lambda: len(told.log) == 2)
    apps = [app for app, _, _ in told.all]
    teller = workers[0] if apps[0] is workers[0].app else workers[1]
    other, lost, stays = (
        (workers[1], "ann", "bob") if teller is workers[0] else (workers[0], "bob", "ann")
    )
    newcomer = workers.add()

    teller.crash()
    until(lambda: len(told.log) == 3)
    enter(newcomer, "eve")
    until(lambda: len(told.log) == 4)

    assert told.log[2:] == [("left", lost), ("joined", "eve")]
    (app,) = {app for app, _, _ in told.all[2:]}
    assert app is not teller.app
    other.sockets.disconnect(user=stays).result(PATIENCE)
    until(lambda: told.log[4:] == [("left", stays)])


def test_a_signal_that_is_muted_is_not_sent_later(workers: LocalCluster, told: Told) -> None:
    with user_joined.muted():
        ann = enter(workers[0], "ann")
        enter(workers[1], "bob")
        until(lambda: all(len(worker.sockets.presence(ROOM).value) == 2 for worker in workers))
        ann.disconnect()
        until(lambda: told.log == [("left", "ann")])

    enter(workers[1], "eve")

    until(lambda: told.log[1:] == [("joined", "eve")])


def test_a_receiver_that_raises_is_not_asked_again(workers: LocalCluster, told: Told) -> None:
    told.fails = True
    ann = enter(workers[0], "ann")
    until(lambda: len(told.log) == 1)
    workers[0].sockets.leave(ann.sid, ROOM).result(PATIENCE)
    until(lambda: len(told.log) == 2)

    enter(workers[1], "bob")

    until(lambda: told.log[2:] == [("joined", "bob")])


def test_a_receiver_that_hangs_delays_no_other_room(workers: LocalCluster, told: Told) -> None:
    released = threading.Event()

    def hang(app: Flask, **about: Any) -> None:
        released.wait(PATIENCE)

    for worker in workers:
        user_joined.connect(hang, worker.app)
    try:
        for user in ("ann", "bob"):
            enter(workers[0], user)
        until(lambda: told.log == [("joined", "ann"), ("joined", "bob")])
    finally:
        released.set()
