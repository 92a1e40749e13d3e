"""Carries one worker's stream to the others and theirs here: in order, once, without a gap."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flask_rooms.protocol.clock import EchoClock
from flask_rooms.protocol.messages import Frame, Heartbeat
from flask_rooms.protocol.stream import Limits, Stream

#: How many own echoes an operation stays in the repair log after its own echo. A worker that still
#: misses it is dead by then.
REPAIR_LOG_ECHOES = 30
#: The least time between two nacks for one gap, in heartbeat intervals.
NACK_INTERVAL = 0.25
#: The least time between two retransmissions, in heartbeat intervals, even if many workers nack.
RETRANSMIT_INTERVAL = 0.01


@dataclass
class Link:
    """
    The streams between this worker and another one.

    Args:
        stream_start: The first own operation that is meant for it.
        expected: Its next operation; None until it has stated where its stream starts.
        next_number: The number after its last known operation.
        serial: That of its latest frame with nacks.
        nacked_at: When it was last asked to retransmit the present gap.
    """

    stream_start: int
    expected: int | None = None
    next_number: int = 0
    serial: int = 0
    nacked_at: float = float("-inf")

    def observe(self, frame: Frame) -> bool:
        """Record how far its stream has come; return whether the frame takes it further."""
        before = self.next_number
        self.next_number = max(before, frame.first + len(frame.operations))
        return self.next_number > before


class Delivery:
    """
    The outbound stream with its repair log, and how far each inbound one has come.

    Args:
        limits: The bounds of the outbound stream.
        clock: The clock of this worker.

    Attributes:
        stream: What this worker sends.
        first_unechoed: The first own operation that has not echoed.
        retransmissions: How often the stream was sent again because a peer had missed part of it.
    """

    def __init__(self, limits: Limits, clock: EchoClock) -> None:
        self.stream = Stream(limits)
        self.first_unechoed = 1
        self.retransmissions = 0
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._echo_history: deque[int] = deque()  # first_unechoed at each counted echo
        self._sent_by_age: deque[tuple[float, int]] = deque()  # own age -> first number not sent
        self._nacks: dict[str, int] = {}
        self._serial = 0  # of the latest own frame with nacks
        self._retransmit_from: int | None = None  # the lowest own number that was nacked
        self._retransmitted_at = float("-inf")

    def link(self, name: str) -> Link:
        """Return the link with a peer."""
        return self._links[name]

    def add(self, name: str, stream_start: int) -> None:
        """Begin to carry the streams between this worker and another one."""
        self._links[name] = Link(stream_start)

    def remove(self, name: str) -> None:
        """Carry nothing more of a worker."""
        self._links.pop(name, None)
        self._nacks.pop(name, None)

    @property
    def stream_starts(self) -> dict[str, int]:
        """Peer -> the first own operation that is meant for it."""
        return {name: link.stream_start for name, link in self._links.items()}

    # -- inbound --------------------------------------------------------------------------

    def accept(self, name: str, frame: Frame, now: float) -> tuple[int, tuple[bytes, ...]]:
        """
        Return the operations of a frame that are next, with the number of the first.

        Rule `ordered-stream`: duplicates are dropped, and a gap is nacked.
        """
        link = self._links[name]
        assert link.expected is not None
        if frame.first > link.expected:
            if now - link.nacked_at >= NACK_INTERVAL * self._clock.interval:
                link.nacked_at = now
                self._nacks[name] = link.expected
            return link.expected, ()
        first = link.expected
        fresh = frame.operations[first - frame.first :]
        if fresh:
            link.expected += len(fresh)
            link.nacked_at = float("-inf")
        return first, fresh

    def nack_all(self) -> None:
        """Ask every peer for what may have been missed."""
        links = self._links.items()
        self._nacks |= {name: link.expected for name, link in links if link.expected}

    # -- outbound -------------------------------------------------------------------------

    def take(self, sender: str, beat: Heartbeat | None) -> Frame | None:
        """Return the next frame to publish, or None when nothing waits."""
        nacks, self._nacks = self._nacks, {}
        first, operations = self.stream.take()
        if not (beat or nacks or operations):
            return None
        self._serial += bool(nacks)
        # Rule `empty-frames-are-numbered`: a frame without operations carries the next number.
        return Frame(sender, first, operations, beat, nacks, self._serial)

    def give_back(self, frame: Frame) -> None:
        """Take back a frame that could not be published; it goes out again later."""
        self.stream.give_back(frame.first)
        self._nacks = {**frame.nacks, **self._nacks}

    def on_nack(self, name: str, number: int, serial: int) -> None:
        """Record from which number on a peer has missed this worker's stream."""
        link = self._links[name]
        if serial > link.serial:  # Rule `nacks-count-once`
            link.serial = serial
            self._retransmit_from = min(number, self._retransmit_from or number)

    @property
    def retransmit_due(self) -> float:
        """Rule `ordered-stream`: nacks that come right after a retransmission wait for the next."""
        if self._retransmit_from is None:
            return float("inf")
        return self._retransmitted_at + RETRANSMIT_INTERVAL * self._clock.interval

    def retransmit(self, now: float) -> None:
        """Move the cursor back to what was nacked."""
        number, self._retransmit_from = self._retransmit_from, None
        self.retransmissions += number is not None
        if number is not None and not self.stream.rewind(number):
            self._clock.announce(now)  # the heartbeat states the oldest operation in the log
        self._retransmitted_at = now

    def on_echo(self, frame: Frame) -> None:
        """Record that an own frame has come back."""
        self.first_unechoed = max(self.first_unechoed, frame.first + len(frame.operations))

    def on_beat_echo(self, beat: Heartbeat) -> None:
        """Record what had been sent when this worker was as old as *beat* says."""
        if not self._sent_by_age or beat.fresh > self._sent_by_age[-1][1]:
            self._sent_by_age.append((beat.age, beat.fresh))
        while len(self._sent_by_age) > 1 and self._sent_by_age[1][1] <= self.stream.oldest:
            self._sent_by_age.popleft()

    def trim(self) -> None:
        """Rule `bounded-repair-log`: an outage, in which nothing echoes, makes nothing older."""
        self._echo_history.append(self.first_unechoed)
        if len(self._echo_history) > REPAIR_LOG_ECHOES:
            self.stream.discard_before(self._echo_history.popleft())

    def start_for(self, beat: Heartbeat) -> int:
        """
        Return the first own operation that a worker with this first heartbeat can have missed.

        Rule `stream-start`: with its hello that is the first one that has not echoed, because
        it is published after the hello. Otherwise its age tells: it stated that after the latest
        own echo or shortly before, so it gets an interval more, as far as the repair log still
        holds it. A worker that is older than this one gets the whole stream.
        """
        return self.first_unechoed if beat.beat == 1 else self._start_by_age(beat.age)

    def _start_by_age(self, age: float) -> int:
        birth = self._clock.echoed_age - age
        sent = max((fresh for at, fresh in self._sent_by_age if at <= birth), default=1)
        earlier = birth - self._clock.interval
        safe = max((fresh for at, fresh in self._sent_by_age if at <= earlier), default=1)
        return min(max(safe, self.stream.oldest), sent)
