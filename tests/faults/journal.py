"""The calls and the answers, and what follows from them: the model of the memberships."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.faults.seats import Seat

#: Of a call: its outcome as the caller got it. "unanswered" is that of a worker that was
#: killed in the middle.
Fate = Literal["confirmed", "sent", "unconfirmed", "unavailable", "unanswered"]


@dataclass
class Change:
    """One join or leave; times are the driver's, around the whole call with its outcome."""

    joins: bool
    began: float
    ended: float = math.inf
    fate: Fate = "unanswered"
    figures: tuple[int, int, int] = (0, 0, 0)  # changed, unchanged, unknown

    @property
    def may_have_happened(self) -> bool:
        """Whether it is unknown, yet or for good, if it was carried out."""
        return self.fate in ("unconfirmed", "unanswered")


@dataclass
class Say:
    """One broadcast, by number: those of one worker are called one after the other."""

    seat: Seat
    number: int
    room: str
    began: float
    ended: float = math.inf
    fate: Fate = "unanswered"


@dataclass
class Log:
    """
    What one caller has asked about one socket and one room, one call after the other.

    Attributes:
        via: The worker of the caller.
        member: What was certain at the beginning of the changes; None is uncertain.
        changes: In order.
    """

    via: Seat
    member: bool | None = False
    changes: list[Change] = field(default_factory=list)

    def now(self) -> bool | None:
        """Return whether the socket is a member after all of it; None when that is uncertain."""
        member = self.member
        for change in self.changes:
            member = self._after(member, change)
        return member

    def figures(self) -> Iterable[tuple[bool | None, Change]]:
        """Return each change with what was certain before it."""
        member = self.member
        for change in self.changes:
            yield member, change
            member = self._after(member, change)

    def receives(self, say: Say, owner: Seat) -> bool | None:
        """
        Return whether *say* must reach the socket (True) or must not (False); None is either.

        Only what had its outcome before the broadcast began is certain to come first, and
        only what the broadcasting worker or the owner is asked for later comes behind.
        """
        member = self.member
        for change in self.changes:
            if change.ended < say.began:
                member = self._after(member, change)
            elif self._is_behind(change, say, owner) or change.fate == "unavailable":
                continue
            elif change.joins is not member:
                return None
        return member

    def _is_behind(self, change: Change, say: Say, owner: Seat) -> bool:
        # A worker that restarts sends what waits in a new stream, so it has no order then.
        return say.seat in (self.via, owner) and not say.seat.restarted and say.ended < change.began

    def _after(self, member: bool | None, change: Change) -> bool | None:
        if change.fate == "unavailable" or change.joins is member:
            return member
        if change.fate == "confirmed" and not change.figures[2]:
            # An operation of an earlier life of the caller's worker may come late, before it.
            return None if self._is_astray(change) else change.joins
        return None

    def _is_astray(self, change: Change) -> bool:
        if not self.via.restarted:
            return False
        earlier = self.changes[: self.changes.index(change)]
        return any(one.may_have_happened for one in earlier)


class Life:
    """
    One socket, from its connection to its end.

    Attributes:
        seat: The worker that owns it.
        sid: Its ID.
        logs: What was asked about it, by room.
        heard: The broadcasts that it got, in order: seat and number.
        trespasses: What it got although it was said behind its leave.
    """

    def __init__(self, seat: Seat, sid: str, callers: dict[str, Seat]) -> None:
        self.seat = seat
        self.sid = sid
        self.logs = {room: Log(via) for room, via in callers.items()}
        self.heard: list[tuple[int, int]] = []
        self.trespasses = 0
        self._fences: set[str] = set()
        self._news = threading.Condition()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the client has seen that its socket has ended."""
        return self._ended

    def hear(self, event: str, *args: str | int) -> None:
        """Take in an event of the socket."""
        if event == "said":
            self.heard.append((int(args[0]), int(args[1])))
        elif event == "behind":
            self.trespasses += args[0] == self.sid
        else:
            with self._news:
                self._ended = self._ended or event == "disconnect"
                self._fences.update(str(fence) for fence in args if event == "fence")
                self._news.notify_all()

    def wait_for(self, fences: set[str], seconds: float) -> bool:
        """Return whether all *fences* have come; False at once when the socket ends."""
        with self._news:
            self._news.wait_for(lambda: self._ended or fences <= self._fences, seconds)
            return fences <= self._fences and not self._ended

    def begin_again(self) -> None:
        """Forget what has been checked."""
        for log in self.logs.values():
            log.member, log.changes = log.now(), []
        self.heard = []
        self.trespasses = 0
        self._fences = set()
