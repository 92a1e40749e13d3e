"""The model: what a membership may be, as far as the callers that change it can know."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

FOREVER = float("inf")


@dataclass(eq=False)
class Part:
    """
    One change of one membership, as its caller sees it.

    Args:
        caller: The first life of the caller, whose changes of one socket are carried out in their
            order.
        action: "join" or "leave".
        began: The moment of the call.
        ended: The moment by which it was certainly carried out.
        before: The membership just before it, if that is certain.
        carried_out: Whether the owner has carried it out.
        optional: Whether the owner may leave it out.
        lost: Whether it may never be carried out, although its caller goes on in another life.
    """

    caller: str
    action: str
    began: int
    ended: float = FOREVER
    before: str | None = None
    carried_out: bool = False
    optional: bool = False
    lost: bool = False

    def precedes(self, other: Part) -> bool:
        """Whether this one was certainly carried out before the other."""
        return self.ended < other.began or (
            self.caller == other.caller and self.began < other.began and not self.optional
        )


class Membership:
    """
    One socket in one room.

    Each change is carried out once, between its beginning and its end, and those of one caller
    in their order. So the membership is what one of the changes says that may be the last one.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = [Part("", "leave", 0, 0)]

    def begins(self, part: Part) -> None:
        """Record the call for a change."""
        others = [p for p in self._last if p.ended == FOREVER and p.caller != part.caller]
        for other in others:
            other.before = None
        possible = self.possible(part.caller)
        certain = len(possible) == 1 and not others and not part.optional
        part.before = possible.pop() if certain else None
        self._last.append(part)

    def ends(self, part: Part, now: int) -> None:
        """Record that a change has been carried out by now."""
        part.ended = now
        self._last = [p for p in self._last if p is part or not p.precedes(part)]

    def never(self, part: Part) -> None:
        """Record that a change will never be carried out."""
        self._last.remove(part)

    def has_lost(self, caller: str) -> bool:
        """Whether a change may never be carried out that this caller has called for."""
        return any(p.lost and p.caller == caller for p in self._last)

    def possible(self, caller: str = "", before: float = FOREVER) -> set[str]:
        """
        Return the actions that the last change may have had.

        Args:
            caller: A caller whose changes that began before *before* have been carried out.
            before: A moment.
        """
        done = [p for p in self._last if p.caller == caller and p.began < before and not p.lost]
        if not done:
            return {p.action for p in self._last}
        latest = done[-1]
        return {p.action for p in self._last if not p.precedes(latest)}


class Memberships:
    """All memberships, by room and socket ID."""

    def __init__(self) -> None:
        self.by_room: defaultdict[str, dict[str, Membership]] = defaultdict(dict)

    def get(self, sid: str, room: str) -> Membership:
        """Return the membership of a socket in a room."""
        members = self.by_room[room]
        if sid not in members:
            members[sid] = Membership()
        return members[sid]
