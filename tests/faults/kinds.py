"""The faults: each happens under load, lasts for a while, and is over when the function returns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask_rooms.backends.kombu import TIMEOUT
from flask_rooms.protocol.node import MAX_MISSED_BEATS
from tests.faults.seats import Seat
from tests.support.brokers import Broker
from tests.support.proxy import DOWN, UP


@dataclass(frozen=True)
class Scene:
    """
    What faults happen to.

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


def broker_killed(scene: Scene) -> None:
    """The broker dies without a word, and starts again."""
    scene.broker.kill()
    scene.last(0.5, 6)
    scene.broker.restart()


def broker_cuts(scene: Scene) -> None:
    """The broker closes every connection, a few times."""
    for _ in range(1 if scene.brief else 3):
        scene.broker.cut()
        scene.last(0.1, 0.5)


def broker_stopped(scene: Scene) -> None:
    """The broker is stopped for longer than a socket waits for it."""
    scene.broker.pause()
    try:
        scene.last(TIMEOUT + 0.5, TIMEOUT + 3)
    finally:
        scene.broker.resume()


def connections_reset(scene: Scene) -> None:
    """Connections are reset, a few times."""
    seats = scene.some()
    for _ in range(3):
        for seat in seats:
            seat.proxy.cut()
        scene.last(0.1, 1)


def broken_off(scene: Scene) -> None:
    """Connections are reset in the middle of a message."""
    for seat in scene.some():
        seat.proxy.sever(scene.rng.randrange(1, 2000))
    scene.last(1, 2)


def refused(scene: Scene) -> None:
    """There is nobody to connect to."""
    seats = scene.some()
    for seat in seats:
        seat.proxy.refuse()
        seat.proxy.cut()
    scene.last(0.5, 6)
    for seat in seats:
        seat.proxy.heal()


def silence(scene: Scene) -> None:
    """Connections stay, and carry nothing: to the broker, from it, or both."""
    seats = scene.some()
    directions = scene.directions()
    for seat in seats:
        seat.proxy.silence(*directions)
    scene.last((MAX_MISSED_BEATS + 1) * scene.heartbeat, 2 * MAX_MISSED_BEATS * scene.heartbeat)
    for seat in seats:
        seat.proxy.heal()


def half_open(scene: Scene) -> None:
    """Connections die without a word, and stay so for whoever does not open others."""
    directions = scene.directions()
    for seat in scene.some():
        seat.proxy.silence(*directions, newcomers=False)
    scene.last(0, MAX_MISSED_BEATS * scene.heartbeat)


def slowness(scene: Scene) -> None:
    """Everything comes late."""
    seats = scene.some()
    for seat in seats:
        seat.proxy.delay(scene.rng.uniform(0.02, 0.5))
    scene.last(2, 4)
    for seat in seats:
        seat.proxy.heal()


def worker_held_up(scene: Scene) -> None:
    """A worker is stopped, not long enough to be taken for dead."""
    _pause(scene, 0.5 * scene.heartbeat, (MAX_MISSED_BEATS - 1) * scene.heartbeat)


def worker_stopped(scene: Scene) -> None:
    """A worker is stopped until the others take it for dead, and goes on."""
    _pause(
        scene, (MAX_MISSED_BEATS + 2) * scene.heartbeat, (MAX_MISSED_BEATS + 3) * scene.heartbeat
    )


def worker_killed(scene: Scene) -> None:
    """A worker dies without a word, and a new one is started."""
    seat = scene.one()
    seat.kill()
    scene.last(0, MAX_MISSED_BEATS * scene.heartbeat)
    seat.replace()


def _pause(scene: Scene, least: float, most: float) -> None:
    seat = scene.one()
    seat.pause()
    try:
        scene.last(least, most)
    finally:
        seat.resume()


Fault = Callable[[Scene], None]


def name(fault: Fault) -> str:
    """Return what a kind of fault is called."""
    return fault.__name__.replace("_", " ")


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
    worker_held_up,
    worker_stopped,
    worker_killed,
)
