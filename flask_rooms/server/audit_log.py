"""The audit log: what operators have done on the admin page, of all workers."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from flask_rooms.backends.logs import safe_logging
from flask_rooms.errors import RoomsError
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.emitter import Emitter

logger = logging.getLogger("flask_rooms.server")

#: How many acts are remembered: the latest ones.
MOST = 500
#: Under which name workers tell each other of acts.
_TOPIC = "acts"


class AuditLog:
    """
    The latest acts of operators, those on other workers since this one has joined among them.

    Args:
        emitter: Tells the other workers.
        delivery: Receives what they tell.
    """

    def __init__(self, emitter: Emitter, delivery: Delivery) -> None:
        self._emitter = emitter
        self._acts: deque[dict[str, Any]] = deque(maxlen=MOST)
        delivery.on_worker_message[_TOPIC] = self._acts.append

    def latest(self, count: int) -> list[dict[str, Any]]:
        """Return the latest acts, the last one first."""
        acts = sorted(self._acts, key=lambda act: float(act["at"]), reverse=True)
        return acts[:count]

    def add(self, who: str, act: str, target: str, outcome: str) -> None:
        """
        Log an act, also to the logger.

        Args:
            who: The operator.
            act: What was done.
            target: To whom.
            outcome: What it came to.
        """
        with safe_logging():
            logger.warning("%r has asked for %s of %s: %s", who, act, target, outcome)
        done = {"at": time.time(), "who": who, "act": act, "target": target, "outcome": outcome}
        self._acts.append(done)
        try:
            self._emitter.tell_workers(_TOPIC, done)
        except RoomsError as error:  # the act is done all the same
            with safe_logging():
                logger.warning("The other workers could not be told of an act: %s", error)
