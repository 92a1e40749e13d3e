"""Sends this worker's changes and queries to the workers concerned, and resolves their futures."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, cast

from msgspec.structs import replace

from flask_rooms.cluster.answers import Answers
from flask_rooms.cluster.confirmation import Confirmation, Settled
from flask_rooms.cluster.interfaces import LocalWorker
from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.sender import Sender
from flask_rooms.cluster.statistics import CallStatistics
from flask_rooms.errors import BackendUnavailable, Unconfirmed
from flask_rooms.protocol.events import Event
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import OF_A_SOCKET, Ask, Change, Query, Reply, Room, Tell
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.results import Outcome, Part, Told, WorkerInfo, outcome_of

#: The workers that a call is for: worker name -> its socket IDs; None for every worker.
Targets: TypeAlias = "Mapping[str, tuple[str, ...]] | None"

# Why a call is not confirmed that waits no longer, or never has.
_LEFT = (
    "No confirmation, because this worker has left the cluster, as after rooms.drain(): let "
    "another worker make this call."
)
_LEAVES = (
    "No confirmation, because this worker has left the cluster meanwhile; the change may still be "
    "carried out. Wait for result() before the process ends, and check the broker."
)
_STARTED_OVER = (
    "No confirmation, because this worker has started over: {reason}. The change may still be "
    "carried out. Look for what has held this worker up."
)
_NO_PLACE = (
    "This worker has no place for the message: too many wait for functions of on_tell() that do "
    "not return. The other workers may have it."
)


@dataclass(frozen=True)
class Gathered:
    """
    The replies of the workers to one query.

    Args:
        parts: Names, and a count of each where the query is for counts.
        complete: Whether every worker has answered.
        missing: The workers that have not.
    """

    parts: tuple[tuple[tuple[Room, ...], tuple[int, ...]], ...]
    complete: bool
    missing: tuple[WorkerInfo, ...]

    def names(self) -> frozenset[Room]:
        """Return all names."""
        return frozenset(name for names, _ in self.parts for name in names)

    def counts(self) -> dict[Room, int]:
        """Return the sum of the counts of each name."""
        sums: dict[Room, int] = {}
        for names, counts in self.parts:
            for name, count in zip(names, counts, strict=False):
                sums[name] = sums.get(name, 0) + count
        return sums

    def total(self) -> int:
        """Return the sum of all counts."""
        return sum(sum(counts) for _, counts in self.parts)


@dataclass
class Unanswered:
    """The calls that wait for answers, by their number in the stream of this worker."""

    changes: dict[int, Confirmation] = field(default_factory=dict)
    queries: dict[int, Future[Completed | TimedOut]] = field(default_factory=dict)


class Calls:
    """
    Has changes carried out and queries answered by every worker that they concern.

    Args:
        shared: The node of this worker.
        sender: Sends the calls.
        worker: Does the part of this worker itself.
        confirm: Seconds to wait for an answer at most.
        statistics: Counts what the calls come to.
        answers: Answers queries for this worker.
    """

    def __init__(
        self,
        shared: LockedNode,
        sender: Sender,
        worker: LocalWorker,
        confirm: float,
        statistics: CallStatistics,
        answers: Answers,
    ) -> None:
        self._shared = shared
        self._sender = sender
        self._worker = worker
        self._confirm = confirm
        self._statistics = statistics
        self._answers = answers
        self._unanswered = Unanswered()
        self._confirmation = partial(
            Confirmation,
            bound=confirm,
            spawn=worker.spawn,
            end=self._end,
            statistics=statistics,
        )

    # -- changes --------------------------------------------------------------------------

    def change(self, change: Change) -> Future[Outcome]:
        """
        Carry out a membership change wherever its sockets are.

        Returns:
            The future of its outcome; complete on return when all sockets are named and of
            this worker.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full; nothing has changed.
        """
        own, remote, targets = self._split(change)
        if own is not None and remote is None:
            return self._change_here(own)
        future = self._confirmation(change, (own is not None) + (remote is not None))
        if remote is not None:
            with self._shared.lock:
                node = self._shared.node
                number, events = self._call(node, remote, targets)
                self._unanswered.changes[number] = future
            self._resolve_all(events, node)
            # Before the own part: guards may take their time there, and the others have a deadline.
            self._send(lambda: future.fail(Unconfirmed(self.infos(targets or ()), 0.0, _LEFT)))
        if own is not None:
            future.contribute(self._worker.change(own, self._shared.node.name))
        return future

    def fast_leave(
        self, namespace: str, sid: str, rooms: tuple[str, ...]
    ) -> Future[Outcome] | None:
        """
        Take a socket out of rooms as change() does, if it is an own one and nothing listens.

        Returns:
            The future of the outcome, which is complete; None if change() is to do it.
        """
        if not self._is_own(owner_of(sid)):
            return None
        part = self._worker.fast_leave(namespace, sid, rooms)
        if part is None:
            return None
        self._statistics.changes["leave", "confirmed"] += 1
        return Settled(part.outcome)

    def _change_here(self, change: Change) -> Future[Outcome]:
        """Carry out a change of own sockets alone; there is nothing to wait for."""
        part = self._worker.change(change, self._shared.node.name)
        if not part.refused:
            self._statistics.changes[change.action, "confirmed"] += 1
            return Settled(part.outcome)
        future = self._confirmation(change, 1)
        future.contribute(part)
        return future

    def tell(self, tell: Tell, receive: Callable[[], bool]) -> Future[Told]:
        """
        Tell every worker something.

        Args:
            tell: The message.
            receive: Takes it in on this worker, and returns whether there was a place for it.
                Called under the lock, so that every worker gets the messages in the same order.

        Returns:
            The future of the names of the workers that have it.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full; no worker has it.
        """
        future = self._confirmation(tell, 1)
        with self._shared.lock:
            node = self._shared.node
            number, events = self._call(node, tell, None)
            self._unanswered.changes[number] = future
            is_received = receive()
        if not is_received:
            future.fail(Unconfirmed(self.infos([node.name]), 0.0, _NO_PLACE))
        self._resolve_all(events, node)
        self._send(lambda: future.fail(Unconfirmed((), 0.0, _LEFT)))
        return cast("Future[Told]", future)

    def _call(self, node: Node, change: Change | Tell, targets: Targets) -> tuple[int, list[Event]]:
        try:
            return node.call(change, targets, time.monotonic())
        except BackendUnavailable:
            self._statistics.changes[change.action, "unavailable"] += 1
            raise

    def _split(self, change: Change) -> tuple[Change | None, Change | None, Targets]:
        """Return the part of this worker, that of the others, and which of them to ask."""
        if change.source is not None:
            return change, change, None
        if len(change.sids) == 1:  # as nearly always
            owner = owner_of(change.sids[0])
            if self._is_own(owner):
                return change, None, {}
            return None, change, {owner: change.sids}
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for sid in change.sids:
            owners[owner_of(sid)].append(sid)
        # The sockets of an earlier name are still here until they have been disconnected.
        own = [sid for name in self.own_names for sid in owners.pop(name, ())]
        if not owners:
            return replace(change, sids=tuple(own)), None, {}
        targets = {name: tuple(sids) for name, sids in owners.items()}
        rest = tuple(sid for sids in targets.values() for sid in sids)
        here = replace(change, sids=tuple(own)) if own else None
        return here, replace(change, sids=rest), targets

    def _is_own(self, name: str) -> bool:
        """Whether this worker is called so, or was before it has restarted."""
        return name == self._shared.node.name or name in self._shared.former_names

    @property
    def own_names(self) -> tuple[str, ...]:
        """What this worker is called, and was called before it has restarted."""
        return (self._shared.node.name, *self._shared.former_names)

    def _end(self, future: Confirmation) -> None:
        """Fail a change whose caller waits no longer, with the names of the workers missing."""
        with self._shared.lock:
            node, changes = self._shared.node, self._unanswered.changes
            waiting = [number for number, change in changes.items() if change is future]
            events = node.time_out(waiting[0]) if waiting and future.ended is None else []
            ended = future.ended
        self._resolve_all(events, node)
        # Otherwise it waits for guards of this worker, or for its receiver, which is busy.
        missing = ended.missing if isinstance(ended, TimedOut) else (node.name,)
        future.fail(Unconfirmed(self.infos(missing), self._confirm))

    def infos(self, names: Iterable[str]) -> tuple[WorkerInfo, ...]:
        """Return the names of workers with what is known about them."""
        return tuple(map(self._shared.directory.info, names))

    # -- queries --------------------------------------------------------------------------

    def query(self, query: Query, timeout: float | None) -> Gathered:
        """
        Ask every worker, or the owner of a socket, and put the replies together.

        Args:
            query: What to ask; one about a socket is for its owner alone.
            timeout: Seconds to wait; never longer than the confirmation timeout.

        Raises:
            BackendUnavailable: The outbox is full.
        """
        targets: Targets = None
        if query.kind in OF_A_SOCKET:
            sid = str(query.about)
            targets = {owner_of(sid): (sid,)}
        names, counts = self._answers.answer(query)
        own = (tuple(names), tuple(counts))
        if targets is not None and not targets.keys().isdisjoint(self.own_names):
            return Gathered((own,), True, ())
        replies, missing, complete = self._wait_for(query, targets, timeout)
        self._statistics.queries[query.kind, "complete" if complete else "incomplete"] += 1
        parts = tuple((reply.names, reply.counts) for reply in replies)
        return Gathered((own, *parts), complete, missing)

    def _wait_for(
        self, query: Query, targets: Targets, timeout: float | None
    ) -> tuple[tuple[Reply, ...], tuple[WorkerInfo, ...], bool]:
        """Return the replies, the workers that are missing, and whether all have answered."""
        number, future = self.send(query, targets)
        bound = self._confirm
        try:
            event = future.result(bound if timeout is None else min(timeout, bound))
        except FutureTimeout:
            self.time_out(number, future)
            event = future.result(bound)
        missing = event.missing if isinstance(event, TimedOut) else ()
        return event.replies, self.infos(missing), isinstance(event, Completed)

    def send(
        self, query: Query | Ask, targets: Targets
    ) -> tuple[int, Future[Completed | TimedOut]]:
        """Send a query without waiting; return its number and the future of its result."""
        future: Future[Completed | TimedOut] = Future()
        with self._shared.lock:
            node = self._shared.node
            number, events = node.call(query, targets, time.monotonic())
            self._unanswered.queries[number] = future
        self._resolve_all(events, node)
        self._send(lambda: self.time_out(number, future))
        return number, future

    def _send(self, fail: Callable[[], object]) -> None:
        """Send what was just submitted; *fail* at once if the receiver has stopped."""
        self._sender.flush()
        if self._sender.stopping.is_set():
            fail()

    def time_out(self, number: int, future: Future[Completed | TimedOut]) -> None:
        """Resolve the future of a query with the answers that there are."""
        with self._shared.lock:
            # After a restart the number may belong to another call.
            waits = self._unanswered.queries.get(number) is future
            node = self._shared.node
            events = node.time_out(number) if waits else []
        self._resolve_all(events, node)

    # -- results --------------------------------------------------------------------------

    def _resolve_all(self, events: Iterable[Event], node: Node) -> None:
        for event in events:
            if isinstance(event, Completed | TimedOut):  # calls bring no other events
                self.resolve(event, node)

    def note(self, events: Iterable[Event]) -> None:
        """Note what calls have come to, which resolve() is about to tell; under the node's lock."""
        for event in events:
            if isinstance(event, Completed | TimedOut) and event.number in self._unanswered.changes:
                self._unanswered.changes[event.number].ended = event

    def resolve(self, event: Completed | TimedOut, node: Node) -> None:
        """Complete the future of a call that was made in the life of *node*."""
        with self._shared.lock:  # another thread may be looking through the tables
            if node is not self._shared.node:
                return  # the restart has failed that call, and its number may be used again
            query = self._unanswered.queries.pop(event.number, None)
            change = self._unanswered.changes.pop(event.number, None)
        if query:
            query.set_result(event)
        if change:
            if event.newer and isinstance(change.change, Change):
                self._worker.give_way(change.change, event.newer)
            if isinstance(event, Completed):
                did = outcome_of(event.changed, event.unchanged, event.unknown)
                if isinstance(change.change, Tell):
                    names = [str(name) for reply in event.replies for name in reply.names]
                    did = Told(workers=self.infos(sorted([node.name, *names])))
                change.contribute(Part(did, event.refused))
            else:
                change.fail(Unconfirmed(self.infos(event.missing), self._confirm))

    def end_all(self, reason: str) -> Callable[[], None]:
        """
        Stop waiting for all answers, as none reaches this worker under its next name.

        Call it under the node's lock, before the node is renewed.

        Args:
            reason: Why this worker starts over.

        Returns:
            What completes the futures, with the workers that have not answered.
        """
        why = _STARTED_OVER.format(reason=reason)
        node = self._shared.node
        unanswered, self._unanswered = self._unanswered, Unanswered()
        numbers = (*unanswered.changes, *unanswered.queries)
        ended = {event.number: event for one in numbers for event in node.time_out(one)}

        def complete() -> None:
            for number, change in unanswered.changes.items():
                missing = ended[number].missing if number in ended else ()
                change.fail(Unconfirmed(self.infos(missing), 0.0, why))
            for number, query in unanswered.queries.items():
                query.set_result(ended.get(number, TimedOut(number, ())))

        return complete

    def fail_all(self) -> None:
        """Resolve every call as unanswered, since nothing is received any more."""
        for change in list(self._unanswered.changes.values()):
            change.fail(Unconfirmed((), 0.0, _LEAVES))
        for number, query in list(self._unanswered.queries.items()):
            self.time_out(number, query)
