"""Random schedules: what happens to the cluster, from one seed."""

from __future__ import annotations

from dataclasses import dataclass

from flask_rooms.errors import BackendUnavailable
from tests.simulation.bus import Faults
from tests.simulation.promises import Promises
from tests.simulation.world import NodeFactory, World, make_node

ROOMS = [f"r{number}" for number in range(5)]


@dataclass(frozen=True)
class Plan:
    """
    How a schedule is made.

    Args:
        workers: How many at the start.
        sockets: How many of each.
        rounds: How often something is done, about 10 times a second of virtual time.
        faults: Whether anything goes wrong.
    """

    workers: int = 4
    sockets: int = 3
    rounds: int = 200
    faults: bool = True


class Schedule:
    """
    Plays one random schedule and checks the promises.

    Args:
        seed: Everything random comes from it.
        plan: The size.
        make: Makes the nodes.
    """

    def __init__(self, seed: int, plan: Plan, make: NodeFactory = make_node) -> None:
        self.world = World(seed, make)
        self.promises = Promises(self.world)
        self._plan = plan
        self._rng = self.world.rng

    def play(self) -> int:
        """
        Run the schedule.

        Returns:
            The steps taken.

        Raises:
            AssertionError: A promise is broken.
        """
        world, plan = self.world, self._plan
        for _ in range(plan.workers):
            world.start()
        world.run(4.0)
        for worker in list(world.workers.values()):
            for _ in range(plan.sockets):
                world.connect(worker)
        for _ in range(plan.rounds):
            self._act()
            if plan.faults and self._rng.random() < 0.05:
                self._upset()
            world.run(self._rng.expovariate(10))
            self.promises.check_streams(complete=False)
        self._heal()
        world.run(60.0)
        self.promises.check_streams(complete=True)
        self.promises.check_outcomes()
        return world.steps

    def _act(self) -> None:
        world, rng = self.world, self._rng
        active = [w for w in world.workers.values() if not w.paused]
        sids = [sid for w in world.workers.values() for sid in w.memberships]
        if not active:
            return
        worker, room = rng.choice(active), rng.choice(ROOMS)
        if not sids or rng.random() < 0.05:
            world.connect(worker)
            return
        what = rng.random()
        try:
            if what < 0.35:
                self.promises.join(worker, rng.choice(sids), room)
            elif what < 0.65:
                self.promises.leave(worker, tuple(rng.sample(sids, min(3, len(sids)))), room)
            else:
                self.promises.broadcast(worker, room)
        except BackendUnavailable:
            pass  # said so, and nothing has changed

    def _upset(self) -> None:
        world, rng = self.world, self._rng
        faults = world.bus.faults
        workers = list(world.workers.values())
        victim = rng.choice(workers) if workers else None
        choice = rng.randrange(9)
        if choice == 0:
            world.bus.faults = Faults(
                delay=rng.choice([0.0, 0.05, 0.5]),
                loss=rng.choice([0.0, 0.1, 0.5]),
                doubling=rng.choice([0.0, 0.3]),
                reordering=rng.choice([0.0, 0.2]),
            )
        elif choice == 1:
            faults.down = True
        elif choice == 2 and faults.down:
            world.reconnect_all()
        elif choice == 3 and victim and len(workers) > 2:
            world.crash(victim)
        elif choice == 4 and victim and len(workers) > 2:
            world.stop(victim)
        elif choice == 5:
            world.start()
        elif choice == 6 and victim:
            world.pause(victim)
            world._after(rng.choice([0.5, 3.0, 15.0]), lambda: self._resume(victim.name))
        elif choice == 7 and victim:
            rng.choice([faults.deaf, faults.mute]).add(victim.name)
            world._after(rng.choice([0.5, 3.0, 15.0]), lambda: self._restore(victim.name))
        else:
            self._heal()

    def _resume(self, name: str) -> None:
        if name in self.world.workers and self.world.workers[name].paused:
            self.world.resume(self.world.workers[name])

    def _restore(self, name: str) -> None:
        self.world.bus.faults.deaf.discard(name)
        self.world.bus.faults.mute.discard(name)

    def _heal(self) -> None:
        was_down = self.world.bus.faults.down
        self.world.bus.faults = Faults()
        if was_down:
            self.world.reconnect_all()
        for worker in list(self.world.workers.values()):
            if worker.paused:
                self.world.resume(worker)
