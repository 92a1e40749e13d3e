"""The streams between this worker and one other: theirs, what repairs ours, and the answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask_rooms.protocol.messages import HIGHEST, Direct, Frame
from flask_rooms.protocol.stream import Stream


@dataclass
class Inbound:
    """
    The stream of another worker.

    Args:
        expected: Its next operation; None until that worker has stated where the stream starts, and
            the highest number once nothing more is accepted.
        next_number: The number after the last operation that is known.
        early: Operations that have arrived before others, by their numbers.
        nacked_at: When it was last asked for operations, or has brought some.
        nacked_to: Up to which number it was asked then.
        nack: The operations to ask for next, from a number up to another one.
    """

    expected: int | None = None
    next_number: int = 0
    early: dict[int, bytes] = field(default_factory=dict)
    nacked_at: float = float("-inf")
    nacked_to: int = 0
    nack: tuple[int, int] | None = None

    def observe(self, frame: Frame) -> bool:
        """Record how far the stream has come; return whether a frame takes it further."""
        before = self.next_number
        self.next_number = max(before, frame.first + len(frame.operations))
        return self.next_number > before

    def accept(self, frame: Frame, space: int) -> tuple[int, list[bytes]]:
        """
        Return the operations that are next, with the number of the first.

        Rule `ordered-stream`: duplicates are dropped, and what is early is kept.

        Args:
            frame: A frame of the other worker.
            space: How many bytes may be kept.
        """
        assert self.expected is not None
        first = self.expected
        ready: list[bytes] = []
        if frame.first <= first:
            ready += frame.operations[first - frame.first :]
            self.expected += len(ready)
        else:
            self._keep(frame, space)
        while self.early and self.expected in self.early:
            ready.append(self.early.pop(self.expected))
            self.expected += 1
        if self.early and ready:
            self.early = {n: data for n, data in self.early.items() if n > self.expected}
        return first, ready

    def end(self) -> None:
        """Accept nothing more."""
        self.expected = HIGHEST
        self.early.clear()

    def _keep(self, frame: Frame, space: int) -> None:
        space -= sum(map(len, self.early.values()))
        for number, data in enumerate(frame.operations, frame.first):
            space -= len(data)
            if space < 0:
                break
            self.early[number] = data

    @property
    def gap(self) -> tuple[int, int] | None:
        """The next operations that are missing, from a number up to another one, if any."""
        if self.expected is None or self.expected >= self.next_number:
            return None
        return self.expected, min(self.early, default=self.next_number)

    def ask(self, gap: tuple[int, int]) -> None:
        """Ask for these operations with the next frame for their sender."""
        self.nack = gap
        self.nacked_to = min(gap[1], self.next_number)


@dataclass
class Link:
    """
    What goes between this worker and another one, apart from frames for all.

    Args:
        stream_start: The first own operation that is meant for it.
        answers: What this worker answers to it.
        inbound: Its stream to all.
        missed: Own operations that it has asked for, from a number up to another one.
        expected_answer: The number of its next answer.
        reports: Whether it is to be told which answer is expected.
        probes: Whether it is to be asked which answer it expects.
        introduces: Whether this worker is to introduce itself.
        asked: Its latest heartbeat if it has asked in it who is alive; otherwise 0.
        wants_names: Whether it is to be asked whom it counts as alive.
        names: Whether it is to be told whom this worker counts as alive.
        sent_at: When the latest answers were sent to it.
        serial: That of the latest frame for it alone.
        their_serial: That of its latest frame for this worker alone.
    """

    stream_start: int
    answers: Stream
    inbound: Inbound = field(default_factory=Inbound)
    missed: tuple[int, int] | None = None
    expected_answer: int = 1
    reports: bool = False
    probes: bool = False
    introduces: bool = False
    asked: int = 0
    wants_names: bool = False
    names: bool = False
    sent_at: float = float("-inf")
    serial: int = 0
    their_serial: int = 0

    def observe(self, frame: Frame) -> bool:
        """Record how far its stream has come; return whether a frame is new."""
        is_new = frame.direct is not None and frame.direct.serial > self.their_serial
        return self.inbound.observe(frame) or is_new

    def accept_answers(self, direct: Direct) -> tuple[bytes, ...]:
        """Rule `answers-to-the-asker`: return the answers that are next."""
        # Those that the other worker holds no longer have come too late for their calls.
        expected = max(self.expected_answer, direct.oldest)
        is_missing = direct.first > expected
        ready = () if is_missing else direct.answers[expected - direct.first :]
        self.expected_answer = expected + len(ready)
        self.reports |= is_missing or direct.probes
        return ready

    # -- outbound -------------------------------------------------------------------------

    def on_request(self, direct: Direct, view: int) -> None:
        """
        Take in what the other worker has got, and what it has missed.

        Args:
            direct: What it has sent to this worker alone.
            view: Whom this worker counts as alive, as a digest.
        """
        if direct.serial <= self.their_serial:
            return  # Rule `nacks-count-once`
        self.their_serial = direct.serial
        self.reports |= direct.wants_names
        self.names |= direct.wants_names and direct.view != view
        self.answers.discard_before(direct.expects)
        if direct.reports:
            self.answers.rewind(direct.expects)
        if direct.nack is not None:
            first, end = direct.nack
            if self.missed is not None:
                first, end = min(first, self.missed[0]), max(end, self.missed[1])
            self.missed = first, end

    @property
    def awaits_report(self) -> bool:
        """Whether answers were sent that the other worker has not reported as received."""
        return self.answers.oldest < self.answers.fresh

    @property
    def has_unsent(self) -> bool:
        """Whether there is something to send to it alone."""
        asks = self.reports or self.probes or self.inbound.nack is not None
        asks |= self.introduces or self.wants_names
        return asks or self.missed is not None or self.answers.has_unsent

    def take(self, stream: Stream, sender: str, to: str, view: int) -> Frame:
        """
        Return the next frame for the other worker alone.

        Args:
            stream: The operations of this worker, from which is repeated what was missed.
            sender: This worker's name.
            to: The other one's name.
            view: Whom this worker counts as alive, as a digest.
        """
        first, operations = stream.fresh, tuple[bytes, ...]()
        answers: tuple[int, tuple[bytes, ...]] = self.answers.fresh, ()
        if self.missed is None:
            answers = self.answers.take()
        else:
            first, end = self.missed
            operations = stream.read(first, end)
            after = first + len(operations)
            self.missed = (after, end) if after < min(end, stream.fresh) else None
        self.serial += 1
        direct = Direct(
            self.serial,
            self.answers.oldest,
            *answers,
            self.expected_answer,
            self.stream_start,
            view,
            reports=self.reports,
            probes=self.probes,
            nack=self.inbound.nack,
            wants_names=self.wants_names,
        )
        self.reports = self.probes = self.wants_names = False
        self.inbound.nack = None
        return Frame(sender, first, operations, to=to, direct=direct)

    def give_back(self, frame: Frame) -> None:
        """Take back a frame for it alone that could not be published."""
        direct = frame.direct
        assert direct is not None
        if frame.operations:
            end = frame.first + len(frame.operations)
            self.missed = frame.first, max(end, self.missed[1] if self.missed else 0)
        elif direct.answers:
            self.answers.give_back(direct.first)
        self.reports |= direct.reports
        self.probes |= direct.probes
        self.inbound.nack = self.inbound.nack or direct.nack
        self.introduces |= frame.heartbeat is not None
        self.wants_names |= direct.wants_names
        self.names |= direct.names is not None
