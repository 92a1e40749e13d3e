"""The README's code does what the README says, run as a reader would run it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import flask_rooms
from flask_rooms import Rooms, RoomsError
from flask_rooms.config import Config
from tests.support.brokers import Broker, free_port

pytestmark = pytest.mark.mode_independent

README = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")

#: Seconds that a program of the README may take, on a machine that is busy.
TIMEOUT = 60.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


# A new block needs a new test here.
APP, CLIENT, TWO_WORKERS, ADOPTION, BACKEND_TEST = blocks("python")
(WHAT_YOU_WILL_SEE,) = blocks("text")

FOUR_METHODS = """
from queue import Empty, SimpleQueue
from flask_rooms.backends import Backend
from flask_rooms.errors import BackendError

channels = {}

class MyBackend(Backend):
    inbox = None

    def __init__(self, channel):
        self.inboxes = channels.setdefault(channel, [])

    def open(self):
        self.close()
        self.inbox = SimpleQueue()
        self.inboxes.append(self.inbox)

    def publish(self, payload):
        if self.inbox is None:
            raise BackendError("closed")
        for inbox in list(self.inboxes):
            inbox.put(payload)

    def receive(self, timeout):
        try:
            return self.inbox.get(timeout=timeout) if self.inbox else None
        except Empty:
            return None

    def close(self):
        inbox, self.inbox = self.inbox, None
        if inbox is not None:
            self.inboxes.remove(inbox)
            inbox.put(None)
"""


def test_the_application_has_at_most_20_lines() -> None:
    assert len([line for line in APP.splitlines() if line.strip()]) <= 20


def test_one_worker_prints_what_you_will_see(tmp_path: Path) -> None:
    with serving(tmp_path, APP) as port:
        assert run_client(tmp_path, port) == WHAT_YOU_WILL_SEE


def test_two_workers_are_one_changed_line(tmp_path: Path, redis_broker: Broker) -> None:
    changed = TWO_WORKERS.replace("redis://localhost:6379", redis_broker.url)
    app = APP.replace("rooms = Rooms(app)\n", changed)

    assert app not in (APP, APP.replace("rooms = Rooms(app)\n", TWO_WORKERS))
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(tmp_path, app)) for _ in range(2)]
        assert run_client(tmp_path, *ports) == WHAT_YOU_WILL_SEE


def test_an_application_with_a_socketio_of_its_own_adopts_it() -> None:
    app = Flask("adopting")
    app.config["SECRET_KEY"] = "secret"
    names: dict[str, Any] = {"app": app, "Rooms": Rooms}

    exec(ADOPTION, names)

    assert names["rooms"].socketio is names["socketio"]


def test_a_backend_of_four_methods_passes_the_five_line_test(tmp_path: Path) -> None:
    (tmp_path / "my_backend.py").write_text(FOUR_METHODS, encoding="utf-8")
    (tmp_path / "test_my_backend.py").write_text(BACKEND_TEST, encoding="utf-8")

    output = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], tmp_path)

    assert re.search(r"^=+ \d+ passed in ", output, re.MULTILINE)


def test_the_configuration_table_is_complete() -> None:
    in_table = re.findall(r"^\| `(ROOMS_\w+)` \|", README, re.MULTILINE)

    assert in_table == [f"ROOMS_{one.name.upper()}" for one in fields(Config)]


def test_the_errors_named_can_be_imported() -> None:
    _, _, section = README.partition("## Errors")
    named = re.findall(r"`([A-Z][A-Za-z]+)`", section.partition("\n## ")[0])

    assert "Unconfirmed" in named
    assert all(issubclass(getattr(flask_rooms, name), RoomsError) for name in named)


@contextmanager
def serving(directory: Path, app: str) -> Iterator[int]:
    """Run *app* as its own process, and yield its port once it listens there."""
    (directory / "app.py").write_text(app, encoding="utf-8")
    port = free_port()
    process = subprocess.Popen([sys.executable, "app.py", str(port)], cwd=directory)
    try:
        wait_until_listening(port, process)
        yield port
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


def run(command: list[str], directory: Path) -> str:
    done = subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
