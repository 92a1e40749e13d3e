"""The faults of the broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.brokers import Broker, Kind

#: Seconds between the end of a broker and its restart. RabbitMQ takes more than two seconds to
#: restart anyway.
DOWN: dict[Kind, float] = {"redis": 2.0, "amqp": 0.0}


@dataclass(frozen=True)
class Fault:
    """
    A fault of the broker.

    Args:
        name: The name in records.
        title: The name in tables.
        inject: Injects the fault, and returns when the broker serves again.
        delayed: Whether there is a delay between the call of inject() and the fault; lead()
            measures it while no worker is connected.
    """

    name: str
    title: str
    inject: Callable[[Broker], None]
    delayed: bool = False

    def lead(self, broker: Broker) -> float:
        """Return how many seconds in advance inject() has to be called."""
        if not self.delayed:
            return 0.0
        began = time.monotonic()
        self.inject(broker)
        return time.monotonic() - began


def _cut(broker: Broker) -> None:
    broker.cut()


def _outage(broker: Broker) -> None:
    broker.kill()
    time.sleep(DOWN[broker.kind])
    broker.restart()


FAULTS = [
    # RabbitMQ's command line tool takes a second or two to start.
    Fault("cut", "every connection cut once", _cut, delayed=True),
    Fault("outage", "broker down for 2 s (RabbitMQ: until it has started)", _outage),
]
