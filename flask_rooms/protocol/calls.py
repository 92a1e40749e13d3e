"""The calls of this worker that await answers, and when each of them is settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.membership import Membership, State
from flask_rooms.protocol.messages import Ask, Change, Done, Query, Reply, Tell
from flask_rooms.protocol.pending import Completed, Pending, TimedOut
from flask_rooms.protocol.succession import OpenChanges

_MAY_ANSWER = (State.ALIVE, State.JOINING, State.SUSPECT)
_GONE = (State.DEAD, State.RULED_OUT)


class PendingCalls:
    """
    The operations of this worker that await answers, by their numbers.

    Args:
        membership: The states of the other workers.
        timeout: Seconds after which an unanswered operation times out.
        max_pages: How many Replies an answer may take.
        changes: What may not have been carried out, for the next life of this worker.
    """

    def __init__(
        self, membership: Membership, timeout: float, max_pages: int, changes: OpenChanges
    ) -> None:
        self._membership = membership
        self._timeout = timeout
        self._max_pages = max_pages
        self._pending: dict[int, Pending] = {}
        self._awaiting_unmet: set[int] = set()  # numbers that may concern unmet workers
        self._changes = changes

    @property
    def is_empty(self) -> bool:
        """Whether no operation awaits answers."""
        return not self._pending

    @property
    def deadline(self) -> float:
        """When the next operation times out."""
        # All have the same timeout, so the first is the earliest.
        for one in self._pending.values():
            return one.deadline
        return float("inf")

    @property
    def awaiting_unmet(self) -> list[int]:
        """The numbers of the operations that unmet workers may have to answer."""
        return sorted(self._awaiting_unmet)

    def awaits_unmet(self, number: int) -> bool:
        """Whether unmet workers may have to answer an operation."""
        return number in self._awaiting_unmet

    def begin(
        self,
        number: int,
        operation: Change | Query | Ask | Tell,
        targets: Mapping[str, tuple[str, ...]] | None,
        now: float,
    ) -> bool:
        """
        Await the answers to an operation of the workers that it is for.

        Returns:
            Whether it may be complete at once, or once more is known.
        """
        for_all = targets is None
        deadline = now + self._timeout
        pending = Pending(number, now, deadline, for_all, isinstance(operation, Change))
        pending.open_to_unmet = for_all
        pending.audience = self._membership.audience
        if targets is None:  # Rule `every-worker-answers`
            targets = dict.fromkeys(self._membership.awaited, ())
        for name, sids in targets.items():
            self._await(name, sids, pending)
        self._pending[number] = pending
        awaits_unmet = bool(pending.unmet) or pending.open_to_unmet
        if awaits_unmet:
            self._awaiting_unmet.add(number)
        return awaits_unmet or not pending.awaited

    def _await(self, name: str, sids: tuple[str, ...], pending: Pending) -> None:
        state = self._membership.state_of(name)
        if state in _MAY_ANSWER:
            pending.awaited[name] = sids
        elif state in _GONE:
            pending.unknown += sids
        else:
            pending.unmet[name] = sids

    def unanswered_by(self, number: int) -> tuple[str, ...]:
        """Return the workers that have not answered operation *number* yet."""
        return self._pending[number].unanswered_by if number in self._pending else ()

    # -- other workers --------------------------------------------------------------------

    def on_peer(self, name: str, stream_start: int, echoed_before: int, oldest: int) -> int:
        """
        Await a worker that has just been met, where it may have to answer.

        Args:
            name: The worker.
            stream_start: Where this worker's stream would start for it.
            echoed_before: Operations before this number are not for it, unless they name it.
            oldest: The first operation that can still be retransmitted.

        Returns:
            Where the stream has to start. Rule `stream-start`: not after a pending call that
            the worker may have to answer.
        """
        for number, pending in self._pending.items():
            is_open = pending.open_to_unmet and number >= echoed_before
            if pending.open_to_unmet and not is_open:
                pending.unverified |= {name}
            if name in pending.unmet or is_open:
                pending.awaited[name] = pending.unmet.pop(name, ())
                if number >= oldest:
                    stream_start = min(stream_start, number)
            elif pending.for_all and number >= stream_start:
                pending.awaited[name] = ()  # Rule `every-worker-answers`
        return stream_start

    def on_absence(self) -> None:
        """Rule `every-worker-is-known`: workers that were connected meanwhile were not counted."""
        for pending in self._pending.values():
            pending.audience = None

    def mark_unable(self, name: str) -> None:
        """
        Record that a worker lives which has to start over, and confirm nothing that is for it.

        Rule `dead-are-told-again`: what was called before it was told cannot be answered by it.
        """
        for pending in self._pending.values():
            if pending.for_all or name in pending.unmet:
                pending.mark_unable(name)

    def verify(self, name: str, is_newcomer: bool) -> None:
        """
        Record whether a worker was born when its hello was received.

        Rule `hello-is-verified`: otherwise the hello was a copy, and operations before it are for
        that worker, which can no longer get them.
        """
        for pending in self._pending.values():
            if name in pending.unverified:
                pending.unverified -= {name}
                if not is_newcomer:
                    pending.awaited[name] = ()

    def on_answer(self, sender: str, answer: Done | Reply) -> bool:
        """
        Record an answer; return whether it was awaited.

        Rule `owner-answers`: it counts once, and from a worker that was asked.
        """
        pending = self._pending.get(answer.number)
        if pending is None:
            return False
        if isinstance(answer, Done):
            counts = pending.add_done(sender, answer)
        else:
            counts = pending.add_reply(sender, answer, self._max_pages)
        if counts and sender not in pending.awaited and pending.audience is not None:
            peer = self._membership.peers.get(sender)
            pending.present += peer is not None and peer.born_by < pending.audience[1]
        return counts

    def has_reached_all(self, number: int) -> bool:
        """
        Whether as many workers have answered an operation as were connected before it.

        Rule `every-worker-is-known`: those that connected later have no socket that it is for.
        """
        pending = self._pending[number]
        return pending.audience is not None and pending.present + 1 >= pending.audience[0]

    def verifies_count(self, number: int) -> bool:
        """Whether as many workers answer an operation as the broker has counted last."""
        pending, audience = self._pending[number], self._membership.audience
        if audience is None or pending.audience is None or not pending.for_all:
            return False
        return pending.audience[0] <= audience[0]

    def awaits_none_met(self, number: int) -> bool:
        """Whether all workers that have been met have answered an operation."""
        return not self._pending[number].awaited

    def mark_dead(self, name: str) -> list[int]:
        """Await a worker no longer; return the numbers of the operations that did."""
        return [number for number, one in self._pending.items() if one.mark_dead(name)]

    # -- the end of a call ----------------------------------------------------------------

    def rule_out(self, number: int, known: frozenset[str]) -> set[str]:
        """
        Report the unmet workers that an operation is for as unknown; return them.

        Rule `unknown-takes-knowing`: every worker is known, and these by name.
        """
        pending = self._pending[number]
        if pending.open_to_unmet:
            pending.unmet |= dict.fromkeys(known, ())
            pending.open_to_unmet = False
        unknown = pending.unmet.keys() - known
        for name in unknown:
            pending.unknown += pending.unmet.pop(name)
        if not pending.unmet and not pending.unverified:
            # There may be thousands, and each frame looks at them.
            self._awaiting_unmet.discard(number)
        return set(unknown)

    def complete(self, number: int) -> tuple[Pending, Completed | TimedOut] | None:
        """End an operation that has all its answers; else return None."""
        result = self._pending[number].result()
        if result is None:
            return None
        pending = self._pop(number)
        if isinstance(result, Completed):
            owners = map(owner_of, result.unknown)
            self._changes.complete(number, any(map(self._membership.is_ruled_out, owners)))
        return pending, result

    def time_out(self, number: int) -> list[TimedOut]:
        """Stop waiting for the answers to operation *number*, as if its deadline had passed."""
        return [self._pop(number).timed_out()] if number in self._pending else []

    def overdue(self, now: float) -> Iterable[int]:
        """Rule `unanswered-times-out`: yield the operations whose deadline has passed."""
        while now >= self.deadline:
            yield next(iter(self._pending))

    def _pop(self, number: int) -> Pending:
        self._awaiting_unmet.discard(number)
        return self._pending.pop(number)
