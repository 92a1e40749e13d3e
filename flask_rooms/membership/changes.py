"""Membership changes on this worker: guards are asked, the registry changes, signals are sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from flask_rooms.cluster.confirmation import Part
from flask_rooms.membership.guards import Guards, InContext, may_join
from flask_rooms.membership.namespace import Origin, Socket
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.registry import Changed, Joining, Registry
from flask_rooms.protocol.messages import Change, Room
from flask_rooms.results import Outcome

logger = logging.getLogger("flask_rooms")


class Changes:
    """
    Carries out membership changes on the sockets of this worker, whoever asks for them.

    Args:
        registry: The sockets of this worker.
        guards: Decide who may join.
        announcer: Sends the signals.
        call: Calls a guard in the context of a socket.
        end: Disconnects the clients of sockets that have ended, in the background.
        spawn: Runs a function in the background.
    """

    def __init__(
        self,
        registry: Registry,
        guards: Guards,
        announcer: SignalQueue,
        *,
        call: InContext,
        end: Callable[[list[Socket], str], object],
        spawn: Callable[..., object],
    ) -> None:
        self._registry = registry
        self._guards = guards
        self._announcer = announcer
        self._call = call
        self._end = end
        self._spawn = spawn

    def carry_out(self, change: Change, origin: Origin) -> Part:
        """Carry out a change of this worker's own, in the thread of the caller."""
        if change.action == "recheck":
            return self._recheck(change, origin)
        if self._is_guarded(change):
            return self._join(self._registry.intend(change), origin)
        done = self._change(change, origin)
        self._announcer.send()
        return done

    def carry_out_for(self, change: Change, origin: Origin, tell: Callable[[Part], object]) -> None:
        """
        Carry out a change that another worker asks for, and *tell* what became of it.

        Called by the thread that listens to the others, which has no time for what the
        application does in guards and receivers: that happens in the background.
        """
        if change.action == "recheck":
            self._spawn(lambda: tell(self._recheck(change, origin)))
        elif self._is_guarded(change):
            joining = self._registry.intend(change)
            self._spawn(lambda: tell(self._join(joining, origin)))
        else:
            tell(self._change(change, origin))
            if self._announcer.waits:
                self._spawn(self._announcer.send)

    def welcome(self, joining: Joining, origin: Origin) -> None:
        """Let a new socket into the rooms that its user was put into while it arrived."""
        if joining.change.rooms:
            self._join(joining, origin)

    def _is_guarded(self, change: Change) -> bool:
        return change.action == "join" and bool(self._guards.guarded(change.rooms))

    def _change(self, change: Change, origin: Origin) -> Part:
        if change.action == "disconnect":
            origin = replace(origin, reason="disconnect")
        return self._done(self._registry.change(change, origin), change)

    def _done(self, changed: Changed, change: Change) -> Part:
        if changed.ended:
            self._end(changed.ended, change.namespace)
        count = len(changed.ended) if change.action == "disconnect" else len(changed.moved)
        return Part(Outcome(count, changed.unchanged, tuple(changed.unknown)))

    def _join(self, joining: Joining, origin: Origin) -> Part:
        changed = None
        while changed is None:
            refused = self._refused(joining.change.namespace, joining.sids, joining.change.rooms)
            if refused:
                self._registry.withdraw(joining)
                return Part(Outcome(), refused)
            changed = self._registry.fulfil(joining, origin)
        done = self._done(changed, joining.change)
        self._announcer.send()
        return done

    def _recheck(self, change: Change, origin: Origin) -> Part:
        outcome = Outcome()
        for room in change.rooms:
            sids = self._registry.recheck(change.namespace, room)
            expelled = self._refused(change.namespace, sids, (room,))
            leave = Change("leave", change.namespace, expelled, (room,))
            why = Origin("recheck", origin.worker, origin.by)
            left = self._change(leave, why).outcome
            outcome += Outcome(left.changed, len(sids) - left.changed)
        self._announcer.send()
        return Part(outcome)

    def _refused(self, namespace: str, sids: list[str], rooms: tuple[Room, ...]) -> tuple[str, ...]:
        guards = self._guards.guarded(rooms)
        if not guards:
            return ()
        return tuple(sid for sid in sids if not may_join(guards, namespace, sid, self._call))
