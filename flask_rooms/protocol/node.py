"""
The protocol between workers as a state machine: no input or output, no threads, no clock.

The driver of a Node feeds it frames and the time, and gets back what to apply, what has
completed, and what to send. A Node joins three machines: `Membership` (who is alive), `Delivery`
(the streams) and `PendingCalls` (who has answered). `EchoClock` and `Quarantine` serve them.

`docs/protocol.md` states each rule, and what goes wrong without it. Code that keeps a rule names
it: "Rule `own-echo-clock`". Some rules need the driver, which cites them as well: it decides when
sockets are accepted, when a worker leaves, and when it connects again.

An *echo* is a frame of this worker that has come back to it from the broker. A *peer* is another
worker that counts as alive. A worker is *unmet* until a heartbeat of it has been received.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from flask_rooms.protocol.calls import PendingCalls
from flask_rooms.protocol.clock import EchoClock
from flask_rooms.protocol.codec import BadMessage, decode_operation, encode_operation, is_for
from flask_rooms.protocol.delivery import NACK_INTERVAL, Delivery
from flask_rooms.protocol.events import Deliver, Event, Evicted, PeerLeft
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.membership import MAX_DEAD, Membership, Peer, State
from flask_rooms.protocol.messages import (
    ANSWERS,
    NOWHERE,
    About,
    Acknowledged,
    Answer,
    Answered,
    Ask,
    Change,
    Direct,
    Done,
    Emit,
    Frame,
    Goodbye,
    Heartbeat,
    Operation,
    Query,
    Tell,
)
from flask_rooms.protocol.pending import Completed
from flask_rooms.protocol.quarantine import Quarantine
from flask_rooms.protocol.stream import Limits

#: By how many bytes a Done may exceed the longest Change, whose socket IDs it repeats.
DONE_ALLOWANCE = 64
#: How many heartbeats in a row of a peer may have a view that is not clear, before it is asked
#: whom it counts. Right after a worker has joined or died the views differ for a moment.
UNCLEAR_BEATS = 2


class Node:
    """
    One worker's part in the protocol.

    Not thread-safe. Times are seconds of one clock that never goes back.

    Args:
        name: The worker's name, new for each life of it.
        now: The time.
        heartbeat: Seconds between two heartbeats.
        confirm: Seconds after which an unanswered operation times out.
        limits: The bounds of this worker's stream.
        about: Where this worker runs, which its heartbeats tell the others.
        max_dead: How many dead workers are remembered.
    """

    def __init__(
        self,
        name: str,
        now: float,
        *,
        heartbeat: float,
        confirm: float,
        limits: Limits,
        about: About = NOWHERE,
        max_dead: int = MAX_DEAD,
    ) -> None:
        self.name = name
        self._about = replace(about, interval=heartbeat)
        self._met: list[tuple[str, int]] = []
        self._asks_again = False
        #: Whether the backend knows that there is no other worker; set before receive().
        self.alone = False
        self._clock = EchoClock(now, heartbeat)
        self._membership = Membership(name, max_dead)
        self._delivery = Delivery(limits, self._clock)
        self._calls = PendingCalls(self._membership, confirm, limits.pages)
        self._quarantine = Quarantine(name, self._clock)

    @property
    def peers(self) -> frozenset[str]:
        """The other workers that count as alive."""
        return frozenset(self._membership.peers)

    @property
    def is_settled(self) -> bool:
        """Whether every live worker is known."""
        return self._clock.is_settled or self.alone

    @property
    def is_followed(self) -> bool:
        """Whether every live worker has had the time to follow this one's stream."""
        return self._clock.has_heard_all or self.alone

    @property
    def known_workers(self) -> frozenset[str]:
        """
        The other workers that count as alive, and those known only by name.

        Rule `heard-before-leaving`: the driver queries them before it says goodbye.
        """
        return self.peers | self._membership.known_by_name

    @property
    def wakes_at(self) -> float:
        """The latest time at which tick() has something to do."""
        return min(
            self._clock.due,
            self._delivery.probe_due,
            self._quarantine.until,
            self._calls.deadline,
        )

    @property
    def has_unsent(self) -> bool:
        """Whether operations wait for take()."""
        return self._delivery.stream.has_unsent or self.has_direct

    @property
    def has_direct(self) -> bool:
        """Whether something for a single worker waits for take()."""
        return self._delivery.has_direct

    @property
    def unsent(self) -> tuple[int, int]:
        """How many operations have not been sent, and their size in bytes."""
        return self._delivery.stream.unsent

    @property
    def sent(self) -> int:
        """How many operations have been sent to the other workers."""
        return self._delivery.stream.fresh - 1

    @property
    def retransmissions(self) -> int:
        """How often operations were sent again because a peer had missed them."""
        return self._delivery.retransmissions

    @property
    def awaits_echo(self) -> bool:
        """Whether operations that were sent have not echoed yet."""
        return self._delivery.stream.fresh > self._delivery.first_unechoed

    # -- what the application wants -------------------------------------------------------

    def submit(self, operation: Operation, *, bounded: bool = True) -> int:
        """
        Put an operation for the other workers, or an answer for one of them, into the outbox.

        Rule `answers-never-refused`: a full outbox takes answers and goodbyes all the same.

        Args:
            operation: The operation.
            bounded: Whether a full outbox refuses it.

        Returns:
            Its number in this worker's stream; 0 for an answer, which is not in it.

        Raises:
            InvalidArgument: It is larger than a frame may be.
            BackendUnavailable: The outbox is full.
        """
        data = encode_operation(operation)
        if isinstance(operation, ANSWERS):
            allowance = DONE_ALLOWANCE if isinstance(operation, Done) else 0
            self._delivery.answer(operation.worker, data, allowance)
            return 0
        bounded = bounded and not isinstance(operation, Goodbye)
        number = self._delivery.stream.append(data, bounded=bounded)
        if isinstance(operation, Change):
            self._calls.note_change(number)
        return number

    def call(
        self,
        operation: Change | Query | Ask | Tell,
        targets: Mapping[str, tuple[str, ...]] | None,
        now: float,
    ) -> tuple[int, list[Event]]:
        """
        Submit an operation and await the answers of the workers that it is for.

        Args:
            operation: What is to be done or answered.
            targets: Worker name -> its socket IDs among those of *operation*; None for every
                worker.
            now: The time.

        Returns:
            The operation's number, and the events that it causes at once.

        Raises:
            InvalidArgument: It is larger than a frame may be.
            BackendUnavailable: The outbox is full.
        """
        number = self.submit(operation)
        self._calls.begin(number, operation, targets, now)
        return number, self._resolve([number], now)

    def unanswered_by(self, number: int) -> tuple[str, ...]:
        """Return the workers that have not answered operation *number* yet."""
        return self._calls.unanswered_by(number)

    def time_out(self, number: int) -> list[Event]:
        """Stop waiting for the answers to operation *number*, as if its deadline had passed."""
        return [*self._calls.time_out(number)]

    def is_ruled_out(self, worker: str) -> bool:
        """Whether no live worker can have this name, so that its socket IDs are unknown."""
        return self._membership.is_ruled_out(worker)

    def waiting(self) -> list[Operation]:
        """Return the operations that no worker can have received, in order."""
        decoded = [decode_operation(data) for data in self._delivery.stream.untried()]
        return [operation for operation in decoded if operation is not None]

    def carried_over(self) -> list[Operation]:
        """
        Return what the next life of this worker sends in place of this one, in order.

        Rule `order-across-lives`: nothing, if it stands behind a change that may not have happened.
        """
        if self._calls.has_unconfirmed(before=self._delivery.stream.first_untried):
            return []
        return [one for one in self.waiting() if isinstance(one, Change | Emit | Tell)]

    # -- what the broker brings -----------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> list[Event]:
        """Process a frame of any worker, this one included; return what follows from it."""
        name, beat = frame.sender, frame.heartbeat
        if frame.to not in ("", self.name):
            return []  # the backend has no addresses
        if name == self.name:
            return self._receive_echo(frame, now)
        if self.is_ruled_out(name):
            return self._receive_from_dead(frame, now)
        peer = self._membership.peers.get(name)
        if peer is None:
            if beat is None:
                self._clock.announce(now)  # an unmet sender answers with a heartbeat
                return []
            is_hello = _is_hello(frame, beat)
            if not is_hello and self._membership.was_overlooked(beat, self._clock.echoed_age):
                self._membership.rule_out([name], now - self._clock.born)
                return self._receive_from_dead(frame, now)
            peer = self._add_peer(name, beat, is_hello, now)
        evicted = self._receive_statements(frame, peer, now)
        if evicted is not None:
            return [evicted]
        self._delivery.on_direct(name, frame, self._membership.view)
        events = self._receive_answers(frame, now)
        return events if self._quarantine else events + self._apply(frame, peer, now)

    def take_met(self) -> list[tuple[str, int]]:
        """
        Return the workers that were met since the last call.

        With each of them comes the number of the first own operation that is meant for it.
        """
        met, self._met = self._met, []
        return met

    def note_audience(self, count: int | None, now: float) -> None:
        """
        Record how many workers were connected to the broker, this one included.

        Args:
            count: How many; None if the backend cannot know.
            now: A time not after that at which they were counted.
        """
        self._membership.audience = None if count is None else (count, now)

    def _forget_audience(self) -> None:
        self._membership.audience = None
        self._calls.on_absence()

    def note_foreign_version(self, name: str) -> None:
        """Rule `foreign-version-exists`: record a worker whose messages cannot be read."""
        self._membership.note_foreign_version(name)

    def tick(self, now: float) -> list[Event]:
        """Let time pass: end a quarantine and operations that have timed out."""
        if self._quarantine.release_at(now):
            self._delivery.nack_all()
        events = self._resolve(self._calls.awaiting_unmet, now)
        for number in self._calls.overdue(now):
            events += self.time_out(number)
        return events

    def on_reconnect(self, now: float) -> None:
        """Record that the connection is back, and send a heartbeat with the next frame."""
        self._membership.on_reconnect()
        self._forget_audience()
        beat = self._clock.beat
        if self._clock.was_absent(now):
            self._quarantine.on_absence(self._membership.peers, beat, now)
            for name in self._membership.slower:  # whose next heartbeats may take long
                self._delivery.ask_view(name)
        elif beat > 0:  # before its hello it has no sockets
            self._quarantine.on_reconnect(beat, now)
        self._clock.on_reconnect(now)

    def is_deaf(self, now: float) -> bool:
        """Rule `reconnect-when-deaf`: whether an own heartbeat should have echoed long ago."""
        return self._clock.is_deaf(now)

    # -- what to publish ------------------------------------------------------------------

    def take(self, now: float) -> Frame | None:
        """Return the next frame to publish, or None when nothing waits."""
        if now >= self._delivery.probe_due:
            self._delivery.probe(now)
        beat = self._heartbeat(now) if now >= self._clock.due else None
        direct = self._take_direct(now) if beat is None else None
        return direct or self._delivery.take(self.name, beat)

    def _heartbeat(self, now: float) -> Heartbeat:
        number = self._clock.next_beat(now)
        self._membership.forget_dead()
        beat = replace(self._statement(now), beat=number, dead=tuple(self._membership.told()))
        self._asks_again = False
        return beat if number == 1 else replace(beat, about=NOWHERE)

    def _statement(self, now: float) -> Heartbeat:
        """Return the latest heartbeat, as it would be now."""
        return Heartbeat(
            self._clock.beat,
            now - self._clock.born,
            self._delivery.stream.oldest,
            self._membership.view,
            asks=self._asks_again or not self.is_settled,
            about=self._about,
        )

    def _take_direct(self, now: float) -> Frame | None:
        """Return the next frame to publish to one worker, with what that one wants to know."""
        frame = self._delivery.take_direct(self.name, self._membership.view, now)
        if frame is None or frame.direct is None:
            return None
        link = self._delivery.link(frame.to)
        direct = replace(frame.direct, heard=self._membership.peers[frame.to].beat)
        if link.asked and self._vouches(now):
            direct = replace(direct, vouches_for=link.asked)
        if link.names:
            direct = replace(direct, names=(self.name, *self._membership.peers))
        statement = self._statement(now) if link.introduces else None
        link.names = link.introduces = False
        return replace(frame, heartbeat=statement, direct=direct)

    def _vouches(self, now: float) -> bool:
        """Rule `every-worker-is-known`: whether the peers of this worker are all live workers."""
        has_heard_all = self._clock.has_heard_all and not self._clock.was_absent(now)
        return has_heard_all and not self._membership.known_by_name

    def give_back(self, frame: Frame, now: float) -> None:
        """Take back a frame that could not be published; it goes out again later."""
        self._delivery.give_back(frame)
        if frame.heartbeat is not None and not frame.to:
            self._clock.give_back(now)

    # -- own frames -----------------------------------------------------------------------

    def _receive_echo(self, frame: Frame, now: float) -> list[Event]:
        """Process an own frame: broker and connection work."""
        if self._clock.was_absent(now):
            self._forget_audience()
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
                self._delivery.trim()
                self._calls.forget_before(self._delivery.stream.oldest)
        return events + self._resolve(self._calls.awaiting_unmet, now)

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
        self._met.append((name, start))
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
        self._clock.on_voucher(self._membership.take_voucher())
        return evicted

    def _receive_heartbeat(
        self, frame: Frame, peer: Peer, beat: Heartbeat, now: float
    ) -> Evicted | None:
        name = frame.sender
        self._delivery.note_asks(name, beat, vouches=beat.asks and self._vouches(now))
        if self.name in beat.dead:  # Rule `evicted-start-over`
            return Evicted(name, counted_dead=True)
        self._membership.on_heartbeat(peer, beat, self._clock.beat)
        if beat.about != NOWHERE:  # Rule `longer-interval`
            peer.pace = max(1.0, beat.about.interval / self._clock.interval)
            self._clock.pace = max(self._clock.pace, peer.pace)
        expected = self._delivery.link(name).inbound.expected
        if expected is None:
            self._delivery.introduce(name)
            return None
        if expected < beat.oldest:  # Rule `evicted-start-over`
            return Evicted(name, counted_dead=False)
        self._compare_views(name, peer)
        return None

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

    def _names_own_socket(self, data: bytes) -> bool:
        operation = self._decode(data)
        sids = operation.sids if isinstance(operation, Change) else ()
        return any(owner_of(sid) == self.name for sid in sids)

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Goodbye):
            return self._mark_dead(sender, now, said_goodbye=True)
        return [] if isinstance(operation, ANSWERS) else [Deliver(sender, number, operation)]

    def _receive_answers(self, frame: Frame, now: float) -> list[Event]:
        """Rule `answers-to-the-asker`: they order nothing, so they count also in a quarantine."""
        events: list[Event] = []
        for data in self._delivery.accept_answers(frame.sender, frame):
            answer = self._decode(data)
            if isinstance(answer, ANSWERS):
                events += self._receive_answer(frame.sender, answer, now)
        return events

    def _receive_answer(self, sender: str, answer: Answer, now: float) -> list[Event]:
        if answer.worker != self.name:
            return []
        if isinstance(answer, Acknowledged | Answered):
            return [Deliver(sender, 0, answer)]
        awaited = self._calls.on_answer(sender, answer)
        return self._resolve([answer.number], now) if awaited else []

    def _mark_dead(self, name: str, now: float, said_goodbye: bool = False) -> list[Event]:
        self._membership.mark_dead(name, now - self._clock.born)
        self._unlink(name)
        return [PeerLeft(name, said_goodbye), *self._resolve(self._calls.mark_dead(name), now)]

    def _unlink(self, name: str) -> None:
        self._delivery.remove(name)
        self._release(name)

    # -- calls ----------------------------------------------------------------------------

    def _resolve(self, numbers: Iterable[int], now: float) -> list[Event]:
        """
        Complete the operations that have all their answers.

        Rule `unknown-takes-knowing`: an unmet worker does not exist if every worker is known, the
        operation has echoed, and no other worker reports it.
        """
        events: list[Event] = []
        known: frozenset[str] | None = None  # what most calls need not know
        for number in numbers:
            if self._calls.awaits_unmet(number) and self._is_every_worker_known(number, now):
                known = self._membership.known_by_name if known is None else known
                unknown = self._calls.rule_out(number, known)
                self._membership.rule_out(unknown, now - self._clock.born)
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
        is_known = self.is_settled or self._calls.has_reached_all(number)
        unclear = self._membership.unclear()
        if is_known and not unclear:
            return True
        if self._calls.awaits_none_met(number) and (is_known or self._membership.has_vouchers):
            for name in unclear:
                self._ask_view(name, now)
        return False

    def _ask_view(self, name: str, now: float) -> None:
        peer = self._membership.peers[name]
        if now - peer.asked_at >= NACK_INTERVAL * self._clock.interval:
            peer.asked_at = now
            self._delivery.ask_view(name)
            self._asks_again = True  # it may be dead: one that vouches answers in its place
            self._clock.announce(now)


def _is_hello(frame: Frame, beat: Heartbeat) -> bool:
    """Whether a worker says with this heartbeat that it is new; a hello goes to all."""
    return beat.beat == 1 and frame.direct is None
