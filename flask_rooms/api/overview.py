"""The numbers of every worker, for those who watch the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from flask_rooms.cluster.driver import Cluster
from flask_rooms.protocol.messages import Query
from flask_rooms.results import WorkerInfo

_STATISTICS = Query("statistics", "/", "")


@dataclass(frozen=True)
class Overview:
    """
    What each worker has, and has done since it began.

    Args:
        workers: Worker -> its numbers by name: those of `membership.namespace.Sizes`, and the
            counts of calls, of those that failed, of events, of refusals, `outbox_bytes`, and of
            the operations that were `sent` to other workers, and of `retransmissions`.
        complete: Whether every live worker has answered.
        missing: The workers that have not.
    """

    workers: dict[WorkerInfo, dict[str, int]]
    complete: bool
    missing: tuple[WorkerInfo, ...]

    @property
    def totals(self) -> dict[str, int]:
        """The sum of each number over all workers."""
        sums: dict[str, int] = {}
        for numbers in self.workers.values():
            for name, number in numbers.items():
                sums[name] = sums.get(name, 0) + number
        return sums


def overview(cluster: Cluster, timeout: float | None = None) -> Overview:
    """
    Ask every worker for its numbers.

    Args:
        cluster: The connection to the workers.
        timeout: Seconds to wait; never longer than the confirmation timeout.

    Raises:
        BackendUnavailable: The outbox for the other workers is full.
    """
    gathered = cluster.calls.query(_STATISTICS, timeout)
    workers = {}
    for names, counts in gathered.parts:
        if not names:  # what a worker sends is not trusted to be of the right form
            continue
        worker = cluster.info(str(names[0]))
        workers[worker] = dict(zip(map(str, names[1:]), counts[1:], strict=False))
    return Overview(workers, gathered.complete, gathered.missing)
