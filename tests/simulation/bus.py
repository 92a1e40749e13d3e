"""A broker in virtual time: carries frames between workers, as badly as it is told to."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from flask_rooms.messages import Frame


@dataclass
class Faults:
    """
    What goes wrong, at present.

    Args:
        delay: Seconds that a frame takes at most.
        loss: Part of the frames that do not arrive, from 0 to 1.
        doubling: Part of the frames that arrive twice.
        reordering: Part of the frames that take much longer than others.
        down: Nobody can publish, and publishers know it.
        deaf: Workers that receive nothing, and do not know it.
        mute: Workers whose frames reach nobody, and who do not know it.
    """

    delay: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    reordering: float = 0.0
    down: bool = False
    deaf: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)


class Bus:
    """
    Delivers each frame to all workers through *schedule*(seconds, worker, frame).

    Without faults it keeps one order for all, as a Redis channel does.
    """

    def __init__(self, rng: random.Random, schedule: Callable[[float, str, Frame], None]) -> None:
        self._rng = rng
        self._schedule = schedule
        self.faults = Faults()
        self.workers: set[str] = set()
        #: Worker -> how many frames it, or the others because of it, did not get in order.
        self.damage: defaultdict[str, int] = defaultdict(int)

    def publish(self, frame: Frame) -> bool:
        """Carry *frame*; False when the publisher sees that this is not possible."""
        faults = self.faults
        if faults.down:
            return False
        common = self._rng.uniform(0, faults.delay)
        for name in sorted(self.workers):
            if name in faults.deaf:
                self.damage[name] += 1
                continue
            if frame.sender in faults.mute and name != frame.sender:
                self.damage[frame.sender] += 1
                continue
            copies = 1 + (self._rng.random() < faults.doubling)
            for _ in range(copies):
                late = self._rng.random() < faults.reordering
                lost = self._rng.random() < faults.loss
                if late or lost:
                    self.damage[name] += 1
                if lost:
                    continue
                own = self._rng.uniform(0, 5 * faults.delay) if late else 0.0
                self._schedule(common + own, name, frame)
        return True
