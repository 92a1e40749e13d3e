"""What docs/rooms.md shows works, as it is written there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import session

from flask_rooms import Answer, Refused, Rooms, signals, sockets
from tests.support.apps import PATIENCE, Client, LocalCluster, Worker, eventually, make_app

pytestmark = pytest.mark.mode_independent

TEXT = Path(__file__).parents[2].joinpath("docs", "rooms.md").read_text(encoding="utf-8")

# A new block needs a new test here.
WHOLE_ROOMS, QUERY, LOADER, USERS, GUARD, OTHERS, RECHECK, SIGNAL, GONE = re.findall(
    r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
)


class Place:
    """A worker whose application has what the text takes for granted."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        app = make_app()
        app.post("/login/<int:user>")(lambda user: session.update(user_id=user) or "")
        self.rooms = Rooms(app, backend_url=cluster.hub)
        self.worker: Worker = cluster.adopt(app, self.rooms)
        self.names: dict[str, Any] = {
            "app": app,
            "rooms": self.rooms,
            "session": session,
            "sockets": sockets,
        }

    def run(self, code: str, **names: Any) -> None:
        with self.worker.app.app_context():
            exec(code, self.names | names)

    def connect(self, user: int) -> Client:
        browser = self.worker.app.test_client()
        browser.post(f"/login/{user}")
        return self.worker.connect(flask_test_client=browser)


@pytest.fixture(name="place")
def _place() -> Iterator[Place]:
    with LocalCluster() as cluster:
        yield Place(cluster)


def test_whole_rooms(place: Place) -> None:
    one, two = place.worker.connect(), place.worker.connect()
    lines = WHOLE_ROOMS.splitlines()
    all_members, this_one, add, remove, disconnect = lines

    place.worker.sockets.join([one.sid, two.sid], "lobby")
    place.run(all_members)
    assert place.worker.sockets.count("lobby") == Answer(0, True)
    place.worker.sockets.join([one.sid, two.sid], "lobby")
    place.run(this_one, request=two.sid)
    assert place.worker.sockets.members("lobby").value == {one.sid}
    place.run(add)
    assert place.worker.rooms_of(one) == {"lobby", "game", "chat"}
    place.run(remove)
    assert place.worker.rooms_of(one) == {"game", "chat"}
    place.run(disconnect, sid=one.sid)
    assert place.worker.sockets.rooms().value == {}


def test_a_query(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.run(QUERY)

    assert capsys.readouterr().out == ""


def test_users(place: Place) -> None:
    place.run(LOADER)
    ann, bob = place.connect(7), place.connect(8)
    place.worker.sockets.join([ann.sid, bob.sid], "team")
    leave, broadcast, disconnect, members = USERS.splitlines()

    place.run(leave)
    place.run(broadcast)
    assert ann.received() == [("mail", [{"from": "Bob"}])]
    assert bob.received() == []
    place.run(disconnect)
    place.run(f"answer = {members}\nassert answer.value == {{'8'}}, answer")


def test_a_guard(place: Place) -> None:
    teams = {7: [7], 8: []}
    place.names["teams_of"] = teams.get
    place.run(GUARD)
    ann, bob = place.connect(7), place.connect(8)

    place.worker.sockets.join(ann.sid, "team:7").result(PATIENCE)
    with pytest.raises(Refused):
        place.worker.sockets.join(bob.sid, "team:7").result(PATIENCE)
    teams[7] = []
    place.run(f"future = {RECHECK}\nassert future.result(20).changed == 1")


def test_the_guard_of_everything_else(place: Place) -> None:
    place.names["teams_of"] = {7: [7]}.get
    place.run(OTHERS)
    place.run(GUARD)
    ann = place.connect(7)

    place.worker.sockets.join(ann.sid, "team:7").result(PATIENCE)
    for room in ("R&D/Ops", "team:x", "team:7\n"):
        with pytest.raises(Refused):
            place.worker.sockets.join(ann.sid, room).result(PATIENCE)


def test_a_signal(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    client = place.worker.connect()
    place.run(SIGNAL)

    place.worker.sockets.join(client.sid, "red")
    place.worker.sockets.leave(client.sid, "red")

    assert f"{client.sid} has left red because of call" in capsys.readouterr().out


def test_the_end_of_another_worker(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    app = make_app()
    other = place.cluster.adopt(app, Rooms(app, backend_url=place.cluster.hub))
    place.run(GONE, signals=signals)
    place.worker.sockets.leave(other.connect().sid, "red").result(PATIENCE)

    other.cluster.stop()

    printed: list[str] = []

    def is_printed() -> bool:
        printed.append(capsys.readouterr().out)
        return f"{other.name} (process {os.getpid()} on " in "".join(printed)

    eventually(place.worker, is_printed)
    assert "is gone: goodbye" in "".join(printed)
