"""The README's code does what the README says, run as a reader would run it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_rooms import Rooms
from tests.support.brokers import Broker, free_port
from tests.support.clients import connection
from tests.support.documents import blocks

pytestmark = pytest.mark.mode_independent

#: Seconds that a program of the README may take, on a machine that is busy.
TIMEOUT = 60.0

FLASK = [sys.executable, "-m", "flask"]

# A new block needs a new test here.
APP, CLIENT, TWO_WORKERS = blocks("README.md", "python")
(ADOPTION,) = blocks("docs/why.md", "python")
(WHAT_YOU_WILL_SEE,) = blocks("README.md", "text")
(GEVENT,) = blocks("docs/configuration.md", "python")


def test_the_application_has_at_most_20_lines() -> None:
    assert len([line for line in APP.splitlines() if line.strip()]) <= 20


def test_one_worker_prints_what_you_will_see(tmp_path: Path) -> None:
    with serving(tmp_path, APP) as port:
        assert run_client(tmp_path, port) == WHAT_YOU_WILL_SEE


@pytest.mark.parametrize("debug", ["0", "1"])
def test_the_server_logs_no_errors(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], debug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the rest of a WebSocket, taken for a request; or its end, by the debugger."""
    monkeypatch.setenv("FLASK_DEBUG", debug)
    monkeypatch.setenv("FLASK_RUN_RELOAD", "0")  # that process would be left behind
    with serving(tmp_path, APP) as port:
        run_client(tmp_path, port)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 404")

    said, log = capfd.readouterr()
    assert ("Debug mode: on" in said) == (debug == "1")
    assert '" 101 -' in log
    assert '" 400 -' not in log
    assert '" 500 -' not in log


def test_with_gevent_it_prints_the_same(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "serve.py").write_text(GEVENT.replace("5000", str(port)), encoding="utf-8")

    with running(tmp_path, port, [sys.executable, "serve.py"]):
        assert run_client(tmp_path, port) == WHAT_YOU_WILL_SEE


def test_two_workers_are_one_changed_line(tmp_path: Path, redis_broker: Broker) -> None:
    changed = TWO_WORKERS.replace("redis://localhost:6379", redis_broker.url)
    app = APP.replace("rooms = Rooms(app)\n", changed)

    assert app not in (APP, APP.replace("rooms = Rooms(app)\n", TWO_WORKERS))
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(tmp_path, app)) for _ in range(2)]
        assert run_client(tmp_path, *ports) == WHAT_YOU_WILL_SEE
        here = f"http://127.0.0.1:{ports[0]}"
        with connection(here) as client:
            client.request("put", "/rooms/fun")
            assert run_flask(tmp_path, "rooms", "list") == "MEMBERS  ROOM\n      1  fun\n"
        assert "Other workers that have answered" in run_flask(tmp_path, "rooms", "check")


def test_an_application_with_a_socketio_of_its_own_adopts_it() -> None:
    app = Flask("adopting")
    app.config["SECRET_KEY"] = "secret"
    names: dict[str, Any] = {"app": app, "Rooms": Rooms}

    exec(ADOPTION, names)

    assert names["rooms"].socketio is names["socketio"]


@contextmanager
def serving(directory: Path, app: str) -> Iterator[int]:
    """Serve *app* from a process of its own, and yield its port."""
    port = free_port()
    (directory / "app.py").write_text(app, encoding="utf-8")
    with running(directory, port, [*FLASK, "run", "--port", str(port)]):
        yield port


@contextmanager
def running(
    directory: Path, port: int, command: list[str], environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a server until the end of the block, which begins once it listens."""
    process = subprocess.Popen(command, cwd=directory, env=environment)
    try:
        wait_until_listening(port, process)
        yield
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), TIMEOUT).close()
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)  # until the next try, or until it has failed
    pytest.fail("The application has ended.")


def run_client(directory: Path, *ports: int) -> str:
    (directory / "client.py").write_text(CLIENT, encoding="utf-8")
    return run([sys.executable, "client.py", *map(str, ports)], directory)


def run_flask(directory: Path, *arguments: str) -> str:
    return run([*FLASK, *arguments], directory)


def run(command: list[str], directory: Path) -> str:
    done = subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
