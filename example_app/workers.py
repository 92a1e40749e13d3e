"""Worker, a worker of the example in a child process, which ends with its parent."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from types import TracebackType

START_TIMEOUT = 30.0  # seconds until a worker listens
STOP_TIMEOUT = 5.0  # seconds between SIGTERM and SIGKILL


class WorkerFailed(Exception):
    """A worker has not started, or has ended; its error is on standard error."""


class Worker:
    """
    A process that runs `python -m example_app`, as a context manager.

    Args:
        backend_url: The value of ROOMS_BACKEND_URL.
        database: The SQLite file that all workers share.
        secret_key: The SECRET_KEY, which all workers share.
        host: The address to listen on.
        port: The port to listen on; 0 for a free one.
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
            stdin=subprocess.PIPE,  # never written to: the child exits at its end
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
            WorkerFailed: It has ended, or does not listen after START_TIMEOUT seconds.
        """
        line = self._first_line()
        if not line.startswith("Listening on "):
            raise WorkerFailed(f"A worker did not start: {' '.join(self._command)}")
        self.url = line.removeprefix("Listening on ").strip()

    def stop(self) -> None:
        """Terminate the process, and kill it after STOP_TIMEOUT seconds."""
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
