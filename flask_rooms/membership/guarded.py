"""Asks guards about joins and memberships, and changes the registry as they decide."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flask_rooms.backends.logs import safe_logging
from flask_rooms.membership.guards import Guards, InContext, may_join
from flask_rooms.membership.namespace import Origin, PendingJoin
from flask_rooms.membership.registry import Changed, Registry
from flask_rooms.protocol.messages import Change, Room

logger = logging.getLogger("flask_rooms.membership")

#: How often the guards are asked about one join. Each recheck meanwhile makes their answer one of
#: before, and rechecks that come faster than guards answer would have them asked for ever. A burst
#: of rechecks, as of an administrator who removes many people, is over earlier.
MAX_ROUNDS = 10

_RECHECKED = (
    "A join of %s was refused, as recheck() was called each time while its guards were asked, %d "
    "times: call it less often, and not in a guard, or make the guards quicker."
)


class GuardedChanges:
    """
    The changes that depend on a guard: joins of guarded rooms, and rechecks.

    Guards are the application's own code and may take their time, so none of these methods is
    for the receiver's thread. They call guards in the context of each socket, and have to be
    called outside any other context.

    Args:
        registry: The sockets of this worker.
        guards: Decide which sockets may join.
        call: Calls a guard in the context of a socket.
    """

    def __init__(self, registry: Registry, guards: Guards, call: InContext) -> None:
        self._registry = registry
        self._guards = guards
        self._call = call

    def concern(self, change: Change) -> bool:
        """Whether *change*, a join or a recheck, depends on a guard."""
        return change.action == "recheck" or bool(self._guards.guarded(change.rooms))

    def prepare(self, change: Change) -> PendingJoin | None:
        """Register a join before its guards are asked, so that its place in the order is kept."""
        return self._registry.prepare(change) if change.action == "join" else None

    def withdraw(self, join: PendingJoin | None) -> None:
        """Give up a join that was prepared, and about which no guard is asked."""
        if join is not None:
            self._registry.rollback(join)

    def join(self, join: PendingJoin, origin: Origin) -> Changed | tuple[str, ...]:
        """Ask the guards, and carry out a join; return what it did, or the refused sockets."""
        change = join.change
        for _ in range(MAX_ROUNDS):
            if refused := self._refused(change.namespace, join.sids, change.rooms):
                self._registry.rollback(join)
                return refused
            changed = self._registry.commit(join, origin)
            if changed is not None:
                return changed
        self._registry.rollback(join)
        with safe_logging():
            logger.warning(_RECHECKED, ", ".join(map(repr, change.rooms)), MAX_ROUNDS)
        return tuple(join.sids)

    def recheck(self, change: Change, origin: Origin) -> Iterable[Changed]:
        """Ask the guards about the members of rooms; yield what the leaves of each room did."""
        why = Origin("recheck", origin.worker, origin.by)
        for room in change.rooms:
            sids = self._registry.begin_recheck(change.namespace, room)
            refused = self._refused(change.namespace, sids, (room,))
            leave = Change("leave", change.namespace, refused, (room,))
            changed = self._registry.apply(leave, why)
            changed.unchanged = len(sids) - len(changed.events)
            changed.unknown.clear()  # they have left by themselves
            yield changed

    def _refused(self, namespace: str, sids: list[str], rooms: tuple[Room, ...]) -> tuple[str, ...]:
        guards = self._guards.guarded(rooms)
        if not guards:
            return ()
        refused = [sid for sid in sids if not may_join(guards, namespace, sid, self._call)]
        # No guard has decided about a socket that left before it was asked.
        return tuple(sid for sid in refused if self._registry.get(namespace, sid) is not None)
