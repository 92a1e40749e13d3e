"""The promises about changes of memberships: carried out once, confirmed, and in time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.membership import State
from flask_rooms.protocol.messages import Change
from flask_rooms.protocol.pending import Completed, TimedOut
from tests.simulation.demands import demand
from tests.simulation.model import Memberships, Part
from tests.simulation.names import host_of

if TYPE_CHECKING:
    from tests.simulation.world import World

#: Seconds, as in the defaults of the library.
HEARTBEAT, CONFIRM = 2.0, 5.0
#: Seconds by which an outcome may be late.
SLACK = 0.5
#: Seconds without trouble after which every live worker answers in time.
CALM = 3.5
#: Seconds without trouble after which a crashed worker is counted as dead.
NOTICED = 11.0
#: The same for one that others have reported which have crashed as well.
FORGOTTEN = 2 * NOTICED
#: Seconds within which an outcome comes while there is no trouble at all.
AT_ONCE = 0.5


@dataclass(eq=False)
class Call:
    """
    A worker's call for a change, with one part for each socket.

    Args:
        caller: The name of the calling worker.
        change: The change.
        at: The time of the call, in seconds.
        parts: The parts by socket ID.
        outcome: Completed or TimedOut; None while it is pending.
        lingers: Whether it may be carried out at any later time, because it timed out.
        thinks: Seconds that guards of other workers take.
    """

    caller: str
    change: Change
    at: float
    parts: dict[str, Part] = field(default_factory=dict)
    outcome: Completed | TimedOut | None = None
    lingers: bool = False
    thinks: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it was for all workers, and has completed."""
        return self.change.source is not None and isinstance(self.outcome, Completed)

    @property
    def room(self) -> str:
        """The room that is joined or left."""
        return str(self.change.rooms[0])


@dataclass(eq=False)
class Question:
    """
    A worker's query, for all workers.

    Args:
        caller: The name of the calling worker.
        at: The time of the call, in seconds.
        asked: The workers that had to be asked.
        answered: Those that were.
        outcome: Completed or TimedOut; None while it is pending.
    """

    caller: str
    at: float
    asked: frozenset[str]
    answered: set[str] = field(default_factory=set)
    outcome: Completed | TimedOut | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has completed."""
        return isinstance(self.outcome, Completed)


class Changes:
    """
    Checks how memberships change.

    Args:
        world: The world to check.
        memberships: The model of the memberships, which is kept up to date here.
    """

    def __init__(self, world: World, memberships: Memberships) -> None:
        self._world = world
        self._memberships = memberships
        self._deadlines: deque[tuple[float, Call]] = deque()
        self._for_all: list[Call] = []  # pending calls for all, which new sockets may join

    def begins(self, caller: str, change: Change, sids: tuple[str, ...], *, here: bool) -> Call:
        """
        A worker calls for a change of some sockets.

        Args:
            caller: The name of the calling worker.
            change: The change.
            sids: The sockets that it is about.
            here: Whether all of them are its own, so that the change is carried out at once.
        """
        call = Call(caller, change, self._world.now)
        for sid in sids:
            self._begin(call, sid)
        if here:
            for sid in sids:
                call.parts[sid].carried_out = True
                self._memberships.get(sid, call.room).ends(call.parts[sid], self._world.moment())
        else:
            self._deadlines.append((call.at, call))
            if change.source is not None:
                self._for_all.append(call)
                self._begin_unheard(call)
        return call

    def _begin_unheard(self, call: Call) -> None:
        """It may reach the sockets of a worker before that hears itself, and closes them."""
        for worker in self._world.workers.values():
            for sid in worker.memberships if worker.unheard else ():
                if worker.name != call.caller:
                    self._begin(call, sid, optional=True)

    def _begin(self, call: Call, sid: str, *, optional: bool = False) -> None:
        moment = self._world.moment()
        caller = self._world.first_life(call.caller)
        part = Part(caller, call.change.action, moment, optional=optional)
        call.parts[sid] = part
        self._memberships.get(sid, call.room).begins(part)

    def connects(self, sid: str) -> None:
        """A socket has connected, which the pending changes for all may or may not reach."""
        for call in self._for_all:
            self._begin(call, sid, optional=True)

    def carries_out(self, call: Call, sids: tuple[str, ...]) -> None:
        """An owner is about to carry out a change."""
        is_repeated = call.change.source is not None and self._world.is_succeeded(call.caller)
        for sid in sids:
            # Or it may be younger than the call.
            is_due = not is_repeated or self._world.follows(sid, call.caller)
            demand("repeated to followers", is_due, f"{call.change} at {sid}")
            if sid not in call.parts:
                # Only a worker that is counted as dead, and not told yet, may be so late.
                doomed = self._world.nodes[call.caller].is_ruled_out(owner_of(sid))
                demand("over once completed", doomed, f"{call.change} at {sid}")
                self._begin(call, sid, optional=True)
            part = call.parts[sid]
            demand("at most once", not part.carried_out, f"{call.change} at {sid}")
            part.carried_out = True
            if call.lingers:
                self._memberships.get(sid, call.room).ends(part, self._world.moment())

    def _end(self, call: Call, sid: str) -> None:
        self._memberships.get(sid, call.room).ends(call.parts[sid], self._world.moment())
        self.check(sid, call.room)

    def check(self, sid: str, room: str) -> None:
        """Compare a membership with the model."""
        owner = self._world.holder(sid)
        if owner is not None:
            possible = self._memberships.get(sid, room).possible()
            actual = "join" if room in owner.memberships[sid] else "leave"
            demand("memberships", actual in possible, f"{sid} in {room}: {actual}, not {possible}")

    def completes(self, call: Call, outcome: Completed) -> list[str]:
        """A call has completed; return the sockets for which it was not carried out."""
        call.outcome = outcome
        check_time(self._world, call)
        certain = uncertain = 0
        for sid, part in call.parts.items():
            if part.carried_out:
                self._end(call, sid)
            elif call.change.source is None:
                demand("confirmed means done", sid in outcome.unknown, f"{call.change}: {sid}")
            if sid not in outcome.unknown:
                certain += part.before not in (None, part.action)
                uncertain += part.before is None
        self._check_counts(call, outcome, certain, uncertain)
        if call in self._for_all:
            self._for_all.remove(call)
            for sid, part in list(call.parts.items()):
                if part.optional and not part.carried_out:
                    self._memberships.get(sid, call.room).never(call.parts.pop(sid))
        undone = [sid for sid, part in call.parts.items() if not part.carried_out]
        call.lingers = bool(undone)
        return undone

    def _check_counts(self, call: Call, outcome: Completed, certain: int, uncertain: int) -> None:
        if call.change.source is None:
            known = len(call.parts) - len(outcome.unknown)
            demand("counts", outcome.changed + outcome.unchanged == known, outcome)
            demand("counts", certain <= outcome.changed, f"{outcome}, not {certain}")
        demand("counts", outcome.changed <= certain + uncertain, f"{outcome}, not {certain}")

    def times_out(self, call: Call, outcome: TimedOut) -> None:
        """A call has timed out."""
        call.outcome = outcome
        self.gives_up(call)
        check_missing(self._world, call.caller, outcome, call.thinks)

    def gives_up(self, call: Call) -> None:
        """The outcome of a call is no longer awaited."""
        call.lingers = True
        for sid, part in call.parts.items():
            if part.carried_out:
                self._end(call, sid)

    def moves_on(self, call: Call, is_repeated: bool) -> None:
        """The caller was evicted after it has tried to publish a call."""
        is_for_all = call.change.source is not None
        if isinstance(call.outcome, Completed):
            # A leave of a socket that was called unknown is repeated.
            is_repeated = not is_for_all and call.change.action == "leave"
        is_for_any = not is_for_all and call.change.action == "leave"
        for sid, part in call.parts.items():
            is_due = is_repeated and (is_for_any or self._world.follows(sid, call.caller))
            part.lost = not (part.carried_out or is_due)

    def check_deadlines(self) -> None:
        """Check that every call ends in time."""
        now = self._world.now
        while self._deadlines and now > self._deadlines[0][0] + CONFIRM + SLACK:
            _, call = self._deadlines.popleft()
            if call.outcome or call.lingers:
                continue
            demand("no wait is for ever", self._world.lags(call.caller), f"{call.change}")
            self._deadlines.append((now, call))

    def check_end(self, call: Call) -> None:
        """Check that a change has been carried out whose caller and owner are still alive."""
        if isinstance(call.outcome, Completed):
            return  # completes() has checked the sockets that were overlooked
        for sid, part in call.parts.items():
            owner = self._world.holder(sid)
            copied = (host_of(call.caller), host_of(owner_of(sid))) in self._world.bus.copied
            foreign = not self._world.speak_alike(call.caller, owner_of(sid))
            demand(
                "no change lost",
                part.carried_out or part.optional or owner is None or copied or foreign,
                f"{call.change} of {call.caller} at {sid}",
            )


def check_time(world: World, call: Call | Question) -> None:
    """Check that a call has not taken long, if there was no trouble for long before it."""
    takes = world.now - call.at
    if not world.speak_alike():
        return
    noticed = NOTICED * world.slowest
    if not world.counts and _are_all_new(world, noticed + takes):
        return
    well = world.well_for() > noticed + takes and call.at > noticed
    well = well and world.crashed_for() > FORGOTTEN * world.slowest + takes
    demand("answered at once", takes < AT_ONCE or not well, f"{call} took {takes:.1f} s")


def _are_all_new(world: World, seconds: float) -> bool:
    """Whether no worker could vouch for the others, so many seconds ago."""
    return all(world.now - one.born < seconds for one in world.workers.values())


def check_missing(world: World, caller: str, outcome: TimedOut, thinks: float = 0.0) -> None:
    """Check that there was a reason for a call to time out, whose guards take *thinks* seconds."""
    membership = world.nodes[caller]._membership
    dead = [name for name in outcome.missing if membership.state_of(name) is State.DEAD]
    demand("the dead are not awaited", not dead, f"{caller} timed out on {dead}")
    noticed = NOTICED * world.slowest
    if _are_all_new(world, noticed + CONFIRM) or not world.speak_alike():
        return
    is_settled = world.nodes[caller].is_settled and world.now > noticed
    for name in outcome.missing or ("",):
        needed = CALM * world.slowest if is_settled else noticed
        # One that has ended may be forgotten, while others had reported it, which crashed.
        is_reported = name in membership.known_by_name and not world.lives(name)
        if is_reported or not world.can_answer(name):
            needed = FORGOTTEN * world.slowest
        # Workers that have reported one which has crashed vouch for no worker for a while.
        calm = world.calm_for(name) if name else min(world.calm_for(""), world.crashed_for() / 2)
        calm = min(calm, world.decided_for(caller))  # Rule `guarded-joins-keep-order`
        demand(
            "confirmed when all is well",
            calm < needed + thinks,
            f"{caller} timed out on {name} without any trouble: {outcome}",
        )
