"""The sockets of this worker, as the cluster sees them: changes, queries, and what others send."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from flask_rooms.membership.guarded import GuardedChanges
from flask_rooms.membership.interfaces import Disconnects, Incoming, Tasks, Tracker
from flask_rooms.membership.namespace import Origin, PendingJoin
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.refusals import Refusals
from flask_rooms.membership.registry import Changed, Registry
from flask_rooms.membership.timers import Timers
from flask_rooms.protocol.messages import (
    NO_OPTIONS,
    PRESENCE,
    Ask,
    Change,
    Operation,
    Query,
    Room,
    Tell,
)
from flask_rooms.results import Outcome, Part, WorkerInfo, outcome_of, part_of

#: The actions that a guard may have to decide about.
_GUARDED = ("join", "recheck")


class LocalWorker:
    """
    Carries out what callers of this worker and other workers ask of its sockets.

    Args:
        registry: The sockets.
        guarded: Carries out the changes that depend on a guard.
        signals: Sends the signals of the changes that *registry* reports.
        incoming: Delivers what other workers send to clients.
        disconnects: Ends the connections of sockets.
        refusals: Counts the joins of sockets that are in too many rooms.
        tracker: Keeps the lists of those who are present.
        tasks: Runs what takes its time.
        timers: Says when memberships end by themselves.
    """

    def __init__(
        self,
        registry: Registry,
        guarded: GuardedChanges,
        signals: SignalQueue,
        incoming: Incoming,
        disconnects: Disconnects,
        refusals: Refusals,
        tracker: Tracker,
        tasks: Tasks,
        timers: Timers,
    ) -> None:
        self._tracker = tracker
        self._timers = timers
        self._next_look = math.inf  # when the memberships that end by themselves are looked at
        self._refusals = refusals
        self._registry = registry
        self._guarded = guarded
        self._signals = signals
        self._incoming = incoming
        self._disconnects = disconnects
        self._tasks = tasks
        self.start, self.spawn = tasks.start, tasks.spawn

    # -- changes --------------------------------------------------------------------------

    def change(self, change: Change, name: str) -> Part:
        """Carry out a change for a caller on this worker, called *name*, which waits for it."""
        if (done := self._fast_leave(change)) is not None:
            return done
        origin = Origin("call", name, change.by)
        if change.action in _GUARDED and self._guarded.concern(change):
            return self.join_or_recheck(change, self._guarded.prepare(change), origin)
        part, listened = self._apply(change, origin)
        if listened:
            self._signals.flush()
        return part

    def fast_leave(self, namespace: str, sid: str, rooms: tuple[Room, ...]) -> Part | None:
        """Take a socket out of rooms; None if change() is to do it, see Registry.fast_leave."""
        left = self._registry.fast_leave(namespace, sid, rooms)
        return None if left is None else part_of(left, len(rooms) - left)

    def _fast_leave(self, change: Change) -> Part | None:
        """Carry out a leave that nothing listens to, which most are; None for any other change."""
        if change.action != "leave" or len(change.sids) != 1 or change.options is not NO_OPTIONS:
            return None
        return self.fast_leave(change.namespace, change.sids[0], change.rooms)

    def change_for(self, change: Change, sender: str, reply: Callable[[Part], object]) -> None:
        """
        Carry out a change for another worker, and *reply* what it did.

        Called by the receiver's thread, which must not wait for guards and receivers of signals:
        these run in the background.
        """
        if (done := self._fast_leave(change)) is not None:
            reply(done)
            return
        origin = Origin("remote", sender, change.by)
        if change.action in _GUARDED and self._guarded.concern(change):
            join = self._guarded.prepare(change)
            self.spawn(self._decide_for, change, join, origin, reply, kind="guards")
            return
        part, listened = self._apply(change, origin)
        reply(part)
        if listened:
            self.spawn(self._signals.flush)

    def _decide_for(
        self,
        change: Change,
        join: PendingJoin | None,
        origin: Origin,
        reply: Callable[[Part], object],
    ) -> None:
        reply(self._ask_guards(change, join, origin))
        self._signals.flush()

    def join_or_recheck(self, change: Change, join: PendingJoin | None, origin: Origin) -> Part:
        """Carry out a join that was prepared, or a recheck, for a caller that waits for it."""
        try:
            part: Part = self._tasks.run_apart(lambda: self._decide(change, join, origin), "guards")
        except Exception:  # such as RecursionError, for guards that ask each other without end
            self._guarded.withdraw(join)
            raise
        return part

    def _decide(self, change: Change, join: PendingJoin | None, origin: Origin) -> Part:
        part = self._ask_guards(change, join, origin)
        self._signals.flush()
        return part

    def _apply(self, change: Change, origin: Origin) -> tuple[Part, bool]:
        if change.action == "disconnect":
            origin = origin._replace(reason="disconnect")
        changed = self._registry.apply(change, origin)
        if changed.ended:
            self._disconnects.disconnect_in_background(changed.ended, change.namespace)
        return self._part(change, changed), changed.listened

    def _ask_guards(self, change: Change, join: PendingJoin | None, origin: Origin) -> Part:
        if join is None:
            outcome = Outcome()
            for changed in self._guarded.recheck(change, origin):
                outcome += _outcome(change, changed)
            return Part(outcome)
        done = self._guarded.join(join, origin)
        return self._part(change, done) if isinstance(done, Changed) else Part(Outcome(), done)

    def _part(self, change: Change, changed: Changed) -> Part:
        if changed.refused:
            self._refusals.count("rooms_per_socket")
        if change.action == "join":
            self._watch_expiries()
        return Part(_outcome(change, changed), tuple(changed.refused), changed.newer)

    # -- memberships that end by themselves -----------------------------------------------

    def _watch_expiries(self) -> None:
        """Look again when the next membership ends, if that is not to be done anyway."""
        due = self._registry.next_expiry
        if due is not None and due < self._next_look:
            self._next_look = due
            if not self._timers.after(max(due - time.monotonic(), 0), self._expire):
                self._next_look = math.inf  # so that the next join tries again

    def _expire(self) -> None:
        self._next_look = math.inf
        if self._registry.expire():
            self.spawn(self._signals.flush)
        self._watch_expiries()

    def give_way(self, change: Change, newer: int) -> None:
        """Rule `newest-stays`: disconnect the socket of a call that a newer one outlasts."""
        self._registry.note_newer(newer)
        limit = change.options.older_than
        if limit is not None:
            loser = Change("disconnect", change.namespace, (limit[1],), ())
            self._apply(loser, Origin("disconnect", by=change.by))
            self.spawn(self._signals.flush)

    # -- everything else ------------------------------------------------------------------

    def on_operation(self, operation: Operation, sender: str, outbox: Any) -> None:
        """Take in what another worker sends or lists; answers go to *outbox*."""
        if isinstance(operation, PRESENCE):
            self._tracker.on_operation(operation, sender)
        else:
            self._incoming.on_operation(operation, sender, outbox)

    def ask(self, ask: Ask, sender: str, outbox: Any) -> tuple[list[Room], list[int]]:
        """Ask the sockets here, whose answers go to *outbox*; return the names and counts."""
        return self._incoming.ask(ask, sender, outbox)

    def told(self, tell: Tell) -> bool:
        """Take in a message of another worker; return whether there was a place for it."""
        return self._incoming.told(tell)

    def answer(self, query: Query) -> tuple[list[Room], list[int]]:
        """Return the names and counts that a query asks for."""
        if query.kind == "describe":
            return self._describe(query.namespace, str(query.about)), []
        names, counts = self._registry.answer(query)
        if query.kind == "statistics":
            names.append("refusals")
            counts.append(self._refusals.total)
        return names, counts

    def _describe(self, namespace: str, sid: str) -> list[Room]:
        """Return what is known of a socket: five values, and its rooms; nothing if it has ended."""
        socket = self._registry.get(namespace, sid)
        if socket is None or socket.ended:
            return []
        user = "" if socket.user is None else socket.user.id
        rooms, _ = self._registry.answer(Query("rooms_of", namespace, sid))
        address, client = self._disconnects.origin_of(socket.eio_sid)
        return [user, socket.since, address, client, socket.data, *rooms]

    def on_worker_met(self, worker: str) -> None:
        """Ask another worker who is present there."""
        self._tracker.on_worker_met(worker)

    def on_serving(self) -> None:
        """Note that this worker begins to serve clients."""
        self._tracker.on_serving()

    def on_restart(self) -> None:
        """Forget what the others hold, and what they were asked: this worker has a new name."""
        self._incoming.on_restart()
        self._tracker.on_restart()

    def on_worker_left(self, worker: WorkerInfo, said_goodbye: bool) -> None:
        """Release what waits for another worker, and tell the application that it is gone."""
        self._incoming.on_worker_left(worker)
        self._tracker.on_worker_left(worker, said_goodbye)
        if self._signals.add_gone(worker, said_goodbye):
            self.spawn(self._signals.flush)

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, the sockets of the parent and all that waits for them."""
        self._registry.clear()
        self._next_look = math.inf
        self._signals.reset_after_fork()
        self._tracker.reset_after_fork()
        self._incoming.reset_after_fork()
        self._disconnects.reset_after_fork()

    def disconnect_all(self) -> None:
        """End every membership of this worker's sockets, and let their clients connect again."""
        for eio_sid in self._registry.leave_all(Origin("expelled")):
            self.spawn(self._disconnects.hang_up, eio_sid)
        self.spawn(self._signals.flush)


def _outcome(change: Change, changed: Changed) -> Outcome:
    if change.action == "disconnect":
        count = len(changed.ended)
    else:
        count = len(changed.events) + changed.described
    return outcome_of(count, changed.unchanged, tuple(changed.unknown))
