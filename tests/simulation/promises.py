"""All promises together. A World reports to them everything that happens in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.events import Deliver, Evicted
from flask_rooms.protocol.messages import (
    Change,
    Emit,
    Frame,
    Operation,
    Query,
    Succeeds,
    Tell,
)
from flask_rooms.protocol.pending import Completed, TimedOut
from tests.simulation.broadcasts import Broadcasts, Message
from tests.simulation.changes import Call, Changes, Question, check_missing, check_time
from tests.simulation.deaths import Deaths
from tests.simulation.demands import demand
from tests.simulation.model import Memberships
from tests.simulation.streams import Streams

if TYPE_CHECKING:
    from tests.simulation.world import Worker, World

#: Bytes that the number of a change takes where it is repeated, rounded up.
NUMBER_BYTES = 16


@dataclass
class Succession:
    """That a worker goes on under another name."""

    caller: str
    is_over = False


#: What an operation belongs to.
What: TypeAlias = "Call | Message | Question | Succession"


class Promises:
    """
    Checks a World, and raises BrokenPromise as soon as a promise is broken.

    Args:
        world: A new world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        memberships = Memberships()
        self._streams: Streams[What] = Streams(is_over)
        self._changes = Changes(world, memberships)
        self._broadcasts = Broadcasts(world, memberships)
        self._deaths = Deaths(world)

    # -- the application of a worker --------------------------------------------

    def connects(self, sid: str) -> None:
        """A worker has accepted a socket."""
        self._changes.connects(sid)

    def changes_here(self, worker: Worker, change: Change, sids: tuple[str, ...]) -> None:
        """A worker is about to change sockets of its own."""
        self._leaves(change, sids)
        self._changes.begins(worker.name, change, sids, here=True)

    def calls(self, worker: Worker, number: int, change: Change, sids: tuple[str, ...]) -> Call:
        """A worker has called for a change of sockets of other workers."""
        self._leaves(change, sids)
        call = self._changes.begins(worker.name, change, sids, here=False)
        self._streams.submits(worker.name, number, change, call)
        return call

    def _leaves(self, change: Change, sids: tuple[str, ...]) -> None:
        if change.action == "leave":
            for sid in sids:
                self._broadcasts.leaves(sid, str(change.rooms[0]))

    def sends(self, worker: Worker, room: str) -> Message:
        """A worker is about to send a broadcast."""
        return self._broadcasts.sends(worker.name, room)

    def submits(self, worker: Worker, number: int, emit: Emit, message: Message) -> None:
        """A worker has put a broadcast into its outbox."""
        self._streams.submits(worker.name, number, emit, message)

    def not_sent(self, message: Message) -> None:
        """A broadcast was refused because the outbox was full."""
        self._broadcasts.refused(message)

    def has_sent(self, message: Message) -> None:
        """A worker has sent a broadcast to its own sockets."""
        self._broadcasts.check_own(message)

    # -- the outbox -----------------------------------------------------------------------

    def accepts(self, worker: Worker, size: int) -> None:
        """A worker has put *size* bytes into its outbox."""
        self._streams.grows(worker.name, size)

    def refuses(self, worker: Worker, size: int) -> None:
        """A worker's outbox has refused *size* bytes."""
        waiting = self._streams.waiting(worker.name)
        demand(
            "an outbox has room",
            waiting + size > worker.limits.outbox,
            f"that of {worker.name} refused {size} bytes while {waiting} waited",
        )

    def has_published(self, worker: Worker, frame: Frame) -> None:
        """A worker has published a frame."""
        self._streams.shrinks(worker.name, frame.first + len(frame.operations))

    # -- the protocol ------------------------------------------------------

    def publishes(self, worker: Worker, frame: Frame) -> None:
        """A worker tries to publish a frame."""
        self._streams.publishes(worker.name, frame.first + len(frame.operations))
        if frame.heartbeat is not None:
            self._deaths.beats(worker)

    def delivers(self, worker: Worker, event: Deliver) -> What:
        """A worker is about to apply an operation of another one; return what it belongs to."""
        return self._streams.delivers(worker.name, event)

    def what(self, event: Deliver) -> What:
        """Return what an operation belongs to."""
        return self._streams.submitted[event.sender, event.number][1]

    def calls_before(self, event: Deliver) -> list[Call]:
        """Return what the sender of an operation has called for before it."""
        return [
            what
            for (sender, number), (_, what) in self._streams.submitted.items()
            if sender == event.sender and number < event.number and isinstance(what, Call)
        ]

    def carries_out(self, call: Call, sids: tuple[str, ...]) -> None:
        """A worker is about to change its sockets for another one."""
        self._changes.carries_out(call, sids)

    def check(self, sid: str, room: str) -> None:
        """A membership may have changed."""
        self._changes.check(sid, room)

    def receives(self, sid: str, tag: int, sender: str) -> None:
        """A socket receives a broadcast."""
        message = self._broadcasts.receives(sid, tag, sender)
        self._deaths.receives(sid, message)

    def completes(self, worker: Worker, call: Call, outcome: Completed) -> None:
        """A call has completed."""
        for sid in self._changes.completes(call, outcome):
            self._deaths.overlooks(worker, sid)

    def times_out(self, call: Call | Question, outcome: TimedOut) -> None:
        """A call has timed out."""
        if isinstance(call, Call):
            self._changes.times_out(call, outcome)
        else:
            call.outcome = outcome
            check_missing(self._world, call.caller, outcome)

    def asks(
        self,
        worker: Worker,
        number: int,
        what: Query | Tell,
        kind: type[Question] = Question,
    ) -> Question:
        """A worker has asked all workers, or told them something."""
        others = (one for one in self._world.workers.values() if one is not worker)
        asked = frozenset(one.name for one in others if one.accepts and not one.unheard)
        question = kind(worker.name, self._world.now, asked)
        self._streams.submits(worker.name, number, what, question)
        return question

    def is_answered(self, worker: Worker, question: Question, outcome: Completed) -> None:
        """A query has completed, so every live worker has answered."""
        question.outcome = outcome
        check_time(self._world, question)
        for owner in self._world.workers.values():
            if owner.name in question.asked - question.answered and not owner.unheard:
                self._deaths.check_asked(owner, worker)

    def evicts(self, worker: Worker, event: Evicted) -> None:
        """A worker is evicted."""
        met = self._streams.has_reached(worker.name, event.by)
        self._deaths.evicts(worker, event, met=met)

    def moves_on(self, old: Worker, new: Worker, waiting: list[tuple[int, Operation]]) -> None:
        """An evicted worker has put what still waited into its new outbox."""
        moved = self._streams.moves_on(old.name, new.name, waiting, Succession(new.name))
        for what in moved:
            what.caller = new.name
        self._leave_behind(old, new, waiting)
        for what in moved:
            if isinstance(what, Message):
                self._broadcasts.moves_on(what)

    def _leave_behind(self, old: Worker, new: Worker, waiting: list[tuple[int, Operation]]) -> None:
        """What was published, and may not have been carried out, is repeated within its bound."""
        succeeds = [one for _, one in waiting if isinstance(one, Succeeds)]
        repeated = {(one.former, number) for one in succeeds for number, _ in one.changes}
        first = self._world.first_life(old.name)
        submitted = self._streams.submitted.items()
        calls = {
            key: (what, len(encode_operation(operation)) + NUMBER_BYTES)
            for key, (operation, what) in submitted
            if isinstance(what, Call) and what.caller == key[0] != new.name
            if self._world.first_life(key[0]) == first
        }
        # Those that have completed since may have pushed out others before.
        is_bounded = sum(size for _, size in calls.values()) > old.limits.log // 2
        for key, (call, _) in calls.items():
            self._changes.moves_on(call, key in repeated or not is_bounded)

    def dies(self, worker: Worker) -> None:
        """A life of a worker has ended."""
        for call, _ in worker.calls.values():
            if isinstance(call, Call):
                self._changes.gives_up(call)

    # -- time -----------------------------------------------------------------------------

    def check_deadlines(self) -> None:
        """Time has passed."""
        self._changes.check_deadlines()

    def check_end(self) -> None:
        """The cluster has had the time to recover."""
        self._broadcasts.check_end()
        for (sender, _), (_, what) in self._streams.submitted.items():
            if isinstance(what, Call) and self._world.lives(sender):
                self._changes.check_end(what)
        for worker in self._world.workers.values():
            others = self._world.workers.keys() - {worker.host}
            alike = filter(partial(self._world.speak_alike, worker.host), others)
            names = {self._world.workers[host].name for host in alike}
            demand("all meet", worker.node.peers == names, worker.name)


def is_over(what: What) -> bool:
    """Whether it is a call for all that has completed."""
    return not isinstance(what, Message) and what.is_over
