"""Processes that serve tests.support.ending_app as in production: run(), gunicorn, uWSGI."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.brokers import free_port
from tests.support.documents import ROOT
from tests.support.outside import environment
from tests.support.workers import Worker

APP = "tests.support.ending_app"
GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", f"{APP}:app"]
GEVENT_WEBSOCKET = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
UWSGI = [
    *["uwsgi", "--http-socket", "127.0.0.1:{port}", "--module", f"{APP}:app", "--enable-threads"],
    *["--threads", "8", "--master", "--die-on-term", "--need-app"],
]
COMMANDS = {
    "run": [sys.executable, "-m", APP, "{port}"],
    "flask run": [sys.executable, "-m", "flask", "--app", APP, "run", "--port", "{port}"],
    "gunicorn gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "8"],
    "gunicorn preload": [*GUNICORN, "--worker-class", "gthread", "--threads", "8", "--preload"],
    "gunicorn gevent, polling": [*GUNICORN, "--worker-class", "gevent"],
    "gunicorn gevent": [*GUNICORN, "--worker-class", GEVENT_WEBSOCKET],
    "uwsgi, polling": UWSGI,
    "uwsgi lazy, polling": [*UWSGI, "--lazy-apps"],
}

#: Seconds until a server must listen or have ended, on a machine that is busy.
TIMEOUT = 60.0


def eventually(condition: Callable[[], object]) -> None:
    """Return when *condition* is met."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it has not come to this"
        time.sleep(0.05)


class WebServer:
    """
    A process that serves, with its children.

    Args:
        kind: One of `COMMANDS`.
        web: A worker whose cluster it joins.
        journal: Where the application writes down what happens.
        arguments: More arguments of the command line.
        variables: More of the environment.
    """

    def __init__(
        self, kind: str, web: Worker, journal: Path, *arguments: str, **variables: str
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._journal = journal
        journal.touch()
        command = [part.format(port=port) for part in (*COMMANDS[kind], *arguments)]
        if command[0] == "uwsgi":
            beside = Path(sys.executable).parent
            command[0] = str(shutil.which("uwsgi", path=f"{beside}:{os.environ['PATH']}"))
        with journal.with_suffix(".log").open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment(web), "ROOMS_TEST_JOURNAL": str(journal), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._port = port

    def wait_until_listening(self) -> None:
        """Return when clients can connect."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """What it has written to the standard error."""
        return self._journal.with_suffix(".log").read_text(encoding="utf-8")

    @property
    def lines(self) -> list[str]:
        """What the application has written down."""
        return self._journal.read_text(encoding="utf-8").splitlines()

    def wait_for(self, line: str) -> None:
        """Return when the application has written down a line."""
        eventually(lambda: line in self.lines)

    def signal(self, number: int) -> None:
        """Send the process a signal, but not to its children."""
        self._process.send_signal(number)

    def wait(self, seconds: float = TIMEOUT) -> int:
        """Return how the process has ended, within so many seconds."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def serving(
    kind: str, web: Worker, directory: Path, *arguments: str, **variables: str
) -> Iterator[WebServer]:
    """Run a server for as long as the context lasts."""
    server = WebServer(kind, web, directory / "journal", *arguments, **variables)
    try:
        server.wait_until_listening()
        yield server
    finally:
        server.kill()
