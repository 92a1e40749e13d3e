"""One operation that awaits answers: each awaited worker counts once, and none after the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask_rooms.protocol.messages import Done, Reply


@dataclass(frozen=True)
class Completed:
    """All workers that were asked with operation *number* have answered, or are gone."""

    number: int
    changed: int
    unchanged: int
    unknown: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    refused: tuple[str, ...] = ()
    newer: int = 0


@dataclass(frozen=True)
class TimedOut:
    """
    The workers *missing* have not answered operation *number* in time, or cannot answer it.

    *replies* are those of the other workers.
    """

    number: int
    missing: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    newer: int = 0


@dataclass(slots=True)
class Pending:
    """
    An operation that some workers have not answered yet.

    Args:
        number: The operation's number.
        began: When it was submitted.
        deadline: When it times out.
        for_all: Whether it is for every worker, instead of those that own its socket IDs.
        is_change: Whether it is a Change, and not a Query, an Ask or a Tell.
    """

    number: int
    began: float
    deadline: float
    for_all: bool = False
    is_change: bool = False
    open_to_unmet: bool = False  # whether workers that are not met yet may have to answer, too
    awaited: dict[str, tuple[str, ...]] = field(default_factory=dict)  # worker -> its socket IDs
    unmet: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the same of unmet workers
    unknown: list[str] = field(default_factory=list)
    unverified: set[str] = field(default_factory=set)  # workers whose hello may be a copy
    audience: tuple[int, float] | None = None  # workers that were connected, and when
    present: int = 0  # those that have answered, and were connected then
    _changed: int = 0
    _unchanged: int = 0
    _refused: list[str] = field(default_factory=list)
    _newer: int = 0
    _replies: dict[str, list[Reply]] = field(default_factory=dict)  # worker -> its pages
    _unable: list[str] = field(default_factory=list)  # workers whose answer would be too long

    @property
    def unanswered_by(self) -> tuple[str, ...]:
        """The workers that have not answered."""
        return (*self.awaited, *self.unmet, *self.unverified)

    def add_done(self, sender: str, answer: Done) -> bool:
        """Record what a worker has done; False when its answer is not awaited."""
        if sender not in self.awaited:
            return False
        asked = frozenset(self.awaited.pop(sender))  # a set, because there may be thousands
        self._changed += answer.changed
        self._unchanged += answer.unchanged
        self.unknown += [sid for sid in answer.unknown if sid in asked]
        self._refused += answer.refused
        self._newer = max(self._newer, answer.newer)
        return True

    def add_reply(self, sender: str, reply: Reply, max_pages: int) -> bool:
        """Record one page of a worker's reply; False when its answer is not awaited."""
        if sender not in self.awaited:
            return False
        pages = self._replies.setdefault(sender, [])
        pages.append(reply)
        unable = not reply.whole or len(pages) > max_pages
        if unable:
            self._unable.append(sender)
        if reply.last or unable:
            del self.awaited[sender]
        return True

    def mark_dead(self, worker: str) -> bool:
        """Report a dead worker's sockets as unknown; False when its answer is not awaited."""
        is_verified = worker not in self.unverified
        self.unverified.discard(worker)
        if worker not in self.awaited:
            return not is_verified
        self.unknown += self.awaited.pop(worker)
        self._replies.pop(worker, None)
        return True

    def result(self) -> Completed | TimedOut | None:
        """Return the result once all have answered: TimedOut where one cannot. Else None."""
        if self.unanswered_by or self.open_to_unmet:
            return None
        if self._unable:
            return self.timed_out()
        return Completed(
            self.number,
            self._changed,
            self._unchanged,
            tuple(self.unknown),
            self._replies_except(()),
            tuple(self._refused),
            self._newer,
        )

    def timed_out(self) -> TimedOut:
        """Return the result without the answers that are still awaited."""
        missing = (*self.unanswered_by, *self._unable)
        return TimedOut(self.number, missing, self._replies_except(missing), self._newer)

    def _replies_except(self, missing: tuple[str, ...]) -> tuple[Reply, ...]:
        """Return the replies of all workers but the *missing*, whose replies are not whole."""
        replies = self._replies.items()
        return tuple(page for name, pages in replies if name not in missing for page in pages)
