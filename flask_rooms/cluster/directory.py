"""Where the workers run, as their heartbeats have told."""

from __future__ import annotations

import os
import platform
import time

from flask_rooms.protocol.messages import About, Heartbeat
from flask_rooms.results import WorkerInfo

#: How many workers are remembered: those heard last, dead ones among them.
MAX_KNOWN = 4096


class Directory:
    """
    Adds to the name of a worker what is known about it.

    Written by the receiver's thread; may be read from any.

    Args:
        interval: Seconds between two heartbeats of this worker.
        version: Its version of Flask-Rooms.
    """

    def __init__(self, interval: float, version: str) -> None:
        #: Of this worker.
        self.about = About(platform.node(), os.getpid(), version, interval)
        self._known: dict[str, tuple[About, float]] = {}

    def note(self, name: str, heartbeat: Heartbeat, now: float) -> None:
        """Record what a worker has told in a heartbeat."""
        if heartbeat.about is not None:
            self._record(name, heartbeat.about, now - heartbeat.age)

    def note_self(self, name: str, now: float) -> None:
        """Record the name of this worker, which is born now."""
        self._record(name, self.about, now)

    def info(self, name: str) -> WorkerInfo:
        """Return a name with what is known about its worker."""
        about, born = self._known.get(name, (None, 0.0))
        if about is None:
            return WorkerInfo(name)
        age = time.monotonic() - born
        return WorkerInfo(name, about.host, about.pid, about.version, age, about.interval)

    def infos(self) -> list[WorkerInfo]:
        """Return all that are remembered, this worker among them."""
        return [self.info(name) for name in list(self._known)]

    def _record(self, name: str, about: About, born: float) -> None:
        self._known.pop(name, None)  # so that the one heard last is the last one
        self._known[name] = about, born
        if len(self._known) > MAX_KNOWN:
            self._known.pop(next(iter(self._known)))
