"""Worker processes for the tests: started together, and surely stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

from tests.support import processes
from tests.support.clients import Client

#: Connects a client to a worker, in namespaces, until the test ends.
Connect = Callable[..., Client]

#: The application that most tests drive.
ROOMS_APP = "tests.support.rooms_app"

#: Seconds until a worker must listen, and until one must have ended; both usually take one.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0

#: Seconds for a request over HTTP.
TIMEOUT = 30.0


class Worker:
    """
    One worker process.

    Args:
        backend: The URL of the backend.
        channel: What it shares with the other workers of the cluster.
        application: The module whose `create_app` it serves.
        options: Further arguments of its command line.

    Attributes:
        backend: As given.
        channel: As given.
        name: Its name in the cluster; like `url`, known after wait_until_listening().
        url: Where it serves.
    """

    def __init__(self, backend: str, channel: str, application: str, *options: str) -> None:
        self.backend, self.channel = backend, channel
        self.name = self.url = ""
        self._arguments = ["--backend", backend, "--channel", channel]
        self._arguments += ["--application", application, *options]
        # Its standard input is never written to: it ends with us, and the worker with it.
        self._process = processes.start(self._arguments)

    def __repr__(self) -> str:
        return f"<Worker {self.name} at {self.url}>"

    def wait_until_listening(self) -> None:
        """Return when clients can connect; raise RuntimeError when the worker has ended instead."""
        assert self._process.stdout is not None
        overdue = threading.Timer(START_TIMEOUT, self.kill)
        overdue.start()
        line = self._process.stdout.readline()
        overdue.cancel()
        if not line:
            raise RuntimeError(f"A worker did not start: {' '.join(self._arguments)}")
        address = json.loads(line)
        self.name, self.url = address["name"], f"http://127.0.0.1:{address['port']}"

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    def post(self, path: str, **data: Any) -> Any:
        """Run a route over HTTP, and return its JSON; raise HTTPError when it has failed."""
        headers = {"Content-Type": "application/json"}
        asked = Request(self.url + path, json.dumps(data).encode(), headers, method="POST")
        with urlopen(asked, timeout=TIMEOUT) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """Let the worker say goodbye to the others and end."""
        self.begin_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT)
        self.kill()

    def begin_to_stop(self) -> None:
        """Tell the worker to end, without waiting for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def terminate(self) -> int:
        """Send SIGTERM as a supervisor does, and return how the worker has ended."""
        self._process.terminate()
        return self._process.wait(TIMEOUT)

    def pause(self) -> None:
        """Stop the worker from doing anything; its connections stay."""
        self._process.pause()

    def resume(self) -> None:
        """Let a paused worker continue."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the worker without a warning, and whatever it may have started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def cluster(
    backend: str, count: int, application: str = ROOMS_APP, channel: str = "", *options: str
) -> Iterator[list[Worker]]:
    """Run *count* workers for as long as the context lasts, on a new channel if none is given."""
    channel = channel or f"tests-{uuid4().hex}"
    workers: list[Worker] = []
    try:
        for _ in range(count):
            workers.append(Worker(backend, channel, application, *options))
        for worker in workers:
            worker.wait_until_listening()
        yield workers
    finally:
        for worker in workers:
            worker.begin_to_stop()
        for worker in workers:
            worker.stop()


def outcome(changed: int = 0, unchanged: int = 0, unknown: list[str] | None = None) -> Any:
    """Return an Outcome as the routes give it."""
    return {"changed": changed, "unchanged": unchanged, "unknown": unknown or []}
