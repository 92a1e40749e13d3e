"""One operation that awaits answers: each awaited worker counts once, and none after the end."""

from __future__ import annotations

from msgspec import Struct, field

from flask_rooms.protocol.messages import Done, Reply


class Completed(Struct, frozen=True, gc=False):
    """All workers that were asked with operation *number* have answered, or are gone."""

    number: int
    changed: int
    unchanged: int
    unknown: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    refused: tuple[str, ...] = ()
    newer: int = 0


class TimedOut(Struct, frozen=True, gc=False):
    """
    The workers *missing* have not answered operation *number* in time, or cannot answer it.

    *replies* are those of the other workers.
    """

    number: int
    missing: tuple[str, ...]
    replies: tuple[Reply, ...] = ()
    newer: int = 0


class Tally(Struct, gc=False):
    """What the workers that have answered an operation have done, or replied."""

    changed: int = 0
    unchanged: int = 0
    refused: tuple[str, ...] = ()
    newer: int = 0
    replies: dict[str, list[Reply]] = {}  # worker -> its pages
    unable: tuple[str, ...] = ()  # workers that cannot answer

    def add_done(self, answer: Done) -> None:
        """Add what a worker has done."""
        self.changed += answer.changed
        self.unchanged += answer.unchanged
        self.refused += answer.refused
        self.newer = max(self.newer, answer.newer)

    def add_reply(self, sender: str, reply: Reply, max_pages: int) -> bool:
        """Add one page of a worker's reply; return whether it is the last one."""
        pages = self.replies.setdefault(sender, [])
        pages.append(reply)
        unable = not reply.whole or len(pages) > max_pages
        if unable:
            self.unable += (sender,)
        return reply.last or unable

    def replies_except(self, missing: tuple[str, ...]) -> tuple[Reply, ...]:
        """Return the replies of all workers but the *missing*, whose replies are not whole."""
        replies = self.replies.items()
        return tuple(page for name, pages in replies if name not in missing for page in pages)


class Pending(Struct, gc=False):
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
    awaited: dict[str, tuple[str, ...]] = {}  # worker -> its socket IDs
    unmet: dict[str, tuple[str, ...]] = {}  # the same of unmet workers
    unknown: tuple[str, ...] = ()
    unverified: frozenset[str] = frozenset()  # workers whose hello may be a copy
    audience: tuple[int, float] | None = None  # workers that were connected, and when
    present: int = 0  # those that have answered, and were connected then
    tally: Tally = field(default_factory=Tally)

    @property
    def unanswered_by(self) -> tuple[str, ...]:
        """The workers that have not answered."""
        return (*self.awaited, *self.unmet, *self.unverified)

    def add_done(self, sender: str, answer: Done) -> bool:
        """Record what a worker has done; False when its answer is not awaited."""
        if sender not in self.awaited:
            return False
        asked = self.awaited.pop(sender)
        if answer.unknown:
            there = frozenset(asked)  # there may be thousands
            self.unknown += tuple([sid for sid in answer.unknown if sid in there])
        self.tally.add_done(answer)
        return True

    def add_reply(self, sender: str, reply: Reply, max_pages: int) -> bool:
        """Record one page of a worker's reply; False when its answer is not awaited."""
        if sender not in self.awaited:
            return False
        if self.tally.add_reply(sender, reply, max_pages):
            del self.awaited[sender]
        return True

    def mark_unable(self, worker: str) -> None:
        """Count an unmet worker as one that cannot answer."""
        self.unmet.pop(worker, None)
        self.tally.unable += (worker,)

    def mark_dead(self, worker: str) -> bool:
        """Report a dead worker's sockets as unknown; False when its answer is not awaited."""
        is_verified = worker not in self.unverified
        self.unverified -= {worker}
        if worker not in self.awaited:
            return not is_verified
        self.unknown += self.awaited.pop(worker)
        self.tally.replies.pop(worker, None)
        return True

    def result(self) -> Completed | TimedOut | None:
        """Return the result once all have answered: TimedOut where one cannot. Else None."""
        if self.awaited or self.unmet or self.unverified or self.open_to_unmet:
            return None
        tally = self.tally
        if tally.unable:
            return self.timed_out()
        return Completed(
            self.number,
            tally.changed,
            tally.unchanged,
            self.unknown,
            tally.replies_except(()),
            tally.refused,
            tally.newer,
        )

    def timed_out(self) -> TimedOut:
        """Return the result without the answers that are still awaited."""
        missing = (*self.unanswered_by, *self.tally.unable)
        replies = self.tally.replies_except(missing)
        return TimedOut(self.number, missing, replies, self.tally.newer)
