"""Workers of the example as child processes, which end with the program that started them."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from types import TracebackType

START_TIMEOUT = 30.0  # seconds until a worker listens
STOP_TIMEOUT = 5.0  # seconds from asking a worker to end until it is made to


class WorkerFailed(Exception):
    """A worker has not come up; what it said about that is on the standard error."""


class Worker:
    """
    One `python -m example_app` in a process of its own, as a context manager.

    Args:
        backend_url: What joins it with the other workers.
        database: The SQLite file shared with them.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        secret_key: What the workers of one cluster sign their messages with.
    """

    def __init__(
        self,
        backend_url: str,
        database: str,
        secret_key: str,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._command = [sys.executable, "-m", "example_app", "--until-eof"]
        self._command += ["--backend", backend_url, "--database", database]
        self._command += ["--host", host, "--port", str(port)]
        self._environment = {**os.environ, "SECRET_KEY": secret_key}
        self.url = ""

    def __enter__(self) -> Worker:
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,  # never written to: its end tells the child that we are gone
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_until_listening(self) -> None:
        """
        Return when the worker serves at `url`.

        Raises:
            WorkerFailed: It has ended, or has not got there in START_TIMEOUT seconds.
        """
        line = self._first_line()
        if not line.startswith("Listening on "):
            raise WorkerFailed(f"A worker did not start: {' '.join(self._command)}")
        self.url = line.removeprefix("Listening on ").strip()

    def stop(self) -> None:
        """End the process: politely, then not."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        readline = self.process.stdout.readline
        threading.Thread(target=lambda: lines.put(readline()), daemon=True).start()
        try:
            return lines.get(timeout=START_TIMEOUT)
        except queue.Empty:
            return ""
