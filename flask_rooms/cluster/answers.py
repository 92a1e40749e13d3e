"""What this worker answers to a query, whether of its own caller or of another worker."""

from __future__ import annotations

from flask_rooms.cluster.interfaces import LocalWorker
from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.statistics import CallStatistics
from flask_rooms.protocol.messages import Query, Room


class Answers:
    """
    Answers for this worker.

    Args:
        shared: The node of this worker.
        worker: Holds its sockets.
        statistics: What its calls have come to.
    """

    def __init__(self, shared: LockedNode, worker: LocalWorker, statistics: CallStatistics) -> None:
        self._shared = shared
        self._worker = worker
        self._statistics = statistics

    def answer(self, query: Query) -> tuple[list[Room], list[int]]:
        """Return the names and counts that a query asks for."""
        names, counts = self._worker.answer(query)
        if query.kind != "statistics":
            return names, counts
        traffic = self._shared.traffic()
        calls, failed = self._statistics.totals()
        own = {"calls": calls, "failed": failed, "events": self._statistics.events}
        own["outbox_bytes"] = traffic.unsent_bytes
        own["sent"], own["retransmissions"] = traffic.sent_operations, traffic.retransmissions
        # No page of a reply says by whom it is, so the first name does.
        return [self._shared.node.name, *names, *own], [0, *counts, *own.values()]
