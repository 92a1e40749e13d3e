"""What is done to the broker in the middle of everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.brokers import Broker, Kind

#: Seconds from the end of a broker until it is started again. RabbitMQ needs more than two
#: seconds just for that.
DOWN: dict[Kind, float] = {"redis": 2.0, "amqp": 0.0}


@dataclass(frozen=True)
class Fault:
    """
    A fault of the broker.

    Args:
        name: What records call it.
        title: What tables call it.
        inject: Does it, and returns when the broker serves again.
        rehearsed: Whether it may take a moment before anything happens, which can be found out
            by injecting it while nobody is connected.
    """

    name: str
    title: str
    inject: Callable[[Broker], None]
    rehearsed: bool = False

    def lead(self, broker: Broker) -> float:
        """Return how many seconds in advance the fault is to be injected."""
        if not self.rehearsed:
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
    # RabbitMQ's command for it takes a second or two to start.
    Fault("cut", "every connection cut once", _cut, rehearsed=True),
    Fault("outage", "broker down for 2 s (RabbitMQ: until it has started)", _outage),
]
