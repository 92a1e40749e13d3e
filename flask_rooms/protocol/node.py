"""
The protocol between workers as a state machine: no input or output, no threads, no clock.

The driver of a Node feeds it frames and the time, and gets back what to apply, what has
completed, and what to send. A Node joins three machines: `Membership` (who is alive), `Delivery`
(the streams) and `PendingCalls` (who has answered). `EchoClock` and `Quarantine` serve them.
`Reception` takes in frames, and `Resolution` ends calls.

`docs/protocol.md` states each rule, and what goes wrong without it. Code that keeps a rule names
it: "Rule `own-echo-clock`". Some rules need the driver, which cites them as well: it decides when
sockets are accepted, when a worker leaves, and when it connects again.

An *echo* is a frame of this worker that has come back to it from the broker. A *peer* is another
worker that counts as alive. A worker is *unmet* until a heartbeat of it has been received.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from flask_rooms.protocol.calls import PendingCalls
from flask_rooms.protocol.clock import EchoClock
from flask_rooms.protocol.codec import decode_operation, encode_operation
from flask_rooms.protocol.delivery import Delivery
from flask_rooms.protocol.events import Event
from flask_rooms.protocol.membership import MAX_DEAD, Membership
from flask_rooms.protocol.messages import (
    ANSWERS,
    About,
    Ask,
    Change,
    Done,
    Emit,
    Frame,
    Goodbye,
    Heartbeat,
    ListPart,
    Operation,
    Query,
    Succeeds,
    Tell,
)
from flask_rooms.protocol.pending import TimedOut
from flask_rooms.protocol.quarantine import Quarantine
from flask_rooms.protocol.reception import Reception
from flask_rooms.protocol.resolution import Resolution
from flask_rooms.protocol.stream import Limits
from flask_rooms.protocol.succession import ALLOWANCE, OpenChanges

#: By how many bytes a Done may exceed the longest Change, whose socket IDs it repeats, and a part
#: of a list the longest member.
DONE_ALLOWANCE = 64


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
        about: About | None = None,
        max_dead: int = MAX_DEAD,
    ) -> None:
        self.name = name
        self._about = replace(about or About("", 0, "", 0.0), interval=float(heartbeat))
        self._clock = EchoClock(now, heartbeat)
        self._membership = Membership(name, max_dead)
        self._delivery = Delivery(limits, self._clock)
        self._limits = limits
        self._open_changes = OpenChanges(limits.log // 2)
        self._calls = PendingCalls(self._membership, confirm, limits.pages, self._open_changes)
        self._quarantine = Quarantine(name, self._clock)
        self._resolution = Resolution(self._clock, self._membership, self._delivery, self._calls)
        self._reception = Reception(
            name,
            self._clock,
            self._membership,
            self._delivery,
            self._calls,
            self._quarantine,
            self._resolution,
            self._open_changes,
        )

    @property
    def peers(self) -> frozenset[str]:
        """The other workers that count as alive."""
        return frozenset(self._membership.peers)

    @property
    def is_settled(self) -> bool:
        """Whether every live worker is known."""
        return self._resolution.is_settled

    @property
    def is_followed(self) -> bool:
        """Whether every live worker has had the time to follow this one's stream."""
        return self._clock.has_heard_all or self._resolution.alone

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
        return self._delivery.has_unsent

    @property
    def unechoed(self) -> int:
        """How many operations have not come back, sent or not."""
        return self._delivery.stream.next - self._delivery.first_unechoed

    @property
    def has_direct(self) -> bool:
        """Whether something for a single worker waits for take()."""
        return self._delivery.has_direct

    def has_frame(self, now: float) -> bool:
        """Whether take() may return a frame."""
        return self.has_unsent or now >= min(self._clock.due, self._delivery.probe_due)

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
    def shares_next(self) -> bool:
        """Whether what waits is to share a frame that is sent once what is under way has echoed."""
        return self._delivery.shares_next

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
            allowance = DONE_ALLOWANCE if isinstance(operation, Done | ListPart) else 0
            self._delivery.answer(operation.worker, data, allowance)
            return 0
        bounded = bounded and not isinstance(operation, Goodbye)
        allowance = ALLOWANCE if isinstance(operation, Succeeds) else 0
        number = self._delivery.stream.append(data, allowance, bounded=bounded)
        self._open_changes.note(number, operation, data)
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
        self._delivery.latest_call = number
        may_end = self._calls.begin(number, operation, targets, now)
        return number, self._resolution.resolve([number], now) if may_end else []

    def unanswered_by(self, number: int) -> tuple[str, ...]:
        """Return the workers that have not answered operation *number* yet."""
        return self._calls.unanswered_by(number)

    def time_out(self, number: int) -> list[TimedOut]:
        """Stop waiting for the answers to operation *number*, as if its deadline had passed."""
        return self._calls.time_out(number)

    def is_ruled_out(self, worker: str) -> bool:
        """Whether no live worker can have this name, so that its socket IDs are unknown."""
        return self._membership.is_ruled_out(worker)

    def waiting(self) -> list[Operation]:
        """Return the operations that no worker can have received, in order."""
        return _decode(self._delivery.stream.untried())

    def unpublished(self) -> list[Operation]:
        """Return the operations that were not sent as far as is known, in order."""
        return _decode(self._delivery.stream.waiting())

    def take_over(self, former: Node) -> list[tuple[int, Operation]]:
        """
        Go on in place of an evicted life of this worker; call it before anything else.

        Rule `order-across-lives`: first what may not have been carried out of its changes, then
        what it has never tried to publish. The outbox takes all of that, and so does the log.

        Returns:
            The operations that wait now, with their numbers.
        """
        carried = [(self.submit(one, bounded=False), one) for one in former.carried_over()]
        self._delivery.stream.keep_all()
        return carried

    def carried_over(self) -> list[Operation]:
        """Return what the next life of this worker sends in place of this one, in order."""
        untried = self._delivery.stream.first_untried
        repeated = self._open_changes.repeat(self.name, untried, self._limits.frame)
        kinds = Change | Emit | Tell | Succeeds
        return [*repeated, *(one for one in self.waiting() if isinstance(one, kinds))]

    # -- what the broker brings -----------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> list[Event]:
        """Process a frame of any worker, this one included; return what follows from it."""
        return self._reception.receive(frame, now)

    def take_met(self) -> list[str]:
        """Return the workers that were met since the last call."""
        return self._reception.take_met()

    def note_audience(self, count: int | None, now: float) -> None:
        """
        Record how many workers were connected to the broker, this one included.

        Args:
            count: How many; None if the backend cannot know.
            now: A time not after that at which they were counted.
        """
        if count is None:
            self._membership.audience = None
        else:
            self._membership.note_audience(count, now)

    @property
    def has_met_audience(self) -> bool:
        """Whether this worker has met as many others as were connected to the broker."""
        return self._membership.has_met_audience

    def note_alone(self, alone: bool) -> None:
        """Record whether the backend knows that there is no other worker; before receive()."""
        self._resolution.alone = alone

    def note_foreign_version(self, name: str) -> None:
        """Rule `foreign-version-exists`: record a worker whose messages cannot be read."""
        self._membership.note_foreign_version(name)

    def tick(self, now: float) -> list[Event]:
        """Let time pass: end a quarantine and operations that have timed out."""
        if now >= self._quarantine.until and self._quarantine.release_at(now):
            self._delivery.nack_all()
        if self._calls.is_empty:
            return []
        unmet = self._calls.awaiting_unmet
        events = self._resolution.resolve(unmet, now) if unmet else []
        for number in self._calls.overdue(now):
            events += self.time_out(number)
        return events

    def on_reconnect(self, now: float) -> None:
        """Record that the connection is back, and send a heartbeat with the next frame."""
        self._membership.on_reconnect()
        self._resolution.forget_audience()
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

    def is_unheard(self, now: float) -> bool:
        """Whether no own frame has come back for long, also where it was connected again since."""
        return self._clock.is_unheard(now)

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
        self._resolution.asks = False
        return beat if number == 1 else replace(beat, about=None)

    def _statement(self, now: float) -> Heartbeat:
        """Return the latest heartbeat, as it would be now."""
        return Heartbeat(
            self._clock.beat,
            self._delivery.stream.oldest,
            float(now - self._clock.born),
            self._membership.view,
            asks=self._resolution.asks or not self.is_settled,
            about=self._about,
        )

    def _take_direct(self, now: float) -> Frame | None:
        """Return the next frame to publish to one worker, with what that one wants to know."""
        frame = self._delivery.take_direct(self.name, self._membership.view, now)
        if frame is None or frame.direct is None:
            return None
        link = self._delivery.link(frame.to)
        direct = replace(frame.direct, heard=self._membership.peers[frame.to].beat)
        if link.asked and self._resolution.vouches(now):
            direct = replace(direct, vouches_for=link.asked)
        if link.names:
            direct = replace(direct, names=(self.name, *self._membership.peers))
        statement = self._statement(now) if link.introduces else None
        link.names = link.introduces = False
        return replace(frame, heartbeat=statement, direct=direct)

    def give_back(self, frame: Frame, now: float) -> None:
        """Take back a frame that could not be published; it goes out again later."""
        self._delivery.give_back(frame)
        if frame.heartbeat is not None and not frame.to:
            self._clock.give_back(now)


def _decode(entries: list[bytes]) -> list[Operation]:
    decoded = map(decode_operation, entries)
    return [operation for operation in decoded if operation is not None]
