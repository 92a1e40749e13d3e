"""The versions of what was measured."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import version

import redis
from kombu.connection import Connection

from benchmarks.contenders import MADE
from tests.support.brokers import Broker

IN_PYTHON = (
    "Flask-Rooms",
    "Flask-SocketIO",
    "python-socketio",
    "python-engineio",
    "kombu",
    "amqp",
    "redis",
    "eventlet",
)


def versions() -> dict[str, str]:
    """Return the versions of libraries and interpreters by name, and the number of cores."""
    found = {"Python": platform.python_version(), "cores": str(os.cpu_count())}
    found |= {name: version(name) for name in IN_PYTHON}
    if shutil.which("node"):
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        found["Node"] = node.stdout.strip().lstrip("v")
    package = MADE / "package.json"
    if package.exists():
        in_node = json.loads(package.read_text(encoding="utf-8"))["dependencies"]
        found |= {f"npm {name}": number for name, number in in_node.items()}
    return found


def version_of(broker: Broker) -> str:
    """Return the name and version of a running broker."""
    if broker.kind == "redis":
        with redis.Redis.from_url(broker.url) as client:
            return f"Redis {client.info('server')['redis_version']}"
    with Connection(broker.url) as connection:
        return f"RabbitMQ {connection.connection.server_properties['version']}"
