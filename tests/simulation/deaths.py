"""The promises about the dead: none without cause, and each learns that it is counted as dead."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flask_rooms.protocol.events import Evicted
from flask_rooms.protocol.ids import owner_of
from tests.simulation.broadcasts import Message
from tests.simulation.demands import demand
from tests.simulation.names import host_of

if TYPE_CHECKING:
    from tests.simulation.world import Worker, World

#: Seconds for which a trouble excuses that a worker is counted as dead.
FORGIVEN = 20.0
#: Seconds of silence after which a worker may be counted as dead.
PATIENCE = 3.4
#: The same where no worker has counted it as dead: who is new has to count from the beginning.
PATIENCE_OF_NEWCOMERS = 5.0
#: Seconds in which every worker sends a heartbeat.
SPOKEN = 3.0


class Deaths:
    """
    Checks which worker counts which as dead.

    Args:
        world: The world to check.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        # Owner -> when it was first overlooked, as moment and time, and the caller
        self._doomed: dict[str, tuple[int, float, Worker]] = {}
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        self._left_out: dict[tuple[str, str], float] = {}

    def beats(self, worker: Worker) -> None:
        """A worker states which workers it counts as alive."""
        names = set(worker.node.peers)
        for name in self._named[worker.name] - names:
            self._left_out[worker.name, name] = self._world.now
            if self._world.lives(name):
                owner = self._world.workers[host_of(name)]
                self._check_cause(owner, worker, PATIENCE * max(owner.pace, worker.pace))
        self._named[worker.name] = names

    def overlooks(self, caller: Worker, sid: str) -> None:
        """A call has completed, and the owner of a socket has not carried it out."""
        owner = self._world.holder(sid)
        if owner is None:
            return
        if owner.unheard:  # it closes its connections when it is heard; its name stays ruled out
            self._left_out[caller.name, owner.name] = self._world.now
            return
        if (caller.name, owner.name) not in self._left_out:
            self.check_asked(owner, caller)
        if not self._world.speak_alike(caller.name, owner.name):
            return  # which cannot be told
        # The owner must be told before it receives any later broadcast.
        self._doomed.setdefault(owner.name, (self._world.moment(), self._world.now, caller))

    def check_asked(self, owner: Worker, caller: Worker) -> None:
        """A call has completed, and a live worker has not been asked."""
        world = self._world
        # A broker does not count a worker that is away, and may count others in its place.
        away = world.now - world.away_of(owner.host) < self._forgiven
        uncounted = away and not caller.node.is_settled
        is_left_out = any(name == owner.name for _, name in self._left_out)
        if not uncounted:
            # One whose messages cannot be read is in no view, so none leaves it out: a caller knows
            # no more than when it has heard it. One that has never heard the owner cannot know
            # that its interval is longer.
            is_foreign = not world.speak_alike(caller.name, owner.name)
            was_heard = is_left_out or is_foreign
            patience = PATIENCE * owner.pace if was_heard else PATIENCE_OF_NEWCOMERS
            self._check_cause(owner, caller, patience)

    @property
    def _forgiven(self) -> float:
        return FORGIVEN * self._world.slowest

    def _check_cause(self, owner: Worker, other: Worker, patience: float) -> None:
        # Another one that has not heard the owner may have vouched for the rest.
        now, hurt, forgiven = self._world.now, self._world.bus.hurt, self._forgiven
        hurt_at = max((at for way, at in hurt.items() if owner.host in way), default=-forgiven)
        silent = self._world.was_silent(owner.host, patience, forgiven)
        ill = now - hurt_at < forgiven or silent
        slow = self._world.is_slow(other.host)
        demand("no death without cause", ill or slow, f"{owner.name} by {other.name}")

    def evicts(self, worker: Worker, event: Evicted, *, met: bool) -> None:
        """
        A worker is evicted by another one.

        Args:
            worker: The evicted worker.
            event: Names the other one.
            met: Whether anything of the other one has reached it.
        """
        if event.counted_dead:
            holds = self._world.nodes[event.by].is_ruled_out(worker.name)
            holds |= (event.by, worker.name) in self._left_out  # it may have forgotten it
            # Rule `gone-newcomers-evict`: one that has ended can no longer say what it knew.
            troubled = max(map(self._world.trouble_of, ("", worker.host)))
            trouble = self._world.now - troubled < self._forgiven
            holds |= trouble and not self._world.lives(event.by)
        else:
            way, world = (host_of(event.by), worker.host), self._world
            lost = max(world.bus.hurt[way], world.bus.missed[way], world.back_at[worker.host])
            lately = world.now - max(lost, world.trouble_of(worker.host)) < self._forgiven
            holds = lately or not met
        demand("no eviction without cause", holds, f"{worker.name}: {event.reason}")

    def receives(self, sid: str, message: Message) -> None:
        """A socket receives a broadcast; not if it was sent after the socket was called unknown."""
        owner = owner_of(sid)
        if owner not in self._doomed or owner == message.caller:
            return
        moment, when, caller = self._doomed[owner]
        holder = self._world.holder(sid)
        assert holder is not None
        cut_off = self._cut_off(caller.host, holder.host)
        demand(
            "fence of the unknown",
            message.began <= moment
            or self._world.now - cut_off < SPOKEN * self._world.slowest
            or not self._world.lives(caller.name)
            or self._world.trouble_of(caller.host) >= when,
            f"{caller.name} has called {sid} unknown, and it got {message.tag} of {message.caller}",
        )

    def _cut_off(self, one: str, other: str) -> float:
        """Return until when one of two workers did not receive the other, or could not send."""
        world, hurt = self._world, self._world.bus.hurt
        until = max(hurt[one, other], hurt[other, one])
        for host in (one, other):
            if world.left_at[host] - until < SPOKEN * world.slowest:  # too short for a heartbeat
                away = world.bus.is_away(host)
                until = max(until, world.now if away else world.back_at[host])
        return until
