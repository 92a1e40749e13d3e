"""Worker, a worker of the example in a child process, which ends with its parent."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType

START_TIMEOUT = 30.0  # seconds until a worker listens
STOP_TIMEOUT = 5.0  # seconds between SIGTERM and SIGKILL


class WorkerFailed(Exception):
    """A worker has not started, or has ended; its error is on standard error."""


class Worker:
    """
    A process that runs `python -m example_app`, as a context manager.

    Args:
        config: Flask's configuration, as texts.
        host: The address to listen on.
        port: The port to listen on; 0 for a free one, which it keeps.
    """

    def __init__(self, config: Mapping[str, str], host: str = "127.0.0.1", port: int = 0) -> None:
        self._command = [sys.executable, "-m", "example_app", "--until-eof", "--host", host]
        self.port = port
        variables = {f"FLASK_{name}": value for name, value in config.items()}
        self._environment = {**os.environ, **variables}
        self.url = ""

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process, for the first time or again."""
        self.process = subprocess.Popen(
            [*self._command, "--port", str(self.port)],
            env=self._environment,
            stdin=subprocess.PIPE,  # never written to: the child exits at its end
            stdout=subprocess.PIPE,
            text=True,
        )

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
        self.port = int(self.url.rpartition(":")[2])

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
