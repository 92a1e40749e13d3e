"""Real web servers in which clients cannot work say so, with what to do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.support.brokers import free_port
from tests.support.web_servers import eventually

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: Seconds for a server to start or to end, on a machine that is busy.
TIMEOUT = 60.0

APP = """
from flask import Flask
from flask_rooms import Rooms

app = Flask(__name__)
app.config["SECRET_KEY"] = "of the tests"
Rooms(app)
app.add_url_rule("/", view_func=lambda: "served")
"""
WRAPPED = """
from asgiref.wsgi import WsgiToAsgi
from unfit_app import app

app = WsgiToAsgi(app)
"""

PORT = "127.0.0.1:{port}"
WAITRESS = ["-m", "waitress", f"--listen={PORT}", "unfit_app:app"]
UVICORN = ["-m", "uvicorn", "--port", "{port}"]
HYPERCORN = ["-m", "hypercorn", "--bind", PORT]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (WAITRESS, "waitress has few threads"),
        ([*UVICORN, "--interface", "wsgi", "unfit_app:app"], "for an ASGI server (a2wsgi)"),
        ([*UVICORN, "wrapped_app:app"], "for an ASGI server (asgiref)"),
        ([*HYPERCORN, "wsgi:unfit_app:app"], "for an ASGI server (hypercorn)"),
    ],
    ids=["waitress", "uvicorn", "asgiref", "hypercorn"],
)
def test_a_server_without_websocket_is_named_with_its_first_request(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    if find_spec(arguments[1]) is None:
        # tox's row "programs" has them.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{arguments[1]} is not installed.")
    log = first_request([sys.executable, *arguments], tmp_path)

    assert log.count(words) == 1, log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gevent", "10"], "hang in uWSGI's own loop for gevent"),
        (["--threads", "4", "--max-requests", "5000"], "uWSGI has --max-requests"),
    ],
    ids=["gevent", "max-requests"],
)
def test_what_does_not_fit_of_uwsgis_options_is_named_at_the_start(
    options: list[str], words: str, tmp_path: Path
) -> None:
    if "--gevent" in options:
        pytest.importorskip("gevent")
    program = shutil.which("uwsgi", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("uWSGI is not installed.")
    command = [program, "--http-socket", PORT, "--module", "unfit_app:app", *options]
    log = first_request([*command, "--master", "--die-on-term"], tmp_path, "GET / ")

    assert log.index(words) < log.index("GET / ")


def test_gunicorn_has_no_worker_for_eventlet(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "eventlet", "unfit_app:app"]
    done = subprocess.run(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False
    )

    assert done.returncode != 0
    assert "class uri 'eventlet' invalid or not found" in done.stderr


def first_request(command: list[str], directory: Path, logged: str = "") -> str:
    """Run a server until it has answered a request, and logged that; return what it has logged."""
    (directory / "unfit_app.py").write_text(APP, encoding="utf-8")
    (directory / "wrapped_app.py").write_text(WRAPPED, encoding="utf-8")
    port, log = free_port(), directory / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            cwd=directory,
            stdout=file,
            stderr=file,
        )
    try:
        assert request(f"http://127.0.0.1:{port}/", process) == b"served", log.read_text("utf-8")
        eventually(lambda: logged in log.read_text("utf-8"))  # uWSGI logs it after the answer
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait()
    return log.read_text(encoding="utf-8")


def request(url: str, process: subprocess.Popen[bytes]) -> bytes | None:
    """Return what a server answers when it listens; None if it ends before."""
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=TIMEOUT) as response:
                return bytes(response.read())
        except URLError:
            time.sleep(0.05)
    return None
