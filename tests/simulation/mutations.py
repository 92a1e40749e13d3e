"""The protocol with one rule broken at a time, to prove that the simulation would notice.

`python -m tests.simulation.mutations` prints the table of docs/protocol.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import deque
from dataclasses import replace
from typing import Any

from flask_rooms.protocol.messages import (
    Change,
    Done,
    Frame,
    Goodbye,
    Heartbeat,
    Operation,
)
from flask_rooms.protocol.node import SETTLED, Deliver, Event, Evicted, Node
from flask_rooms.protocol.stream import Limits, Stream
from tests.simulation.cases import CASES
from tests.simulation.changes import CONFIRM, HEARTBEAT, Asked
from tests.simulation.generator import generate
from tests.simulation.play import failure, promise_of
from tests.simulation.world import WIDE, Outcome, Worker, World


class NoRequest(Node):
    """Who misses something asks for it."""

    def take(self, now: float) -> Frame | None:
        self._wants = {}
        return super().take(now)


class NoRepetition(Node):
    """Who is asked repeats it."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        return super().receive(replace(frame, nacks={}), now)


class NoOrder(Node):
    """A gap is waited for."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is not None and frame.operations:
            peer.expected = max(peer.expected, frame.first)
        return super()._apply(frame, peer, now)


class NoDedupe(Node):
    """What comes twice is done once."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is not None and frame.operations:
            peer.expected = min(peer.expected, frame.first)
        return super()._apply(frame, peer, now)


class ForgetsTheTail(Node):
    """Heartbeats show what was lost at the end."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        return super()._apply(frame, peer, now) if frame.operations else []


class HidesTheLoss(Node):
    """Who can no longer repeat something says so."""

    def _heartbeat(self, now: float) -> Heartbeat:
        return replace(super()._heartbeat(now), oldest=1)


class NoGiveBack(Node):
    """What could not be published is kept."""

    def give_back(self, frame: Frame, now: float) -> None:
        self._beat_due = now
        for number in range(frame.first, frame.first + len(frame.operations)):
            self._stream.blank(number)


class Shuffling(Stream):
    """The outbox of OutOfOrder."""

    def give_back(self, number: int) -> None:
        super().give_back(number)
        waiting = list(self._entries)[self.fresh - self.oldest :]
        kept = list(self._entries)[: self.fresh - self.oldest]
        self._entries = deque([*kept, *waiting[1:], *waiting[:1]])


class OutOfOrder(Node):
    """What goes back keeps its place."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: float) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = Shuffling(limits)


class Rejuvenating(Stream):
    """The outbox of SentTwice."""

    def give_back(self, number: int) -> None:
        self._was_fresh = number
        super().give_back(number)


class SentTwice(Node):
    """What was only repeated does not wait again."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: float) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = Rejuvenating(limits)


class Hopeful(Stream):
    """The outbox of TriedTwice."""

    def waiting(self) -> list[bytes]:
        self._untried = self.fresh
        return super().waiting()


class TriedTwice(Node):
    """What may have been published is not sent by the next life."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: float) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = Hopeful(limits)


class HastyUnknown(Node):
    """Unknown takes some knowing, as a whole."""

    def _settle(self, numbers: Any, now: float) -> list[Event]:
        self._echoes, self._echoed, self._rumours = sys.maxsize, sys.maxsize, {}
        return super()._settle(numbers, now)


class NoEcho(Node):
    """(a) The question has come back."""

    def _settle(self, numbers: Any, now: float) -> list[Event]:
        echoed, self._echoed = self._echoed, sys.maxsize
        try:
            return super()._settle(numbers, now)
        finally:
            self._echoed = echoed


class Unsettled(Node):
    """(b) Two heartbeats have come back."""

    def _settle(self, numbers: Any, now: float) -> list[Event]:
        echoes, self._echoes = self._echoes, SETTLED
        try:
            return super()._settle(numbers, now)
        finally:
            self._echoes = echoes


class SettledForEver(Node):
    """(b) ... since we were away last."""

    def on_reconnect(self, now: float) -> None:
        echoes = self._echoes
        super().on_reconnect(now)
        self._echoes = echoes

    def _hear_self(self, frame: Frame, now: float) -> list[Event]:
        self._echoed_at = now
        return super()._hear_self(frame, now)


class NoRumours(Node):
    """(c) Nobody else names it."""

    def _settle(self, numbers: Any, now: float) -> list[Event]:
        self._rumours.clear()
        return super()._settle(numbers, now)


class NobodyIsNotTold(Node):
    """Who was called unknown is as good as dead."""

    def _rule_out(self, name: str, now: float) -> None:
        pass


class OverlookedAreMet(Node):
    """Who was overlooked when all were asked is as good as dead."""

    def _was_overlooked(self, beat: Heartbeat) -> bool:
        return False


class Unnamed(Node):
    """Nothing is applied of who has not named us."""

    def _apply(self, frame: Frame, peer: Any, now: float) -> list[Event]:
        if peer.expected is None and frame.operations:
            peer.expected = frame.first
        return super()._apply(frame, peer, now)


class OwesTooLate(Node):
    """A newcomer is owed what had not come back when it said hello."""

    def _meet(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._meet(name, beat, now)
        if beat.beat == 1:
            peer.stream_start = self._stream.next
        return peer


class OneTooMany(Node):
    """A stream starts at the right number."""

    def _meet(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._meet(name, beat, now)
        peer.stream_start += 1
        return peer


class LostHello(Node):
    """Who is met later is owed what was sent since it was born."""

    def _sent_before(self, age: float) -> int:
        return self._stream.fresh


class NoDebtForAsking(Node):
    """Who was asked before it was heard of is owed that."""

    def _meet(self, name: str, beat: Heartbeat, now: float) -> Any:
        peer = super()._meet(name, beat, now)
        peer.stream_start = self._echoed if beat.beat == 1 else self._sent_before(beat.age)
        return peer


class NotWaitedFor(Node):
    """... and who is owed what is for all is waited for."""

    def _meet(self, name: str, beat: Heartbeat, now: float) -> Any:
        done = [p for p in self._pending.values() if p.for_all and not p.everybody]
        peer = super()._meet(name, beat, now)
        for pending in done:
            pending.waits.pop(name, None)
        return peer


class OnlyTheKnown(Node):
    """What is for all waits until all have been heard."""

    def call(self, *args: Any) -> tuple[int, list[Event]]:
        number, events = super().call(*args)
        if number in self._pending:
            self._pending[number].everybody = False
        return number, events


class Unforgetting(Stream):
    """The log of RepeatsTheSettled."""

    def blank(self, number: int) -> None:
        pass


class RepeatsTheSettled(Node):
    """What all have answered is nothing to those born later."""

    def __init__(self, name: str, now: float, *, limits: Limits, **times: float) -> None:
        super().__init__(name, now, limits=limits, **times)
        self._stream = Unforgetting(limits)


class DeathByClock(Node):
    """Death is counted in own echoes."""

    def tick(self, now: float) -> list[Event]:
        events = super().tick(now)
        last = getattr(self, "_last_count", now)
        if now - last >= HEARTBEAT:
            self._last_count = now
            self._count_silence(now)
        elif not hasattr(self, "_last_count"):
            self._last_count = now
        return events


class CountsOn(Node):
    """... and the count starts again after an absence."""

    def on_reconnect(self, now: float) -> None:
        silent = {name: peer.silent for name, peer in self._peers.items()}
        super().on_reconnect(now)
        for name, peer in self._peers.items():
            peer.silent = silent[name]


class BuriedAtOnce(Node):
    """The dead are told first."""

    def _hear_self(self, frame: Frame, now: float) -> list[Event]:
        events = super()._hear_self(frame, now)
        for name in list(self._condemned):
            del self._condemned[name]
            events += self._bury(name, now)
        return events


class Verdictless(Node):
    """The dead are named when they are told."""

    def _heartbeat(self, now: float) -> Heartbeat:
        beat = super()._heartbeat(now)
        knows = {n: owed for n, owed in beat.stream_starts.items() if n not in self._condemned}
        return replace(beat, stream_starts=knows)


class GhostsAreNotTold(Node):
    """The dead who speak are told again."""

    def _hear_dead(self, frame: Frame, now: float) -> list[Event]:
        return []


class DeadComeBack(Node):
    """Who is dead stays dead."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        if frame.sender not in self._condemned:
            self._dead.discard(frame.sender)
        return super().receive(frame, now)


class NeverOutcast(Node):
    """Who was counted dead starts again."""

    def receive(self, frame: Frame, now: float) -> list[Event]:
        return [event for event in super().receive(frame, now) if not isinstance(event, Evicted)]


class NoDoubt(Node):
    """Who was away applies nothing before it knows that it was not counted dead."""

    def on_reconnect(self, now: float) -> None:
        super().on_reconnect(now)
        self._unsure.clear()


class NoTimeForStrangers(Node):
    """... nor before those that it has never met can have said so."""

    def on_reconnect(self, now: float) -> None:
        super().on_reconnect(now)
        self._unsure.discard(self.name)


class NoSuspicion(Node):
    """Who is asked by somebody that has not named it waits for a word."""

    def _asks_us(self, data: bytes) -> bool:
        return False


class LateHeartbeatsCount(Node):
    """A late heartbeat is no news."""

    def _hear_heartbeat(self, name: str, peer: Any, beat: Heartbeat, now: float) -> Any:
        peer.beat = 0
        return super()._hear_heartbeat(name, peer, beat, now)


class AnyAnswer(Node):
    """An answer counts from who was asked."""

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Done) and operation.number in self._pending:
            pending = self._pending[operation.number]
            pending.waits.clear()
            return self._settle([operation.number], now)
        return super()._dispatch(sender, number, operation, now)


class DeadAreWaitedFor(Node):
    """Waiting for the dead ends."""

    def _bury(self, name: str, now: float) -> list[Event]:
        self._remove(name)
        return []


class WaitsForEver(Node):
    """No wait is for ever."""

    def call(self, *args: Any) -> tuple[int, list[Event]]:
        number, events = super().call(*args)
        if number in self._pending:
            self._pending[number].deadline = float("inf")
        return number, events


class GoodbyeIgnored(Node):
    """A goodbye is heard."""

    def _dispatch(self, sender: str, number: int, operation: Operation, now: float) -> list[Event]:
        if isinstance(operation, Goodbye):
            return []
        return super()._dispatch(sender, number, operation, now)


class AnswersFirst(World):
    """The owner answers when it has done it."""

    def _carry_out(self, worker: Worker, event: Deliver, asked: Asked) -> None:
        self._answer(worker, event, self._foresee(worker, asked.change))
        self._at(self.now + 0.01, self._do_late, worker, asked)

    def _do_late(self, worker: Worker, asked: Asked) -> None:
        self._do(worker, asked)

    def _foresee(self, worker: Worker, change: Change) -> Outcome:
        here = [sid for sid in self._meant(worker, change) if sid in worker.memberships]
        unknown = tuple(sid for sid in self._meant(worker, change) if sid not in here)
        room = str(change.rooms[0])
        moved = [(room in worker.memberships[s]) != (change.action == "join") for s in here]
        return moved.count(True), moved.count(False) if change.source is None else 0, unknown


class EarlySockets(World):
    """A worker accepts no socket before its hello has come back."""

    def start(self, host: str, limits: Limits = WIDE) -> None:
        super().start(host, limits)
        if not self.workers[host].accepts:
            self._serve(self.workers[host])


class UnheardSockets(World):
    """Who was not heard at first closes its connections."""

    def _heard_itself(self, worker: Worker) -> None:
        worker.unheard = False
        super()._heard_itself(worker)


class WaitingIsLost(World):
    """An outcast sends what waited."""

    def _waiting(self, worker: Worker) -> list[Operation]:
        return []


class KeepsSockets(World):
    """An outcast closes its connections."""

    def _move_sockets(self, old: Worker, new: Worker) -> None:
        new.memberships = old.memberships


Rule = type[Node] | type[World]

ALL: list[Rule] = [
    NoRequest,
    NoRepetition,
    NoOrder,
    NoDedupe,
    ForgetsTheTail,
    HidesTheLoss,
    NoGiveBack,
    OutOfOrder,
    SentTwice,
    TriedTwice,
    HastyUnknown,
    NoEcho,
    Unsettled,
    SettledForEver,
    NoRumours,
    NobodyIsNotTold,
    OverlookedAreMet,
    Unnamed,
    OwesTooLate,
    OneTooMany,
    LostHello,
    NoDebtForAsking,
    NotWaitedFor,
    OnlyTheKnown,
    RepeatsTheSettled,
    DeathByClock,
    CountsOn,
    BuriedAtOnce,
    Verdictless,
    GhostsAreNotTold,
    DeadComeBack,
    NeverOutcast,
    NoDoubt,
    NoTimeForStrangers,
    NoSuspicion,
    LateHeartbeatsCount,
    AnyAnswer,
    DeadAreWaitedFor,
    WaitsForEver,
    GoodbyeIgnored,
    AnswersFirst,
    EarlySockets,
    UnheardSockets,
    WaitingIsLost,
    KeepsSockets,
]


#: Those that the first schedules catch, and how many steps these take.
QUICK: list[Rule] = [
    NoRequest,
    NoRepetition,
    NoOrder,
    NoDedupe,
    HidesTheLoss,
    NoGiveBack,
    HastyUnknown,
    NoEcho,
    Unnamed,
    OneTooMany,
    LostHello,
    OnlyTheKnown,
    DeathByClock,
    GhostsAreNotTold,
    DeadComeBack,
    NeverOutcast,
    LateHeartbeatsCount,
    AnyAnswer,
    WaitsForEver,
    AnswersFirst,
    KeepsSockets,
]
QUICKLY = 25_000


def world_without(rule: Rule | None, seed: int) -> World:
    """Return a new world, in which a rule is broken unless it is None."""

    def make(worker: str, now: float, limits: Limits) -> Node:
        node: type[Node] = rule if rule is not None and issubclass(rule, Node) else Node
        return node(worker, now, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=limits)

    world_of = rule if rule is not None and issubclass(rule, World) else World
    return world_of(seed, make)


def first_failure(rule: Rule, steps: int) -> tuple[int, str] | None:
    """
    Play random schedules with a broken rule until it shows.

    Returns:
        Steps taken and the promise that was broken; None when *steps* were too few.
    """
    taken = 0
    for seed in itertools.count():
        world = world_without(rule, seed)
        error = failure(generate(seed), world)
        taken += world.steps
        if error is not None and not isinstance(error, AssertionError):
            raise error  # whoever does not work at all shows nothing
        if error is not None:
            return taken, promise_of(error) or ""
        if taken > steps:
            break
    return None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000_000, help="for each rule, at most")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="these classes only")
    options = parser.parse_args()
    print("| rule left out | breaks | after steps |\n|---|---|---|")
    for rule in ALL:
        if options.rules and rule.__name__ not in options.rules:
            continue
        print(f"| {says(rule)} | {result(rule, options.steps)} |", flush=True)


def result(rule: Rule, steps: int) -> str:
    """Return the rest of a rule's line."""
    if rule.__name__ in CASES:
        broken = promise_of(failure(CASES[rule.__name__], world_without(rule, 0)))
        return f"{broken} | a written schedule"
    found = first_failure(rule, steps)
    return f"{found[1]} | {found[0]:,}" if found else f"| not in {steps:,}"


def says(rule: Rule) -> str:
    """Return the rule that a class breaks."""
    return (rule.__doc__ or "").strip().rstrip(".")


if __name__ == "__main__":
    main()
