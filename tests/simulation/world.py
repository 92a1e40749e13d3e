"""The simulated cluster: real Nodes with sockets, in virtual time, driven from one seed."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from flask_rooms.errors import BackendUnavailable
from flask_rooms.messages import Change, Done, Emit, Frame, Goodbye, Operation
from flask_rooms.node import Deliver, Event, Gone, Node, Outcast, Overdue, Settled
from flask_rooms.sids import owner_of
from flask_rooms.stream import Limits
from tests.simulation.bus import Bus

HEARTBEAT = 2.0
CONFIRM = 5.0
LIMITS = Limits(outbox=64 * 1024, log=64 * 1024, frame=4 * 1024)

NodeFactory = Callable[[str, float], Node]


def make_node(name: str, now: float, limits: Limits = LIMITS) -> Node:
    """Return a Node with the limits of the simulation."""
    return Node(name, now, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=limits)


@dataclass
class Ask:
    """A change that a worker has asked for, and what became of it."""

    worker: str
    change: Change
    at: float
    settled: Settled | None = None
    overdue: Overdue | None = None


@dataclass
class Worker:
    """One life of a worker: its node, its sockets, and what it has seen."""

    node: Node
    born: float
    skew: float  # its clock less the world's
    memberships: dict[str, set[str]] = field(default_factory=dict)
    ready: bool = False  # has heard itself: only then does it accept sockets
    paused: bool = False
    backlog: list[Frame] = field(default_factory=list)
    wakes_at: float = float("inf")
    submitted: list[tuple[int, Operation]] = field(default_factory=list)
    applied: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    @property
    def name(self) -> str:
        """The name of this life."""
        return self.node.name


class World:
    """
    Workers, sockets and the bus between them.

    Args:
        seed: Everything random comes from it.
        make: Makes the nodes; the mutation tests give a broken one.
    """

    def __init__(self, seed: int, make: NodeFactory = make_node) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self._make = make
        self._names = itertools.count()
        self._sids = itertools.count()
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.bus = Bus(self.rng, self._carry)
        self.workers: dict[str, Worker] = {}
        self.buried: dict[str, Worker] = {}
        self.asks: dict[tuple[str, int], Ask] = {}
        self.received: defaultdict[str, list[int]] = defaultdict(list)  # sid -> broadcasts
        self.history: list[str] = []
        self.on_settled: list[Callable[[Ask], None]] = []
        self.on_receive: list[Callable[[str, int], None]] = []

    # -- what tests and schedules do ------------------------------------------------------

    def start(self) -> Worker:
        """Bring a new worker to life."""
        name = f"w{next(self._names):05d}"
        skew = self.rng.uniform(-7200, 7200)
        worker = Worker(self._make(name, self.now + skew), self.now, skew)
        self.workers[name] = worker
        self.bus.workers.add(name)
        self._flush(worker)
        return worker

    def connect(self, worker: Worker) -> str | None:
        """Connect a socket; None while the worker is not ready."""
        if not worker.ready or worker.paused:
            return None
        sid = f"{worker.name}.s{next(self._sids)}"
        worker.memberships[sid] = {sid}
        return sid

    def change(
        self, worker: Worker, action: Literal["join", "leave"], sids: tuple[str, ...], room: str
    ) -> Ask:
        """Let *worker* move sockets; complete at once where they are its own."""
        change = Change(action, "/", sids, (room,))
        own = tuple(sid for sid in sids if owner_of(sid) == worker.name)
        owners: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for sid in sids:
            if owner_of(sid) != worker.name:
                owners[owner_of(sid)] += (sid,)
        ask = Ask(worker.name, change, self.now)
        if owners:
            rest = tuple(sid for theirs in owners.values() for sid in theirs)
            sent = Change(action, "/", rest, (room,))
            number, events = worker.node.ask(sent, dict(owners), self._clock(worker))
            worker.submitted.append((number, sent))
            self.asks[worker.name, number] = ask
            self._handle(worker, events)
        else:
            ask.settled = Settled(0, 0, 0, ())
        self._apply(worker, Change(action, "/", own, (room,)))
        self._flush(worker)
        return ask

    def broadcast(self, worker: Worker, room: str, tag: int) -> None:
        """Let *worker* send the broadcast *tag* to a room."""
        emit = Emit("/", (str(tag),), (room,), (), 0)
        self._apply(worker, emit)
        number = worker.node.submit(emit)
        worker.submitted.append((number, emit))
        self._flush(worker)

    def stop(self, worker: Worker) -> None:
        """Let a worker leave in good order."""
        try:
            worker.node.submit(Goodbye())
            self._flush(worker)
        except BackendUnavailable:
            pass
        self.crash(worker)

    def crash(self, worker: Worker) -> None:
        """Let a worker vanish, with its sockets."""
        self.workers.pop(worker.name, None)
        self.bus.workers.discard(worker.name)
        self.buried[worker.name] = worker

    def pause(self, worker: Worker) -> None:
        """Stop a worker as SIGSTOP does; what is sent to it waits."""
        worker.paused = True

    def resume(self, worker: Worker) -> None:
        """Let it go on with what has come meanwhile."""
        worker.paused = False
        backlog, worker.backlog = worker.backlog, []
        for frame in backlog:
            self._hear(worker.name, frame)
        self._tick(worker.name)

    def reconnect_all(self) -> None:
        """Bring the broker back; every worker notices by itself, a little later."""
        self.bus.faults.down = False
        for name in list(self.workers):
            self._after(self.rng.uniform(0, 1), partial(self._reconnected, name))

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now + seconds
        most = self.steps + 100_000 * (1 + int(seconds))
        while self._agenda and self._agenda[0][0] <= end:
            self.now, _, action = heapq.heappop(self._agenda)
            self.steps += 1
            assert self.steps < most, "the workers keep each other busy for ever"
            action()
        self.now = end

    # -- the machinery --------------------------------------------------------------------

    def _clock(self, worker: Worker) -> float:
        return self.now + worker.skew

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), action))

    def _carry(self, seconds: float, name: str, frame: Frame) -> None:
        self._after(seconds, lambda: self._hear(name, frame))

    def _hear(self, name: str, frame: Frame) -> None:
        worker = self.workers.get(name)
        if worker is None:
            return
        if worker.paused:
            worker.backlog.append(frame)
            return
        if frame.sender == name:
            worker.ready = True
        events = worker.node.receive(frame, self._clock(worker))
        events += worker.node.tick(self._clock(worker))
        self._handle(worker, events)
        self._flush(worker)

    def _tick(self, name: str) -> None:
        worker = self.workers.get(name)
        if worker is None or worker.paused:
            return
        worker.wakes_at = float("inf")
        self._handle(worker, worker.node.tick(self._clock(worker)))
        self._flush(worker)

    def _reconnected(self, name: str) -> None:
        worker = self.workers.get(name)
        if worker is not None and not worker.paused:
            worker.node.reconnected(self._clock(worker))
            self._flush(worker)

    def _flush(self, worker: Worker) -> None:
        if worker.name not in self.workers or worker.paused:
            return
        while (frame := worker.node.take(self._clock(worker))) is not None:
            if not self.bus.publish(frame):
                worker.node.give_back(frame, self._clock(worker))
                self._wake(worker, self.now + 0.2)
                return
        self._wake(worker, worker.node.wakes_at - worker.skew)

    def _wake(self, worker: Worker, at: float) -> None:
        if at < worker.wakes_at:
            worker.wakes_at = at
            self._after(max(1e-6, at - self.now), lambda: self._tick(worker.name))

    def _handle(self, worker: Worker, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Deliver):
                worker.applied[event.sender].append(event.number)
                self._deliver(worker, event)
            elif isinstance(event, Settled):
                ask = self.asks[worker.name, event.number]
                assert ask.settled is None, "settled twice"
                assert ask.overdue is None, "settled after it was overdue"
                ask.settled = event
                for hook in self.on_settled:
                    hook(ask)
            elif isinstance(event, Overdue):
                ask = self.asks[worker.name, event.number]
                assert ask.settled is None, "overdue after it was settled"
                ask.overdue = event
            elif isinstance(event, Outcast):
                self.history.append(f"{self.now:.2f} {worker.name} outcast: {event.reason}")
                self.crash(worker)
                self.start()
                return
            else:
                assert isinstance(event, Gone)

    def _deliver(self, worker: Worker, event: Deliver) -> None:
        operation = event.operation
        if isinstance(operation, Change):
            own = tuple(sid for sid in operation.sids if owner_of(sid) == worker.name)
            if own:
                part = Change(operation.action, "/", own, operation.rooms)
                changed, unchanged, unknown = self._apply(worker, part)
                done = Done(event.sender, event.number, changed, unchanged, unknown)
                worker.submitted.append((worker.node.submit(done), done))
        else:
            self._apply(worker, operation)

    def _apply(self, worker: Worker, operation: Operation) -> tuple[int, int, tuple[str, ...]]:
        if isinstance(operation, Emit):
            assert operation.rooms is not None
            for sid, rooms in worker.memberships.items():
                if rooms.intersection(map(str, operation.rooms)):
                    tag = int(operation.packet[0])
                    self.received[sid].append(tag)
                    for hook in self.on_receive:
                        hook(sid, tag)
            return 0, 0, ()
        assert isinstance(operation, Change)
        changed = unchanged = 0
        unknown: list[str] = []
        room = str(operation.rooms[0])
        for sid in operation.sids:
            if sid not in worker.memberships:
                unknown.append(sid)
            elif (room in worker.memberships[sid]) == (operation.action == "join"):
                unchanged += 1
            else:
                changed += 1
                worker.memberships[sid] ^= {room}
        return changed, unchanged, tuple(unknown)
