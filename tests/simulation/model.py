"""What a membership must be, as far as those who change it can know."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

FOREVER = float("inf")


@dataclass(eq=False)
class Part:
    """
    One change of one membership, as its caller sees it.

    Args:
        caller: Whose changes of one socket are carried out in their order.
        action: join or leave.
        began: When it was asked for.
        ended: When it was certainly carried out.
        before: What the membership certainly was before it was carried out, if that is certain.
        carried_out: Whether the owner has done it.
        optional: Whether it need not be carried out at all.
    """

    caller: str
    action: str
    began: int
    ended: float = FOREVER
    before: str | None = None
    carried_out: bool = False
    optional: bool = False

    def precedes(self, other: Part) -> bool:
        """Whether this one was certainly carried out before the other."""
        return self.ended < other.began or (
            self.caller == other.caller and self.began < other.began and not self.optional
        )


class Membership:
    """
    One socket in one room.

    Each change is carried out once, somewhere between its beginning and its end, and those of
    one caller in their order. So the membership is what one of those changes says that may be
    the last. Nothing more is known, and nothing more is needed.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = [Part("", "leave", 0, 0)]

    def begins(self, part: Part) -> None:
        """Take note of a change that was asked for."""
        others = [p for p in self._last if p.ended == FOREVER and p.caller != part.caller]
        for other in others:
            other.before = None
        possible = self.possible(part.caller)
        certain = len(possible) == 1 and not others and not part.optional
        part.before = possible.pop() if certain else None
        self._last.append(part)

    def ends(self, part: Part, now: int) -> None:
        """Take note that a change has been carried out by now."""
        part.ended = now
        self._last = [p for p in self._last if p is part or not p.precedes(part)]

    def never(self, part: Part) -> None:
        """Take note that a change will never be carried out."""
        self._last.remove(part)

    def possible(self, caller: str = "", before: float = FOREVER) -> set[str]:
        """
        Return what the last change may have been.

        Args:
            caller: Somebody whose changes, as far as they began before *before*, have all
                been carried out.
            before: When.
        """
        done = [p for p in self._last if p.caller == caller and p.began < before]
        if not done:
            return {p.action for p in self._last}
        latest = done[-1]
        return {p.action for p in self._last if not p.precedes(latest)}


class Memberships:
    """All memberships there may be, by room and socket ID."""

    def __init__(self) -> None:
        self.by_room: defaultdict[str, dict[str, Membership]] = defaultdict(dict)

    def get(self, sid: str, room: str) -> Membership:
        """Return what is known of a socket in a room."""
        members = self.by_room[room]
        if sid not in members:
            members[sid] = Membership()
        return members[sid]
