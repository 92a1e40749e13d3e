"""What follows from the frames that the broker brings, this worker's own and those of others."""

from __future__ import annotations

from flask_rooms.protocol.calls import PendingCalls
from flask_rooms.protocol.clock import LONG_ABSENCE, EchoClock
from flask_rooms.protocol.codec import BadMessage, decode_operation, is_for
from flask_rooms.protocol.delivery import Delivery
from flask_rooms.protocol.events import Deliver, Event, Evicted, PeerLeft
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.membership import Membership, Peer, State
from flask_rooms.protocol.messages import (
    ANSWERS,
    REMOVALS,
    Answer,
    Change,
    Direct,
    Done,
    Frame,
    Goodbye,
    Heartbeat,
    Operation,
    Reply,
    Succeeds,
)
from flask_rooms.protocol.quarantine import Quarantine
from flask_rooms.protocol.resolution import Resolution
from flask_rooms.protocol.succession import OpenChanges

#: How many heartbeats in a row of a peer may have a view that is not clear, before it is asked
#: whom it counts. Right after a worker has joined or died the views differ for a moment.
UNCLEAR_BEATS = 2


class Reception:
    """
    Takes in frames, and returns what is to be applied and what has completed.

    Args:
        name: The name of this worker.
        clock: Its clock.
        membership: The states of the other workers.
        delivery: The streams.
        calls: What awaits answers.
        quarantine: Whether nothing of the others is applied.
        resolution: Ends calls.
        open_changes: What the next life of this worker has to repeat.
    """

    def __init__(
        self,
        name: str,
        clock: EchoClock,
        membership: Membership,
        delivery: Delivery,
        calls: PendingCalls,
        quarantine: Quarantine,
        resolution: Resolution,
        open_changes: OpenChanges,
    ) -> None:
        self.name = name
        self._clock = clock
        self._membership = membership
        self._delivery = delivery
        self._calls = calls
        self._quarantine = quarantine
        self._resolution = resolution
        self._open_changes = open_changes
        self._met: list[str] = []

    def receive(self, frame: Frame, now: float) -> list[Event]:
        """Process a frame of any worker, this one included; return what follows from it."""
        name, beat = frame.sender, frame.heartbeat
        if frame.to not in ("", self.name):
            return []  # the backend has no addresses
        if name == self.name:
            return self._receive_echo(frame, now)
        peer = self._membership.peers.get(name)
        if peer is None:
            if self._membership.is_ruled_out(name):
                return self._receive_from_dead(frame, now)
            if beat is None:
                self._clock.announce(now)  # an unmet sender answers with a heartbeat
                return []
            is_hello = _is_hello(frame, beat)
            if not is_hello and self._membership.was_overlooked(beat, self._clock.echoed_age):
                self._membership.rule_out([name], now - self._clock.born)
                self._calls.mark_unable(name)
                return self._receive_from_dead(frame, now)
            peer = self._add_peer(name, beat, is_hello, now)
        evicted = self._receive_statements(frame, peer, now)
        if evicted is not None:
            return [evicted]
        if peer.may_overlook and peer.state is State.JOINING and self._is_last(frame):
            return [Evicted(name, counted_dead=True)]  # Rule `gone-newcomers-evict`
        events: list[Event] = []
        if frame.direct is not None:
            self._delivery.on_direct(name, frame.direct, self._membership.view)
            events += self._receive_answers(name, frame.direct, now)
        return events if self._quarantine else events + self._apply(frame, peer, now)

    def take_met(self) -> list[str]:
        """Return the workers that were met since the last call."""
        met, self._met = self._met, []
        return met

    # -- own frames -----------------------------------------------------------------------

    def _receive_echo(self, frame: Frame, now: float) -> list[Event]:
        """Process an own frame: broker and connection work."""
        if self._clock.was_absent(now):
            self._resolution.forget_audience()
            self._quarantine.prolong(now)
        self._clock.on_echo(now)
        self._delivery.on_echo(frame)
        events: list[Event] = []
        beat = frame.heartbeat
        if beat is not None and self._clock.on_beat_echo(beat.beat, beat.age):
            self._delivery.on_beat_echo(frame.first, beat.age)
            self._echo_in_quarantine(now)
            for name in self._membership.told_suspects(beat.beat):
                events += self._mark_dead(name, now)
            if self._clock.counts(now):
                self._count_missed_beats(now)
                self._clock.pace = self._membership.pace
                self._open_changes.trim(self._delivery.trim(), self._delivery.stream.first_untried)
        return events + self._resolution.resolve(self._calls.awaiting_unmet, now)

    def _echo_in_quarantine(self, now: float) -> None:
        """Rule `quarantine-after-absence`: unmet workers answer the first of three heartbeats."""
        if self._quarantine.awaits_unmet:
            self._clock.announce(now)
            if self._quarantine.on_beat_echo(self._clock.echoed_beat):
                self._delivery.nack_all()

    def _count_missed_beats(self, now: float) -> None:
        for name in self._membership.count_echo(self._clock.beat + 1):
            self._clock.due = now  # Rule `dead-are-told-first`
            self._unlink(name)

    # -- frames of others -----------------------------------------------------------------

    def _add_peer(self, name: str, beat: Heartbeat, is_hello: bool, now: float) -> Peer:
        """Count a worker as alive, and fix where this worker's stream starts for it."""
        delivery = self._delivery
        start = delivery.start_for(beat, is_hello)
        # What echoed before the hello is not for a newcomer, unless it names that worker.
        echoed_before = delivery.first_unechoed if is_hello else 0
        start = self._calls.on_peer(name, start, echoed_before, delivery.stream.oldest)
        delivery.add(name, start)
        self._met.append(name)
        delivery.introduce(name)
        return self._membership.add(name, now - beat.age, self._clock.beat)

    def _note_sign_of_life(self, name: str, peer: Peer, now: float) -> None:
        if peer.missed_beats > peer.pace:
            # Rule `announce-to-unmet`: it may have been away, and in quarantine until it is named.
            self._delivery.introduce(name)
        peer.missed_beats = 0

    def _receive_from_dead(self, frame: Frame, now: float) -> list[Event]:
        """Rule `dead-are-told-again`: one of the two workers has to start over."""
        beat = frame.heartbeat
        if beat is not None and self.name in beat.dead:
            return [Evicted(frame.sender, counted_dead=True)]
        self._membership.on_frame_of_dead(frame.sender)
        self._clock.announce(now)
        return []

    def _receive_statements(self, frame: Frame, peer: Peer, now: float) -> Evicted | None:
        """Take in what a peer states about itself, this worker and the others."""
        name, beat, direct = frame.sender, frame.heartbeat, frame.direct
        link = self._delivery.link(name)
        is_new_direct = direct is not None and direct.serial > link.their_serial
        # Rule `late-heartbeats-are-ignored`; a frame for this worker alone repeats the latest one.
        is_new_beat = beat is not None and beat.beat >= peer.beat + (not is_new_direct)
        # Rule `own-echo-clock`: a copy is no sign of life.
        if link.observe(frame) or is_new_beat:
            self._note_sign_of_life(name, peer, now)
        if direct is not None and is_new_direct:
            self._receive_direct(frame, peer, direct)
        evicted = None
        if beat is not None and is_new_beat:
            evicted = self._receive_heartbeat(frame, peer, beat, now)
        if self._membership.has_vouchers:
            self._clock.on_voucher(self._membership.take_voucher())
        return evicted

    def _receive_heartbeat(
        self, frame: Frame, peer: Peer, beat: Heartbeat, now: float
    ) -> Evicted | None:
        name = frame.sender
        self._delivery.note_asks(name, beat, vouches=beat.asks and self._resolution.vouches(now))
        if self.name in beat.dead:  # Rule `evicted-start-over`
            return Evicted(name, counted_dead=True)
        self._membership.on_heartbeat(peer, beat, self._clock.beat)
        if beat.about is not None:  # Rule `longer-interval`
            peer.pace = max(1.0, beat.about.interval / self._clock.interval)
            self._clock.pace = max(self._clock.pace, peer.pace)
        if peer.state is State.JOINING:
            peer.may_overlook |= self._may_overlook(peer, beat, now)
        expected = self._delivery.link(name).inbound.expected
        if expected is None:
            self._delivery.introduce(name)
            return None
        if expected < beat.oldest:  # Rule `evicted-start-over`
            return Evicted(name, counted_dead=False)
        self._compare_views(name, peer)
        return None

    def _may_overlook(self, peer: Peer, beat: Heartbeat, now: float) -> bool:
        """Rule `gone-newcomers-evict`: whether a peer may have come to know all but this worker."""
        is_newcomer = peer.born_by > self._clock.born
        has_time = beat.age >= LONG_ABSENCE * self._clock.interval * peer.pace
        return is_newcomer and has_time and self._clock.was_long_absent(now)

    def _compare_views(self, name: str, peer: Peer) -> None:
        """Rule `views-are-compared`: ask a peer that may not count this worker as alive."""
        if self._membership.counts_me(peer):
            self._release(name)
        elif self._quarantine.awaits(name) or peer.unclear_beats >= UNCLEAR_BEATS:
            self._delivery.ask_view(name)

    def _receive_direct(self, frame: Frame, peer: Peer, direct: Direct) -> None:
        """Take in how a peer counts this worker: it is alive, or would not be addressed."""
        name, introduction = frame.sender, frame.heartbeat
        self._membership.on_direct(name, direct, self._clock.beat)
        inbound = self._delivery.link(name).inbound
        if inbound.expected is None and peer.state is State.ALIVE:
            inbound.expected = direct.start  # Rule `stream-start`
        if introduction is not None and direct.probes:
            self._delivery.introduce(name)
        if introduction is not None and peer.is_recent(direct):
            # Rule `hello-is-verified`: an older worker has sent its hello long ago.
            self._calls.verify(name, introduction.age < self._clock.interval)
        self._release(name)

    def _release(self, name: str) -> None:
        if self._quarantine.release(name):
            self._delivery.nack_all()

    def _apply(self, frame: Frame, peer: Peer, now: float) -> list[Event]:
        """Apply each operation once and in order."""
        if peer.state is State.JOINING:
            # Rule `quarantine-for-unmet`: it may report sockets of this worker as unknown.
            if not peer.has_held and any(map(self._names_own_socket, frame.operations)):
                peer.has_held = True
                self._quarantine.hold([frame.sender], now)
            return []  # Rule `stream-start`
        name = frame.sender
        events: list[Event] = []
        first, operations = self._delivery.accept(name, frame, now)
        for number, data in enumerate(operations, first):
            operation = self._decode(data)
            if operation is not None:
                events += self._dispatch(name, number, operation, now)
            if isinstance(operation, Goodbye):
                break  # Rule `goodbye-ends-a-worker`
        return events

    def _decode(self, data: bytes) -> Operation | None:
        """
        Return an operation, or None for one that is skipped, which keeps the stream going.

        Rules `others-skip` and `bad-messages-are-dropped`.
        """
        try:
            return decode_operation(data) if is_for(self.name, data) else None
        except BadMessage:
            return None

    def _is_last(self, frame: Frame) -> bool:
        """Whether the sender says goodbye."""
        return any(isinstance(self._decode(data), Goodbye) for data in frame.operations)

    def _names_own_socket(self, data: bytes) -> bool:
        operation = self._decode(data)
        sids = operation.sids if isinstance(operation, Change) else ()
        return any(owner_of(sid) == self.name for sid in sids)

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Goodbye):
            return self._mark_dead(sender, now, said_goodbye=True)
        if isinstance(operation, Succeeds):
            return [Deliver(sender, number, operation), *self._succeed(operation)]
        return [] if isinstance(operation, ANSWERS) else [Deliver(sender, number, operation)]

    def _succeed(self, operation: Succeeds) -> list[Event]:
        """
        Rule `order-across-lives`: carry out what was not, and nothing of that life after it.

        A worker that has not followed that life may be younger than its calls, so it has the
        sockets that are named leave, and does nothing else.
        """
        missed, is_followed = self._delivery.end(operation)
        events: list[Event] = []
        for number, data in missed:
            change = self._decode(data)
            if isinstance(change, Change) and (is_followed or _takes_out(change)):
                events.append(Deliver(operation.former, number, change))
        return events

    def _receive_answers(self, name: str, direct: Direct, now: float) -> list[Event]:
        """Rule `answers-to-the-asker`: they order nothing, so they count also in a quarantine."""
        events: list[Event] = []
        for data in self._delivery.accept_answers(name, direct):
            answer = self._decode(data)
            if isinstance(answer, ANSWERS):
                events += self._receive_answer(name, answer, now)
        return events

    def _receive_answer(self, sender: str, answer: Answer, now: float) -> list[Event]:
        if answer.worker != self.name:
            return []
        if not isinstance(answer, (Done, Reply)):
            return [Deliver(sender, 0, answer)]
        awaited = self._calls.on_answer(sender, answer)
        return self._resolution.resolve([answer.number], now) if awaited else []

    def _mark_dead(self, name: str, now: float, said_goodbye: bool = False) -> list[Event]:
        self._membership.mark_dead(name, now - self._clock.born)
        self._unlink(name, may_return=not said_goodbye)
        return [
            PeerLeft(name, said_goodbye),
            *self._resolution.resolve(self._calls.mark_dead(name), now),
        ]

    def _unlink(self, name: str, may_return: bool = True) -> None:
        self._delivery.remove(name, may_return=may_return)
        self._release(name)


def _takes_out(change: Change) -> bool:
    """Whether a change takes sockets that it names out of rooms."""
    return change.source is None and change.action in REMOVALS


def _is_hello(frame: Frame, beat: Heartbeat) -> bool:
    """Whether a worker says with this heartbeat that it is new; a hello goes to all."""
    return beat.beat == 1 and frame.direct is None
