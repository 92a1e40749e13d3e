"""Modules with `from flask_rooms import sockets` where a server loads them before it forks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import pytest

from tests.support.brokers import Broker

# It starts its server in each mode itself.
pytestmark = [
    pytest.mark.mode_independent,
    pytest.mark.skipif(find_spec("gunicorn") is None, reason="gunicorn is not installed"),
]

#: Seconds until all processes answer.
PATIENCE = 60.0

VIEWS = """
import os

from flask import Blueprint
from flask_rooms import sockets

bp = Blueprint("views", __name__)


@bp.get("/")
def index():
    answer = sockets.workers()
    return {"workers": sorted(answer.value), "complete": answer.complete, "process": os.getpid()}
"""

APP = """
import os

from flask import Flask
from flask_rooms import Rooms, sockets
from views import bp

loaded_in = os.getpid()
assert repr(sockets) == "<SocketsProxy unbound>"
app = Flask("preloaded")
app.config["SECRET_KEY"] = "of the tests"
app.register_blueprint(bp)
app.get("/loaded")(lambda: {"in": loaded_in})
Rooms(app, backend_url=os.environ["BACKEND"], channel=os.environ["CHANNEL"], heartbeat_interval=0.5)
"""


def _free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("kind", ["gthread", "gevent"])
def test_an_application_that_is_loaded_before_the_fork_serves_in_each_process(
    redis_broker: Broker, tmp_path: Path, kind: str
) -> None:
    """Each joins the cluster by itself, and sees the others."""
    (tmp_path / "views.py").write_text(VIEWS)
    (tmp_path / "preloaded.py").write_text(APP)
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers=2", "--threads=8"]
    command += [f"--bind=127.0.0.1:{port}", f"--worker-class={kind}", "preloaded:app"]
    path = os.pathsep.join(filter(None, [str(tmp_path), *sys.path]))
    names = {"BACKEND": redis_broker.url, "CHANNEL": f"tests-{uuid4().hex}", "PYTHONPATH": path}

    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | names) as server:

        def get(path: str) -> Any:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
                return json.load(answer)

        try:
            deadline = time.monotonic() + PATIENCE
            answers: dict[int, Any] = {}
            while len(answers) < 2 or any(len(one["workers"]) < 2 for one in answers.values()):
                assert time.monotonic() < deadline, answers
                assert server.poll() is None
                try:
                    answer = get("/")
                except OSError:  # it does not listen yet
                    continue
                answers[answer["process"]] = answer
            loaded_in = get("/loaded")["in"]
        finally:
            server.terminate()

    assert loaded_in == server.pid
    assert loaded_in not in answers
    assert all(answer["complete"] for answer in answers.values())
