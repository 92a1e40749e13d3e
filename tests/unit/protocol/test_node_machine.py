"""Small cases, by hypothesis: two to four workers, and a bus that delivers frames at random."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flask_rooms.protocol.messages import Frame
from tests.simulation import mutations
from tests.simulation.bus import Bus
from tests.simulation.demands import BrokenPromise
from tests.simulation.mutations import Mutant, world_without
from tests.simulation.play import RECOVERY

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

HOSTS = ("a", "b", "c", "d")
ROOMS = ("red", "blue")

hosts, clients, rooms = st.sampled_from(HOSTS), st.sampled_from("pqrs"), st.sampled_from(ROOMS)


class HandDriven(Bus):
    """Keeps each published frame until the test delivers, drops, duplicates or delays it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.queues: defaultdict[str, deque[tuple[str, Frame]]] = defaultdict(deque)

    def _carry(self, sender: str, receiver: str, frame: Frame, at: float) -> None:
        self.queues[receiver].append((sender, frame))

    def deliver(self, receiver: str) -> None:
        """Deliver the next frame."""
        sender, frame = self.queues[receiver].popleft()
        self._land(sender, receiver, frame)

    def drop(self, receiver: str) -> None:
        """Lose the next frame."""
        self._spoil(receiver, self.queues[receiver].popleft())

    def double(self, receiver: str) -> None:
        """Add a copy of the next frame after all others."""
        self.queues[receiver].append(self.queues[receiver][0])

    def swap(self, receiver: str) -> None:
        """Let the second frame overtake the next one."""
        queue = self.queues[receiver]
        first, second = queue.popleft(), queue.popleft()
        queue.extendleft((first, second))
        for one in (first, second):
            self._spoil(receiver, one)

    def _spoil(self, receiver: str, one: tuple[str, Frame]) -> None:
        self.hurt[one[0], receiver] = self._clock()


class Machine(RuleBasedStateMachine):
    """Workers in a World, which checks the promises at every step."""

    without: Mutant | None = None

    def __init__(self) -> None:
        super().__init__()
        self.world = world_without(self.without, seed=0)
        old = self.world.bus
        self.bus = HandDriven(0, old._clock, old._at, old._arrive)
        self.world.bus = self.bus

    @initialize()
    def two_workers(self) -> None:
        for host in HOSTS[:2]:
            self.start(host)
        self.deliver_all()

    # -- workers and sockets --------------------------------------------------------------

    @rule(host=hosts)
    def start(self, host: str) -> None:
        self.world.start(host)

    @rule(host=hosts)
    def crash(self, host: str) -> None:
        self.world.crash(host)
        self.bus.queues.pop(host, None)

    @rule(host=hosts)
    def stop(self, host: str) -> None:
        self.world.stop(host)
        self.bus.queues.pop(host, None)

    @rule(host=hosts, client=clients)
    def connect(self, host: str, client: str) -> None:
        self.world.connect(client, host)

    @rule(
        host=hosts,
        action=st.sampled_from(("join", "leave")),
        clients=st.lists(clients, min_size=1, max_size=2, unique=True).map(tuple),
        room=rooms,
    )
    def move(
        self, host: str, action: Literal["join", "leave"], clients: tuple[str, ...], room: str
    ) -> None:
        self.world.move(host, action, clients, room)

    @rule(host=hosts, room=rooms)
    def empty(self, host: str, room: str) -> None:
        self.world.empty(host, room)

    @rule(host=hosts, room=rooms)
    def broadcast(self, host: str, room: str) -> None:
        self.world.broadcast(host, room)

    # -- the bus --------------------------------------------------------------------------

    @precondition(lambda self: any(self.bus.queues.values()))
    @rule(data=st.data(), what=st.sampled_from(("deliver", "deliver", "drop", "double", "swap")))
    def frame(self, data: st.DataObject, what: str) -> None:
        waiting = sorted(host for host, queue in self.bus.queues.items() if queue)
        host = data.draw(st.sampled_from(waiting))
        if what != "swap" or len(self.bus.queues[host]) > 1:
            getattr(self.bus, what)(host)

    @rule()
    def deliver_all(self) -> None:
        while waiting := [host for host, queue in self.bus.queues.items() if queue]:
            for host in waiting:
                self.bus.deliver(host)

    @rule(host=hosts, seconds=st.sampled_from((0.5, 4.0, 9.0)), torn=st.booleans())
    def away(self, host: str, seconds: float, torn: bool) -> None:
        if host in self.world.workers:
            self.world.cut_off((host,), seconds, torn=torn)
            self.bus.queues.pop(host, None)

    # -- time -----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.1, 1.0, 2.0, 6.0)))
    def let_pass(self, seconds: float) -> None:
        self.world.trouble("", seconds)  # frames that are not delivered count as trouble
        self.world.run(self.world.now + seconds)

    def teardown(self) -> None:
        end = max(self.world.now, self.world.trouble_until()) + RECOVERY
        while self.world.now < end:
            self.deliver_all()
            self.world.run(self.world.now + 0.05)
        self.deliver_all()
        self.world.promises.check_end()


SMALL = settings(
    max_examples=600,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

#: Ends with the first broken promise. How soon that comes depends on the order of sets, which is
#: another one in each run.
UNTIL_CAUGHT = settings(SMALL, max_examples=5000, phases=[Phase.generate])

#: The mutants that small cases catch within seconds; others need more time, or a fuller outbox.
CAUGHT: list[Mutant] = [
    mutations.NoNacks,
    mutations.NoRetransmission,
    mutations.DuplicatesApplied,
    mutations.TailLossUnseen,
    mutations.UnknownAtOnce,
    mutations.StreamStartOffByOne,
    mutations.DeadNotToldAgain,
    mutations.NeverEvicted,
    mutations.AnyAnswerCounts,
    mutations.NoDeadline,
    mutations.AnswersFirst,
]


def test_promises_hold_in_small_cases() -> None:
    run_state_machine_as_test(Machine, settings=SMALL)


@pytest.mark.parametrize("mutant", CAUGHT, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught_in_small_cases(mutant: Mutant) -> None:
    class Broken(Machine):
        without = mutant

    with pytest.raises(BrokenPromise):
        run_state_machine_as_test(Broken, settings=UNTIL_CAUGHT)
