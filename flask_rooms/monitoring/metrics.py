"""The metrics of a worker for Prometheus, collected from its plain counters when it is scraped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate, product
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from flask_rooms.api.parts import Parts
from flask_rooms.cluster.statistics import BOUNDS, OUTCOMES, CallStatistics, Traffic
from flask_rooms.membership.refusals import Limit
from flask_rooms.protocol.messages import Action, QueryKind
from flask_rooms.results import Health

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: What is told as 0 before it happens: Prometheus sees no increase in what appears with a 1.
_CALLS = dict.fromkeys(product(get_args(Action), OUTCOMES), 0)
_QUERIES = dict.fromkeys(product(get_args(QueryKind), ("complete", "incomplete")), 0)
_REFUSALS = dict.fromkeys(get_args(Limit), 0)
_DROPPED = dict.fromkeys(("malformed", "oversized", "unsigned", "version"), 0)


def exposition(parts: Parts) -> bytes:
    """Return the metrics of one application's worker in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WorkerCollector(parts))
    text: bytes = generate_latest(registry)
    return text


class WorkerCollector(Collector):
    """
    Collects the metrics of one worker.

    All values of labels are of bounded sets: none is chosen by a client.

    Args:
        parts: The parts of the application.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Return the metrics, all of this moment."""
        parts, cluster = self._parts, self._parts.cluster
        yield InfoMetricFamily("flask_rooms", "The version.", {"version": cluster.version})
        yield from _of_health(parts.serving.health)
        yield from _of_sizes(parts.registry.sizes()._asdict())
        yield from _of_traffic(cluster.traffic)
        yield from _of_calls(cluster.statistics)
        yield _counter(
            "events_sent", "Broadcasts and other events sent by callers.", cluster.statistics.events
        )
        dropped = _DROPPED | dict(cluster.dropped)
        yield _counters("dropped_messages", "Messages of workers refused.", dropped, "reason")
        refusals = _REFUSALS | dict(parts.refusals.counts)
        yield _counters("refusals", "Limits reached by clients.", refusals, "limit")
        yield _counters(
            "history", "What the history of rooms was used for.", parts.history.counts, "what"
        )
        signals = parts.signals
        yield _counter(
            "signal_failures", "Receivers of signals that have raised.", signals.failures
        )
        yield _counter("dropped_signals", "Signals not sent, as receivers hang.", signals.dropped)


def _of_health(health: Health) -> Iterator[Metric]:
    yield _gauge("ready", "Whether new clients are welcome.", health.ready)
    yield _gauge("broker_up", "Whether own messages come back from the broker.", health.broker)
    yield _gauge("draining", "Whether new clients are refused.", health.draining)


def _of_sizes(sizes: Mapping[str, int]) -> Iterator[Metric]:
    for name, value in sizes.items():
        yield _gauge(name, f"{name.capitalize()} on this worker.", value)


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
    yield _gauge("peers", "Other workers that count as alive.", traffic.peers)
    yield _counter("operations", "Sent to the other workers.", traffic.sent_operations)
    yield _gauge(
        "outbox_operations", "Operations that wait for the broker.", traffic.unsent_operations
    )
    yield _gauge("outbox_bytes", "Their size.", traffic.unsent_bytes)
    yield _counter("retransmissions", "Repetitions of what was missed.", traffic.retransmissions)
    yield _counter("reconnects", "Connections to the broker after the first.", traffic.reconnects)
    yield _counter("restarts", "Times all sockets were disconnected.", traffic.restarts)


def _of_calls(calls: CallStatistics) -> Iterator[Metric]:
    yield _counters(
        "calls", "Changes asked for here.", _CALLS | dict(calls.changes), "action", "outcome"
    )
    queries = _QUERIES | dict(calls.queries)
    yield _counters("queries", "Queries to other workers.", queries, "kind", "result")
    bounds = [*map(str, BOUNDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(calls.times), strict=True))
    text = "Time until other workers confirmed a change."
    yield HistogramMetricFamily("flask_rooms_confirmation_seconds", text, buckets, calls.seconds)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"flask_rooms_{name}", text, value)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"flask_rooms_{name}", text, value)


def _counters(
    name: str, text: str, counts: Mapping[str, int] | Mapping[tuple[str, str], int], *labels: str
) -> Metric:
    family = CounterMetricFamily(f"flask_rooms_{name}", text, labels=labels)
    for key, count in list(counts.items()):  # other threads count on
        family.add_metric([key] if isinstance(key, str) else key, count)
    return family
