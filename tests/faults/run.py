"""One run: load, a fault, rest, checks, and the same again."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import uuid4

from tests.faults.kinds import Fault, Target, name
from tests.faults.load import Load
from tests.faults.seats import Seat
from tests.faults.settle import Settling, Unsettled, resolve
from tests.faults.slots import Slot
from tests.faults.standstill import Standstill
from tests.faults.verdict import Verdict
from tests.support.brokers import Broker

#: Seconds that callers wait for a confirmation, the library's default.
CONFIRM = 5.0

#: What may wait for the broker: so little that an outage of some seconds fills it now and then.
OUTBOX_BYTES = 8 * 2**10

#: Seconds of load before a fault and after it, at least and at most.
CALM = 0.3, 2.0


@dataclass(frozen=True)
class Plan:
    """
    What is done.

    Args:
        seed: Everything random comes from it, as far as threads let it.
        seconds: How long faults are chosen at random; 0 is each kind of fault once.
        heartbeat: Seconds between two heartbeats of a worker.
        faults: The kinds of faults.
        workers: How many.
        clients: How many of each worker.
        rooms: How many.
    """

    seed: int
    seconds: float
    heartbeat: float
    faults: Sequence[Fault]
    workers: int = 3
    clients: int = 3
    rooms: int = 4


@dataclass
class Row:
    """What was measured around one kind of fault."""

    times: int = 0
    block: float = 0.0  # seconds of the longest call
    wait: float = 0.0  # ... and of the longest wait for an outcome
    rest: float = 0.0  # seconds until all was at rest again, at the longest
    fates: Counter[str] = field(default_factory=Counter)


class Run:
    """
    A cluster under load, and what was seen of it; a context manager.

    Args:
        broker: That all workers share.
        plan: What is done.
    """

    def __init__(self, broker: Broker, plan: Plan) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._stack = ExitStack()
        self.verdict = Verdict()
        self.rows: dict[str, Row] = {}
        self.seconds = 0.0
        self.standstill = Standstill()
        self._stack.callback(self.standstill.stop)
        try:
            self._start(broker)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def fates(self) -> Counter[str]:
        """What calls came to, counted."""
        return self._load.fates

    def play(self) -> None:
        """Let one fault follow the other."""
        began, title = time.monotonic(), "no fault"
        try:
            self._play(title, lambda target: target.last(*CALM))
            for fault in self._faults(began):
                title = name(fault)
                self._play(title, fault)
        except Unsettled as error:
            self.verdict.complain("not settled", f"[{title}] {error}")
        self.seconds = time.monotonic() - began

    def _start(self, broker: Broker) -> None:
        plan, channel = self._plan, f"faults-{uuid4().hex}"
        config = {
            "ROOMS_CONFIRM_TIMEOUT": CONFIRM,
            "ROOMS_OUTBOX_BYTES": OUTBOX_BYTES,
            "ROOMS_BACKEND_OPTIONS": broker.options,
        }
        options = ["--heartbeat", str(plan.heartbeat), "--config", json.dumps(config)]
        self._seats: list[Seat] = []
        for index in range(plan.workers):
            self._seats.append(seat := Seat(index, broker, channel, *options))
            self._stack.callback(seat.stop)
        for seat in self._seats:
            seat.wait_until_listening()
        rooms = [f"room {number}" for number in range(plan.rooms)]
        self._slots: list[Slot] = []
        for number in range(plan.clients * plan.workers):
            at = [self._seats[(number + n) % plan.workers] for n in range(plan.rooms)]
            slot = Slot(self._seats[number % plan.workers], dict(zip(rooms, at, strict=True)))
            self._slots.append(slot)
            self._stack.callback(slot.stop)
        self._load = Load(plan.seed, self._seats, self._slots, rooms)
        self._stack.callback(self._load.stop)
        self._settling = Settling(self._seats, self._slots)
        self._settling.settle()
        self._target = Target(
            broker, self._seats, plan.heartbeat, self._rng, brief=not plan.seconds
        )

    def _faults(self, began: float) -> Iterator[Fault]:
        order = list(self._plan.faults)
        while True:
            self._rng.shuffle(order)
            for fault in order:
                yield fault
                if self._plan.seconds and time.monotonic() - began > self._plan.seconds:
                    return
            if not self._plan.seconds:
                return

    def _play(self, title: str, fault: Fault) -> None:
        """Let a fault happen under load, and check what came of it."""
        fates = self._load.fates.copy()
        self._load.go_on()
        self._target.last(*CALM)
        fault(self._target)
        self._target.last(*CALM)
        began = time.monotonic()
        if not self._load.pause():
            self.verdict.complain("operations without an outcome", "a call does not return")
        self._settling.settle()
        row = self.rows.setdefault(title, Row())
        row.times += 1
        row.rest = max(row.rest, time.monotonic() - began)
        row.block = max(row.block, self._load.block)
        row.wait = max(row.wait, self._load.wait)
        self._check(title)
        row.fates += self._load.fates - fates

    def _check(self, title: str) -> None:
        verdict, lives = self.verdict, [life for slot in self._slots for life in slot.lives]
        complaints = len(verdict.examples)
        verdict.counts["workers that started over"] += sum(s.restarted for s in self._seats)
        verdict.check_ends(lives)
        verdict.check_outcomes(lives)
        verdict.check_broadcasts(lives, self._load.says)
        verdict.complain("broadcasts lost", "a fence", self._settling.lost_fences)
        resolve([slot.lives[-1] for slot in self._slots], self._load)
        verdict.check_memberships(self._seats, [slot.lives[-1] for slot in self._slots])
        for seat in self._seats:
            self._check_worker(seat)
        if len(verdict.examples) > complaints:
            verdict.examples[complaints] = f"[{title}] {verdict.examples[complaints]}"
        self._begin_again()

    def _check_worker(self, seat: Seat) -> None:
        deadline = time.monotonic() + 2 * CONFIRM
        while (without := seat.post("/state")["open"]) and time.monotonic() < deadline:
            pass  # each asking takes its time
        self.verdict.check_worker(seat, without, seat.post("/complaints"))

    def _begin_again(self) -> None:
        self._load.begin_again()
        self._settling.lost_fences = 0
        for slot in self._slots:
            slot.begin_again()
        for seat in self._seats:
            seat.heal()  # now what a dead connection held comes, far too late
            seat.restarted = seat.paused = False
