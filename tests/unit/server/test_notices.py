"""What cannot work under a web server is said at the start, with what to do."""

from __future__ import annotations

import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from flask_socketio import SocketIO
from gunicorn.config import Config
from werkzeug.test import EnvironBuilder

from flask_rooms import Rooms
from flask_rooms.server.notices import Needs, of_gunicorn, of_uwsgi
from tests.support.apps import make_app
from tests.support.brokers import free_port
from tests.support.documents import ROOT
from tests.support.web_servers import GEVENT_WEBSOCKET

pytestmark = pytest.mark.mode_independent

ALL, NOTHING = Needs(in_process=True, polling=True), Needs(in_process=False, polling=False)
#: Seconds for gunicorn to start, on a machine that is busy.
TIMEOUT = 60.0


def gunicorn(**options: Any) -> Config:
    """Return a configuration of gunicorn."""
    config = Config()
    for name, value in options.items():
        config.set(name, value)
    return config


@pytest.mark.parametrize(
    ("config", "needs", "words"),
    [
        (gunicorn(), NOTHING, ["--worker-class gthread"]),
        (gunicorn(worker_class="gthread", threads=1), NOTHING, ["--threads 100"]),
        (gunicorn(threads=8), ALL, []),
        (gunicorn(worker_class="gevent"), ALL, []),
        (gunicorn(threads=8, workers=2), ALL, ["a broker", "WebSocket only"]),
        (gunicorn(threads=8, workers=2), Needs(True, False), ["2 workers, and memory://"]),
        (gunicorn(threads=8, workers=2), Needs(False, True), ["2 workers on one port"]),
        (gunicorn(threads=8, workers=2), NOTHING, []),
    ],
)
def test_gunicorn(config: Config, needs: Needs, words: list[str]) -> None:
    found = of_gunicorn(config, needs)

    assert len(found) == len(words)
    assert all(word in notice for word, notice in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("options", "processes", "needs", "words"),
    [
        ({"enable-threads": True}, 1, ALL, ["--threads 100"]),
        ({"threads": b"8"}, 1, ALL, []),
        ({"gevent": b"100"}, 1, ALL, ["hang in uWSGI's own loop"]),
        ({"threads": b"8"}, 2, ALL, ["uWSGI has started 2 workers, and", "2 workers on one port"]),
        ({"threads": b"8"}, 1, NOTHING, ["uWSGI has no WebSocket here"]),
        ({"threads": b"8", "max-requests": b"5000"}, 1, ALL, ["--max-requests: it ends a worker"]),
        ({"threads": b"8", "reload-on-rss": b"500"}, 1, ALL, ["--reload-on-rss: it ends a worker"]),
    ],
)
def test_uwsgi(options: dict[str, Any], processes: int, needs: Needs, words: list[str]) -> None:
    found = of_uwsgi(options, processes, needs)

    assert len(found) == len(words)
    assert all(word in notice for word, notice in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("gunicorn.workers.gthread", []),
        ("asgiref.sync", []),
        ("waitress.task", ["waitress has few threads"]),
        ("a2wsgi.wsgi", ["wrapped for an ASGI server (a2wsgi)"]),
        ("asgiref.wsgi", ["wrapped for an ASGI server (asgiref)"]),
    ],
)
def test_other_servers_are_known_by_their_first_request(
    server: str, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The real ones are in test_unfit_servers.py of the integration tests."""
    app, module = make_app(), {"__name__": server}
    Rooms(app)
    exec("def serve(app, environ): app.wsgi_app(environ, lambda *args: lambda data: None)", module)

    for _ in range(2):
        module["serve"](app, EnvironBuilder().get_environ())  # type: ignore[operator]
    told = [one.getMessage() for one in caplog.records if one.name == "flask_rooms.server"]
    assert len(told) == len(words)
    assert all(word in notice for word, notice in zip(words, told, strict=True))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--workers", "2"], {"--worker-class gthread", "a broker", "WebSocket only"}),
        (["--preload", "--worker-class", "gevent"], {"import monkey; monkey.patch_all()` be"}),
        pytest.param(
            ["--preload", "--worker-class", GEVENT_WEBSOCKET],
            {"start gunicorn without --preload"},
            marks=pytest.mark.skipif(not find_spec("geventwebsocket"), reason="not installed"),
        ),
    ],
    ids=["workers", "gevent", "gevent-websocket"],
)
def test_gunicorn_says_it_when_it_starts(
    options: list[str], wanted: set[str], tmp_path: Path
) -> None:
    program = "import flask, flask_rooms; app = flask.Flask('app'); flask_rooms.Rooms(app)"
    (tmp_path / "notices_app.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "gunicorn", *options, "--chdir", str(tmp_path)]
    command += ["--bind", f"127.0.0.1:{free_port()}", "notices_app:app"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        overdue = threading.Timer(TIMEOUT, process.kill)
        overdue.start()
        assert process.stderr is not None
        for line in process.stderr:
            wanted = {word for word in wanted if word not in line}
            if not wanted:
                break
        overdue.cancel()
        process.terminate()
        process.stderr.read()  # or a full pipe would keep it

    assert not wanted


def test_transports_that_are_named_decide_about_polling() -> None:
    rooms = Rooms(make_app(), SocketIO(transports=["websocket"]))

    assert rooms.socketio.server.eio.transports == ["websocket"]
