"""What docs/socket-requests.md shows works, as it is written there."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from flask import request, session

from flask_rooms import Rooms
from flask_rooms.globals import parts_of
from flask_rooms.protocol.messages import User
from tests.docs.test_readme import FLASK, TIMEOUT, running
from tests.support.apps import LocalCluster, make_app
from tests.support.brokers import free_port
from tests.support.documents import blocks
from tests.support.javascript import require_npm

pytestmark = pytest.mark.mode_independent

# A new block needs a new test here.
(REQUEST,) = blocks("docs/socket-requests.md", "javascript")
(HOOKS, LOGINS) = blocks("docs/socket-requests.md", "python")
(APP, *_) = blocks("README.md", "python")

PROGRAM = """
const socket = require("socket.io-client")("%s");
console.log = (line) => { process.stdout.write(JSON.stringify(line) + "\\n"); process.exit(); };
socket.on("connect", () => {
%s
});
"""


def test_the_request_in_javascript(tmp_path: Path) -> None:
    node_modules, node = require_npm("socket.io-client"), shutil.which("node")
    assert node is not None
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    port = free_port()
    program = PROGRAM % (f"http://127.0.0.1:{port}", REQUEST)

    with running(tmp_path, port, [*FLASK, "run", "--port", str(port)]):
        done = subprocess.run(
            [node, "-e", program],
            env={"NODE_PATH": str(node_modules)},
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )

    assert done.stdout == "200\n"


def test_the_hooks() -> None:
    noted: list[Any] = []
    with LocalCluster() as cluster:
        app = make_app()
        app.post("/login")(lambda: session.update(user_id=7) or "")
        rooms = Rooms(app, backend_url=cluster.hub)
        worker = cluster.adopt(app, rooms)
        closed: list[bool] = []
        names = {"rooms": rooms, "session": session, "closed": lambda: bool(closed)}
        exec(HOOKS, {**names, "note": lambda *about: noted.append(about)})
        browser = app.test_client()
        browser.post("/login")
        client = worker.connect(flask_test_client=browser)
        worker.sockets.join(client.sid, "red").result()

        client.disconnect()
        closed.append(True)

        assert [(user, set(rooms)) for user, _, rooms in noted] == [(7, {"red"})]
        assert not worker.connect().is_connected()


def test_logins_that_expire() -> None:
    with LocalCluster() as cluster:
        app = make_app()
        rooms = Rooms(app, backend_url=cluster.hub)
        worker = cluster.adopt(app, rooms)
        tomorrow = time.time() + 86400
        tokens = {"old": 1.0, "new": tomorrow, "newer": tomorrow + 1}
        names = {"rooms": rooms, "app": app, "request": request}
        exec(LOGINS, {**names, "decode": lambda token: {"sub": "Ada", "exp": tokens[token]}})

        assert not worker.connect(auth={"token": "old"}).is_connected()
        client = worker.connect(auth={"token": "new"})
        socket = parts_of(app).registry.get("/", client.sid)
        assert socket is not None
        assert (socket.user, socket.expires) == (User("Ada"), tomorrow)
        client.ask("post", "/login/renew", {"token": "newer"})

        assert socket.expires == tomorrow + 1
