"""A worker that is watched: what it has, what it logs, and whether it still answers."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from urllib.request import urlopen
from uuid import uuid4

from tests.support.raw import RawClient
from tests.support.workers import Worker

APPLICATION = "tests.fuzz.app"

#: Seconds between two heartbeats: so long that no other worker takes it for dead on a machine that
#: has something better to do.
HEARTBEAT = 10.0

#: Seconds of a worker's processor within which it answers its witness. Not those of a clock: a
#: machine that has something better to do is no fault of the worker.
LATE = 5.0
#: Seconds of a clock; by then it has to answer on any machine.
UNANSWERED = 120.0

#: Seconds between two questions of the witness.
PAUSE = 0.05


@dataclass(frozen=True)
class Figures:
    """What a worker has at one moment; memory is in KiB, and green threads are threads."""

    memory: int
    threads: int
    files: int
    connections: int
    sockets: int

    def peak(self, other: Figures) -> Figures:
        """Return the greater of each two."""
        both = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Figures(*map(max, both))

    def rest(self, before: Figures, slack: int) -> list[str]:
        """Name what is not back to where it was *before*, besides *slack* KiB of memory."""
        over = {
            one.name: getattr(self, one.name) - getattr(before, one.name) for one in fields(self)
        }
        over["memory"] -= slack
        return [name for name, more in over.items() if more > 0]


class WatchedWorker:
    """
    A worker whose output goes to a file, with a witness; a context manager.

    Args:
        directory: For the file.
        ping_timeout: Seconds after which it misses a client.
        backend: The URL of the backend.
        channel: Of the cluster; a new one if it is empty.
    """

    def __init__(
        self, directory: Path, ping_timeout: float, backend: str = "memory://", channel: str = ""
    ) -> None:
        self._log = directory / f"{uuid4().hex}.log"
        self._log.touch()
        channel = channel or f"fuzz-{uuid4().hex}"
        config = json.dumps({"log": str(self._log), "ping_timeout": ping_timeout})
        options = ["--config", config, "--heartbeat", str(HEARTBEAT)]
        self._worker = Worker(backend, channel, APPLICATION, *options)
        self.channel = channel

    def __enter__(self) -> WatchedWorker:
        self._worker.wait_until_listening()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._worker.stop()

    @property
    def url(self) -> str:
        """Where it serves."""
        return self._worker.url

    def figures(self) -> Figures:
        """Ask what it has."""
        with urlopen(f"{self.url}/figures", timeout=UNANSWERED) as answer:
            return Figures(**json.load(answer))

    def processor_seconds(self) -> float:
        """Return how long it has computed so far."""
        found = Path(f"/proc/{self._worker.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK")

    def lines(self) -> list[str]:
        """Return what it has logged."""
        return self._log.read_text(errors="replace").splitlines()

    def kinds_of_lines(self) -> Counter[str]:
        """Count the lines of the log, those that differ in numbers only as the same."""
        return Counter(re.sub(r"\d+", "N", line)[:200] for line in self.lines())


class Witness(threading.Thread):
    """
    Asks a worker something, again and again; a context manager.

    Args:
        worker: The worker.
        ask: Asks, and returns when there is the right answer.

    Attributes:
        asked: How often it has asked.
        slowest: The longest time that an answer took, in seconds of a clock.
        costliest: ... and in seconds of the worker's processor.
        complaints: Answers that were late, wrong or missing.
    """

    def __init__(self, worker: WatchedWorker, ask: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._worker, self._ask = worker, ask
        self._ending = threading.Event()
        self.asked = 0
        self.slowest = self.costliest = 0.0
        self.complaints: list[str] = []

    def __enter__(self) -> Witness:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        self.join()

    def run(self) -> None:
        try:
            while not self._ending.wait(PAUSE):
                self._ask_once()
        except Exception as error:  # noqa: BLE001 - it makes the run fail
            self.complaints.append(f"The witness has no answer: {error!r}")

    def _ask_once(self) -> None:
        began, used = time.monotonic(), self._worker.processor_seconds()
        self._ask()
        took, used = time.monotonic() - began, self._worker.processor_seconds() - used
        self.asked += 1
        self.slowest, self.costliest = max(self.slowest, took), max(self.costliest, used)
        if used > LATE:
            self.complaints.append(f"The witness had to wait for {used:.1f} s of the processor.")


def asks_for_itself(client: RawClient) -> Callable[[], object]:
    """Return a question to a worker whose answer is the witness's own socket ID."""

    def ask() -> None:
        answer = client.request("get", "/me")
        if answer["statusCode"] != 200 or answer["body"]["sid"] != client.sid:
            raise AssertionError(answer)

    return ask


def open_witness(stack: ExitStack, worker: WatchedWorker) -> RawClient:
    """Connect a client that outlasts all noise."""
    client = stack.enter_context(RawClient(worker.url))
    client.give_up_after(UNANSWERED)
    return client
