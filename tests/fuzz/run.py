"""One run: rest, noise, rest; and whether the second rest is like the first."""

from __future__ import annotations

import functools
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.clients import (
    FrameClient,
    NoisyClient,
    PollingClient,
    RequestClient,
    TcpClient,
)
from tests.fuzz.noise import Noise
from tests.fuzz.worker import Figures, WatchedWorker, Witness, asks_for_itself, open_witness

#: KiB of memory that may stay: what Python and the C library keep for later.
SLACK = 8 * 2**10
#: Seconds between two looks.
LOOK = 1.0
#: Seconds after which a run that takes long says what there is.
TELL = 60.0
#: The part of the time that goes into warming up: what is made once is no loss.
WARM_UP = 0.2
#: Lines a minute besides one for each connection: each limit is warned of once a minute.
LINES = 20
#: So many looks in a row must be alike for a worker to be at rest.
STABLE = 3
#: KiB of memory by which two looks that are alike may differ.
ALIKE = 500


@dataclass(frozen=True)
class Plan:
    """
    What is done.

    Args:
        seconds: How long noise is made.
        seed: Everything random comes from it, as far as threads let it.
    """

    seconds: float
    seed: int

    @property
    def ping_timeout(self) -> float:
        """Seconds after which a worker misses a client; a run that is short need not wait long."""
        return min(60.0, max(5.0, self.seconds / 10))

    @property
    def patience(self) -> float:
        """
        Seconds within which a connection is served or ended, and a worker is at rest again.

        A client that answers no ping is missed after `ping_timeout`, and python-engineio looks once
        in that time.
        """
        return max(40.0, 3 * self.ping_timeout)

    @property
    def bound(self) -> float:
        """Seconds after which the run hangs: its clients end, and it waits for rest, twice."""
        return self.seconds + 3 * self.patience


class Run(ABC):
    """
    A worker under noise, and what was seen of it.

    Args:
        plan: What is done.

    Attributes:
        before: The figures at rest, after a warm-up.
        peak: The greatest ones.
        after: Those at rest again.
        counts: What was sent and answered.
        complaints: What must not be.
        lines: The lines of the log, those that differ in numbers only as one kind.
        witness: The witness.
    """

    before: Figures
    peak: Figures
    after: Figures
    witness: Witness

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stack = ExitStack()
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.lines: Counter[str] = Counter()

    def play(self) -> None:
        """Make noise, and look at what it leaves."""
        with self._stack:
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            began = time.monotonic()
            worker = self._start(directory)
            self.peak = worker.figures()
            with self.witness:
                self._make_noise(worker, self._plan.seconds * WARM_UP, "warm-up")
                self.before = self._settle(worker)
                self._make_noise(worker, self._plan.seconds * (1 - WARM_UP), "noise")
                self.after = self._rest(worker)
            self._judge(worker, (time.monotonic() - began) / 60)

    @abstractmethod
    def _start(self, directory: Path) -> WatchedWorker:
        """Start the worker, and make the witness."""

    @abstractmethod
    def _clients(self, worker: WatchedWorker, phase: str) -> Sequence[NoisyClient]:
        """Return the clients that make noise."""

    def _make_noise(self, worker: WatchedWorker, seconds: float, phase: str) -> None:
        clients = self._clients(worker, phase)
        for client in clients:
            client.start()
        end, told = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end and not self.witness.complaints:
            time.sleep(min(LOOK, seconds))
            self.peak = self.peak.peak(figures := worker.figures())
            if time.monotonic() - told > TELL:
                told = time.monotonic()
                print(f"{end - told:.0f} s of {phase} left: {figures}", flush=True)
        for client in clients:
            client.leave()
        for client in clients:
            client.join()
            self.counts += client.counts
            self.complaints += client.complaints

    def _settle(self, worker: WatchedWorker) -> Figures:
        """Return the figures once the witness is alone, and memory does not change any more."""
        deadline = time.monotonic() + self._plan.patience
        looks = [worker.figures()]
        while time.monotonic() < deadline:
            time.sleep(LOOK)
            looks = [*looks, worker.figures()][-STABLE:]
            memory = [one.memory for one in looks]
            alone = all(one.connections == 1 for one in looks)
            if alone and len(looks) == STABLE and max(memory) - min(memory) < ALIKE:
                break
        return functools.reduce(Figures.peak, looks)  # a thread more or less comes and goes

    def _rest(self, worker: WatchedWorker) -> Figures:
        """Return the figures once they are as before, or those at the end of the time for that."""
        deadline = time.monotonic() + self._plan.patience
        while True:
            figures = worker.figures()
            if not figures.rest(self.before, SLACK) or time.monotonic() > deadline:
                return figures
            time.sleep(LOOK)

    def _judge(self, worker: WatchedWorker, minutes: float) -> None:
        self.lines = worker.kinds_of_lines()
        self.complaints += self.witness.complaints
        for name in self.after.rest(self.before, SLACK):
            self.complaints.append(f"{name} has not returned to where it was")
        if any(line.startswith("Traceback") for line in self.lines):
            self.complaints.append("there are tracebacks in the log")
        allowed = LINES * (1 + minutes) + self.counts["connections"]
        if sum(self.lines.values()) > allowed:
            self.complaints.append("the log has more lines than one for each connection and minute")


class SocketRun(Run):
    """Noise over WebSockets, polling and bare TCP."""

    def _start(self, directory: Path) -> WatchedWorker:
        worker = self._stack.enter_context(WatchedWorker(directory, self._plan.ping_timeout))
        self.witness = Witness(worker, asks_for_itself(open_witness(self._stack, worker)))
        return worker

    def _clients(self, worker: WatchedWorker, phase: str) -> Sequence[NoisyClient]:
        kinds = [FrameClient] * 8 + [PollingClient] * 2 + [TcpClient]
        return [
            kind(worker.url, Noise((self._plan.seed, phase, number)), self._plan.patience)
            for number, kind in enumerate(kinds)
        ]


class RequestRun(SocketRun):
    """Socket requests of every shape, each of which has to be answered."""

    def _clients(self, worker: WatchedWorker, phase: str) -> Sequence[NoisyClient]:
        seeds = [(self._plan.seed, phase, number) for number in range(8)]
        return [RequestClient(worker.url, Noise(seed), self._plan.patience) for seed in seeds]
