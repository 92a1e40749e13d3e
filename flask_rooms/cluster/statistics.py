"""What a worker counts for its operators: plain numbers, read on demand."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

#: Seconds: the upper bounds of the times to confirmation, as in a Prometheus histogram.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: What a change may come to.
OUTCOMES = ("confirmed", "refused", "unconfirmed", "unavailable")


@dataclass
class CallStatistics:
    """
    What the calls of this worker have come to.

    Takes no lock, as each step is one operation on one number.

    Args:
        changes: (action, outcome) -> how many; the outcome is one of `OUTCOMES`.
        queries: (kind, result) -> how many; results are "complete" and "incomplete".
        times: How many changes that other workers were asked for took up to each of `BOUNDS`
            seconds and longer than the one before; the last number is of those that took longer.
        seconds: The sum of these times.
        events: How many events were sent by callers on this worker.
    """

    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    queries: Counter[tuple[str, str]] = field(default_factory=Counter)
    times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0
    events: int = 0

    def totals(self) -> tuple[int, int]:
        """Return how many changes there were, and how many of them were not confirmed."""
        changes = list(self.changes.items())
        failed = sum(count for (_, outcome), count in changes if outcome != "confirmed")
        return sum(count for _, count in changes), failed

    def count_confirmed(self, began: float) -> None:
        """Count how long a change took that began at that time, by the monotonic clock."""
        seconds = time.monotonic() - began
        self.times[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


@dataclass(frozen=True)
class Traffic:
    """
    What has passed between this worker and the others.

    Args:
        peers: How many other workers count as alive.
        sent_operations: How many operations this worker has sent to the others.
        unsent_operations: How many operations wait for the broker.
        unsent_bytes: Their size.
        retransmissions: How often this worker has sent again what another one had missed.
        reconnects: How often it has connected to the broker again.
        restarts: How often it has disconnected all sockets, because it had missed something.
    """

    peers: int = 0
    sent_operations: int = 0
    unsent_operations: int = 0
    unsent_bytes: int = 0
    retransmissions: int = 0
    reconnects: int = 0
    restarts: int = 0
