"""
The protocol between workers as a state machine: no input or output, no threads, no clock.

Whoever drives a Node feeds it frames and the time, and gets back what to apply, what is
settled, and what to send. One worker's operations form one numbered stream to all workers; a
receiver applies them in order, drops doubles, and asks for a repetition where a number is
missing. `docs/protocol.md` says why each rule is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import filterfalse
from typing import TypeAlias

from flask_rooms.protocol.codec import BadMessage, decode_operation, encode_operation
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import (
    Acknowledged,
    Change,
    Done,
    Frame,
    Goodbye,
    Heartbeat,
    Operation,
    Query,
    Reply,
)
from flask_rooms.protocol.pending import Completed, Pending, TimedOut
from flask_rooms.protocol.stream import Limits, Stream

#: What a heartbeat says of a worker that is counted as dead, in place of what it is owed.
DEAD = 0
#: A worker that was silent while so many of our own heartbeats came back is dead.
DEATH = 3
#: Whoever is alive has been heard when so many of our own heartbeats came back.
SETTLED = 2
#: After so many heartbeats without hearing ourselves, that count starts again.
DEAF = 1.5
#: So many names are remembered that we have never heard of, and have called unknown: there may be
#: any number of them, as anybody can make some up.
NOBODIES = 1000
#: Between two heartbeats is at least this part of the interval, however many have to be greeted.
GREET = 0.01
#: What came back to us so many heartbeats ago is repeated no more: who could miss it is dead.
REMEMBERED = 30
#: A repetition is asked for again after this part of a heartbeat.
ASK_AGAIN = 0.25
#: Between two repetitions is at least this part of the interval, however many ask for one.
COLLECT = 0.01
#: Whoever has heard us return has had the time to answer when so many heartbeats came back.
SPOKEN = 3
#: Bytes by which an answer may be longer than the longest question.
SPARE = 64


@dataclass(frozen=True)
class Deliver:
    """An operation of another worker, to be applied here, now and in this order."""

    sender: str
    number: int
    operation: Operation


@dataclass(frozen=True)
class PeerLeft:
    """Another worker has left the cluster, or is dead; its sockets are gone with it."""

    worker: str


@dataclass(frozen=True)
class Evicted:
    """This worker missed something for good: its memberships are no longer to be trusted."""

    reason: str


Event: TypeAlias = "Deliver | Completed | TimedOut | PeerLeft | Evicted"


@dataclass
class _Peer:
    stream_start: int  # our first operation that is meant for it
    silent: int = 0  # our own heartbeats that came back since it said anything new
    expected: int | None = None  # its next operation; None until it has said what it owes us
    beat: int = 0
    asked_at: float = float("-inf")
    reached: int = 0  # the number behind the last operation that we know of
    doubted: bool = False  # once, so that one who cannot hear us holds nobody up

    def note(self, frame: Frame) -> bool:
        """Take note of how far it has come; False when a frame of it says nothing new."""
        before, self.reached = self.reached, max(self.reached, frame.first + len(frame.operations))
        return self.reached > before or (
            frame.heartbeat is not None and frame.heartbeat.beat > self.beat
        )


class Node:
    """
    One worker's part in the protocol.

    Not for several threads at once. Times are seconds of one clock that never goes back.

    Args:
        name: The worker's name, new for each life of it.
        now: The time.
        heartbeat: Seconds between two heartbeats.
        confirm: Seconds after which an unanswered operation is overdue.
        limits: The bounds of the own stream.
    """

    def __init__(
        self, name: str, now: float, *, heartbeat: float, confirm: float, limits: Limits
    ) -> None:
        self.name = name
        #: Whether there is certainly nobody else: set by who knows, before receive().
        self.alone = False
        self._interval = heartbeat
        self._confirm = confirm
        self._limits = limits
        self._stream = Stream(limits)
        self._born = now
        self._echoed = 1  # our first operation that has not come back to us
        self._echoed_at = now
        self._echoes = 0  # our own heartbeats that came back, an interval apart
        self._echo_counted_at = float("-inf")
        self._echoed_then: deque[int] = deque()  # what had come back, at each heartbeat counted
        self._peers: dict[str, _Peer] = {}
        # For as long as we live: whoever has named us must not be heard again by a recorded copy.
        self._dead: set[str] = set()
        # Called unknown, so they must not turn up again -> our age then
        self._nobodies: dict[str, float] = {}
        self._ghosts: set[str] = set()  # dead, and heard since our last heartbeat all the same
        self._condemned: dict[str, int] = {}  # the heartbeat that first leaves it out
        self._rumours: dict[str, frozenset[str]] = {}  # peer -> workers that only it has heard
        self._foreign: dict[str, int] = {}  # speaks another version -> own heartbeats since then
        self._unsure: set[str] = set()  # who may have buried us while we were away
        self._unsure_until = float("inf")
        self._all_have_spoken = 0  # when this heartbeat of ours has come back
        self._marks: deque[tuple[float, int]] = deque()  # our age -> what we had sent by then
        self._echo_age = 0.0  # our age when we sent the last heartbeat that came back
        self._wrong_if_older = float("-inf")  # who turns up and was born before that age of ours
        self._pending: dict[int, Pending] = {}
        self._strange: set[int] = set()  # those of them that may ask a worker never heard of
        self._wants: dict[str, int] = {}
        self._to_repeat: int | None = None  # from which operation on somebody wants our stream
        self._repeated_at = float("-inf")
        self._beat = 0
        self._beat_heard = 0  # the latest one of our own
        self._beat_at = float("-inf")
        self._beat_due = now
        self._beat_sent: float | None = None  # the first heartbeat that has not come back

    @property
    def peers(self) -> frozenset[str]:
        """The other workers that count as alive."""
        return frozenset(self._peers)

    @property
    def is_settled(self) -> bool:
        """Whether everybody who is alive has been heard."""
        return self._echoes >= SETTLED or self.alone

    @property
    def known_workers(self) -> frozenset[str]:
        """The other workers that count as alive, and those that we know only by name."""
        return self.peers | self._heard_of()

    @property
    def wakes_at(self) -> float:
        """When tick() has something to do at the latest."""
        times = [self._beat_due, self._repeat_due]
        if self._unsure:
            times.append(self._unsure_until)
        if self._pending:  # they all wait equally long
            times.append(next(iter(self._pending.values())).deadline)
        return min(times)

    @property
    def has_unsent(self) -> bool:
        """Whether operations wait for take()."""
        return self._stream.has_unsent

    @property
    def awaits_echo(self) -> bool:
        """Whether operations that were sent have not come back to us yet."""
        return self._stream.fresh > self._echoed

    def submit(self, operation: Operation, *, bounded: bool = True) -> int:
        """
        Put an operation for the other workers into the outbox.

        Args:
            operation: What to tell them.
            bounded: Whether a full outbox refuses it. It never does an answer: what was done has
                to be said, and there are no more answers than the others ask for. Nor a goodbye,
                after which nothing comes.

        Returns:
            Its number in this worker's stream.

        Raises:
            InvalidArgument: It is larger than a frame may be.
            BackendUnavailable: The outbox is full.
        """
        # Whoever could ask about so many sockets has to be told about all of them.
        spare = SPARE if isinstance(operation, Done) else 0
        free = Done | Reply | Acknowledged | Goodbye
        bounded = bounded and not isinstance(operation, free)
        return self._stream.append(encode_operation(operation), spare, bounded=bounded)

    def call(
        self,
        operation: Change | Query,
        whom: Mapping[str, tuple[str, ...]] | None,
        now: float,
    ) -> tuple[int, list[Event]]:
        """
        Submit an operation and wait for the workers that it is for.

        Args:
            operation: What is to be done or answered.
            whom: Worker name -> its socket IDs among those of *operation*; None asks every
                worker.
            now: The time.

        Returns:
            The operation's number, and what is known of it already.

        Raises:
            InvalidArgument: It is larger than a frame may be.
            BackendUnavailable: The outbox is full.
        """
        number = self.submit(operation)
        for_all = whom is None
        pending = Pending(number, now + self._confirm, for_all, isinstance(operation, Change))
        pending.everybody = for_all
        if whom is None:
            whom = dict.fromkeys([*self._peers, *self._condemned], ())
        for name, sids in whom.items():
            self._wait_for(name, sids, pending)
        self._pending[number] = pending
        if pending.strangers or pending.everybody:
            self._strange.add(number)
        return number, self._settle([number], now)

    def _wait_for(self, name: str, sids: tuple[str, ...], pending: Pending) -> None:
        if name in self._peers or name in self._condemned:
            pending.waits[name] = sids
        elif self.is_ruled_out(name):
            pending.unknown += sids
        else:
            pending.strangers[name] = sids

    def unanswered_by(self, number: int) -> tuple[str, ...]:
        """Return the workers that have not answered operation *number* yet."""
        return self._pending[number].unanswered_by if number in self._pending else ()

    def time_out(self, number: int) -> list[Event]:
        """Wait for operation *number* no longer, as if its time were over."""
        if number not in self._pending:
            return []
        return [self._forget(number).overdue()]

    def is_ruled_out(self, worker: str) -> bool:
        """Whether no live worker can have this name, so that its socket IDs are nobody's."""
        return worker in self._dead or worker in self._nobodies

    def receive(self, frame: Frame, now: float) -> list[Event]:
        """Take in a frame, from whomever; returns what to apply and what is settled."""
        if frame.sender == self.name:
            return self._hear_self(frame, now)
        if self.is_ruled_out(frame.sender):
            return self._hear_dead(frame, now)
        peer = self._peers.get(frame.sender)
        if peer is None:
            if frame.heartbeat is None:
                self._greet(now)  # whoever does not know us introduces itself then
                return []
            if self._was_overlooked(frame.heartbeat):
                self._rule_out(frame.sender, now)
                return self._hear_dead(frame, now)
            peer = self._meet(frame.sender, frame.heartbeat, now)
        if peer.note(frame):  # an old frame is no sign of life
            self._note_life(peer, now)
        if frame.heartbeat is not None:
            outcast = self._hear_heartbeat(frame.sender, peer, frame.heartbeat, now)
            if outcast is not None:
                return [outcast]
        if self.name in frame.nacks:
            wanted = frame.nacks[self.name]
            self._to_repeat = min(wanted, self._to_repeat or wanted)
        return [] if self._unsure else self._apply(frame, peer, now)

    def note_foreign_version(self, name: str) -> None:
        """Take notice of a worker whose messages are of another version: it exists."""
        self._foreign[name] = 0

    def tick(self, now: float) -> list[Event]:
        """Let time pass: waiting ends."""
        if now >= self._unsure_until:
            self._trust(*self._unsure)
        events = self._settle(sorted(self._strange), now)
        while self._pending:
            number, pending = next(iter(self._pending.items()))
            if now < pending.deadline:
                break
            events += self.time_out(number)
        return events

    def take(self, now: float) -> Frame | None:
        """Return the next frame to publish, or None when nothing waits."""
        if now >= self._repeat_due:
            self._repeat(now)
        beat = self._heartbeat(now) if now >= self._beat_due else None
        wants, self._wants = self._wants, {}
        first, operations = self._stream.take()
        if not (beat or wants or operations):
            return None
        return Frame(self.name, first, operations, beat, wants)

    def give_back(self, frame: Frame, now: float) -> None:
        """Take back a frame that could not be published; it goes out again later."""
        self._stream.give_back(frame.first)
        self._wants = {**frame.nacks, **self._wants}
        if frame.heartbeat is not None:
            self._beat_due = now
            self._beat_sent = None

    def on_reconnect(self, now: float) -> None:
        """Note that the connection is back, and let the next frame say so."""
        self._echoes = 0  # somebody may have said hello meanwhile
        self._echo_counted_at = float("-inf")
        for peer in self._peers.values():
            peer.silent = 0
        if now - self._echoed_at >= DEAF * self._interval:
            self._unsure.clear()
            self._doubt([*self._peers, self.name], now)
            self._all_have_spoken = self._beat + SPOKEN
        self._beat_at = float("-inf")
        self._beat_due = now
        self._beat_sent = None

    def is_deaf(self, now: float) -> bool:
        """Whether a heartbeat of our own should have come back long ago, if we heard anything."""
        patience = DEATH * self._interval
        return self._beat_sent is not None and now - self._beat_sent > patience

    def waiting(self) -> list[Operation]:
        """Return the operations that nobody can have received, in order."""
        decoded = [decode_operation(data) for data in self._stream.waiting()]
        return [operation for operation in decoded if operation is not None]

    # -- ourselves ------------------------------------------------------------------------

    @property
    def _repeat_due(self) -> float:
        """
        When to send again what is asked for.

        Where hundreds have missed the same, all of them ask: what is asked for right after a
        repetition waits for a moment, and is repeated once for all.
        """
        if self._to_repeat is None:
            return float("inf")
        return self._repeated_at + COLLECT * self._interval

    def _repeat(self, now: float) -> None:
        number, self._to_repeat = self._to_repeat, None
        if number is not None and not self._stream.repeat(number):
            self._greet(now)  # the heartbeat says that we no longer have it
        self._repeated_at = now

    def _heartbeat(self, now: float) -> Heartbeat:
        self._beat += 1
        self._beat_at = now
        self._beat_due = now + self._interval
        if self._beat_sent is None:
            self._beat_sent = now
        knows = {name: peer.stream_start for name, peer in self._peers.items()}
        knows |= dict.fromkeys(self._ghosts.union(self._condemned), DEAD)
        self._ghosts.clear()
        age = now - self._born
        return Heartbeat(self._beat, age, self._stream.oldest, self._stream.fresh, knows)

    def _greet(self, now: float) -> None:
        # Not at once each time: many workers that start together would drown in greetings.
        self._beat_due = min(self._beat_due, max(now, self._beat_at + GREET * self._interval))

    def _hear_self(self, frame: Frame, now: float) -> list[Event]:
        """
        Take in what we published ourselves: the broker is there, and so are our ears.

        Our own heartbeats are the clock by which others die: it stands still while we are
        deaf or stopped, and what the others said meanwhile is heard before it goes on.
        """
        if now - self._echoed_at >= DEAF * self._interval:
            self._echoes = 0  # after an outage the others need time to be heard again
        self._echoed_at = now
        self._beat_sent = None
        self._echoed = max(self._echoed, frame.first + len(frame.operations))
        events: list[Event] = []
        if frame.heartbeat is not None and frame.heartbeat.beat > self._beat_heard:
            self._beat_heard = frame.heartbeat.beat
            self._mark(frame.heartbeat)
            if self.name in self._unsure:  # strangers have answered the first, which was a greeting
                self._greet(now)
                if frame.heartbeat.beat >= self._all_have_spoken:
                    self._trust(self.name)
            # If one of them lives after all, it has heard by now that it is counted as dead.
            for name in [n for n, b in self._condemned.items() if b <= frame.heartbeat.beat]:
                del self._condemned[name]
                events += self._bury(name, now)
            if now - self._echo_counted_at >= 0.9 * self._interval:
                self._echo_counted_at = now
                self._echoes += 1
                self._count_silence(now)
                self._age()
        return events + self._settle(sorted(self._strange), now)

    def _mark(self, beat: Heartbeat) -> None:
        self._echo_age = max(self._echo_age, beat.age)
        if not self._marks or beat.fresh > self._marks[-1][1]:
            self._marks.append((beat.age, beat.fresh))
        while len(self._marks) > 1 and self._marks[1][1] <= self._stream.oldest:
            self._marks.popleft()

    def _sent_before(self, age: float) -> int:
        """
        Return our first operation that may have been sent after a worker of this age was born.

        What it says of its age it has said after our last heartbeat that came back, or hardly
        earlier: it is owed a little more than that, as far as it can still be repeated. For one
        that is older than we are this is our very first.
        """
        birth = self._echo_age - age
        sent = max((fresh for at, fresh in self._marks if at <= birth), default=1)
        sure = max((fresh for at, fresh in self._marks if at <= birth - self._interval), default=1)
        return min(max(sure, self._stream.oldest), sent)

    def _count_silence(self, now: float) -> None:
        for name, peer in list(self._peers.items()):
            peer.silent += 1
            if peer.silent > DEATH:
                self._remove(name)
                self._condemned[name] = self._beat + 1
                self._beat_due = now
        self._foreign = {n: silent + 1 for n, silent in self._foreign.items() if silent < DEATH}

    def _age(self) -> None:
        # Counted in own echoes, as death is: while the broker is away nothing gets too old.
        self._echoed_then.append(self._echoed)
        if len(self._echoed_then) > REMEMBERED:
            self._stream.forget(self._echoed_then.popleft())

    # -- the others -----------------------------------------------------------------------

    def _meet(self, name: str, beat: Heartbeat, now: float) -> _Peer:
        """
        Count a worker in, and settle from which operation on it is owed our stream.

        If this is its hello: from our first operation that comes back to us after it, for that
        was published after it, too. Otherwise from what we had sent when it was born. And in
        any case what we asked of it before we had heard of it.
        """
        newborn = beat.beat == 1
        stream_start = self._echoed if newborn else self._sent_before(beat.age)
        for number, pending in self._pending.items():
            # What came back to us before its hello is not for it, unless that names it.
            may_be_meant = pending.everybody and not (newborn and number < self._echoed)
            if name in pending.strangers or may_be_meant:
                pending.waits[name] = pending.strangers.pop(name, ())
                if number >= self._stream.oldest:
                    stream_start = min(stream_start, number)
            elif pending.for_all and number >= stream_start:
                pending.waits[name] = ()
        peer = self._peers[name] = _Peer(stream_start)
        self._greet(now)  # so that it learns where our stream starts for it
        return peer

    def _note_life(self, peer: _Peer, now: float) -> None:
        if peer.silent > 1:
            self._greet(now)  # it may have been away, and has to know how it stands with us
        peer.silent = 0

    def _was_overlooked(self, beat: Heartbeat) -> bool:
        """
        Whether a worker lived, and was not asked, when a confirmed change was for all.

        Or may be one of those that we have called unknown, and whose names we have forgotten.
        """
        return beat.beat > 1 and self._echo_age - beat.age <= self._wrong_if_older

    def _hear_dead(self, frame: Frame, now: float) -> list[Event]:
        """Take in that a worker lives which we have buried: one of us has to start again."""
        if frame.heartbeat is not None and frame.heartbeat.stream_starts.get(self.name) == DEAD:
            return [Evicted(f"worker {frame.sender} has counted this worker as dead")]
        self._ghosts.add(frame.sender)
        self._greet(now)
        return []

    def _hear_heartbeat(
        self, name: str, peer: _Peer, beat: Heartbeat, now: float
    ) -> Evicted | None:
        if beat.beat <= peer.beat:
            return None  # a late copy says nothing about now
        peer.beat = beat.beat
        stream_start = beat.stream_starts.get(self.name)
        if stream_start == DEAD or (stream_start is None and peer.expected is not None):
            return Evicted(f"worker {name} has counted this worker as dead")
        if stream_start is None:
            self._greet(now)
        elif peer.expected is None:
            peer.expected = stream_start
        strangers = beat.stream_starts.keys() - self._peers.keys() - {self.name}
        self._rumours[name] = frozenset(n for n in strangers if beat.stream_starts[n] != DEAD)
        if peer.expected is not None and peer.expected < beat.oldest:
            return Evicted(f"worker {name} can no longer repeat what this worker missed")
        if peer.expected is not None:
            self._trust(name)
        return None

    def _trust(self, *names: str) -> None:
        """Go on with all others when nobody is left who may have buried us."""
        if self._unsure.intersection(names):
            self._unsure.difference_update(names)
            if not self._unsure:
                self._unsure_until = float("inf")
                self._wants |= {n: p.expected for n, p in self._peers.items() if p.expected}

    def _doubt(self, names: Iterable[str], now: float) -> None:
        """Apply nothing until these have said how they count us, or some time has passed."""
        if not self._unsure:  # one after the other could hold us up for ever
            self._unsure_until = now + DEAF * self._interval
        self._unsure.update(names)

    def _apply(self, frame: Frame, peer: _Peer, now: float) -> list[Event]:
        if peer.expected is None:
            # It asks about sockets of ours, and may call them unknown before it has heard us.
            if not peer.doubted and any(map(self._asks_us, frame.operations)):
                peer.doubted = True
                self._doubt([frame.sender], now)
            return []
        if frame.first > peer.expected:
            if now - peer.asked_at >= ASK_AGAIN * self._interval:
                peer.asked_at = now
                self._wants[frame.sender] = peer.expected
            return []
        events: list[Event] = []
        for data in frame.operations[peer.expected - frame.first :]:
            number, peer.expected = peer.expected, peer.expected + 1
            peer.asked_at = float("-inf")
            try:
                operation = decode_operation(data)
            except BadMessage:
                continue  # signed by one of us and still wrong: skipping it keeps the stream
            if operation is not None:
                events += self._dispatch(frame.sender, number, operation, now)
            if isinstance(operation, Goodbye):
                break  # who is gone has nothing more to say
        return events

    def _asks_us(self, data: bytes) -> bool:
        try:
            operation = decode_operation(data)
        except BadMessage:
            return False
        sids = operation.sids if isinstance(operation, Change) else ()
        return any(owner_of(sid) == self.name for sid in sids)

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Done):
            return self._answered(sender, operation, now)
        if isinstance(operation, Reply):
            return self._replied(sender, operation, now)
        if isinstance(operation, Goodbye):
            return self._bury(sender, now)
        return [Deliver(sender, number, operation)]

    def _answered(self, sender: str, answer: Done, now: float) -> list[Event]:
        pending = self._pending.get(answer.number) if answer.worker == self.name else None
        if pending is None or not pending.answered(sender, answer):
            return []
        return self._settle([answer.number], now)

    def _replied(self, sender: str, reply: Reply, now: float) -> list[Event]:
        pending = self._pending.get(reply.number) if reply.worker == self.name else None
        if pending is None or not pending.replied(sender, reply, self._limits.pages):
            return []
        return self._settle([reply.number], now)

    def _remove(self, name: str) -> None:
        self._peers.pop(name, None)
        self._rumours.pop(name, None)
        self._wants.pop(name, None)
        self._dead.add(name)
        self._trust(name)

    def _bury(self, name: str, now: float) -> list[Event]:
        self._remove(name)
        concerned = [number for number, one in self._pending.items() if one.bury(name)]
        return [PeerLeft(name), *self._settle(concerned, now)]

    def _settle(self, numbers: list[int], now: float) -> list[Event]:
        """
        Complete what has all its answers.

        A worker that nobody has heard of does not exist, once we have listened long enough to
        have heard everybody, and our own question has come back: whoever could own that
        socket said hello before it had one.
        """
        events: list[Event] = []
        heard_of = self._heard_of() if numbers else frozenset()
        for number in numbers:
            pending = self._pending[number]
            if self.is_settled and number < self._echoed:
                if pending.everybody:
                    pending.strangers |= dict.fromkeys(heard_of, ())
                    pending.everybody = False
                for name in pending.strangers.keys() - heard_of:
                    pending.unknown += pending.strangers.pop(name)
                    self._rule_out(name, now)
                if not pending.strangers:
                    self._strange.discard(number)  # there may be thousands, looked at at each frame
            if pending.is_answered:
                events += self.time_out(number) if pending.is_incomplete else self._close(number)
        return events

    def _close(self, number: int) -> list[Event]:
        """Be done with what all have answered."""
        pending = self._forget(number)
        if pending.for_all:
            self._stream.blank(number)  # who is born from now on is not meant
            if pending.changes:
                asked_at = pending.deadline - self._confirm - self._born
                self._wrong_if_older = max(self._wrong_if_older, asked_at)
        return [pending.settled()]

    def _heard_of(self) -> frozenset[str]:
        """Return whom we have not met: what they say is of another version, or others name them."""
        heard_of = frozenset(self._foreign).union(*self._rumours.values())
        return frozenset(filterfalse(self.is_ruled_out, heard_of - self._peers.keys()))

    def _rule_out(self, name: str, now: float) -> None:
        """Remember that a worker does not exist, since somebody is told so now."""
        self._nobodies[name] = now - self._born
        if len(self._nobodies) > NOBODIES:
            forgotten = self._nobodies.pop(next(iter(self._nobodies)))
            self._wrong_if_older = max(self._wrong_if_older, forgotten)

    def _forget(self, number: int) -> Pending:
        self._strange.discard(number)
        return self._pending.pop(number)
