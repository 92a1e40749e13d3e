"""What docs/anywhere.md shows works, as it is written there, beside real workers on Redis."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_rooms.cli import rooms as commands
from tests.support.brokers import Broker
from tests.support.clients import Client
from tests.support.outside import TIMEOUT, environment
from tests.support.serving import HEARTBEAT
from tests.support.workers import ROOMS_APP, Worker, cluster

pytestmark = pytest.mark.mode_independent

TEXT = Path(__file__).parents[2].joinpath("docs", "anywhere.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


# A new block needs a new test here.
APP, SCRIPT, TASKS = blocks("python")
(TERMINAL,) = blocks("console")


class Place:
    """A directory with the application, beside two web workers with a client each in "fun"."""

    def __init__(self, workers: list[Worker], directory: Path) -> None:
        self.web, self.directory = workers[0], directory
        self.clients = [Client(worker.url) for worker in workers]
        self.write("fun.py", APP)
        self.web.post("/join", sids=[client.sid for client in self.clients], rooms="fun")

    def write(self, name: str, program: str) -> None:
        (self.directory / name).write_text(program, encoding="utf-8")

    def options(self) -> dict[str, Any]:
        variables = environment(self.web, HEARTBEAT)
        path = os.pathsep.join([str(self.directory), variables["PYTHONPATH"]])
        return {"cwd": self.directory, "env": {**variables, "PYTHONPATH": path}}

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            **self.options(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        output: str = done.stdout
        return output


@pytest.fixture(name="place")
def _place(redis_broker: Broker, tmp_path: Path) -> Iterator[Place]:
    with cluster(redis_broker.url, 2, ROOMS_APP) as workers:
        place = Place(workers, tmp_path)
        yield place
        for client in place.clients:
            client.disconnect()


def test_the_script(place: Place) -> None:
    place.write("script.py", SCRIPT)
    leaves, stays = place.clients

    output = place.run("script.py", leaves.sid)

    assert output == "Outcome(changed=1, unchanged=0, unknown=())\n"
    assert stays.receive() == ["left", leaves.sid]


def test_the_task(place: Place) -> None:
    place.write("tasks.py", TASKS.replace("redis://localhost:6379", place.web.backend))
    leaves, stays = place.clients
    command = [sys.executable, "-m", "celery", "-A", "tasks:celery", "worker", "-c", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, **place.options()) as worker:
        try:
            place.run("-c", "import sys; from tasks import ban; ban.delay(sys.argv[1])", leaves.sid)

            assert stays.receive() == ["banned", leaves.sid]
        finally:
            worker.send_signal(signal.SIGTERM)


def test_the_terminal(place: Place) -> None:
    shown = re.findall(r"^\$ flask (.*)\n((?:[^$].*\n)*)", TERMINAL, re.MULTILINE)

    assert len(shown) == 2
    for arguments, output in shown:
        assert place.run("-m", "flask", *shlex.split(arguments)) == output


def test_the_table_of_commands_is_complete() -> None:
    named = re.findall(r"^\| `flask rooms ([\w-]+)", TEXT, re.MULTILINE)

    assert sorted(named) == sorted(commands.commands)
