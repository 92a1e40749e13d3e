"""Who takes part, and how a worker of each is started."""

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

#: What is made on the way: npm's packages, and what the workers have logged.
MADE = ROOT / ".dev" / "benchmarks"


@dataclass(frozen=True)
class Contender:
    """
    One library over one broker in one asynchronous mode.

    Args:
        library: What is compared, as its users call it.
        broker: What connects its workers.
        mode: `threading`, `eventlet` or `node`.
        program: The file of the worker, without its ending, and what it is to be told.
    """

    library: str
    broker: Kind
    mode: str
    program: tuple[str, ...]

    @property
    def name(self) -> str:
        """What tables and `--only` call it."""
        return f"{self.library}, {BROKER_NAMES[self.broker]}, {self.mode}"

    @property
    def confirms(self) -> bool:
        """Whether a caller learns that it is done."""
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
    """Return what *contender* is measured by: what `message_queue=` gives on that broker."""
    mode = "threading" if contender.mode == "node" else contender.mode
    (peer,) = [
        one
        for one in CONTENDERS
        if one.program == _QUEUE and (one.broker, one.mode) == (contender.broker, mode)
    ]
    return peer


def chosen(only: str) -> list[Contender]:
    """Return the contenders in whose names each word of *only* occurs."""
    words = only.lower().split()
    return [one for one in CONTENDERS if all(word in one.name.lower() for word in words)]


@contextmanager
def two_workers(contender: Contender, broker: Broker) -> Iterator[list[Process]]:
    """Run two workers for as long as the context lasts."""
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
    """Put what package.json names into .dev/benchmarks; False where there is no npm."""
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
        there.unlink()  # it says that all is there
        raise
    return True
