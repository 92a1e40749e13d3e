"""Carries one worker's stream to the others and theirs here: in order, once, without a gap."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flask_rooms.protocol.clock import EchoClock
from flask_rooms.protocol.link import Inbound, Link
from flask_rooms.protocol.messages import HIGHEST, Direct, Frame, Heartbeat, Succeeds
from flask_rooms.protocol.stream import Limits, Stream

#: How many own echoes an operation stays in the repair log after its own echo. A worker that still
#: misses it is dead by then.
REPAIR_LOG_ECHOES = 30
#: Of how many workers that have ended it is remembered how far their streams were applied.
MAX_ENDED = 1000
#: The least time between two nacks for one gap, in heartbeat intervals.
NACK_INTERVAL = 0.25
#: How long answers wait for a report that they have arrived, before their receiver is asked for
#: one, in heartbeat intervals.
PROBE_INTERVAL = 0.25


@dataclass
class Ended:
    """
    How far the stream of a worker was accepted that has ended.

    Args:
        expected: The first operation that was not accepted.
        is_followed: Whether that worker had stated where the stream starts.
        is_succeeded: Whether its next life has begun.
    """

    expected: int
    is_followed: bool
    is_succeeded: bool = False


class Delivery:
    """
    The outbound stream with its repair log, and how far each inbound one has come.

    Args:
        limits: The bounds of the outbound stream.
        clock: The clock of this worker.

    Attributes:
        stream: What this worker sends to all.
        first_unechoed: The first own operation that has not echoed.
        latest_call: The latest own operation that awaits answers.
        retransmissions: How often a part of it was sent again because a peer had missed it.
        probe_due: When a worker may have to be asked which answers it has received.
    """

    def __init__(self, limits: Limits, clock: EchoClock) -> None:
        self.stream = Stream(limits)
        self.first_unechoed = 1
        self.latest_call = self._latest_sent_call = 0
        self.retransmissions = 0
        self.probe_due = float("inf")
        self._limits = limits
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._ended: dict[str, Ended] = {}
        self._echo_history: deque[int] = deque()  # first_unechoed at each counted echo
        self._received_by_all = 1  # the first that some live worker may have missed
        self._sent_by_age: deque[tuple[float, int]] = deque()  # own age -> first number not sent
        self._due: dict[str, None] = {}  # peers for which something waits, in this order

    def link(self, name: str) -> Link:
        """Return the link with a peer."""
        return self._links[name]

    def add(self, name: str, stream_start: int) -> None:
        """Begin to carry the streams between this worker and another one."""
        self._links[name] = link = Link(stream_start, Stream(self._limits))
        if name in self._ended and self._ended[name].is_succeeded:
            link.inbound.end()

    def remove(self, name: str, *, may_return: bool) -> None:
        """Carry nothing more of a worker, which may have a next life."""
        inbound = self._links[name].inbound if name in self._links else None
        if may_return and inbound is not None and name not in self._ended:
            self._remember(name, inbound)
        self._links.pop(name, None)
        self._due.pop(name, None)

    # -- inbound --------------------------------------------------------------------------

    def accept(self, name: str, frame: Frame, now: float) -> tuple[int, list[bytes]]:
        """
        Return the operations that are next, with the number of the first.

        Rule `ordered-stream`: a gap is nacked.
        """
        inbound = self._links[name].inbound
        first, operations = inbound.accept(frame, self._limits.log)
        if operations:
            inbound.nacked_at = now  # the rest of what was nacked may be under way
        gap = inbound.gap
        is_new = gap is not None and gap[0] >= inbound.nacked_to
        waited = now - inbound.nacked_at >= NACK_INTERVAL * self._clock.interval
        if gap is not None and (is_new or waited):
            inbound.nacked_at = now
            self._nack(name, gap)
        return first, operations

    def end(self, operation: Succeeds) -> tuple[list[tuple[int, bytes]], bool]:
        """
        Accept nothing more of a former life, apart from what the next one repeats.

        Returns:
            What was not accepted before, with its numbers; and whether that life was followed.
        """
        name = operation.former
        link = self._links.get(name)
        if name not in self._ended:
            self._remember(name, link.inbound if link else Inbound())
        if link is not None:
            link.inbound.end()
        ended = self._ended[name]
        ended.is_succeeded = True
        missed = [one for one in operation.changes if one[0] >= ended.expected]
        if missed:
            ended.expected = missed[-1][0] + 1
        return missed, ended.is_followed

    def _remember(self, name: str, inbound: Inbound) -> None:
        expected = inbound.expected
        self._ended[name] = Ended(expected or 0, expected is not None)
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def _nack(self, name: str, gap: tuple[int, int]) -> None:
        self._links[name].inbound.ask(gap)
        self._due[name] = None

    def nack_all(self) -> None:
        """Ask every peer for what may have been missed."""
        for name, link in self._links.items():
            if link.inbound.expected is not None and link.inbound.expected < HIGHEST:
                self._nack(name, (link.inbound.expected, HIGHEST))

    def accept_answers(self, name: str, direct: Direct) -> tuple[bytes, ...]:
        """Rule `answers-to-the-asker`: return the answers of a peer that are next."""
        answers = self._links[name].accept_answers(direct)
        self._note_unsent(name)
        return answers

    # -- outbound -------------------------------------------------------------------------

    def answer(self, name: str, data: bytes, allowance: int) -> None:
        """
        Put an encoded answer to a peer into the outbox; one to any other worker is dropped.

        Rule `answers-never-refused`: however much waits there.

        Raises:
            InvalidArgument: It is larger than a frame may be, and *allowance* bytes more.
        """
        if name in self._links:
            self._links[name].answers.append(data, allowance, bounded=False)
            self._due[name] = None

    @property
    def has_direct(self) -> bool:
        """Whether something waits that is for one worker alone."""
        return bool(self._due)

    @property
    def has_unsent(self) -> bool:
        """Whether something waits, for one worker alone or for all."""
        return bool(self._due) or self.stream.has_unsent

    def take(self, sender: str, beat: Heartbeat | None) -> Frame | None:
        """Return the next frame to publish to all, or None when nothing waits."""
        first, operations = self.stream.fresh, tuple[bytes, ...]()
        if not self._due:  # answers go first: the next operation may be a goodbye
            first, operations = self.stream.take()
            if self.latest_call < self.stream.fresh:
                self._latest_sent_call = self.latest_call
        if not (beat or operations):
            return None
        # Rule `empty-frames-are-numbered`: a frame without operations carries the next number.
        return Frame(sender, first, operations, beat)

    @property
    def shares_next(self) -> bool:
        """
        Whether what waits is to share a frame that is sent once what is under way has echoed.

        A call waits for none but other calls: its caller may wait for the answer.
        """
        is_call_waiting = self.latest_call >= self.stream.fresh
        is_call_under_way = self._latest_sent_call >= self.first_unechoed
        if self._due or (is_call_waiting and not is_call_under_way):
            return False
        return self.stream.fresh > self.first_unechoed

    def take_direct(self, sender: str, view: int, now: float) -> Frame | None:
        """
        Return the next frame to publish to one worker, or None when nothing waits.

        Args:
            sender: This worker's name.
            view: Whom this worker counts as alive, as a digest.
            now: The time.
        """
        while self._due:
            name = next(iter(self._due))
            del self._due[name]
            link = self._links[name]
            self._check_missed(link, now)
            if link.has_unsent:
                self.retransmissions += link.missed is not None
                frame = link.take(self.stream, sender, name, view)
                if frame.direct is not None and frame.direct.answers:
                    link.sent_at = now
                    self._probe_at(now + PROBE_INTERVAL * self._clock.interval)
                self._note_unsent(name)
                return frame
        return None

    def _check_missed(self, link: Link, now: float) -> None:
        """Repeat nothing if there is nothing, or no longer what a peer has missed."""
        if link.missed is not None and not self.stream.oldest <= link.missed[0] < self.stream.fresh:
            if link.missed[0] < self.stream.oldest:
                self._clock.announce(now)  # the heartbeat states the oldest operation in the log
            link.missed = None

    def give_back(self, frame: Frame) -> None:
        """Take back a frame that could not be published; it goes out again later."""
        if frame.to in self._links:
            self._links[frame.to].give_back(frame)
            self._due[frame.to] = None
        elif not frame.to and frame.operations:  # else it has taken none of the stream
            self.stream.give_back(frame.first)

    def on_direct(self, name: str, direct: Direct, view: int) -> None:
        """
        Rule `answers-to-the-asker`: take in what a peer has got of this worker, and missed.

        Args:
            name: The peer.
            direct: What it has sent to this worker alone.
            view: Whom this worker counts as alive, as a digest.
        """
        self._links[name].on_request(direct, view)
        self._note_unsent(name)

    def introduce(self, name: str) -> None:
        """Rule `announce-to-unmet`: tell a peer where this worker's stream starts for it."""
        link = self._links[name]
        link.introduces = True
        link.probes |= link.inbound.expected is None  # it is to tell that in turn
        self._note_unsent(name)

    def ask_view(self, name: str) -> None:
        """Rule `views-are-compared`: ask a peer how it counts this worker, and the others."""
        self._links[name].wants_names = True
        self._note_unsent(name)

    def note_asks(self, name: str, beat: Heartbeat, vouches: bool) -> None:
        """Rule `every-worker-is-known`: answer a peer that asks, if this worker *vouches*."""
        link = self._links[name]
        link.asked = beat.beat if beat.asks else 0
        if vouches:
            link.reports = True
            self._note_unsent(name)

    def _note_unsent(self, name: str) -> None:
        if self._links[name].has_unsent:
            self._due[name] = None

    def probe(self, now: float) -> None:
        """Rule `answers-to-the-asker`: ask the workers that have not reported for long."""
        self.probe_due = float("inf")
        for name, link in self._links.items():
            if link.awaits_report:
                if now - link.sent_at >= PROBE_INTERVAL * self._clock.interval:
                    link.sent_at = now
                    link.probes = True
                    self._due[name] = None
                self._probe_at(link.sent_at + PROBE_INTERVAL * self._clock.interval)

    def _probe_at(self, when: float) -> None:
        self.probe_due = min(self.probe_due, when)

    def on_echo(self, frame: Frame) -> None:
        """Record that an own frame has come back."""
        self.first_unechoed = max(self.first_unechoed, frame.first + len(frame.operations))

    def on_beat_echo(self, fresh: int, age: float) -> None:
        """Record which operation was the first that had not been sent at this age."""
        if not self._sent_by_age or fresh > self._sent_by_age[-1][1]:
            self._sent_by_age.append((age, fresh))
        while len(self._sent_by_age) > 1 and self._sent_by_age[1][1] <= self.stream.oldest:
            self._sent_by_age.popleft()

    def trim(self) -> int:
        """
        Discard what every live worker has received; return the number of what comes after it.

        Rule `bounded-repair-log`: an outage, in which nothing echoes, makes nothing older.
        """
        self._echo_history.append(self.first_unechoed)
        while len(self._echo_history) > REPAIR_LOG_ECHOES * self._clock.pace:
            self._received_by_all = self._echo_history.popleft()
        self.stream.discard_before(self._received_by_all)
        return self._received_by_all

    def start_for(self, beat: Heartbeat, is_hello: bool) -> int:
        """
        Return the first own operation that a worker with this first heartbeat can have missed.

        Rule `stream-start`: with its hello that is the first one that has not echoed, because
        it is published after the hello. Otherwise its age tells: it stated that after the latest
        own echo or shortly before, so it gets an interval more, as far as the repair log still
        holds it. A worker that is older than this one gets the whole stream.
        """
        return self.first_unechoed if is_hello else self._start_by_age(beat.age)

    def _start_by_age(self, age: float) -> int:
        birth = self._clock.echoed_age - age
        sent = max((fresh for at, fresh in self._sent_by_age if at <= birth), default=1)
        earlier = birth - self._clock.interval
        safe = max((fresh for at, fresh in self._sent_by_age if at <= earlier), default=1)
        return min(max(safe, self.stream.oldest), sent)
