"""A simulated cluster whose workers tell each other things, and the promises about these."""

from __future__ import annotations

from dataclasses import dataclass

from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import Reply, Tell
from tests.simulation.changes import Call, Question
from tests.simulation.demands import demand
from tests.simulation.names import host_of
from tests.simulation.world import NodeFactory, Worker, World, make_node, nothing

#: Before a broadcast to this room its sender tells all workers something.
ROOM = "r0"


@dataclass(eq=False)
class Telling(Question):
    """A message for all workers; `answered` are those that have it."""


class TellingWorld(World):
    """
    A world whose workers tell all others something before some of their other calls.

    Args:
        seed: Decides the fate of each frame.
        make: Makes the nodes; a mutant makes broken ones.
    """

    def __init__(self, seed: int, make: NodeFactory = make_node) -> None:
        super().__init__(seed, make)
        self._tellings: list[Telling] = []

    def ask(self, host: str, room: str) -> None:
        """Let a worker tell all workers something, and then ask them."""
        self.tell(host)
        super().ask(host, room)

    def broadcast(self, host: str, room: str) -> None:
        """Let a worker send a broadcast, and for one room tell all workers something before."""
        if room == ROOM:
            self.tell(host)
        super().broadcast(host, room)

    def tell(self, host: str) -> None:
        """Let a worker tell all workers something."""
        worker = self._active(host)
        if worker is None:
            return
        tell = Tell("news", (str(self.moment()),))
        done = self._put(worker, tell, lambda: worker.node.call(tell, None, self._clock(worker)))
        if done is None:
            return
        number, events = done
        telling = self.promises.asks(worker, number, tell, Telling)
        assert isinstance(telling, Telling)
        self._tellings.append(telling)
        worker.calls[number] = telling, nothing
        self._handle(worker, events)
        self._flush(worker)

    def _apply(self, worker: Worker, event: Deliver) -> None:
        telling = self.promises.what(event)
        if not isinstance(telling, Telling):
            super()._apply(worker, event)
            return
        for call in self.promises.calls_before(event):
            late = [sid for sid in call.parts if self._is_due(worker, call, sid)]
            demand("told in order", not late, f"{worker.name} has still to do {call.change}")
        telling.answered.add(worker.name)
        self._submit(worker, Reply(event.sender, event.number, (worker.name,), (), last=True))

    def _is_due(self, worker: Worker, call: Call, sid: str) -> bool:
        part = call.parts[sid]
        is_open = not (part.carried_out or part.optional or call.is_over or call.lingers)
        return is_open and owner_of(sid) == worker.name and sid in worker.memberships

    def check_tells(self) -> None:
        """
        After a calm time, no live worker misses a message whose sender lives.

        Of one that has completed, the promises about calls say whom it may have left out.
        """
        for telling in self._tellings:
            if self.lives(telling.caller) and not telling.is_over:
                missing = sorted(telling.asked - telling.answered)
                missed = [name for name in missing if self._must_have(name, telling)]
                demand("no message lost", not missed, f"{missed} miss that of {telling.caller}")

    def _must_have(self, name: str, telling: Telling) -> bool:
        ways = host_of(telling.caller), host_of(name)
        can_reach = ways not in self.bus.copied and self.speak_alike(*ways)
        return self.lives(name) and name != telling.caller and can_reach
