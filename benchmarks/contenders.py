"""The contenders, and how to start their workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Process
from tests.support.brokers import Broker, Kind

HERE = Path(__file__).parent
ROOT = HERE.parent

#: The directory of npm's packages and the logs of the workers.
MADE = ROOT / ".dev" / "benchmarks"


@dataclass(frozen=True)
class Contender:
    """
    One library over one broker in one asynchronous mode.

    Args:
        library: The name of the library.
        broker: The kind of the broker.
        mode: `threading`, `eventlet` or `node`.
        program: The file of the worker without its extension, and its arguments.
    """

    library: str
    broker: Kind
    mode: str
    program: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name in tables and for `--only`."""
        return f"{self.library}, {BROKER_NAMES[self.broker]}, {self.mode}"

    @property
    def confirms(self) -> bool:
        """Whether the library confirms a leave to its caller."""
        return self.program == _ROOMS

    def command(self, url: str) -> list[str]:
        """Return the command that runs a worker."""
        program, *options = self.program
        if self.mode == "node":
            return ["node", str(HERE / "workers" / f"{program}.js"), *options, url]
        return [sys.executable, "-m", "benchmarks.workers", program, url, self.mode, *options]


BROKER_NAMES: dict[Kind, str] = {"redis": "Redis", "amqp": "RabbitMQ"}

_ROOMS = ("flask_rooms_worker",)
_QUEUE = ("python_socketio_worker", "message_queue")
_KOMBU = ("python_socketio_worker", "kombu")


def _in_python(mode: str) -> list[Contender]:
    return [
        Contender("Flask-Rooms", "redis", mode, _ROOMS),
        Contender("Flask-Rooms", "amqp", mode, _ROOMS),
        Contender("python-socketio RedisManager", "redis", mode, _QUEUE),
        Contender("python-socketio KombuManager", "redis", mode, _KOMBU),
        Contender("python-socketio KombuManager", "amqp", mode, _QUEUE),
    ]


def _in_node(adapter: str) -> Contender:
    return Contender(f"Socket.IO {adapter}", "redis", "node", ("socketio_worker", adapter))


CONTENDERS = [
    *_in_python("threading"),
    *_in_python("eventlet"),
    _in_node("redis-adapter"),
    _in_node("redis-streams-adapter"),
]


def peer_of(contender: Contender) -> Contender:
    """Return the contender that is the baseline: `message_queue=` on the same broker."""
    mode = "threading" if contender.mode == "node" else contender.mode
    (peer,) = [
        one
        for one in CONTENDERS
        if one.program == _QUEUE and (one.broker, one.mode) == (contender.broker, mode)
    ]
    return peer


def chosen(only: str) -> list[Contender]:
    """Return the contenders whose names contain each word of *only*, or of a part after a comma."""
    choices = [words.split() for words in only.lower().split(",")]
    return [
        one
        for one in CONTENDERS
        if any(all(word in one.name.lower() for word in words) for words in choices)
    ]


@contextmanager
def two_workers(contender: Contender, broker: Broker) -> Iterator[list[Process]]:
    """Run two workers inside a context."""
    environment = {**os.environ, "NODE_PATH": str(MADE / "node_modules")}
    logs = MADE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Process(
                    contender.command(broker.url),
                    cwd=ROOT,
                    env=environment,
                    log=logs / f"{contender.name}, {which}.log".replace(" ", "-"),
                )
            )
            for which in ("here", "there")
        ]
        yield workers


def install_node_packages() -> bool:
    """Install the packages of package.json into .dev/benchmarks; return False without npm."""
    if not shutil.which("npm"):
        return False
    MADE.mkdir(parents=True, exist_ok=True)
    wanted, there = HERE / "package.json", MADE / "package.json"
    if there.exists() and there.read_bytes() == wanted.read_bytes():
        return True
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    shutil.copy(wanted, there)
    try:
        subprocess.run(command, cwd=MADE, check=True, stdout=sys.stderr)
    except BaseException:
        there.unlink()  # its presence means that the packages are installed
        raise
    return True
