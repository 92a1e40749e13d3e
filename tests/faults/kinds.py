"""The faults: each happens under load, lasts for a while, and is over when the function returns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flask_rooms.backends.sessions import TIMEOUT
from flask_rooms.protocol.clock import MAX_MISSED_BEATS
from tests.faults.seats import Seat
from tests.support.brokers import Broker
from tests.support.proxy import DOWN, UP
from tests.support.rabbitmq_cluster import RabbitMQCluster
from tests.support.sentinel import RedisWithSentinel


@dataclass(frozen=True)
class Target:
    """
    The cluster that a fault happens to.

    Args:
        broker: The broker.
        seats: The workers.
        heartbeat: Seconds between two heartbeats of a worker.
        rng: Decides what is left open.
        brief: Whether every fault lasts only as long as it has to.
    """

    broker: Broker
    seats: Sequence[Seat]
    heartbeat: float
    rng: random.Random
    brief: bool

    def last(self, least: float, most: float) -> None:
        """Let the fault last for some seconds."""
        time.sleep(least if self.brief else self.rng.uniform(least, most))

    def some(self) -> Sequence[Seat]:
        """Return one worker, or all of them."""
        return self.seats if self.rng.random() < 0.5 else [self.one()]

    def one(self) -> Seat:
        """Return one worker."""
        return self.rng.choice(self.seats)

    def directions(self) -> Sequence[str]:
        """Return what a connection stops to carry."""
        return self.rng.choice([(UP,), (DOWN,), (UP, DOWN)])


def broker_killed(target: Target) -> None:
    """The broker is killed, and restarts."""
    target.broker.kill()
    target.last(0.5, 6)
    target.broker.restart()


def broker_cuts(target: Target) -> None:
    """The broker closes every connection, a few times."""
    for _ in range(1 if target.brief else 3):
        target.broker.cut()
        target.last(0.1, 0.5)


def broker_stopped(target: Target) -> None:
    """The broker is stopped for longer than a socket waits for it."""
    target.broker.pause()
    try:
        target.last(TIMEOUT + 0.5, TIMEOUT + 3)
    finally:
        target.broker.resume()


def connections_reset(target: Target) -> None:
    """Connections are reset, a few times."""
    seats = target.some()
    for _ in range(3):
        for seat in seats:
            seat.proxy.cut()
        target.last(0.1, 1)


def broken_off(target: Target) -> None:
    """Connections are reset in the middle of a message."""
    for seat in target.some():
        seat.proxy.sever(target.rng.randrange(1, 2000))
    target.last(1, 2)


def refused(target: Target) -> None:
    """New connections are refused."""
    seats = target.some()
    for seat in seats:
        seat.proxy.refuse()
        seat.proxy.cut()
    target.last(0.5, 6)
    for seat in seats:
        seat.proxy.heal()


def silence(target: Target) -> None:
    """Connections stay, and carry nothing: to the broker, from it, or both."""
    seats = target.some()
    directions = target.directions()
    for seat in seats:
        seat.proxy.silence(*directions)
    target.last((MAX_MISSED_BEATS + 1) * target.heartbeat, 2 * MAX_MISSED_BEATS * target.heartbeat)
    for seat in seats:
        seat.proxy.heal()


def half_open(target: Target) -> None:
    """Connections carry nothing any more, and report no error; new ones work."""
    directions = target.directions()
    for seat in target.some():
        seat.proxy.silence(*directions, newcomers=False)
    target.last(0, MAX_MISSED_BEATS * target.heartbeat)


def slowness(target: Target) -> None:
    """Everything comes late."""
    seats = target.some()
    for seat in seats:
        seat.proxy.delay(target.rng.uniform(0.02, 0.5))
    target.last(2, 4)
    for seat in seats:
        seat.proxy.heal()


def worker_held_up(target: Target) -> None:
    """A worker is stopped, not long enough to be taken for dead."""
    _pause(target, 0.5 * target.heartbeat, (MAX_MISSED_BEATS - 1) * target.heartbeat)


def worker_stopped(target: Target) -> None:
    """A worker is stopped until the others count it as dead, and continues."""
    _pause(
        target, (MAX_MISSED_BEATS + 2) * target.heartbeat, (MAX_MISSED_BEATS + 3) * target.heartbeat
    )


def worker_killed(target: Target) -> None:
    """A worker is killed, and a new one is started."""
    seat = target.one()
    seat.kill()
    target.last(0, MAX_MISSED_BEATS * target.heartbeat)
    seat.replace()


def master_killed(target: Target) -> None:
    """The master of a Redis is killed, Sentinel chooses the replica, and it comes back as one."""
    _sentinel(target).fail_over(kill=True)


def master_stopped(target: Target) -> None:
    """The same with a master that hangs, and continues as a master until it is told."""
    _sentinel(target).fail_over(kill=False)


def node_killed(target: Target) -> None:
    """The node of RabbitMQ to which a worker is connected is killed, and restarts."""
    with _cluster(target).without(target.rng.randrange(3)):
        target.last(2, 10)


def node_parted(target: Target) -> None:
    """A node of RabbitMQ hears neither of the others any more, though all live."""
    with _cluster(target).parted_from(target.rng.randrange(3)):
        target.last(5, 15)


def _sentinel(target: Target) -> RedisWithSentinel:
    assert isinstance(target.broker, RedisWithSentinel)
    return target.broker


def _cluster(target: Target) -> RabbitMQCluster:
    assert isinstance(target.broker, RabbitMQCluster)
    return target.broker


def _pause(target: Target, least: float, most: float) -> None:
    seat = target.one()
    seat.pause()
    try:
        target.last(least, most)
    finally:
        seat.resume()


Fault = Callable[[Target], None]


def name(fault: Fault) -> str:
    """Return what a kind of fault is called."""
    return fault.__name__.replace("_", " ")


_OF_WORKERS: Sequence[Fault] = (worker_held_up, worker_stopped, worker_killed)

FAULTS: Sequence[Fault] = (
    broker_killed,
    broker_cuts,
    broker_stopped,
    connections_reset,
    broken_off,
    refused,
    silence,
    half_open,
    slowness,
    *_OF_WORKERS,
)

#: What may happen to several brokers that act as one.
FAULTS_OF_GROUPS: Mapping[str, Sequence[Fault]] = {
    "sentinel": (master_killed, master_stopped, broker_cuts, *_OF_WORKERS),
    "cluster": (node_killed, node_parted, broker_cuts, *_OF_WORKERS),
}
