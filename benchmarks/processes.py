"""Process, a worker process that takes commands and returns results as JSON lines."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

#: Seconds for a result; long, because some contenders block while the broker is down.
TIMEOUT = 60.0


class Process:
    """
    A process that speaks the protocol of workers/driver.py, as a context manager.

    Args:
        command: The command to run.
        cwd: Its working directory.
        env: Its environment.
        log: The file of its standard error.
    """

    def __init__(self, command: list[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._heard: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._kept: list[dict[str, Any]] = []  # lines that hear() has skipped
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # the process ends at the end of its input
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # some contenders cannot stop while the broker is down
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def tell(self, do: str, **what: Any) -> None:
        """Send a command to the process; hear() returns its result."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self._process.stdin.flush()

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Send a command to the process, and return its result."""
        self.tell(do, **what)
        return self.hear("did", do)

    def hear(self, key: str, value: Any = None, timeout: float = TIMEOUT) -> dict[str, Any]:
        """
        Return the next line that has *key*, and *value* under it if one is given.

        Raises:
            RuntimeError: There is none within *timeout* seconds, or the process has ended.
        """
        for line in self._kept:
            if _is(line, key, value):
                self._kept.remove(line)
                return line
        deadline = time.monotonic() + timeout
        with suppress(Empty):
            while line := self._heard.get(timeout=max(0.0, deadline - time.monotonic())):
                if _is(line, key, value):
                    return line
                self._kept.append(line)
        raise RuntimeError(
            f"{' '.join(self._command)} did not say {key!r} ({value!r}); see {self._log}."
        )

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.put(json.loads(line))
        self._heard.put({})


def _is(line: dict[str, Any], key: str, value: Any) -> bool:
    return key in line and value in (None, line[key])
