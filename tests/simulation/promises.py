"""The promises as invariants over a World."""

from __future__ import annotations

from collections import defaultdict

from flask_rooms.messages import Done, Emit
from flask_rooms.sids import owner_of
from tests.simulation.world import Ask, Worker, World


class Promises:
    """
    Watches a World, and says at once where a promise is broken.

    It keeps a model of its own: which broadcasts were sent after which confirmed leave.

    Args:
        world: To be watched from its beginning.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._tags = 0
        self._doomed: set[str] = set()  # counted dead, and about to find out
        # (sid, room) -> the first broadcast that must not arrive any more, since a leave
        self._fenced: dict[tuple[str, str], int] = {}
        # The same for one caller, who need not wait: (caller, sid, room) -> broadcast
        self._behind: dict[tuple[str, str, str], int] = {}
        self._joins: defaultdict[tuple[str, str], list[Ask]] = defaultdict(list)
        self._joins_before: dict[int, dict[str, int]] = {}  # leave -> socket -> joins asked before
        self._sent: dict[int, tuple[str, str]] = {}  # broadcast -> caller, room
        world.on_settled.append(self._settled)
        world.on_receive.append(self._received)

    def join(self, worker: Worker, sid: str, room: str) -> Ask:
        """Join, and no longer expect silence in that room."""
        self._fenced.pop((sid, room), None)
        for key in [k for k in self._behind if k[1:] == (sid, room)]:
            del self._behind[key]
        ask = self._world.change(worker, "join", (sid,), room)
        self._joins[sid, room].append(ask)
        return ask

    def leave(self, worker: Worker, sids: tuple[str, ...], room: str) -> Ask:
        """Leave; from now on this caller's broadcasts, and after the outcome all, stay away."""
        joins = {
            sid: len(self._joins[sid, room])
            for sid in sids
            if not self._may_still_join(sid, room, worker)
        }
        ask = self._world.change(worker, "leave", sids, room)
        self._joins_before[id(ask)] = joins
        for sid in sids:
            if not self._may_still_join(sid, room, worker):
                self._behind[worker.name, sid, room] = self._tags
        if ask.settled is not None:
            self._settled(ask)
        return ask

    def broadcast(self, worker: Worker, room: str) -> int:
        """Send a broadcast with a number of its own."""
        tag = self._tags
        self._tags += 1
        self._sent[tag] = (worker.name, room)
        self._world.broadcast(worker, room, tag)
        return tag

    def _settled(self, ask: Ask) -> None:
        assert ask.settled is not None
        astray = set()
        for sid in ask.settled.unknown:
            owner = self._world.workers.get(owner_of(sid))
            if owner is None or sid not in owner.memberships:
                continue
            # Promise 2: unknown means that nobody holds it. A worker that was cut off may be
            # counted dead; it finds that in its queue, before anything that is sent later.
            asker = self._world.workers[ask.worker]
            damage = self._world.bus.damage
            cut_off = damage[owner.name] or damage[asker.name]
            everybody = [*self._world.workers.values(), *self._world.buried.values()]
            counted_dead = any(one.node.knows_dead(owner.name) for one in everybody)
            assert cut_off or counted_dead, f"{sid} is not unknown"
            self._doomed.add(owner.name)
            if cut_off:
                astray.add(sid)
        if ask.change.action != "leave" or id(ask) not in self._joins_before:
            return  # one that settles before change() returns comes by again
        room = str(ask.change.rooms[0])
        for sid in set(ask.change.sids) - astray:
            if len(self._joins[sid, room]) == self._joins_before[id(ask)].get(sid):
                self._fenced.setdefault((sid, room), self._tags)

    def _may_still_join(self, sid: str, room: str, but: Worker | None = None) -> bool:
        """Whether somebody's join is under way, which may be carried out after a leave."""
        return any(
            ask.settled is None and (but is None or ask.worker != but.name)
            for ask in self._joins[sid, room]
        )

    def _received(self, sid: str, tag: int) -> None:
        caller, room = self._sent[tag]
        if caller == owner_of(sid) and caller in self._doomed:
            return
        # Promise 3: the fence, and program order.
        fence = self._fenced.get((sid, room))
        assert fence is None or tag < fence, f"{sid} got {tag} after a confirmed leave of {room}"
        behind = self._behind.get((caller, sid, room))
        assert behind is None or tag < behind, f"{sid} got {tag}, sent after {caller}'s leave"
        # Promise 4: none doubled.
        assert self._world.received[sid].count(tag) == 1, f"{sid} got {tag} twice"

    def check_streams(self, *, complete: bool) -> None:
        """
        Check what every worker has applied of every other one: in order, once, without a gap.

        Args:
            complete: Whether everything that is owed must have arrived, too.
        """
        everybody = {**self._world.buried, **self._world.workers}
        for receiver in self._world.workers.values():
            for sender, applied in receiver.applied.items():
                told = [n for n, what in everybody[sender].submitted if not isinstance(what, Done)]
                start = told.index(applied[0])
                assert told[start : start + len(applied)] == applied, f"{sender}: {applied}"
            if complete:
                self._check_complete(receiver)

    def _check_complete(self, receiver: Worker) -> None:
        for sender in self._world.workers.values():
            if sender is receiver:
                continue
            peer = sender.node._peers.get(receiver.name)
            assert peer is not None, f"{sender.name} does not know {receiver.name}"
            owed = [
                n
                for n, what in sender.submitted
                if n >= peer.owed_from and not isinstance(what, Done)
            ]
            applied = receiver.applied.get(sender.name, [])
            assert not owed or applied[-len(owed) :] == owed, (
                f"{receiver.name} misses something of {sender.name}"
            )

    def check_outcomes(self) -> None:
        """Check that everything asked of a worker that lives has an outcome."""
        for ask in self._world.asks.values():
            if ask.worker in self._world.workers:
                assert ask.settled or ask.overdue, f"no outcome: {ask}"


def broadcasts_of(world: World, sid: str) -> dict[str, list[int]]:
    """Return what a socket received, by sender, in order of arrival."""
    sent: dict[int, str] = {}
    for worker in [*world.buried.values(), *world.workers.values()]:
        for _, operation in worker.submitted:
            if isinstance(operation, Emit):
                sent[int(operation.packet[0])] = worker.name
    found: defaultdict[str, list[int]] = defaultdict(list)
    for tag in world.received[sid]:
        found[sent[tag]].append(tag)
    return found
