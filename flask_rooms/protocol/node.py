"""
The protocol between workers as a state machine: no input or output, no threads, no clock.

The driver of a Node feeds it frames and the time, and gets back what to apply, what has
completed, and what to send. One worker's operations form one numbered stream to all workers. A
receiver applies them in order and once, and nacks what is missing.

`docs/protocol.md` states each rule, and what goes wrong without it. Code that keeps a rule names
it: "Rule `own-echo-clock`". Some rules need the driver, which cites them as well: it decides when
sockets are accepted, when a worker leaves, and when it connects again.

An *echo* is a frame of this worker that has come back to it from the broker. A *peer* is another
worker that counts as alive. A worker is *unmet* until a heartbeat of it has been received.
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
    NOWHERE,
    About,
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

#: The stream start that a heartbeat states for a worker that its sender counts as dead.
COUNTED_DEAD = 0
#: How many own heartbeats may echo without anything new from a peer before it is a suspect.
MAX_MISSED_BEATS = 3
#: How many own heartbeats have to echo before every live worker has been heard.
SETTLED_ECHOES = 2
#: How long the gap between two echoes may be, in heartbeat intervals. A longer one is an absence.
MAX_ECHO_GAP = 1.5
#: How long a quarantine lasts at most, in heartbeat intervals.
MAX_QUARANTINE = MAX_ECHO_GAP
#: How many own heartbeats have to echo after an absence before unmet workers have had the time
#: to answer.
RELEASE_ECHOES = 3
#: How many ruled-out worker names are remembered. Bounded, because a caller can make up any
#: number.
MAX_RULED_OUT = 1000
#: How many own echoes an operation stays in the repair log after its own echo. A worker that still
#: misses it is dead by then.
REPAIR_LOG_ECHOES = 30
#: The least time between two heartbeats, in heartbeat intervals, even if many workers are new.
ANNOUNCE_INTERVAL = 0.01
#: The least time between two nacks for one gap, in heartbeat intervals.
NACK_INTERVAL = 0.25
#: The least time between two retransmissions, in heartbeat intervals, even if many workers nack.
RETRANSMIT_INTERVAL = 0.01
#: By how many bytes a Done may exceed the longest Change, whose socket IDs it repeats.
DONE_ALLOWANCE = 64


@dataclass(frozen=True)
class Deliver:
    """An operation of another worker, to be applied here, now and in this order."""

    sender: str
    number: int
    operation: Operation


@dataclass(frozen=True)
class PeerLeft:
    """
    Another worker has left the cluster, or is dead; its sockets are gone with it.

    Args:
        worker: Its name.
        said_goodbye: Whether it has left in good order; otherwise it counts as dead.
    """

    worker: str
    said_goodbye: bool


@dataclass(frozen=True)
class Evicted:
    """
    This worker missed something for good: its memberships can no longer be trusted.

    Args:
        by: The worker from which it has learned that.
        counted_dead: Whether that worker counts this one as dead; otherwise it no longer holds an
            operation that this one has missed.
    """

    by: str
    counted_dead: bool

    @property
    def reason(self) -> str:
        """Why, for the log."""
        if self.counted_dead:
            return f"worker {self.by} has counted this worker as dead"
        return f"worker {self.by} can no longer repeat what this worker missed"


Event: TypeAlias = "Deliver | Completed | TimedOut | PeerLeft | Evicted"


@dataclass
class _Peer:
    stream_start: int  # the first own operation that is meant for it
    missed_beats: int = 0  # own heartbeats that echoed since it sent anything new
    expected: int | None = None  # its next operation; None until it has named this worker
    beat: int = 0  # its latest heartbeat
    nacked_at: float = float("-inf")
    next_number: int = 0  # the number after its last known operation
    has_held: bool = False  # whether it has caused a quarantine; it may do so once

    def observe(self, frame: Frame) -> bool:
        """Record how far its stream has come; False when the frame has nothing new."""
        before = self.next_number
        self.next_number = max(before, frame.first + len(frame.operations))
        return self.next_number > before or (
            frame.heartbeat is not None and frame.heartbeat.beat > self.beat
        )


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
    ) -> None:
        self.name = name
        self._about = about
        #: Whether the backend knows that there is no other worker; set before receive().
        self.alone = False
        self._interval = heartbeat
        self._confirm = confirm
        self._limits = limits
        self._stream = Stream(limits)
        self._born = now
        # Own heartbeats and their echoes
        self._beat = 0
        self._beat_at = float("-inf")
        self._beat_due = now
        self._unechoed_since: float | None = None  # when the first heartbeat without echo was sent
        self._echoed_beat = 0  # the latest own heartbeat that has echoed
        self._first_unechoed = 1  # the first own operation that has not echoed
        self._last_echo_at = now
        self._echo_count = 0  # own heartbeats that echoed since the last absence, an interval apart
        self._echo_counted_at = float("-inf")
        self._echo_history: deque[int] = deque()  # _first_unechoed at each counted echo
        self._echo_age = 0.0  # this worker's age in its latest heartbeat that has echoed
        self._sent_by_age: deque[tuple[float, int]] = deque()  # own age -> first number not sent
        # Other workers
        self._peers: dict[str, _Peer] = {}
        self._suspects: dict[str, int] = {}  # -> the first own heartbeat that leaves it out
        self._dead: set[str] = set()  # never forgotten, or recorded copies would be applied again
        self._ruled_out: dict[str, float] = {}  # reported as unknown to a caller -> own age then
        self._heard_after_death: set[str] = set()  # since the last own heartbeat
        self._reported: dict[str, frozenset[str]] = {}  # peer -> workers that only it has met
        self._foreign: dict[str, int] = {}  # of another version -> own echoes since it was heard
        self._overlooked_until = float("-inf")  # own age; a worker born earlier was overlooked
        # The quarantine
        self._quarantine: set[str] = set()  # the workers whose heartbeat is awaited
        self._quarantine_until = float("inf")
        self._release_beat = 0  # the own heartbeat whose echo releases the unmet
        # Calls of this worker
        self._pending: dict[int, Pending] = {}
        self._awaiting_unmet: set[int] = set()  # pending numbers that may concern unmet workers
        # Repairs
        self._nacks: dict[str, int] = {}
        self._retransmit_from: int | None = None  # the lowest own number that was nacked
        self._retransmitted_at = float("-inf")

    @property
    def peers(self) -> frozenset[str]:
        """The other workers that count as alive."""
        return frozenset(self._peers)

    @property
    def is_settled(self) -> bool:
        """Whether every live worker has been heard."""
        return self._echo_count >= SETTLED_ECHOES or self.alone

    @property
    def known_workers(self) -> frozenset[str]:
        """
        The other workers that count as alive, and those known only by name.

        Rule `heard-before-leaving`: the driver queries them before it says goodbye.
        """
        return self.peers | self._known_by_name()

    @property
    def wakes_at(self) -> float:
        """The latest time at which tick() has something to do."""
        times = [self._beat_due, self._retransmit_due]
        if self._quarantine:
            times.append(self._quarantine_until)
        if self._pending:  # all have the same timeout, so the first is the earliest
            times.append(next(iter(self._pending.values())).deadline)
        return min(times)

    @property
    def has_unsent(self) -> bool:
        """Whether operations wait for take()."""
        return self._stream.has_unsent

    @property
    def awaits_echo(self) -> bool:
        """Whether operations that were sent have not echoed yet."""
        return self._stream.fresh > self._first_unechoed

    def submit(self, operation: Operation, *, bounded: bool = True) -> int:
        """
        Put an operation for the other workers into the outbox.

        Rule `answers-never-refused`: a full outbox takes answers and goodbyes all the same.

        Args:
            operation: The operation.
            bounded: Whether a full outbox refuses it.

        Returns:
            Its number in this worker's stream.

        Raises:
            InvalidArgument: It is larger than a frame may be.
            BackendUnavailable: The outbox is full.
        """
        allowance = DONE_ALLOWANCE if isinstance(operation, Done) else 0
        never_refused = Done | Reply | Acknowledged | Goodbye
        bounded = bounded and not isinstance(operation, never_refused)
        return self._stream.append(encode_operation(operation), allowance, bounded=bounded)

    def call(
        self,
        operation: Change | Query,
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
        for_all = targets is None
        pending = Pending(number, now + self._confirm, for_all, isinstance(operation, Change))
        pending.open_to_unmet = for_all
        if targets is None:  # Rule `every-worker-answers`
            targets = dict.fromkeys([*self._peers, *self._suspects], ())
        for name, sids in targets.items():
            self._await_answer(name, sids, pending)
        self._pending[number] = pending
        if pending.unmet or pending.open_to_unmet:
            self._awaiting_unmet.add(number)
        return number, self._resolve([number], now)

    def _await_answer(self, name: str, sids: tuple[str, ...], pending: Pending) -> None:
        if name in self._peers or name in self._suspects:
            pending.awaited[name] = sids
        elif self.is_ruled_out(name):
            pending.unknown += sids
        else:
            pending.unmet[name] = sids

    def unanswered_by(self, number: int) -> tuple[str, ...]:
        """Return the workers that have not answered operation *number* yet."""
        return self._pending[number].unanswered_by if number in self._pending else ()

    def time_out(self, number: int) -> list[Event]:
        """Stop waiting for the answers to operation *number*, as if its deadline had passed."""
        if number not in self._pending:
            return []
        return [self._pop_pending(number).timed_out()]

    def is_ruled_out(self, worker: str) -> bool:
        """Whether no live worker can have this name, so that its socket IDs are unknown."""
        return worker in self._dead or worker in self._ruled_out

    def receive(self, frame: Frame, now: float) -> list[Event]:
        """Process a frame of any worker, this one included; return what follows from it."""
        if frame.sender == self.name:
            return self._receive_echo(frame, now)
        if self.is_ruled_out(frame.sender):
            return self._receive_from_dead(frame, now)
        peer = self._peers.get(frame.sender)
        if peer is None:
            if frame.heartbeat is None:
                self._announce(now)  # an unmet sender answers with a heartbeat
                return []
            if self._was_overlooked(frame.heartbeat):
                self._rule_out(frame.sender, now)
                return self._receive_from_dead(frame, now)
            peer = self._add_peer(frame.sender, frame.heartbeat, now)
        if peer.observe(frame):  # Rule `own-echo-clock`: a copy is no sign of life
            self._note_sign_of_life(peer, now)
        if frame.heartbeat is not None:
            evicted = self._receive_heartbeat(frame.sender, peer, frame.heartbeat, now)
            if evicted is not None:
                return [evicted]
        if self.name in frame.nacks:
            number = frame.nacks[self.name]
            self._retransmit_from = min(number, self._retransmit_from or number)
        return [] if self._quarantine else self._apply(frame, peer, now)

    def note_foreign_version(self, name: str) -> None:
        """Rule `foreign-version-exists`: record a worker whose messages cannot be read."""
        self._foreign[name] = 0

    def tick(self, now: float) -> list[Event]:
        """Let time pass: end a quarantine and operations that have timed out."""
        if now >= self._quarantine_until:
            self._release(*self._quarantine)
        events = self._resolve(sorted(self._awaiting_unmet), now)
        while self._pending:
            number, pending = next(iter(self._pending.items()))
            if now < pending.deadline:
                break
            events += self.time_out(number)  # Rule `unanswered-times-out`
        return events

    def take(self, now: float) -> Frame | None:
        """Return the next frame to publish, or None when nothing waits."""
        if now >= self._retransmit_due:
            self._retransmit(now)
        beat = self._heartbeat(now) if now >= self._beat_due else None
        nacks, self._nacks = self._nacks, {}
        first, operations = self._stream.take()
        if not (beat or nacks or operations):
            return None
        # Rule `empty-frames-are-numbered`: a frame without operations carries the next number.
        return Frame(self.name, first, operations, beat, nacks)

    def give_back(self, frame: Frame, now: float) -> None:
        """Take back a frame that could not be published; it goes out again later."""
        self._stream.give_back(frame.first)
        self._nacks = {**frame.nacks, **self._nacks}
        if frame.heartbeat is not None:
            self._beat_due = now
            self._unechoed_since = None

    def on_reconnect(self, now: float) -> None:
        """Record that the connection is back, and send a heartbeat with the next frame."""
        # Rule `unknown-takes-knowing`: a hello may have been missed meanwhile.
        self._echo_count = 0
        self._echo_counted_at = float("-inf")
        for peer in self._peers.values():
            peer.missed_beats = 0  # Rule `own-echo-clock`
        if now - self._last_echo_at >= MAX_ECHO_GAP * self._interval:
            # Rule `quarantine-after-absence`: own name stands for the workers not met yet.
            self._quarantine.clear()
            self._hold([*self._peers, self.name], now)
            self._release_beat = self._beat + RELEASE_ECHOES
        self._beat_at = float("-inf")
        self._beat_due = now
        self._unechoed_since = None

    def is_deaf(self, now: float) -> bool:
        """Rule `reconnect-when-deaf`: whether an own heartbeat should have echoed long ago."""
        timeout = MAX_MISSED_BEATS * self._interval
        return self._unechoed_since is not None and now - self._unechoed_since > timeout

    def waiting(self) -> list[Operation]:
        """Return the operations that no worker can have received, in order."""
        decoded = [decode_operation(data) for data in self._stream.untried()]
        return [operation for operation in decoded if operation is not None]

    # -- own frames -----------------------------------------------------------------------

    @property
    def _retransmit_due(self) -> float:
        """Rule `ordered-stream`: nacks that come right after a retransmission wait for the next."""
        if self._retransmit_from is None:
            return float("inf")
        return self._retransmitted_at + RETRANSMIT_INTERVAL * self._interval

    def _retransmit(self, now: float) -> None:
        number, self._retransmit_from = self._retransmit_from, None
        if number is not None and not self._stream.rewind(number):
            self._announce(now)  # the heartbeat states the oldest operation in the log
        self._retransmitted_at = now

    def _heartbeat(self, now: float) -> Heartbeat:
        self._beat += 1
        self._beat_at = now
        self._beat_due = now + self._interval
        if self._unechoed_since is None:
            self._unechoed_since = now
        starts = {name: peer.stream_start for name, peer in self._peers.items()}
        # Rules `dead-are-told-first` and `dead-are-told-again`.
        told = self._heard_after_death.union(self._suspects)
        starts |= dict.fromkeys(told, COUNTED_DEAD)
        self._heard_after_death.clear()
        age, stream = now - self._born, self._stream
        return Heartbeat(self._beat, age, stream.oldest, stream.fresh, starts, self._about)

    def _announce(self, now: float) -> None:
        """Rule `announce-to-unmet`: send the next heartbeat early, but not too many of them."""
        earliest = self._beat_at + ANNOUNCE_INTERVAL * self._interval
        self._beat_due = min(self._beat_due, max(now, earliest))

    def _receive_echo(self, frame: Frame, now: float) -> list[Event]:
        """
        Process an own frame: broker and connection work.

        Rule `own-echo-clock`: own echoes are the clock of the failure detector. It stands still
        while this worker is deaf or stopped, and messages that arrived meanwhile are received
        before it goes on.
        """
        if now - self._last_echo_at >= MAX_ECHO_GAP * self._interval:
            self._echo_count = 0  # Rule `unknown-takes-knowing`: others have to be heard again
        self._last_echo_at = now
        self._unechoed_since = None
        self._first_unechoed = max(self._first_unechoed, frame.first + len(frame.operations))
        events: list[Event] = []
        # Rule `late-heartbeats-are-ignored`
        if frame.heartbeat is not None and frame.heartbeat.beat > self._echoed_beat:
            self._echoed_beat = frame.heartbeat.beat
            self._record_sent(frame.heartbeat)
            self._echo_in_quarantine(now)
            events += self._mark_told_suspects_dead(now)
            if now - self._echo_counted_at >= 0.9 * self._interval:
                self._echo_counted_at = now
                self._echo_count += 1
                self._count_missed_beats(now)
                self._trim_repair_log()
        return events + self._resolve(sorted(self._awaiting_unmet), now)

    def _echo_in_quarantine(self, now: float) -> None:
        """Rule `quarantine-after-absence`: unmet workers answer the first of three heartbeats."""
        if self.name in self._quarantine:
            self._announce(now)
            if self._echoed_beat >= self._release_beat:
                self._release(self.name)

    def _mark_told_suspects_dead(self, now: float) -> list[Event]:
        """Rule `dead-are-told-first`: the heartbeat that leaves a suspect out has echoed."""
        told = [name for name, beat in self._suspects.items() if beat <= self._echoed_beat]
        events: list[Event] = []
        for name in told:
            del self._suspects[name]
            events += self._mark_dead(name, now)
        return events

    def _record_sent(self, beat: Heartbeat) -> None:
        self._echo_age = max(self._echo_age, beat.age)
        if not self._sent_by_age or beat.fresh > self._sent_by_age[-1][1]:
            self._sent_by_age.append((beat.age, beat.fresh))
        while len(self._sent_by_age) > 1 and self._sent_by_age[1][1] <= self._stream.oldest:
            self._sent_by_age.popleft()

    def _stream_start_by_age(self, age: float) -> int:
        """
        Return the first own operation that a worker of this age can have missed.

        Rule `stream-start`: it stated its age after the latest own echo or shortly before, so it
        gets an interval more than that, as far as the repair log still holds it. A worker that
        is older than this one gets the whole stream.
        """
        birth = self._echo_age - age
        sent = max((fresh for at, fresh in self._sent_by_age if at <= birth), default=1)
        earlier = birth - self._interval
        safe = max((fresh for at, fresh in self._sent_by_age if at <= earlier), default=1)
        return min(max(safe, self._stream.oldest), sent)

    def _count_missed_beats(self, now: float) -> None:
        """Rule `own-echo-clock`: count an own echo against every worker that was not heard."""
        for name, peer in list(self._peers.items()):
            peer.missed_beats += 1
            if peer.missed_beats > MAX_MISSED_BEATS:
                self._remove_peer(name)
                self._suspects[name] = self._beat + 1
                self._beat_due = now
        foreign = self._foreign.items()
        self._foreign = {name: beats + 1 for name, beats in foreign if beats < MAX_MISSED_BEATS}

    def _trim_repair_log(self) -> None:
        """Rule `bounded-repair-log`: an outage, in which nothing echoes, makes nothing older."""
        self._echo_history.append(self._first_unechoed)
        if len(self._echo_history) > REPAIR_LOG_ECHOES:
            self._stream.discard_before(self._echo_history.popleft())

    # -- frames of others -----------------------------------------------------------------

    def _add_peer(self, name: str, beat: Heartbeat, now: float) -> _Peer:
        """
        Count a worker as alive, and fix where this worker's stream starts for it.

        Rule `stream-start`: with its hello, at the first own operation that has not echoed,
        because that is published after the hello. Otherwise by its age. In any case not after
        a pending call that it may have to answer.
        """
        is_hello = beat.beat == 1
        stream_start = self._first_unechoed if is_hello else self._stream_start_by_age(beat.age)
        for number, pending in self._pending.items():
            # What echoed before the hello is not for a newcomer, unless it names that worker.
            echoed_before = is_hello and number < self._first_unechoed
            if name in pending.unmet or (pending.open_to_unmet and not echoed_before):
                pending.awaited[name] = pending.unmet.pop(name, ())
                if number >= self._stream.oldest:
                    stream_start = min(stream_start, number)
            elif pending.for_all and number >= stream_start:
                pending.awaited[name] = ()  # Rule `every-worker-answers`
        peer = self._peers[name] = _Peer(stream_start)
        self._announce(now)  # the heartbeat states where the stream starts
        return peer

    def _note_sign_of_life(self, peer: _Peer, now: float) -> None:
        if peer.missed_beats > 1:
            self._announce(now)  # it may have been away, and in quarantine until it is named
        peer.missed_beats = 0

    def _was_overlooked(self, beat: Heartbeat) -> bool:
        """
        Whether an unmet worker lived, and was not asked, when a change for all was confirmed.

        Rule `dead-are-told-again`. The same holds for one that may have been ruled out under a
        name that is forgotten.
        """
        return beat.beat > 1 and self._echo_age - beat.age <= self._overlooked_until

    def _receive_from_dead(self, frame: Frame, now: float) -> list[Event]:
        """Rule `dead-are-told-again`: one of the two workers has to start over."""
        beat = frame.heartbeat
        if beat is not None and beat.stream_starts.get(self.name) == COUNTED_DEAD:
            return [Evicted(frame.sender, counted_dead=True)]
        self._heard_after_death.add(frame.sender)
        self._announce(now)
        return []

    def _receive_heartbeat(
        self, name: str, peer: _Peer, beat: Heartbeat, now: float
    ) -> Evicted | None:
        if beat.beat <= peer.beat:
            return None  # Rule `late-heartbeats-are-ignored`
        peer.beat = beat.beat
        stream_start = beat.stream_starts.get(self.name)
        # Rule `evicted-start-over`
        if stream_start == COUNTED_DEAD or (stream_start is None and peer.expected is not None):
            return Evicted(name, counted_dead=True)
        if stream_start is None:
            self._announce(now)
        elif peer.expected is None:
            peer.expected = stream_start  # Rule `stream-start`
        unmet = beat.stream_starts.keys() - self._peers.keys() - {self.name}
        alive = frozenset(one for one in unmet if beat.stream_starts[one] != COUNTED_DEAD)
        self._reported[name] = alive
        if peer.expected is not None and peer.expected < beat.oldest:
            return Evicted(name, counted_dead=False)
        if peer.expected is not None:
            self._release(name)
        return None

    def _hold(self, names: Iterable[str], now: float) -> None:
        """Apply nothing until these workers have stated how they count this one, or a timeout."""
        if not self._quarantine:  # each worker that joins it later would prolong it
            self._quarantine_until = now + MAX_QUARANTINE * self._interval
        self._quarantine.update(names)

    def _release(self, *names: str) -> None:
        """Wait no longer for these workers; the last one ends the quarantine."""
        if self._quarantine.intersection(names):
            self._quarantine.difference_update(names)
            if not self._quarantine:
                self._quarantine_until = float("inf")
                peers = self._peers.items()
                self._nacks |= {name: peer.expected for name, peer in peers if peer.expected}

    def _apply(self, frame: Frame, peer: _Peer, now: float) -> list[Event]:
        """Rule `ordered-stream`: apply each operation once and in order, or nack the gap."""
        if peer.expected is None:
            # Rule `quarantine-for-unmet`: it may report sockets of this worker as unknown.
            if not peer.has_held and any(map(self._names_own_socket, frame.operations)):
                peer.has_held = True
                self._hold([frame.sender], now)
            return []  # Rule `stream-start`
        if frame.first > peer.expected:
            if now - peer.nacked_at >= NACK_INTERVAL * self._interval:
                peer.nacked_at = now
                self._nacks[frame.sender] = peer.expected
            return []
        events: list[Event] = []
        for data in frame.operations[peer.expected - frame.first :]:
            number, peer.expected = peer.expected, peer.expected + 1
            peer.nacked_at = float("-inf")
            try:
                operation = decode_operation(data)
            except BadMessage:
                continue  # Rule `bad-messages-are-dropped`: skipping it keeps the stream going
            if operation is not None:
                events += self._dispatch(frame.sender, number, operation, now)
            if isinstance(operation, Goodbye):
                break  # Rule `goodbye-ends-a-worker`
        return events

    def _names_own_socket(self, data: bytes) -> bool:
        try:
            operation = decode_operation(data)
        except BadMessage:
            return False
        sids = operation.sids if isinstance(operation, Change) else ()
        return any(owner_of(sid) == self.name for sid in sids)

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Done):
            return self._receive_done(sender, operation, now)
        if isinstance(operation, Reply):
            return self._receive_reply(sender, operation, now)
        if isinstance(operation, Goodbye):
            return self._mark_dead(sender, now, said_goodbye=True)
        return [Deliver(sender, number, operation)]

    def _receive_done(self, sender: str, answer: Done, now: float) -> list[Event]:
        """Rule `owner-answers`: an answer counts once, and from a worker that was asked."""
        pending = self._pending.get(answer.number) if answer.worker == self.name else None
        if pending is None or not pending.add_done(sender, answer):
            return []
        return self._resolve([answer.number], now)

    def _receive_reply(self, sender: str, reply: Reply, now: float) -> list[Event]:
        pending = self._pending.get(reply.number) if reply.worker == self.name else None
        if pending is None or not pending.add_reply(sender, reply, self._limits.pages):
            return []
        return self._resolve([reply.number], now)

    def _remove_peer(self, name: str) -> None:
        self._peers.pop(name, None)
        self._reported.pop(name, None)
        self._nacks.pop(name, None)
        self._dead.add(name)
        self._release(name)

    def _mark_dead(self, name: str, now: float, said_goodbye: bool = False) -> list[Event]:
        self._remove_peer(name)
        affected = [number for number, one in self._pending.items() if one.mark_dead(name)]
        return [PeerLeft(name, said_goodbye), *self._resolve(affected, now)]

    # -- calls ----------------------------------------------------------------------------

    def _resolve(self, numbers: list[int], now: float) -> list[Event]:
        """
        Complete the operations that have all their answers.

        Rule `unknown-takes-knowing`: an unmet worker does not exist if this worker is settled,
        the operation has echoed, and no other worker reports it.
        """
        events: list[Event] = []
        known = self._known_by_name() if numbers else frozenset()
        for number in numbers:
            pending = self._pending[number]
            if self.is_settled and number < self._first_unechoed:
                if pending.open_to_unmet:
                    pending.unmet |= dict.fromkeys(known, ())
                    pending.open_to_unmet = False
                for name in pending.unmet.keys() - known:
                    pending.unknown += pending.unmet.pop(name)
                    self._rule_out(name, now)
                if not pending.unmet:
                    # There may be thousands, and each frame looks at them.
                    self._awaiting_unmet.discard(number)
            result = pending.result()
            if result is not None:
                self._complete(result)
                events.append(result)
        return events

    def _complete(self, result: Completed | TimedOut) -> None:
        number = result.number
        pending = self._pop_pending(number)
        if pending.for_all and isinstance(result, Completed):
            self._stream.blank(number)  # Rule `completed-is-not-repeated`
            if pending.is_change:
                called_at = pending.deadline - self._confirm - self._born
                self._overlooked_until = max(self._overlooked_until, called_at)

    def _known_by_name(self) -> frozenset[str]:
        """Return the unmet workers that peers report, or whose messages cannot be read."""
        known = frozenset(self._foreign).union(*self._reported.values())
        return frozenset(filterfalse(self.is_ruled_out, known - self._peers.keys()))

    def _rule_out(self, name: str, now: float) -> None:
        """Rule `dead-are-told-again`: remember a worker that is reported as unknown now."""
        self._ruled_out[name] = now - self._born
        if len(self._ruled_out) > MAX_RULED_OUT:
            forgotten = self._ruled_out.pop(next(iter(self._ruled_out)))
            self._overlooked_until = max(self._overlooked_until, forgotten)

    def _pop_pending(self, number: int) -> Pending:
        self._awaiting_unmet.discard(number)
        return self._pending.pop(number)
