"""
Mutants of the protocol: each breaks one rule, to prove that the simulation notices.

`python -m tests.simulation.mutations` prints the table of docs/protocol.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from flask_rooms.protocol.messages import (
    Change,
    Done,
    Frame,
    Goodbye,
    Heartbeat,
    Operation,
)
from flask_rooms.protocol.node import SETTLED_ECHOES, Deliver, Event, Evicted, Node
from flask_rooms.protocol.stream import Limits, Stream
from tests.simulation.cases import CASES
from tests.simulation.changes import CONFIRM, HEARTBEAT, Call
from tests.simulation.generator import generate
from tests.simulation.play import failure, promise_of
from tests.simulation.world import WIDE, Outcome, Worker, World

Mutant: TypeAlias = type[Node] | type[World]
M = TypeVar("M", bound=Mutant)

#: Mutant -> the name in docs/protocol.md of the rule that it breaks, in the order of the table.
RULES: dict[Mutant, str] = {}
#: The mutants that random schedules of QUICK_STEPS steps catch.
QUICK: list[Mutant] = []
QUICK_STEPS = 25_000

#: Rules that no mutant breaks, and why.
WITHOUT_MUTANT = {
    "answers-never-refused": "outboxes fill up only in trouble, when the model lets calls time out",
    "bad-messages-are-dropped": "the simulation passes frames as objects, not as bytes",
    "bounded-repair-log": "a log that is never trimmed breaks no promise, it only takes memory",
    "foreign-version-exists": "the simulation has one version",
    "heard-before-leaving": "simulated workers leave without it, and the model allows for that",
    "reconnect-when-deaf": "every simulated deafness ends by itself",
}


def breaks(rule: str, *, quickly: bool = False) -> Callable[[M], M]:
    """
    Register a class as a mutant.

    Args:
        rule: The name of the rule that it breaks.
        quickly: Whether random schedules catch it within QUICK_STEPS steps.
    """

    def register(mutant: M) -> M:
        RULES[mutant] = rule
        if quickly:
            QUICK.append(mutant)
        return mutant

    return register


@breaks("ordered-stream", quickly=True)
class NoNacks(Node):
    """A worker that misses something sends no nack."""

    def take(self, now: float) -> Frame | None:
        self._nacks = {}
        return super().take(now)


@breaks("ordered-stream", quickly=True)
class NoRetransmission(Node):
    """Nacks are ignored."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        return super().receive(replace(frame, nacks={}), now)


@breaks("ordered-stream", quickly=True)
class GapsSkipped(Node):
    """A gap is skipped."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is not None and frame.operations:
            peer.expected = max(peer.expected, frame.first)
        return super()._apply(frame, peer, now)


@breaks("ordered-stream", quickly=True)
class DuplicatesApplied(Node):
    """A duplicate is applied again."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is not None and frame.operations:
            peer.expected = min(peer.expected, frame.first)
        return super()._apply(frame, peer, now)


@breaks("empty-frames-are-numbered")
class TailLossUnseen(Node):
    """A heartbeat does not show what was lost before it."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        return super()._apply(frame, peer, now) if frame.operations else []


@breaks("evicted-start-over", quickly=True)
class LossHidden(Node):
    """A worker hides what it can no longer retransmit."""

    def _heartbeat(self, now: float) -> Heartbeat:
        return replace(super()._heartbeat(now), oldest=1)


@breaks("one-outbox-and-log", quickly=True)
class FailedPublishDropped(Node):
    """What could not be published is dropped."""

    def give_back(self, frame: Frame, now: float) -> None:
        self._beat_due = now
        for number in range(frame.first, frame.first + len(frame.operations)):
            self._stream.blank(number)


class ReorderingStream(Stream):
    """The outbox of FailedPublishReordered."""

    def give_back(self, number: int) -> None:
        super().give_back(number)
        waiting = list(self._entries)[self.fresh - self.oldest :]
        kept = list(self._entries)[: self.fresh - self.oldest]
        self._entries = deque([*kept, *waiting[1:], *waiting[:1]])


@breaks("one-outbox-and-log")
class FailedPublishReordered(Node):
    """What could not be published loses its place."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: Any) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = ReorderingStream(limits)


class WaitingAgainStream(Stream):
    """The outbox of RetransmissionWaits."""

    def give_back(self, number: int) -> None:
        self._fresh_before_take = number
        super().give_back(number)


@breaks("one-outbox-and-log")
class RetransmissionWaits(Node):
    """A failed retransmission takes room in the outbox."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: Any) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = WaitingAgainStream(limits)


class TriedIsUntriedStream(Stream):
    """The outbox of TriedSentByNextLife."""

    def untried(self) -> list[bytes]:
        self._first_untried = self.fresh
        return super().untried()


@breaks("one-outbox-and-log")
class TriedSentByNextLife(Node):
    """The next life sends what may have been published."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: Any) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = TriedIsUntriedStream(limits)


@breaks("announce-to-unmet")
class NoAnnouncement(Node):
    """A worker sends no heartbeat early."""

    def _announce(self, now: float) -> None:
        pass


@breaks("unknown-takes-knowing", quickly=True)
class UnknownAtOnce(Node):
    """An unmet worker is unknown at once."""

    def _resolve(self, numbers: Any, now: float) -> list[Event]:
        self._echo_count, self._first_unechoed, self._reported = sys.maxsize, sys.maxsize, {}
        return super()._resolve(numbers, now)


@breaks("unknown-takes-knowing", quickly=True)
class UnknownWithoutEcho(Node):
    """(a) The call need not have echoed."""

    def _resolve(self, numbers: Any, now: float) -> list[Event]:
        first, self._first_unechoed = self._first_unechoed, sys.maxsize
        try:
            return super()._resolve(numbers, now)
        finally:
            self._first_unechoed = first


@breaks("unknown-takes-knowing")
class UnknownUnsettled(Node):
    """(b) Two heartbeats need not have echoed."""

    def _resolve(self, numbers: Any, now: float) -> list[Event]:
        echoes, self._echo_count = self._echo_count, SETTLED_ECHOES
        try:
            return super()._resolve(numbers, now)
        finally:
            self._echo_count = echoes


@breaks("unknown-takes-knowing")
class SettledThroughAbsence(Node):
    """(b) They need not echo again after an absence."""

    def on_reconnect(self, now: float) -> None:
        echoes = self._echo_count
        super().on_reconnect(now)
        self._echo_count = echoes

    def _receive_echo(self, frame: Frame, now: float) -> list[Event]:
        self._last_echo_at = now
        return super()._receive_echo(frame, now)


@breaks("unknown-takes-knowing")
class UnknownThoughReported(Node):
    """(c) Other workers may name it."""

    def _resolve(self, numbers: Any, now: float) -> list[Event]:
        self._reported.clear()
        return super()._resolve(numbers, now)


@breaks("dead-are-told-again")
class RuledOutForgotten(Node):
    """A worker that was called unknown is not told."""

    def _rule_out(self, name: str, now: float) -> None:
        pass


@breaks("dead-are-told-again")
class OverlookedAccepted(Node):
    """A worker that was overlooked by a call for all is not told."""

    def _was_overlooked(self, beat: Heartbeat) -> bool:
        return False


@breaks("stream-start", quickly=True)
class UnnamedApplied(Node):
    """A sender that has not named this worker is applied."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is None and frame.operations:
            peer.expected = frame.first
        return super()._apply(frame, peer, now)


@breaks("stream-start")
class NewcomerStartsTooLate(Node):
    """The stream starts too late for a newcomer."""

    def _add_peer(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._add_peer(name, beat, now)
        if beat.beat == 1:
            peer.stream_start = self._stream.next
        return peer


@breaks("stream-start", quickly=True)
class StreamStartOffByOne(Node):
    """The stream starts one operation too late."""

    def _add_peer(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._add_peer(name, beat, now)
        peer.stream_start += 1
        return peer


@breaks("stream-start", quickly=True)
class LostHelloStartsNow(Node):
    """A worker whose hello was lost gets nothing sent since its birth."""

    def _stream_start_by_age(self, age: float) -> int:
        return self._stream.fresh


@breaks("stream-start")
class PendingCallsLeftOut(Node):
    """A pending call for an unmet worker is not in its stream."""

    def _add_peer(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._add_peer(name, beat, now)
        by_age = self._stream_start_by_age(beat.age)
        peer.stream_start = self._first_unechoed if beat.beat == 1 else by_age
        return peer


@breaks("every-worker-answers")
class NewcomersNotAwaited(Node):
    """A newcomer that gets a call for all is not awaited."""

    def _add_peer(self, name: str, beat: Heartbeat, now: float) -> Any:
        closed = [p for p in self._pending.values() if p.for_all and not p.open_to_unmet]
        peer = super()._add_peer(name, beat, now)
        for pending in closed:
            pending.awaited.pop(name, None)
        return peer


@breaks("every-worker-answers", quickly=True)
class UnmetNotAwaited(Node):
    """A call for all awaits only the workers that are met."""

    def call(self, *args: Any) -> tuple[int, list[Event]]:
        number, events = super().call(*args)
        if number in self._pending:
            self._pending[number].open_to_unmet = False
        return number, events


class NeverBlankStream(Stream):
    """The log of CompletedRepeated."""

    def blank(self, number: int) -> None:
        pass


@breaks("completed-is-not-repeated")
class CompletedRepeated(Node):
    """A completed change for all is retransmitted to newcomers."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: Any) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = NeverBlankStream(limits)


@breaks("own-echo-clock", quickly=True)
class DeathByClock(Node):
    """Missed heartbeats are counted by the clock."""

    def tick(self, now: float) -> list[Event]:
        events = super().tick(now)
        last = getattr(self, "_last_count", now)
        if now - last >= HEARTBEAT:
            self._last_count = now
            self._count_missed_beats(now)
        elif not hasattr(self, "_last_count"):
            self._last_count = now
        return events


@breaks("own-echo-clock")
class MissedBeatsKept(Node):
    """Missed heartbeats are counted across an absence."""

    def on_reconnect(self, now: float) -> None:
        missed = {name: peer.missed_beats for name, peer in self._peers.items()}
        super().on_reconnect(now)
        for name, peer in self._peers.items():
            peer.missed_beats = missed[name]


@breaks("dead-are-told-first")
class DeadNotToldFirst(Node):
    """Calls complete before the dead are told."""

    def _receive_echo(self, frame: Frame, now: float) -> list[Event]:
        events = super()._receive_echo(frame, now)
        for name in list(self._suspects):
            del self._suspects[name]
            events += self._mark_dead(name, now)
        return events


@breaks("dead-are-told-first")
class SuspectsNotNamed(Node):
    """Suspects are left out, and not named with 0."""

    def _heartbeat(self, now: float) -> Heartbeat:
        beat = super()._heartbeat(now)
        starts = {n: at for n, at in beat.stream_starts.items() if n not in self._suspects}
        return replace(beat, stream_starts=starts)


@breaks("dead-are-told-again", quickly=True)
class DeadNotToldAgain(Node):
    """A dead worker that is heard is not told."""

    def _receive_from_dead(self, frame: Frame, now: float) -> list[Event]:
        return []


@breaks("dead-are-told-again", quickly=True)
class DeadRevived(Node):
    """A dead worker that is heard counts as alive again."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        if frame.sender not in self._suspects:
            self._dead.discard(frame.sender)
        return super().receive(frame, now)


@breaks("evicted-start-over", quickly=True)
class NeverEvicted(Node):
    """An evicted worker goes on."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        return [event for event in super().receive(frame, now) if not isinstance(event, Evicted)]


@breaks("quarantine-after-absence")
class NoQuarantine(Node):
    """A worker that was away applies everything at once."""

    def on_reconnect(self, now: float) -> None:
        super().on_reconnect(now)
        self._quarantine.clear()


@breaks("quarantine-after-absence")
class UnmetNotHeardOut(Node):
    """A worker that was away gives unmet workers no time to name it."""

    def on_reconnect(self, now: float) -> None:
        super().on_reconnect(now)
        self._quarantine.discard(self.name)


@breaks("quarantine-for-unmet")
class NoQuarantineForUnmet(Node):
    """A worker that an unmet one calls goes on."""

    def _names_own_socket(self, data: bytes) -> bool:
        return False


@breaks("late-heartbeats-are-ignored", quickly=True)
class LateHeartbeatsCount(Node):
    """A late heartbeat counts."""

    def _receive_heartbeat(self, name: str, peer: Any, beat: Heartbeat, now: float) -> Any:
        peer.beat = 0
        return super()._receive_heartbeat(name, peer, beat, now)


@breaks("owner-answers", quickly=True)
class AnyAnswerCounts(Node):
    """Any answer counts for all that are awaited."""

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Done) and operation.number in self._pending:
            pending = self._pending[operation.number]
            pending.awaited.clear()
            return self._resolve([operation.number], now)
        return super()._dispatch(sender, number, operation, now)


@breaks("dead-are-told-first")
class DeadAwaited(Node):
    """A call awaits the dead."""

    def _mark_dead(self, name: str, now: float, said_goodbye: bool = False) -> list[Event]:
        self._remove_peer(name)
        return []


@breaks("unanswered-times-out", quickly=True)
class NoDeadline(Node):
    """A call never times out."""

    def call(self, *args: Any) -> tuple[int, list[Event]]:
        number, events = super().call(*args)
        if number in self._pending:
            self._pending[number].deadline = float("inf")
        return number, events


@breaks("goodbye-ends-a-worker")
class GoodbyeIgnored(Node):
    """A goodbye is ignored."""

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Goodbye):
            return []
        return super()._dispatch(sender, number, operation, now)


@breaks("owner-answers", quickly=True)
class AnswersFirst(World):
    """The owner answers before it applies the change."""

    def _carry_out(self, worker: Worker, event: Deliver, call: Call) -> None:
        self._answer(worker, event, self._foresee(worker, call.change))
        self._at(self.now + 0.01, self._do_late, worker, call)

    def _do_late(self, worker: Worker, call: Call) -> None:
        self._do(worker, call)

    def _foresee(self, worker: Worker, change: Change) -> Outcome:
        here = [sid for sid in self._meant(worker, change) if sid in worker.memberships]
        unknown = tuple(sid for sid in self._meant(worker, change) if sid not in here)
        room = str(change.rooms[0])
        moved = [(room in worker.memberships[s]) != (change.action == "join") for s in here]
        return moved.count(True), moved.count(False) if change.source is None else 0, unknown


@breaks("hello-before-sockets")
class SocketsBeforeHello(World):
    """Sockets are accepted before the hello has echoed."""

    def start(self, host: str, limits: Limits = WIDE) -> None:
        super().start(host, limits)
        if not self.workers[host].accepts:
            self._serve(self.workers[host])


@breaks("hello-before-sockets")
class UnheardSocketsKept(World):
    """A worker that was not heard at first keeps its sockets."""

    def _heard_itself(self, worker: Worker) -> None:
        worker.unheard = False
        super()._heard_itself(worker)


@breaks("evicted-start-over")
class OutboxLost(World):
    """An evicted worker loses its outbox."""

    def _waiting(self, worker: Worker) -> list[Operation]:
        return []


@breaks("evicted-start-over", quickly=True)
class SocketsKept(World):
    """An evicted worker keeps its sockets."""

    def _move_sockets(self, old: Worker, new: Worker) -> None:
        new.memberships = old.memberships


def world_without(mutant: Mutant | None, seed: int) -> World:
    """Return a new world in which the rule of *mutant* is broken, or none if it is None."""

    def make(worker: str, now: float, limits: Limits) -> Node:
        node: type[Node] = mutant if mutant is not None and issubclass(mutant, Node) else Node
        return node(worker, now, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=limits)

    world_of = mutant if mutant is not None and issubclass(mutant, World) else World
    return world_of(seed, make)


def first_failure(mutant: Mutant, steps: int) -> tuple[int, str] | None:
    """
    Play random schedules with a broken rule until a promise breaks.

    Returns:
        Steps taken and the promise that was broken; None when *steps* were too few.
    """
    taken = 0
    for seed in itertools.count():
        world = world_without(mutant, seed)
        error = failure(generate(seed), world)
        taken += world.steps
        if error is not None and not isinstance(error, AssertionError):
            raise error  # a mutant that crashes proves nothing
        if error is not None:
            return taken, promise_of(error) or ""
        if taken > steps:
            break
    return None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000_000, help="at most, for each mutant")
    parser.add_argument("mutants", nargs="*", metavar="MUTANT", help="only these classes")
    options = parser.parse_args()
    print("| rule | mutant | breaks | after steps |\n|---|---|---|---|")
    for mutant, rule in RULES.items():
        if options.mutants and mutant.__name__ not in options.mutants:
            continue
        print(f"| `{rule}` | {says(mutant)} | {result(mutant, options.steps)} |", flush=True)


def result(mutant: Mutant, steps: int) -> str:
    """Return the rest of a mutant's line."""
    if mutant.__name__ in CASES:
        broken = promise_of(failure(CASES[mutant.__name__], world_without(mutant, 0)))
        return f"{broken} | a written schedule"
    found = first_failure(mutant, steps)
    return f"{found[1]} | {found[0]:,}" if found else f"| not in {steps:,}"


def says(mutant: Mutant) -> str:
    """Return what goes wrong in a mutant."""
    return (mutant.__doc__ or "").strip().rstrip(".")


if __name__ == "__main__":
    main()
