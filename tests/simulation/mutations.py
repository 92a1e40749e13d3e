"""
Mutants of the protocol: each breaks one rule, to prove that the simulation notices.

`python -m tests.simulation.mutations` prints the table of docs/protocol.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace

from flask_rooms.protocol.calls import PendingCalls
from flask_rooms.protocol.clock import SETTLED_ECHOES, EchoClock
from flask_rooms.protocol.delivery import Delivery
from flask_rooms.protocol.events import Deliver, Event, Evicted
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.lanes import Lanes, WaitingJoin
from flask_rooms.protocol.membership import Membership, Peer, State
from flask_rooms.protocol.messages import (
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
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.quarantine import Quarantine
from flask_rooms.protocol.reception import Reception
from flask_rooms.protocol.resolution import Resolution
from flask_rooms.protocol.signing import Signer
from flask_rooms.protocol.stream import Limits, Stream
from flask_rooms.protocol.succession import OpenChanges
from flask_rooms.protocol.views import Views
from tests.simulation.cases import CASES
from tests.simulation.changes import HEARTBEAT, Call
from tests.simulation.generator import generate
from tests.simulation.play import failure, promise_of
from tests.simulation.small import Small
from tests.simulation.world import WIDE, Outcome, Worker, World, make_node
from tests.simulation.worlds import PLANS, Found, Plan, explore

#: A Node, one of its parts, or a World whose drivers break a rule.
Part: TypeAlias = (
    Node
    | Reception
    | Resolution
    | EchoClock
    | Membership
    | Views
    | Delivery
    | PendingCalls
    | Quarantine
    | Stream
    | OpenChanges
)
Mutant: TypeAlias = type[Part] | type[World]
M = TypeVar("M", bound=Mutant)

#: Mutant -> the name in docs/protocol.md of the rule that it breaks, in the order of the table.
RULES: dict[Mutant, str] = {}
#: The mutants that random schedules of QUICK_STEPS steps catch.
QUICK: list[Mutant] = []
QUICK_STEPS = 60_000

#: Rules that no mutant breaks, and why.
WITHOUT_MUTANT = {
    "answers-never-refused": "outboxes fill up only in trouble, when the model lets calls time out",
    "bad-messages-are-dropped": "the simulation passes frames as objects, not as bytes",
    "bounded-repair-log": "a log that is never trimmed breaks no promise, it only takes memory",
    "newest-stays": "the simulation has no users; `test_newest_stays.py` has",
    "late-heartbeats-are-ignored": "a copy makes a dead worker seem to live, which the model "
    "excuses; `test_node_failure_detection.py` does not",
    "nacks-count-once": "a copy costs a retransmission, and breaks no promise",
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
class NoNacks(Delivery):
    """A worker that misses something sends no nack."""

    def _nack(self, name: str, gap: tuple[int, int]) -> None:
        pass


@breaks("ordered-stream", quickly=True)
class NoRetransmission(Delivery):
    """Nacks are ignored."""

    def on_direct(self, name: str, direct: Direct, view: int) -> None:
        super().on_direct(name, direct, view)
        self.link(name).missed = None


@breaks("answers-to-the-asker", quickly=True)
class AnswersNotRepeated(Delivery):
    """An answer that has not arrived is not sent again."""

    def on_direct(self, name: str, direct: Direct, view: int) -> None:
        super().on_direct(name, direct, view)
        answers = self.link(name).answers
        answers._cursor = answers.fresh


@breaks("answers-to-the-asker")
class NoProbes(Delivery):
    """A worker does not ask whether its answers have arrived."""

    def probe(self, now: float) -> None:
        self.probe_due = float("inf")


@breaks("ordered-stream", quickly=True)
class GapsSkipped(Delivery):
    """A gap is skipped."""

    def accept(self, name: str, frame: Frame, now: float) -> Any:
        if frame.operations:
            self.link(name).inbound.expected = max(
                self.link(name).inbound.expected or 1, frame.first
            )
        return super().accept(name, frame, now)


@breaks("ordered-stream", quickly=True)
class DuplicatesApplied(Delivery):
    """A duplicate is applied again."""

    def accept(self, name: str, frame: Frame, now: float) -> Any:
        if frame.operations:
            self.link(name).inbound.expected = min(
                self.link(name).inbound.expected or 1, frame.first
            )
        return super().accept(name, frame, now)


@breaks("empty-frames-are-numbered")
class TailLossUnseen(Delivery):
    """A heartbeat does not show what was lost before it."""

    def accept(self, name: str, frame: Frame, now: float) -> Any:
        return super().accept(name, frame, now) if frame.operations else (0, ())


@breaks("evicted-start-over")
class LossHidden(Node):
    """A worker hides what it can no longer retransmit."""

    def _heartbeat(self, now: float) -> Heartbeat:
        return replace(super()._heartbeat(now), oldest=1)


@breaks("one-outbox-and-log", quickly=True)
class FailedPublishDropped(Node):
    """What could not be published is dropped."""

    def give_back(self, frame: Frame, now: float) -> None:
        self._clock.due = now
        for number in range(frame.first, frame.first + len(frame.operations)):
            self._delivery.stream.blank(number)


@breaks("one-outbox-and-log")
class FailedPublishReordered(Stream):
    """What could not be published loses its place."""

    def give_back(self, number: int) -> None:
        super().give_back(number)
        waiting = list(self._entries)[self.fresh - self.oldest :]
        kept = list(self._entries)[: self.fresh - self.oldest]
        self._entries = deque([*kept, *waiting[1:], *waiting[:1]])


@breaks("one-outbox-and-log")
class TriedSentByNextLife(Stream):
    """The next life sends what may have been published."""

    def untried(self) -> list[bytes]:
        self.first_untried = self.fresh
        return super().untried()


@breaks("announce-to-unmet")
class NoAnnouncement(EchoClock):
    """A worker sends no heartbeat early."""

    def announce(self, now: float) -> None:
        pass


@breaks("unknown-takes-knowing", quickly=True)
class UnknownAtOnce(Resolution):
    """An unmet worker is unknown at once."""

    def resolve(self, numbers: Any, now: float) -> list[Event]:
        self._clock._count = self._delivery.first_unechoed = sys.maxsize
        self._membership._orphans.clear()
        self._membership._views.__class__ = UnknownThoughReported
        return super().resolve(numbers, now)


@breaks("unknown-takes-knowing")
class UnknownWithoutEcho(Resolution):
    """(a) The call need not have echoed."""

    def resolve(self, numbers: Any, now: float) -> list[Event]:
        first, self._delivery.first_unechoed = self._delivery.first_unechoed, sys.maxsize
        try:
            return super().resolve(numbers, now)
        finally:
            self._delivery.first_unechoed = first


@breaks("unknown-takes-knowing")
class UnknownUnsettled(Resolution):
    """(b) Other live workers need not be known."""

    def resolve(self, numbers: Any, now: float) -> list[Event]:
        echoes, self._clock._count = self._clock._count, SETTLED_ECHOES
        try:
            return super().resolve(numbers, now)
        finally:
            self._clock._count = echoes


@breaks("every-worker-is-known")
class SettledAfterTwoEchoes(EchoClock):
    """A newcomer knows all others after one interval."""

    @property
    def has_heard_all(self) -> bool:
        return self._count >= SETTLED_ECHOES - 2


@breaks("every-worker-is-known")
class SettledThroughAbsence(EchoClock):
    """A worker that was away knows all others at once."""

    def _unsettle(self) -> None:
        pass


@breaks("every-worker-is-known")
class NewcomersVouch(Resolution):
    """A worker vouches before it has heard all others."""

    def vouches(self, now: float) -> bool:
        return True


@breaks("every-worker-is-known")
class NoWorkerVouches(Resolution):
    """No worker vouches."""

    def vouches(self, now: float) -> bool:
        return False


@breaks("every-worker-is-known")
class VouchedNamesForgotten(Membership):
    """The workers that one has reported are forgotten when it leaves."""

    def _remove(self, name: str) -> None:
        super()._remove(name)
        self._orphans.clear()


@breaks("every-worker-is-known")
class AnyWorkerAnswersForOthers(PendingCalls):
    """Workers that connected after the broker has counted are counted in the place of others."""

    def on_answer(self, sender: str, answer: Done | Reply) -> bool:
        counts = super().on_answer(sender, answer)
        if answer.number in self._pending:
            self._pending[answer.number].present += counts
        return counts


@breaks("every-worker-is-known")
class CountedBeforeAbsence(PendingCalls):
    """What the broker has counted before an absence counts."""

    def on_absence(self) -> None:
        pass


@breaks("every-worker-is-known")
class CountBelieved(Resolution):
    """Workers that were met are taken to be those that the broker has counted."""

    @property
    def is_settled(self) -> bool:
        return super().is_settled or self._membership.has_met_audience


@breaks("every-worker-is-known")
class CountNotVerified(Resolution):
    """Workers are not asked whether they are those that the broker has counted."""

    def _has_to_verify(self, number: int, now: float) -> bool:
        return False


@breaks("every-worker-is-known")
class VerifiedBeforeAbsence(Resolution):
    """That all have answered before an absence counts."""

    def forget_audience(self) -> None:
        reached = self._has_reached_all
        super().forget_audience()
        self._has_reached_all = reached


@breaks("hello-is-verified")
class HelloBelieved(PendingCalls):
    """The copy of a hello counts."""

    def on_peer(self, name: str, *where: int) -> int:
        stream_start = super().on_peer(name, *where)
        for pending in self._pending.values():
            pending.unverified -= {name}
        return stream_start


@breaks("order-across-lives")
class ChangesNotRepeated(Node):
    """The next life does not repeat what may not have been carried out."""

    def carried_over(self) -> list[Operation]:
        return [one for one in super().carried_over() if not isinstance(one, Succeeds)]


@breaks("order-across-lives")
class SuccessorsForgotten(Node):
    """A life that is evicted soon does not repeat what the one before it had to."""

    def carried_over(self) -> list[Operation]:
        carried = super().carried_over()
        return [one for one in carried if getattr(one, "former", self.name) == self.name]


@breaks("order-across-lives")
class RepeatedAgain(Delivery):
    """What was carried out is carried out once more."""

    def end(self, operation: Succeeds) -> Any:
        _, is_followed = super().end(operation)
        return operation.changes, is_followed


@breaks("order-across-lives")
class RepeatedToNewborn(Delivery):
    """What was called for in whole rooms is carried out by workers that are younger."""

    def end(self, operation: Succeeds) -> Any:
        missed, _ = super().end(operation)
        return missed, True


@breaks("order-across-lives")
class FormerLifeGoesOn(Delivery):
    """What a former life has sent is applied although the next one has begun."""

    def end(self, operation: Succeeds) -> Any:
        link = self._links.get(operation.former)
        expected = link.inbound.expected if link else None
        ended = super().end(operation)
        if link is not None:
            link.inbound.expected = expected
        return ended


@breaks("order-across-lives")
class OpenChangesTrimmed(Delivery):
    """What has to be repeated is dropped together with the log."""

    def trim(self) -> int:
        super().trim()
        return self.stream.oldest


@breaks("unknown-takes-knowing")
class UnknownThoughReported(Views):
    """(c) Other workers may name it."""

    def is_clear(self, view: int) -> bool:
        return True

    def names_in(self, view: int) -> frozenset[str]:
        return frozenset()


@breaks("views-are-compared")
class UnclearViewsIgnored(Views):
    """No worker is taken to be in a view whose names are not known."""

    def is_clear(self, view: int) -> bool:
        return True


@breaks("views-are-compared")
class NamesNotAsked(Delivery):
    """A worker is not asked for the names in its view."""

    def ask_view(self, name: str) -> None:
        pass


@breaks("dead-are-told-again")
class RuledOutForgotten(Membership):
    """A worker that was called unknown is not told."""

    def rule_out(self, names: Iterable[str], age: float) -> None:
        pass


@breaks("dead-are-told-again")
class OverlookedAccepted(Membership):
    """A worker that was overlooked by a call for all is not told."""

    def was_overlooked(self, beat: Heartbeat, echoed_age: float) -> bool:
        return False


@breaks("dead-are-told-again")
class OverlookedNotAwaited(PendingCalls):
    """A call completes without a worker that turns up and has to start over."""

    def mark_unable(self, name: str) -> None:
        for pending in self._pending.values():
            pending.unmet.pop(name, None)


@breaks("stream-start", quickly=True)
class UnnamedApplied(Reception):
    """A sender that has not named this worker is applied."""

    def _apply(self, frame: Frame, peer: Peer, now: float) -> list[Event]:
        if peer.state is State.JOINING and frame.operations:
            peer.state = State.ALIVE
            self._delivery.link(frame.sender).inbound.expected = frame.first
        return super()._apply(frame, peer, now)


@breaks("stream-start")
class NewcomerStartsTooLate(Reception):
    """The stream starts too late for a newcomer."""

    def _add_peer(self, name: str, beat: Heartbeat, is_hello: bool, now: float) -> Peer:
        peer = super()._add_peer(name, beat, is_hello, now)
        if is_hello:
            self._delivery.link(name).stream_start = self._delivery.stream.next
        return peer


@breaks("stream-start", quickly=True)
class StreamStartOffByOne(Reception):
    """The stream starts one operation too late."""

    def _add_peer(self, name: str, beat: Heartbeat, is_hello: bool, now: float) -> Peer:
        peer = super()._add_peer(name, beat, is_hello, now)
        self._delivery.link(name).stream_start += 1
        return peer


@breaks("stream-start", quickly=True)
class LostHelloStartsNow(Delivery):
    """A worker whose hello was lost gets nothing sent since its birth."""

    def _start_by_age(self, age: float) -> int:
        return self.stream.fresh


@breaks("stream-start")
class PendingCallsLeftOut(Reception):
    """A pending call for an unmet worker is not in its stream."""

    def _add_peer(self, name: str, beat: Heartbeat, is_hello: bool, now: float) -> Peer:
        peer = super()._add_peer(name, beat, is_hello, now)
        self._delivery.link(name).stream_start = self._delivery.start_for(beat, is_hello)
        return peer


@breaks("every-worker-answers")
class NewcomersNotAwaited(PendingCalls):
    """A newcomer that gets a call for all is not awaited."""

    def on_peer(self, name: str, *where: int) -> int:
        closed = [p for p in self._pending.values() if p.for_all and not p.open_to_unmet]
        stream_start = super().on_peer(name, *where)
        for pending in closed:
            pending.awaited.pop(name, None)
        return stream_start


@breaks("every-worker-answers")
class UnmetNotAwaited(PendingCalls):
    """A call for all awaits only the workers that are met."""

    def begin(self, number: int, *what: Any) -> bool:
        super().begin(number, *what)
        self._pending[number].open_to_unmet = False
        return True


@breaks("completed-is-not-repeated")
class CompletedRepeated(Stream):
    """A completed change for all is retransmitted to newcomers."""

    def blank(self, number: int) -> None:
        pass


@breaks("foreign-version-exists")
class OtherVersionsUnseen(Membership):
    """A worker of another version does not exist."""

    def note_foreign_version(self, name: str) -> None:
        pass


@breaks("heard-before-leaving")
class LeavesUnheard(Node):
    """A newcomer leaves at once."""

    @property
    def is_followed(self) -> bool:
        return True


@breaks("reconnect-when-deaf")
class DeafForGood(EchoClock):
    """A worker that does not hear itself waits for ever."""

    def is_deaf(self, now: float) -> bool:
        return False


@breaks("own-echo-clock")
class DeathByClock(Node):
    """Missed heartbeats are counted by the clock."""

    def tick(self, now: float) -> list[Event]:
        events = super().tick(now)
        last = getattr(self, "_last_count", now)
        if now - last >= HEARTBEAT:
            self._last_count = now
            self._reception._count_missed_beats(now)
        elif not hasattr(self, "_last_count"):
            self._last_count = now
        return events


@breaks("own-echo-clock")
class MissedBeatsKept(Membership):
    """Missed heartbeats are counted across an absence."""

    def on_reconnect(self) -> None:
        pass


@breaks("longer-interval")
class OwnIntervalOnly(Membership):
    """A worker goes by its own heartbeat interval."""

    def add(self, name: str, born_by: float, own_beat: int) -> Peer:
        peer = super().add(name, born_by, own_beat)
        peer.__class__ = OrdinaryPeer
        return peer


class OrdinaryPeer(Peer):
    """A peer whose longer heartbeat interval is overlooked."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, 1.0 if name == "pace" else value)


@breaks("dead-are-told-first")
class DeadNotToldFirst(Reception):
    """Calls complete before the dead are told."""

    def _receive_echo(self, frame: Frame, now: float) -> list[Event]:
        events = super()._receive_echo(frame, now)
        for name in self._membership.told_suspects(sys.maxsize):
            events += self._mark_dead(name, now)
        return events


@breaks("dead-are-told-first")
class SuspectsNotNamed(Membership):
    """Suspects are not named as dead."""

    def told(self) -> set[str]:
        return super().told() - self._suspects.keys()


@breaks("dead-are-told-again", quickly=True)
class DeadNotToldAgain(Reception):
    """A dead worker that is heard is not told."""

    def _receive_from_dead(self, frame: Frame, now: float) -> list[Event]:
        return []


@breaks("dead-are-told-again")
class DeadRevived(Reception):
    """A dead worker that is heard counts as alive again."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        self._membership._dead.pop(frame.sender, None)
        return super().receive(frame, now)


@breaks("order-across-lives")
class UnknownNotRepeated(OpenChanges):
    """What was called unknown is not repeated."""

    def complete(self, number: int, owner_is_gone: bool) -> None:
        self.discard(number)


@breaks("copies-revive-no-worker")
class CopiesRevive(Membership):
    """A worker that was forgotten counts as alive once copies of its messages arrive."""

    def on_direct(self, name: str, direct: Direct, own_beat: int) -> None:
        super().on_direct(name, replace(direct, heard=self.peers[name].met_beat), own_beat)


@breaks("gone-newcomers-evict")
class GoneNewcomersForgotten(Reception):
    """A worker goes on that was stopped while a newcomer came and went."""

    def _may_overlook(self, peer: Peer, beat: Heartbeat, now: float) -> bool:
        return False


@breaks("evicted-start-over")
class OutboxLost(Node):
    """An evicted worker loses its outbox."""

    def carried_over(self) -> list[Operation]:
        return [one for one in super().carried_over() if isinstance(one, Succeeds)]


@breaks("evicted-start-over", quickly=True)
class NeverEvicted(Reception):
    """An evicted worker goes on."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        return [event for event in super().receive(frame, now) if not isinstance(event, Evicted)]


@breaks("quarantine-after-absence")
class NoQuarantine(Quarantine):
    """A worker that was away applies everything at once."""

    def on_absence(self, peers: Iterable[str], beat: int, now: float) -> None:
        pass


@breaks("quarantine-after-absence")
class UnmetNotHeardOut(Quarantine):
    """A worker that was away gives unmet workers no time to name it."""

    def on_absence(self, peers: Iterable[str], beat: int, now: float) -> None:
        super().on_absence(peers, beat, now)
        self._awaited.discard(self._me)


@breaks("quarantine-after-absence")
class NoQuarantineAfterReconnect(Quarantine):
    """A worker that was away for a moment applies everything at once."""

    def on_reconnect(self, beat: int, now: float) -> None:
        if self:  # a longer absence
            super().on_reconnect(beat, now)


@breaks("quarantine-for-unmet")
class QuarantineRunsOut(Quarantine):
    """A quarantine ends in time although nothing of the worker comes back."""

    def release_at(self, now: float) -> bool:
        return now >= self.until and self.release(*self._awaited)

    def prolong(self, now: float) -> None:
        pass


@breaks("quarantine-for-unmet")
class NoQuarantineForUnmet(Reception):
    """A worker that an unmet one calls goes on."""

    def _names_own_socket(self, data: bytes) -> bool:
        return False


@breaks("owner-answers", quickly=True)
class AnyAnswerCounts(Reception):
    """Any answer counts for all that are awaited."""

    def _receive_answer(self, sender: str, answer: Answer, now: float) -> list[Event]:
        if isinstance(answer, Done) and answer.number in self._calls._pending:
            self._calls._pending[answer.number].awaited.clear()
            return self._resolution.resolve([answer.number], now)
        return super()._receive_answer(sender, answer, now)


@breaks("others-skip", quickly=True)
class FirstOwnerAlone(Reception):
    """Only the owner of the first socket carries out a change."""

    def _decode(self, data: bytes) -> Operation | None:
        operation = super()._decode(data)
        if isinstance(operation, Change) and operation.sids:
            return operation if owner_of(operation.sids[0]) == self.name else None
        return operation


@breaks("dead-are-told-first", quickly=True)
class DeadAwaited(PendingCalls):
    """A call awaits the dead."""

    def mark_dead(self, name: str) -> list[int]:
        return []


@breaks("unanswered-times-out", quickly=True)
class NoDeadline(PendingCalls):
    """A call never times out."""

    def begin(self, number: int, *what: Any) -> bool:
        may_end = super().begin(number, *what)
        self._pending[number].deadline = float("inf")
        return may_end


@breaks("goodbye-ends-a-worker")
class GoodbyeIgnored(Reception):
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


@breaks("guarded-joins-keep-order")
class GuardsOvertaken(World):
    """What follows a guarded join does not wait for it."""

    def _think(self, worker: Worker, event: Deliver, call: Call) -> None:
        super()._think(worker, event, call)
        worker.lanes = Lanes()


@breaks("order-across-lives")
class GuardsOvertakenByNextLife(World):
    """The next life does not wait for the guarded joins of the former one."""

    def _deliver(self, worker: Worker, event: Deliver) -> None:
        if isinstance(event.operation, Succeeds):
            self.promises.delivers(worker, event)
        else:
            super()._deliver(worker, event)


@breaks("order-across-lives")
class OneGuardedJoinOfFormerLife(World):
    """The next life waits for guarded joins of the former one until the first is decided."""

    def _decide(self, worker: Worker, join: WaitingJoin) -> None:
        super()._decide(worker, join)
        for lane in list(worker.lanes._lanes.values()):
            if lane.is_idle:
                worker.lanes._remove(lane)


class _NewestSigner(Signer):
    def sign(self, body: bytes) -> bytes:
        self._macs = self._macs[:1]
        return super().sign(body)


@breaks("each-key-signs", quickly=True)
class NewestKeySigns(World):
    """The newest key signs alone."""

    signer = _NewestSigner


@breaks("hello-before-sockets")
class SocketsBeforeHello(World):
    """Sockets are accepted before the hello has echoed."""

    def start(self, host: str, limits: Limits = WIDE, pace: float = 1.0, version: int = 1) -> None:
        super().start(host, limits, pace, version)
        if not self.workers[host].accepts:
            self._serve(self.workers[host])


@breaks("hello-before-sockets")
class UnheardSocketsKept(World):
    """A worker that was not heard at first keeps its sockets."""

    def _heard_itself(self, worker: Worker) -> None:
        worker.unheard = False
        super()._heard_itself(worker)


@breaks("evicted-start-over", quickly=True)
class SocketsKept(World):
    """An evicted worker keeps its sockets."""

    def _move_sockets(self, old: Worker, new: Worker) -> None:
        new.memberships = old.memberships


def world_without(mutant: Mutant | None, seed: int) -> World:
    """Return a new world in which the rule of *mutant* is broken, or none if it is None."""

    world_of = mutant if mutant is not None and issubclass(mutant, World) else World
    return world_of(seed, partial(make_broken, mutant))


def small_world_without(mutant: Mutant | None, plan: Plan) -> Small:
    """Return a small world in which the rule of *mutant* is broken, or none if it is None."""
    lanes = _NoLanes if mutant is GuardsOvertaken else Lanes
    return plan.world(partial(make_broken, mutant), lanes)


class _NoLanes(Lanes):
    def hold(self, event: Deliver) -> bool:
        return False


def make_broken(
    mutant: Mutant | None, worker: str, now: float, limits: Limits, heartbeat: float
) -> Node:
    """Return a node with the part whose rule is broken turned into the mutant."""
    node = make_node(worker, now, limits, heartbeat)
    parts = (*vars(node).values(), node._delivery.stream, node._membership._views)
    for part in (node, *parts):
        if mutant is not None and type(part) is mutant.__base__:
            part.__class__ = mutant
    return node


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


#: The mutants that random schedules hardly ever catch -> the small world that does.
IN_SMALL_WORLDS: dict[Mutant, str] = {
    AnyWorkerAnswersForOthers: "a script asks while a worker stalls and another one starts",
    UnmetNotAwaited: "a script asks while a worker stalls",
    CountedBeforeAbsence: "a script and a worker are cut off while another one starts",
    CountBelieved: "a script has a socket leave whose owner stalls, and a newcomer crashes",
    VerifiedBeforeAbsence: "a script and a worker are cut off after it has asked all",
    GoneNewcomersForgotten: "a script has a socket leave whose owner is stopped, and ends",
    HelloBelieved: "a hello is copied while its sender stalls",
    OtherVersionsUnseen: "the version changes, and one of the old workers asks",
    LeavesUnheard: "a script sends a message and ends",
    DeafForGood: "the owner hears nothing any more",
    MissedBeatsKept: "the caller is cut off after the owner has stalled",
}


def in_small_world(mutant: Mutant, world: str = "", depth: int = 10) -> Found:
    """Explore a small world with a broken rule."""
    plan = PLANS[world or IN_SMALL_WORLDS[mutant]]
    return explore(small_world_without(mutant, plan), depth, shortest=True)


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
    if mutant in IN_SMALL_WORLDS:
        broken = promise_of(in_small_world(mutant).error)
        return f"{broken} | a small world"
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
