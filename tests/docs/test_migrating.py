"""What docs/migrating.md shows works, as it is written there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import flask_socketio
import pytest
from flask import Flask, request
from flask_socketio import SocketIO
from socketio import RedisManager

from flask_rooms import Rooms, sockets
from flask_rooms.api.sockets import Sockets
from flask_rooms.config import Config
from flask_rooms.protocol.ids import new_sid, new_worker_name
from flask_rooms.server.admin import ClusterAdmin
from flask_rooms.server.manager import RoomsManager
from tests.support.apps import SECRET, LocalCluster, make_app
from tests.support.comparison import connected
from tests.support.workers import cluster

pytestmark = pytest.mark.mode_independent

DOCUMENT = Path(__file__).parents[2] / "docs" / "migrating.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")

#: Seconds that a program may take on a busy machine.
TIMEOUT = 60.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


# A new block needs a new test here.
ONE_LINE, FACTORY, OPTIONS = blocks("diff")
BOTH_KINDS, OUTSIDE, CELERY, TEST, ADMIN = blocks("python")


def side_of(diff: str, sign: str) -> str:
    """Return what is before (`-`) or after (`+`) the change."""
    return "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in f" {sign}")


def names() -> dict[str, Any]:
    """Return what the blocks take for granted."""
    given = {"Flask": Flask, "Rooms": Rooms, "SocketIO": SocketIO, "app": make_app()}
    return {**given, "__name__": __name__}


def test_the_line_that_is_changed_and_the_one_that_it_becomes() -> None:
    before, after = side_of(ONE_LINE, "-"), side_of(ONE_LINE, "+")
    # Flask-SocketIO would take eventlet, for which this process may not be patched.
    before = before.replace("(app, ", '(app, async_mode="threading", ')
    managers = []
    for line in (before, after):
        given = names()
        exec(line, given)
        socketio = given["app"].extensions["socketio"]
        assert given["socketio"] is socketio
        assert socketio.server.eio.cors_allowed_origins == "*"
        managers.append(type(socketio.server.manager))

    assert managers == [RedisManager, RoomsManager]
    assert before.count("\n") == after.count("\n") == 1


def test_the_options_that_only_a_factory_knows() -> None:
    managers = []
    for side in "-+":
        code = dedent(side_of(OPTIONS, side))
        given: dict[str, Any] = {"Rooms": Rooms, "socketio": SocketIO(async_mode="threading")}
        for seconds in (7, 11):  # a factory may be called again
            given["app"] = app = make_app()
            app.config["PING"] = seconds
            exec(code, given)
            server = app.extensions["socketio"].server
            assert server.eio.ping_interval == seconds
        managers.append(type(server.manager))

    assert managers == [RedisManager, RoomsManager]


def test_both_kinds_of_calls_can_be_mixed() -> None:
    with LocalCluster() as workers:
        worker, there = workers.worker(), workers.worker()
        other = there.connect()
        there.sockets.join(other.sid, "fun").result()

        @worker.socketio.on("both")
        def both() -> list[Any]:
            given = {
                "join_room": flask_socketio.join_room,
                "leave_room": flask_socketio.leave_room,
                "sockets": sockets,
                "sid": other.sid,
            }
            exec(BOTH_KINDS, given)
            outcome = given["outcome"]
            return [outcome.unchanged, flask_socketio.rooms()]

        client = worker.connect()
        unchanged, rooms = client.emit("both")

        assert unchanged == 1
        assert set(rooms) == {client.sid, "fun"}
        assert there.rooms_of(other) == set()


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_a_program_that_ends_at_once_is_heard_by_every_worker(
    broker: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(broker).url
    waits_for_nothing = re.sub(r"^print.*\n", "", OUTSIDE, flags=re.MULTILINE)
    with cluster(url, 2, "tests.support.socketio_app") as workers, connected(*workers) as clients:
        for client in clients:
            client.call("join", "readers")

        for program, says in ((OUTSIDE, "2 have received it.\n"), (waits_for_nothing, "")):
            assert run(adapted(program, url, workers[0].channel)) == says
            for client in clients:
                client.call("say", {"to": client.sid}, "fence")  # when the program has ended
                assert client.receive() == ["news", {"it": "works"}]
                assert client.receive() == ["said", "fence"]


def test_a_task_tells_what_it_has_done() -> None:
    with LocalCluster() as workers:
        here, there = workers.worker(), workers.worker()
        client = there.connect()
        there.sockets.join(client.sid, "readers").result()
        given: dict[str, Any] = {
            "celery": SimpleNamespace(task=lambda function: function),
            "rooms": here.rooms,
        }

        exec(CELERY, given)

        assert given["ban"](client.sid) == 1
        assert given["ban"](new_sid(new_worker_name())) == 0


def test_a_factory_and_its_test_which_may_be_called_again() -> None:
    given = names()
    code = side_of(FACTORY, "+").replace("redis://localhost:6379", "memory://")
    exec(code, given)

    @given["socketio"].on("join")
    def join(room: str) -> None:
        sockets.join(request, room)

    exec(TEST, given)
    test: Callable[[], None] = given["test_every_member_of_the_room_receives_it"]
    test()
    test()


def test_the_admin_ui() -> None:
    app = make_app()
    socketio = Rooms(app, SocketIO()).socketio

    admin = eval(ADMIN, {"socketio": socketio})

    try:
        assert isinstance(admin, ClusterAdmin)
        assert admin.auth == {"username": "admin", "password": "change me, too"}
    finally:
        admin.uninstrument()


def test_the_limits_of_a_connection_are_the_defaults() -> None:
    config = Config.of(make_app(), {})
    limits = (
        f"{config.concurrent_events} event handlers that run at once, "
        f"{config.sockets_per_connection} namespaces, {config.rooms_per_socket:,} rooms for each, "
        f"{config.packets_per_second:,} packets a second and "
        f"{config.unread_bytes // 2**20} MiB that its client has not read"
    )

    assert limits in TEXT


def test_the_calls_named_are_there() -> None:
    named = set(re.findall(r"`sockets\.(\w+)", TEXT))

    assert {"join", "leave_all", "rooms_of", "get_id"} <= named
    assert [name for name in named if not callable(getattr(Sockets, name, None))] == []


def test_the_links_lead_somewhere() -> None:
    headings = {_anchor(line) for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        if target.startswith("#"):
            assert anchor in headings
        elif not target.startswith("https:"):
            assert (DOCUMENT.parent / path).exists(), target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def adapted(program: str, url: str, channel: str) -> str:
    """Return *program* for the broker, the channel and the key of the tests."""
    changed = program.replace("redis://localhost:6379", url).replace("change me", SECRET)
    settings = f"app.config.update(ROOMS_CHANNEL={channel!r}, ROOMS_HEARTBEAT_INTERVAL=0.5)\n"
    return changed.replace("rooms = ", settings + "rooms = ", 1)


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
