"""The promises about the dead: nobody is counted dead for nothing, and who is finds out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import Heartbeat
from tests.simulation.broadcasts import Said
from tests.simulation.demands import demand

if TYPE_CHECKING:
    from tests.simulation.world import Worker, World

#: Seconds after which a trouble can no longer be why somebody is counted dead.
FORGIVEN = 20.0
#: Seconds in which everybody speaks to everybody who can hear it.
SPOKEN = 3.0


class Deaths:
    """
    Watches who counts whom as dead.

    Args:
        world: To be watched.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        # Owner -> when it was first overlooked, and by whom
        self._doomed: dict[str, tuple[int, float, Worker]] = {}
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        self._left_out: dict[tuple[str, str], float] = {}

    def beats(self, worker: Worker, heartbeat: Heartbeat) -> None:
        """A worker says whom it counts as alive."""
        names = {name for name, stream_start in heartbeat.stream_starts.items() if stream_start}
        for name in self._named[worker.name] - names:
            self._left_out[worker.name, name] = self._world.now
            if self._world.lives(name):
                self._check_cause(self._world.workers[host_of(name)], worker)
        self._named[worker.name] = names

    def overlooks(self, asker: Worker, sid: str) -> None:
        """A worker was told that all is done, and the owner of a socket has done nothing."""
        owner = self._world.holder(sid)
        if owner is None or owner.unheard:  # which closes its connections when it is heard
            return
        if (asker.name, owner.name) not in self._left_out:
            self._check_cause(owner, asker)
        # It is to hear so before anything that is said from now on.
        self._doomed.setdefault(owner.name, (self._world.moment(), self._world.now, asker))

    def _check_cause(self, owner: Worker, other: Worker) -> None:
        ways = (owner.host, other.host), (other.host, owner.host)
        hurt = max(self._world.bus.hurt[way] for way in ways)
        ill = self._world.now - max(hurt, self._world.trouble_of(owner.host)) < FORGIVEN
        slow = self._world.is_slow(other.host)
        demand("nobody is counted dead for nothing", ill or slow, f"{owner.name} by {other.name}")

    def cast_out(self, worker: Worker, reason: str, *, met: bool) -> None:
        """
        A worker starts again because another one says that it must.

        Args:
            worker: The outcast.
            reason: Why, and who says so.
            met: Whether it has ever heard anything of that one.
        """
        other = reason.split()[1]
        if "dead" in reason:
            holds = self._world.nodes[other].is_ruled_out(worker.name)
        else:
            way, world = (host_of(other), worker.host), self._world
            lost = max(world.bus.hurt[way], world.bus.missed[way], world.back_at[worker.host])
            lately = world.now - max(lost, world.trouble_of(worker.host)) < FORGIVEN
            holds = lately or not met
        demand("nobody is cast out for nothing", holds, f"{worker.name}: {reason}")

    def hears(self, sid: str, said: Said) -> None:
        """A socket gets a broadcast: not after it was called unknown."""
        owner = owner_of(sid)
        if owner not in self._doomed or owner == said.caller:
            return
        moment, when, asker = self._doomed[owner]
        holder = self._world.holder(sid)
        assert holder is not None
        cut_off = self._cut_off(asker.host, holder.host)
        demand(
            "fence of the unknown",
            said.began <= moment
            or self._world.now - cut_off < SPOKEN
            or not self._world.lives(asker.name)
            or self._world.trouble_of(asker.host) >= when,
            f"{asker.name} has called {sid} unknown, and it got {said.tag} of {said.caller}",
        )

    def _cut_off(self, one: str, other: str) -> float:
        """Return until when one of two workers did not hear the other, or could not say so."""
        world, hurt = self._world, self._world.bus.hurt
        until = max(hurt[one, other], hurt[other, one])
        for host in (one, other):
            if world.left_at[host] - until < SPOKEN:  # there was no time to speak between the two
                away = world.bus.is_away(host)
                until = max(until, world.now if away else world.back_at[host])
        return until


def host_of(name: str) -> str:
    """Return what stays the same in all names of a worker."""
    return name.partition("+")[0]
