"""
Rule `newest-stays`: of the sockets of a user that have older ones disconnected, one is left.

Registries of several workers exchange their calls here by queues, in any order that the streams of
the workers allow. Their clocks differ by hours, and workers start in between.
"""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, field

import pytest

from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.ids import new_sid, new_worker_name
from flask_rooms.protocol.messages import Change, ConnectTime, Options, User

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

ANN = User("ann")
HOUR = 3_600_000_000  # microseconds


@dataclass(eq=False)
class Worker:
    """A registry, with a clock that may be hours ahead, and what is on its way to it."""

    ahead: int
    registry: Registry = field(default_factory=Registry)
    name: str = field(default_factory=new_worker_name)
    inbox: dict[Worker, deque[tuple[str, ConnectTime, int]]] = field(default_factory=dict)
    sockets: list[Socket] = field(default_factory=list)
    undecided: list[Socket] = field(default_factory=list)

    def connect(self) -> None:
        """Accept a socket, which has not had the others disconnected yet."""
        sid = new_sid(self.name)
        attempt = self.registry.begin("/", sid)
        assert attempt is not None
        attempt.user = ANN
        if not self.sockets:
            self.registry.note_newer(time.time_ns() // 1000 + self.ahead)
        assert self.registry.admit(attempt, sid) is not None
        socket = self.registry.accept("/", sid)
        assert socket is not None
        self.registry.finish(attempt)
        self.sockets.append(socket)
        self.undecided.append(socket)

    def apply(self, limit: ConnectTime) -> int:
        change = Change("disconnect", "/", (), (), ANN, options=Options(older_than=limit))
        return self.registry.apply(change).newer

    def give_way(self, sid: str, newer: int) -> None:
        self.registry.note_newer(newer)
        self.registry.apply(Change("disconnect", "/", (sid,), ()))


class World:
    """Workers, of which a seed decides what happens next."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.workers: list[Worker] = []
        self.start()

    def start(self) -> None:
        """Start a worker, which gets what is said from now on."""
        worker = Worker(self.random.choice([0, 1, HOUR, 5 * HOUR, 1000 * HOUR]))
        for other in self.workers:
            worker.inbox[other], other.inbox[worker] = deque(), deque()
        self.workers.append(worker)

    def call(self, worker: Worker) -> None:
        """Have the sockets disconnected that are older than one of this worker."""
        socket = worker.undecided.pop(self.random.randrange(len(worker.undecided)))
        limit = worker.registry.outlast(socket)
        for other in self.workers:
            if other is not worker:
                other.inbox[worker].append(("call", limit, 0))
        worker.apply(limit)

    def deliver(self, worker: Worker, sender: Worker) -> None:
        kind, limit, newer = worker.inbox[sender].popleft()
        if kind == "call":
            sender.inbox[worker].append(("done", limit, worker.apply(limit)))
        elif newer:
            worker.give_way(limit[1], newer)

    def step(self) -> bool:
        """Let one thing happen; False when nothing is left to happen."""
        ready = [
            (worker, sender)
            for worker in self.workers
            for sender, waiting in worker.inbox.items()
            if waiting
        ]
        callers = [worker for worker in self.workers if worker.undecided]
        moves: list[Worker | tuple[Worker, Worker]] = [*ready, *callers]
        if not moves:
            return False
        move = self.random.choice(moves)
        if isinstance(move, Worker):
            self.call(move)
        else:
            self.deliver(*move)
        return True

    def calm_down(self) -> None:
        while self.step():
            pass

    def live(self) -> list[Socket]:
        return [one for worker in self.workers for one in worker.sockets if not one.ended]


def test_exactly_one_socket_stays_whatever_the_clocks_say() -> None:
    for seed in range(400):
        world = World(seed)
        for _ in range(world.random.randrange(2, 12)):
            if world.random.random() < 0.3 and len(world.workers) < 4:
                world.start()
            world.random.choice(world.workers).connect()
            for _ in range(world.random.randrange(4)):
                world.step()
        world.calm_down()

        assert len(world.live()) == 1, seed


def test_the_newest_stays_although_the_clock_of_its_worker_is_behind() -> None:
    world = World(0)
    world.start()
    world.workers[0].ahead, world.workers[1].ahead = HOUR, 0
    for number in range(10):
        worker = world.workers[number % 2]
        worker.connect()
        world.calm_down()

        assert world.live() == [worker.sockets[-1]]


def test_a_worker_that_was_behind_catches_up_with_the_first_answer() -> None:
    world = World(0)
    world.workers[0].ahead = HOUR
    world.workers[0].connect()
    world.calm_down()
    world.start()
    newcomer = world.workers[1]
    newcomer.ahead = 0

    stays = []
    for _ in range(2):
        newcomer.connect()
        world.calm_down()
        stays.append(world.live()[0])

    # The newcomer cannot know that a socket was there before; its next one is the newest.
    assert stays == [world.workers[0].sockets[0], newcomer.sockets[1]]
