"""When a call ends: every worker has answered that has to, and every live worker is known."""

from __future__ import annotations

from collections.abc import Iterable

from flask_rooms.protocol.calls import PendingCalls
from flask_rooms.protocol.clock import EchoClock
from flask_rooms.protocol.delivery import NACK_INTERVAL, Delivery
from flask_rooms.protocol.events import Event, VerifyCount
from flask_rooms.protocol.membership import Membership
from flask_rooms.protocol.pending import Completed


class Resolution:
    """
    Completes calls once every worker is known that may have to answer them.

    Args:
        clock: The clock of this worker.
        membership: The states of the other workers.
        delivery: The streams.
        calls: What awaits answers.

    Attributes:
        alone: Whether the backend knows that there is no other worker.
        asks: Whether the next heartbeat has to ask who is alive, although every worker was known.
    """

    def __init__(
        self, clock: EchoClock, membership: Membership, delivery: Delivery, calls: PendingCalls
    ) -> None:
        self._clock = clock
        self._membership = membership
        self._delivery = delivery
        self._calls = calls
        self.alone = False
        self.asks = False
        self._has_reached_all = False  # that were connected before a count of the broker
        self._verified_at = float("-inf")  # when a query of all was last asked for

    @property
    def is_settled(self) -> bool:
        """Whether every live worker is known."""
        return self._clock.is_settled or self.alone

    def vouches(self, now: float) -> bool:
        """Rule `every-worker-is-known`: whether the peers of this worker are all live workers."""
        has_heard_all = self._clock.has_heard_all and not self._clock.was_absent(now)
        return has_heard_all and not self._membership.known_by_name

    def forget_audience(self) -> None:
        """Rule `every-worker-is-known`: workers may have connected that were not counted."""
        self._membership.audience = None
        self._has_reached_all = False
        self._calls.on_absence()

    def resolve(self, numbers: Iterable[int], now: float) -> list[Event]:
        """
        Complete the operations that have all their answers.

        Rule `unknown-takes-knowing`: an unmet worker does not exist if every worker is known, the
        operation has echoed, and no other worker reports it.
        """
        events: list[Event] = []
        known: frozenset[str] | None = None  # what most calls need not know
        for number in numbers:
            if not self._calls.awaits_unmet(number):
                pass
            elif self._is_every_worker_known(number, now):
                known = self._membership.known_by_name if known is None else known
                unknown = self._calls.rule_out(number, known)
                self._membership.rule_out(unknown, now - self._clock.born)
            elif self._has_to_verify(number, now):
                events.append(VerifyCount())
            completed = self._calls.complete(number)
            if completed is not None:
                pending, result = completed
                events.append(result)
                if pending.for_all and isinstance(result, Completed):
                    self._delivery.stream.blank(number)  # Rule `completed-is-not-repeated`
                    if pending.is_change:
                        self._membership.overlook(pending.began - self._clock.born)
        return events

    def _is_every_worker_known(self, number: int, now: float) -> bool:
        """
        Whether an operation has echoed, and concerns no worker that is not known at least by name.

        Rule `views-are-compared`: peers are asked for the names in their views when no more
        answers are under way, which bring their present views.
        """
        if number >= self._delivery.first_unechoed:
            return False
        # A worker that connects later says hello, so this holds until an absence.
        self._has_reached_all |= self._calls.has_reached_all(number)
        is_known = self.is_settled or self._has_reached_all
        unclear = self._membership.unclear()
        if is_known and not unclear:
            return True
        if self._calls.awaits_none_met(number) and (is_known or self._membership.has_vouchers):
            for name in unclear:
                self._ask_view(name, now)
        return False

    def _has_to_verify(self, number: int, now: float) -> bool:
        """Whether an echoed operation waits for a count that its own answers do not verify."""
        if self.is_settled or self._has_reached_all or number >= self._delivery.first_unechoed:
            return False
        if self._calls.verifies_count(number) or not self._membership.has_met_audience:
            return False
        if now - self._verified_at < NACK_INTERVAL * self._clock.interval:
            return False
        self._verified_at = now
        return True

    def _ask_view(self, name: str, now: float) -> None:
        peer = self._membership.peers[name]
        if now - peer.asked_at >= NACK_INTERVAL * self._clock.interval:
            peer.asked_at = now
            self._delivery.ask_view(name)
            self.asks = True  # it may be dead: one that vouches answers in its place
            self._clock.announce(now)
