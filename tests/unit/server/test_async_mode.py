"""The asynchronous mode is the one that the process was patched for, and nothing ever hangs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from textwrap import dedent

import pytest
from flask_socketio import SocketIO

from flask_rooms import ConfigurationError, Rooms
from flask_rooms.server.async_mode import choose_mode, patched_for
from tests.support.apps import make_app

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: Seconds that a program may take on a busy machine; what hangs takes longer.
TIMEOUT = 60.0

#: What to run first for each mode.
PATCH = {
    "threading": "",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "gevent": "from gevent import monkey; monkey.patch_all()",
}

#: Two workers of one cluster, one of which takes a socket of the other out of a room.
LEAVE_ON_ANOTHER_WORKER = """
    from flask import Flask
    from flask_rooms import Outcome, Rooms

    rooms, clients = [], []
    for name in ("first", "second"):
        app = Flask(name)
        rooms.append(Rooms(app, backend_url="memory://both"))
        clients.append(rooms[-1].socketio.test_client(app))

    manager = rooms[1].socketio.server.manager
    sid = manager.sid_from_eio_sid(clients[1].eio_sid, "/")
    assert rooms[0].sockets.join(sid, "red").result(30) == Outcome(1)
    assert rooms[0].sockets.leave(sid, "red").result(30) == Outcome(1)
    print(rooms[0].socketio.async_mode)
"""

FORK = """
    import os
    from flask import Flask
    from flask_rooms import Outcome, Rooms

    app = Flask("application")
    rooms = Rooms(app)
    cluster = app.extensions["rooms_parts"].cluster

    def work():
        client = rooms.socketio.test_client(app)
        sid = rooms.socketio.server.manager.sid_from_eio_sid(client.eio_sid, "/")
        assert sid.startswith(cluster.name)
        assert rooms.sockets.join(sid, "red").result(30) == Outcome(1)
        return cluster.name

    if JOINED:
        before = work()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, work().encode())
        os._exit(0)
    own = work()
    assert os.waitpid(child, 0)[1] == 0
    print(own, os.read(read, 100).decode(), before if JOINED else own)
"""


def run(program: str, *arguments: str, returns: int = 0) -> list[str]:
    """Run *program* on its own, and return the words that it prints before it ends as expected."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", dedent(program)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == returns, done.stderr
    return done.stdout.split()


def needs(library: str) -> None:
    if library != "threading" and not find_spec(library):
        pytest.skip(f"{library} is not installed")


# -- choosing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("library", PATCH)
def test_what_the_process_is_patched_for_is_chosen(library: str) -> None:
    needs(library)

    assert run(PATCH[library] + dedent(LEAVE_ON_ANOTHER_WORKER)) == [library]


@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_a_library_that_is_imported_and_not_patched_in_is_not_chosen(library: str) -> None:
    needs(library)
    imported = {"eventlet": "import eventlet.patcher", "gevent": "import gevent.monkey"}

    assert run(imported[library] + dedent(LEAVE_ON_ANOTHER_WORKER)) == ["threading"]


def test_the_library_imports_neither() -> None:
    program = dedent(LEAVE_ON_ANOTHER_WORKER) + dedent("""
        Rooms(Flask("third"), backend_url="redis://localhost", secret_keys=["key"])
        import flask_rooms.backends.kombu
        import sys
        print(*sorted({"eventlet", "gevent"} & sys.modules.keys()))
    """)

    assert run(program) == ["threading"]


def test_without_a_wish_it_is_what_this_process_is_patched_for() -> None:
    assert choose_mode() == choose_mode(None) == (patched_for() or "threading")


@pytest.mark.parametrize("asked", ["eventlet", "gevent", "gevent_uwsgi"])
def test_a_wish_that_the_process_was_not_patched_for_is_refused(asked: str) -> None:
    library = asked.partition("_")[0]
    if patched_for() == library:
        assert choose_mode(asked) == asked
        return

    with pytest.raises(ConfigurationError, match=r"first line.*leave async_mode out") as caught:
        Rooms(make_app(), SocketIO(async_mode=asked))
    assert PATCH[library] in str(caught.value)


def test_the_wish_for_threads_is_heard() -> None:
    socketio = SocketIO(async_mode="threading")

    assert Rooms(make_app(), socketio).socketio.async_mode == "threading"


@pytest.mark.parametrize("library", ["eventlet", "gevent"])
@pytest.mark.parametrize("made", ["", "before"])
def test_a_patch_after_the_application_was_made_is_reported_once(library: str, made: str) -> None:
    """As where gunicorn patches its workers, and its main process has loaded the application."""
    needs(library)
    make = dedent("""
        from flask import Flask
        from flask_rooms import Rooms
        app = Flask("application")
        Rooms(app)
    """)
    request = dedent("""
        import logging, sys
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        for _ in range(2):
            app.test_client().get("/")
    """)
    patch = PATCH[library] + "\n"

    told = " ".join(run((make + patch if made else patch + make) + request))

    assert told.count(f"let `{PATCH[library]}` be the first line") == (1 if made else 0)


# -- forking ----------------------------------------------------------------------------------


@pytest.mark.parametrize("joined", [False, True])
def test_after_a_fork_parent_and_child_are_two_workers(joined: bool) -> None:
    program = f"JOINED = {joined}\n" + dedent(FORK)

    # A fork beside threads is what Python warns of since 3.12, and what pre-fork servers do.
    own, childs, before = run(program, "-W", "ignore::DeprecationWarning")

    assert own == before
    assert childs != own
