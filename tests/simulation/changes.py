"""The promises about changes of memberships: done, once, confirmed, and in time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import Change
from flask_rooms.protocol.pending import Completed, TimedOut
from tests.simulation.demands import demand
from tests.simulation.model import Memberships, Part

if TYPE_CHECKING:
    from tests.simulation.world import World

#: Seconds, as in the defaults of the library.
HEARTBEAT, CONFIRM = 2.0, 5.0
#: Seconds that an outcome may come late.
SLACK = 0.5
#: After so many seconds without trouble, whoever lives answers in time ...
CALM = 3.5
#: ... and whoever has vanished without a word is counted dead.
NOTICED = 11.0


@dataclass(eq=False)
class Asked:
    """
    A change that a worker has asked for: one part for each socket.

    Args:
        caller: The asking life.
        change: What is to be done.
        at: When, in seconds.
        parts: By socket ID.
        outcome: Completed or TimedOut; None as long as that is open.
        lingers: Whether it may be carried out at any time, as its outcome was not known.
    """

    caller: str
    change: Change
    at: float
    parts: dict[str, Part] = field(default_factory=dict)
    outcome: Completed | TimedOut | None = None
    lingers: bool = False

    @property
    def room(self) -> str:
        """What is joined or left."""
        return str(self.change.rooms[0])


class Changes:
    """
    Watches who joins and leaves.

    Args:
        world: To be watched.
        memberships: What is known of them; kept up to date here.
    """

    def __init__(self, world: World, memberships: Memberships) -> None:
        self._world = world
        self._memberships = memberships
        self._deadlines: deque[tuple[float, Asked]] = deque()
        self._for_all: list[Asked] = []  # of them, those that may still meet new sockets

    def begins(self, caller: str, change: Change, sids: tuple[str, ...], *, here: bool) -> Asked:
        """
        A worker asks for a change of some sockets.

        Args:
            caller: The asking life.
            change: What is to be done.
            sids: The sockets that it is about.
            here: Whether they are all its own, so that it is done at once.
        """
        asked = Asked(caller, change, self._world.now)
        for sid in sids:
            self._begin(asked, sid)
        if here:
            for sid in sids:
                asked.parts[sid].carried_out = True
                self._memberships.get(sid, asked.room).ends(asked.parts[sid], self._world.moment())
        else:
            self._deadlines.append((asked.at, asked))
            if change.source is not None:
                self._for_all.append(asked)
        return asked

    def _begin(self, asked: Asked, sid: str, *, optional: bool = False) -> None:
        moment = self._world.moment()
        part = Part(asked.caller, asked.change.action, moment, optional=optional)
        asked.parts[sid] = part
        self._memberships.get(sid, asked.room).begins(part)

    def connects(self, sid: str) -> None:
        """A socket is there that changes under way may or may not meet."""
        for asked in self._for_all:
            self._begin(asked, sid, optional=True)

    def carries_out(self, asked: Asked, sids: tuple[str, ...]) -> None:
        """An owner is about to move its sockets."""
        for sid in sids:
            if sid not in asked.parts:
                # Only who is counted dead can come so late, and has not heard so yet.
                doomed = self._world.nodes[asked.caller].is_ruled_out(owner_of(sid))
                demand("done with when it is settled", doomed, f"{asked.change} at {sid}")
                self._begin(asked, sid, optional=True)
            part = asked.parts[sid]
            demand("at most once", not part.carried_out, f"{asked.change} at {sid}")
            part.carried_out = True
            if asked.lingers:
                self._memberships.get(sid, asked.room).ends(part, self._world.moment())

    def _end(self, asked: Asked, sid: str) -> None:
        self._memberships.get(sid, asked.room).ends(asked.parts[sid], self._world.moment())
        self.check(sid, asked.room)

    def check(self, sid: str, room: str) -> None:
        """Compare a membership with what it must be."""
        owner = self._world.holder(sid)
        if owner is not None:
            possible = self._memberships.get(sid, room).possible()
            actual = "join" if room in owner.memberships[sid] else "leave"
            demand("memberships", actual in possible, f"{sid} in {room}: {actual}, not {possible}")

    def settles(self, asked: Asked, outcome: Completed) -> list[str]:
        """A worker has its outcome; returns the sockets with which nothing was done."""
        asked.outcome = outcome
        certain = uncertain = 0
        for sid, part in asked.parts.items():
            if part.carried_out:
                self._end(asked, sid)
            elif asked.change.source is None:
                demand("confirmed means done", sid in outcome.unknown, f"{asked.change}: {sid}")
            if sid not in outcome.unknown:
                certain += part.before not in (None, part.action)
                uncertain += part.before is None
        self._check_counts(asked, outcome, certain, uncertain)
        if asked in self._for_all:
            self._for_all.remove(asked)
            for sid, part in list(asked.parts.items()):
                if part.optional and not part.carried_out:
                    self._memberships.get(sid, asked.room).never(asked.parts.pop(sid))
        undone = [sid for sid, part in asked.parts.items() if not part.carried_out]
        asked.lingers = bool(undone)
        return undone

    def _check_counts(self, asked: Asked, outcome: Completed, certain: int, uncertain: int) -> None:
        if asked.change.source is None:
            known = len(asked.parts) - len(outcome.unknown)
            demand("counts", outcome.changed + outcome.unchanged == known, outcome)
            demand("counts", certain <= outcome.changed, f"{outcome}, not {certain}")
        demand("counts", outcome.changed <= certain + uncertain, f"{outcome}, not {certain}")

    def expires(self, asked: Asked, outcome: TimedOut) -> None:
        """A worker has been told that it is not known what came of it."""
        asked.outcome = outcome
        self.gives_up(asked)
        for name in outcome.missing or ("",):
            demand(
                "confirmed where nothing is wrong",
                self._world.calm_for(name) < (CALM if self._world.can_answer(name) else NOTICED),
                f"{asked.caller} waited for {name}, and all was calm: {outcome}",
            )

    def gives_up(self, asked: Asked) -> None:
        """Nobody waits for the outcome any more."""
        asked.lingers = True
        for sid, part in asked.parts.items():
            if part.carried_out:
                self._end(asked, sid)

    def check_deadlines(self) -> None:
        """Check that no wait is for ever."""
        now = self._world.now
        while self._deadlines and now > self._deadlines[0][0] + CONFIRM + SLACK:
            _, asked = self._deadlines.popleft()
            if asked.outcome or asked.lingers:
                continue
            demand("no wait is for ever", self._world.lags(asked.caller), f"{asked.change}")
            self._deadlines.append((now, asked))

    def check_end(self, asked: Asked) -> None:
        """Check that a change has been carried out, if asker and owner live and always did."""
        if isinstance(asked.outcome, Completed):
            return  # whoever was overlooked, that has been looked into
        for sid, part in asked.parts.items():
            owner = self._world.holder(sid)
            demand(
                "no change lost",
                part.carried_out or part.optional or owner is None,
                f"{asked.change} of {asked.caller} at {sid}",
            )
