"""What a worker asks the others to do or to tell, and the futures of what they answer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from flask_rooms.cluster.confirmation import Confirmation, Part
from flask_rooms.cluster.interfaces import LocalWorker
from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.sender import Sender
from flask_rooms.errors import Unconfirmed
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import Change, Query, Reply, Room
from flask_rooms.protocol.node import Event, Node
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.results import Outcome

#: Which workers to ask: worker name -> its socket IDs; None for every worker.
Targets: TypeAlias = "Mapping[str, tuple[str, ...]] | None"


@dataclass(frozen=True)
class Gathered:
    """
    The replies of the workers to one question.

    Args:
        parts: Names, and a count of each where the question is for counts.
        complete: Whether everybody has answered.
        missing: Who has not.
    """

    parts: tuple[tuple[tuple[Room, ...], tuple[int, ...]], ...]
    complete: bool
    missing: tuple[str, ...]

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
    """What was asked and is waited for, by its number in the stream of this worker."""

    changes: dict[int, Confirmation] = field(default_factory=dict)
    questions: dict[int, Future[Completed | TimedOut]] = field(default_factory=dict)

    def fail(self, seconds: float) -> None:
        """Tell whoever waits that nobody has answered, in so many seconds."""
        for change in self.changes.values():
            change.fail(Unconfirmed((), seconds))
        for number, question in self.questions.items():
            question.set_result(TimedOut(number, ()))


class Calls:
    """
    Has changes carried out and questions answered by every worker that they concern.

    Args:
        shared: The node of this worker.
        sender: Sends what is asked.
        host: Does this worker's own part.
        confirm: Seconds to wait for an answer at most.
    """

    def __init__(
        self, shared: LockedNode, sender: Sender, host: LocalWorker, confirm: float
    ) -> None:
        self._shared = shared
        self._sender = sender
        self._host = host
        self._confirm = confirm
        self._unanswered = Unanswered()

    def change(self, change: Change) -> Confirmation:
        """
        Carry out a membership change wherever its sockets are.

        Returns:
            The future of its outcome; complete on return when all sockets are named and of
            this worker.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full; nothing has changed.
        """
        here, there, whom = self._split(change)
        parts = 1 + (there is not None)
        future = Confirmation(parts, self._confirm, self._host.spawn, self._silent)
        if there is not None:
            with self._shared.lock:
                node = self._shared.node
                number, events = node.call(there, whom, time.monotonic())
                self._unanswered.changes[number] = future
            self._conclude_all(events, node)
        future.contribute(self._host.change(here))
        if there is not None:
            self._send(lambda: future.fail(Unconfirmed(whom or (), 0.0)))
        return future

    def _split(self, change: Change) -> tuple[Change, Change | None, Targets]:
        """Return what this worker does, what others do, and whom of them to ask."""
        me = self._shared.name
        if change.source is not None:
            return change, change, None
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for sid in change.sids:
            # What this worker had under a name of before is still here for a moment.
            here = self._host.holds(change.namespace, sid)
            owners[me if here else owner_of(sid)].append(sid)
        own = replace(change, sids=tuple(owners.pop(me, ())))
        if not owners:
            return own, None, {}
        whom = {name: tuple(sids) for name, sids in owners.items()}
        rest = tuple(sid for sids in whom.values() for sid in sids)
        return own, replace(change, sids=rest), whom

    def _silent(self, future: Confirmation) -> tuple[str, ...]:
        with self._shared.lock:
            changes = self._unanswered.changes
            numbers = [number for number, change in changes.items() if change is future]
            return self._shared.node.unanswered_by(numbers[0]) if numbers else ()

    def inquire(self, question: Query, timeout: float | None) -> Gathered:
        """
        Ask every worker, or the owner of a socket, and put the replies together.

        Args:
            question: What to ask; with "rooms_of" it is for the owner of that socket alone.
            timeout: Seconds to wait; never longer than the confirmation timeout.

        Raises:
            BackendUnavailable: The outbox is full.
        """
        me = self._shared.name
        whom: Targets = None
        if question.kind == "rooms_of":
            sid = str(question.about)
            here = self._host.holds(question.namespace, sid)
            whom = {me if here else owner_of(sid): (sid,)}
        names, counts = self._host.answer(question)
        own = (tuple(names), tuple(counts))
        if whom is not None and me in whom:
            return Gathered((own,), True, ())
        replies, missing, complete = self._wait_for(question, whom, timeout)
        parts = tuple((reply.names, reply.counts) for reply in replies)
        return Gathered((own, *parts), complete, missing)

    def _wait_for(
        self, question: Query, whom: Targets, timeout: float | None
    ) -> tuple[tuple[Reply, ...], tuple[str, ...], bool]:
        """Return the replies of the others, who is missing, and whether they are complete."""
        number, future = self.ask(question, whom)
        bound = self._confirm
        try:
            event = future.result(bound if timeout is None else min(timeout, bound))
        except FutureTimeout:
            self._give_up(number, future)
            event = future.result(bound)
        missing = event.missing if isinstance(event, TimedOut) else ()
        return event.replies, missing, isinstance(event, Completed)

    def ask(self, question: Query, whom: Targets) -> tuple[int, Future[Completed | TimedOut]]:
        """Send a question; return its number, and the future of what becomes of it."""
        future: Future[Completed | TimedOut] = Future()
        with self._shared.lock:
            node = self._shared.node
            number, events = node.call(question, whom, time.monotonic())
            self._unanswered.questions[number] = future
        self._conclude_all(events, node)
        self._send(lambda: self._give_up(number, future))
        return number, future

    def _send(self, nobody_listens: Callable[[], object]) -> None:
        """Send what was just submitted; an answer to it can be heard unless we are stopping."""
        self._sender.flush()
        if self._sender.stopping.is_set():
            nobody_listens()

    def _give_up(self, number: int, future: Future[Completed | TimedOut]) -> None:
        with self._shared.lock:
            # A worker that has started over meanwhile may have given the number to something else.
            asked = self._unanswered.questions.get(number) is future
            node = self._shared.node
            events = node.time_out(number) if asked else []
        self._conclude_all(events, node)

    def _conclude_all(self, events: Iterable[Event], node: Node) -> None:
        for event in events:
            if isinstance(event, Completed | TimedOut):  # asking, and giving up, bring no others
                self.conclude(event, node)

    def conclude(self, event: Completed | TimedOut, node: Node) -> None:
        """Tell whoever waits for it what has become of what was asked in the life of *node*."""
        with self._shared.lock:  # as somebody may be looking through them
            if node is not self._shared.node:
                return  # who waited has been told, and the number may be of something else by now
            question = self._unanswered.questions.pop(event.number, None)
            change = self._unanswered.changes.pop(event.number, None)
        if question:
            question.set_result(event)
        if change:
            if isinstance(event, Completed):
                outcome = Outcome(event.changed, event.unchanged, event.unknown)
                change.contribute(Part(outcome, event.refused))
            else:
                change.fail(Unconfirmed(event.missing, self._confirm))

    def forget_all(self) -> Unanswered:
        """Return what no answer will reach any more; to be called under the node's lock."""
        unanswered, self._unanswered = self._unanswered, Unanswered()
        return unanswered

    def give_up_all(self) -> None:
        """Tell everybody who waits that nobody listens any more."""
        for change in list(self._unanswered.changes.values()):
            change.fail(Unconfirmed((), 0.0))
        for number, question in list(self._unanswered.questions.items()):
            self._give_up(number, question)
