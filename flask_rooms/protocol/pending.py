"""One operation that waits for answers: whose, what they say, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask_rooms.protocol.messages import Done, Reply


@dataclass(frozen=True)
class Completed:
    """Who was asked with operation *number* of this worker has answered, or is gone."""

    number: int
    changed: int
    unchanged: int
    unknown: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class TimedOut:
    """
    These workers have not answered operation *number* in time, or cannot answer it.

    *replies* are of the others.
    """

    number: int
    missing: tuple[str, ...]
    replies: tuple[Reply, ...] = ()


@dataclass
class Pending:
    """
    What was asked with one operation, and is not answered by all yet.

    Args:
        number: The operation's.
        deadline: When it is overdue.
        for_all: Whether it names nobody.
        changes: Whether it is no mere question.
    """

    number: int
    deadline: float
    for_all: bool = False
    changes: bool = False
    everybody: bool = False  # it is also for workers that we may not have heard of yet
    waits: dict[str, tuple[str, ...]] = field(default_factory=dict)  # worker -> IDs asked of it
    strangers: dict[str, tuple[str, ...]] = field(default_factory=dict)  # ... never heard of
    unknown: list[str] = field(default_factory=list)
    _changed: int = 0
    _unchanged: int = 0
    _refused: list[str] = field(default_factory=list)
    _replies: dict[str, list[Reply]] = field(default_factory=dict)  # worker -> its parts
    _unable: list[str] = field(default_factory=list)  # workers whose answer would be too long

    @property
    def unanswered_by(self) -> tuple[str, ...]:
        """The workers that have not answered."""
        return (*self.waits, *self.strangers)

    @property
    def is_answered(self) -> bool:
        """Whether nobody is waited for any more."""
        return not (self.waits or self.strangers or self.everybody)

    @property
    def is_incomplete(self) -> bool:
        """Whether somebody has said that it cannot answer."""
        return bool(self._unable)

    def answered(self, sender: str, answer: Done) -> bool:
        """Take in what a worker has done; False when it was not asked."""
        if sender not in self.waits:
            return False
        asked = frozenset(self.waits.pop(sender))  # there may be thousands
        self._changed += answer.changed
        self._unchanged += answer.unchanged
        self.unknown += [sid for sid in answer.unknown if sid in asked]
        self._refused += answer.refused
        return True

    def replied(self, sender: str, reply: Reply, pages: int) -> bool:
        """Take in one of at most so many *pages* of a reply; False when it was not asked."""
        if sender not in self.waits:
            return False
        parts = self._replies.setdefault(sender, [])
        parts.append(reply)
        unable = not reply.whole or len(parts) > pages
        if unable:
            self._unable.append(sender)
        if reply.last or unable:
            del self.waits[sender]
        return True

    def bury(self, worker: str) -> bool:
        """Wait no longer for a worker that is dead, with its sockets; False if we did not."""
        if worker not in self.waits:
            return False
        self.unknown += self.waits.pop(worker)
        self._replies.pop(worker, None)
        return True

    def settled(self) -> Completed:
        """Return what has become of it when all have answered."""
        return Completed(
            self.number,
            self._changed,
            self._unchanged,
            tuple(self.unknown),
            self._replies_but_of(()),
            tuple(self._refused),
        )

    def overdue(self) -> TimedOut:
        """Return what has become of it when no more answers are waited for."""
        missing = (*self.unanswered_by, *self._unable)
        return TimedOut(self.number, missing, self._replies_but_of(missing))

    def _replies_but_of(self, missing: tuple[str, ...]) -> tuple[Reply, ...]:
        """Return the replies of all workers that have given theirs to the end."""
        replies = self._replies.items()
        return tuple(part for name, parts in replies if name not in missing for part in parts)
