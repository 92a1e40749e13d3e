"""The checks of what happened between two moments of rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tests.faults.journal import Life, Say
from tests.faults.seats import Seat, Unanswered

#: What must not be, and is counted.
BROKEN = (
    "operations without an outcome",
    "callbacks called more than once",
    "outcomes that are wrong",
    "memberships that are wrong",
    "broadcasts lost",
    "broadcasts doubled",
    "broadcasts out of order",
    "broadcasts after a leave",
    "disconnected without a reason",
    "errors",
    "frames dropped",
    "not settled",
)

#: How many complaints are kept word for word.
EXAMPLES = 40


class Verdict:
    """
    Counts what was checked and what was wrong.

    Attributes:
        broken: What must be zero.
        counts: What else there is to know.
        examples: The first complaints.
    """

    def __init__(self) -> None:
        self.broken = Counter(dict.fromkeys(BROKEN, 0))
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    @property
    def is_good(self) -> bool:
        """Whether all that must be zero is."""
        return not any(self.broken.values())

    def complain(self, what: str, about: str, times: int = 1) -> None:
        """Count something that must not be."""
        assert what in BROKEN
        if times:
            self.broken[what] += times
            self.examples = [*self.examples, f"{what}: {about}"][:EXAMPLES]

    def check_outcomes(self, lives: Iterable[Life]) -> None:
        """Compare what calls were answered with what was the case before them."""
        for life in lives:
            if life.ended:
                continue
            for room, log in life.logs.items():
                for member, change in log.figures():
                    possible = {
                        True: [(0, 1, 0) if change.joins else (1, 0, 0)],
                        False: [(1, 0, 0) if change.joins else (0, 1, 0)],
                        None: [(1, 0, 0), (0, 1, 0)],
                    }[member]
                    if change.fate == "confirmed" and change.figures not in possible:
                        about = f"{life.sid} {room}: {change}, was member: {member}"
                        self.complain("outcomes that are wrong", about)

    def check_broadcasts(self, lives: Iterable[Life], says: Sequence[Say]) -> None:
        """Compare what sockets received with what was sent."""
        unordered = {(say.seat.index, say.number) for say in says if say.fate == "unanswered"}
        for life in lives:
            got = Counter(life.heard)
            for say in says:
                self._check_one(life, say, got.pop((say.seat.index, say.number), 0))
            for seat, number in got:
                # After the fence, which this came behind.
                self.complain("broadcasts out of order", f"{seat}/{number} came late")
            self.complain("broadcasts after a leave", f"{life.sid} behind", life.trespasses)
            self._check_order(life, says, unordered)

    def check_ends(self, lives: Iterable[Life]) -> None:
        """Count the sockets that have ended, and whether there was a reason."""
        for life in lives:
            if life.ended:
                self.counts["disconnected"] += 1
                if not life.seat.restarted:
                    self.complain("disconnected without a reason", life.sid)

    def check_memberships(self, seats: Iterable[Seat], lives: Sequence[Life]) -> None:
        """Compare the memberships with the calls."""
        for seat in seats:
            of_seat = {life.sid: life for life in lives if life.seat is seat}
            try:
                answer = seat.post("/memberships", sids=list(of_seat))
            except Unanswered:
                continue  # a failure, and counted as such
            if answer["name"] != seat.name:
                continue  # it has just started over, and its sockets are being disconnected
            for sid, life in of_seat.items():
                wanted = {sid, *(room for room, log in life.logs.items() if log.now())}
                self.counts["memberships checked"] += len(life.logs)
                wrong = wanted ^ set(answer["rooms"][sid])
                self.complain("memberships that are wrong", f"{sid} {wrong}", len(wrong))

    def check_worker(self, seat: Seat, without: int, complaints: dict[str, Any]) -> None:
        """Read what a worker has reported of itself since the last time, and what failed there."""
        about = f"worker {seat.index}"
        self.complain("operations without an outcome", about, without)
        self.complain("callbacks called more than once", about, complaints["repeated"])
        for reason, times in complaints["dropped"].items():
            self.complain("frames dropped", f"{about}: {reason}", times)
        for error in [*complaints["errors"], *seat.failures]:
            self.complain("errors", f"{about}: {error}")
        seat.failures = []

    def _check_one(self, life: Life, say: Say, times: int) -> None:
        must = life.logs[say.room].receives(say, life.seat)
        about = f"{say} at {life.sid} of {life.seat.index}, logged {life.logs[say.room]}"
        if times > 1 and say.seat.restarted:
            self.counts["doubled by a worker that started over"] += 1
        elif times > 1:
            self.complain("broadcasts doubled", about)
        if times and must is False:
            self.complain("broadcasts after a leave", about)
        elif must and say.fate == "sent" and not times:
            if say.seat.restarted or life.ended:
                self.counts["broadcasts missed, from or to a worker that ended"] += 1
            else:
                self.complain("broadcasts lost", about)
        elif times:
            self.counts["broadcasts received" if must else "broadcasts received by chance"] += 1

    def _check_order(
        self, life: Life, says: Sequence[Say], unordered: set[tuple[int, int]]
    ) -> None:
        for seat in {say.seat.index: say.seat for say in says}.values():
            numbers = [n for s, n in life.heard if s == seat.index and (s, n) not in unordered]
            if numbers != sorted(numbers):
                if seat.restarted:
                    self.counts["out of order from a worker that started over"] += 1
                else:
                    about = f"{life.sid} got {numbers} from worker {seat.index}"
                    self.complain("broadcasts out of order", about)
