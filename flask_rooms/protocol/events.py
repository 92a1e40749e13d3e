"""What follows from a frame or from time: what the driver of a Node has to do."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from flask_rooms.protocol.messages import Operation
from flask_rooms.protocol.pending import Completed, TimedOut


class Deliver(Struct, frozen=True):
    """An operation of another worker, to be applied here, now and in this order."""

    sender: str
    number: int
    operation: Operation


class PeerLeft(Struct, frozen=True):
    """
    Another worker has left the cluster, or is dead; its sockets are gone with it.

    Args:
        worker: Its name.
        said_goodbye: Whether it has left in good order; otherwise it counts as dead.
    """

    worker: str
    said_goodbye: bool


class Evicted(Struct, frozen=True):
    """
    This worker missed something for good: its memberships can no longer be trusted.

    Args:
        by: The worker from which it has learned that.
        counted_dead: Whether that worker counts this one as dead, or did not know of it and has
            ended; otherwise it no longer holds an operation that this one has missed.
    """

    by: str
    counted_dead: bool

    @property
    def reason(self) -> str:
        """Why, for the log."""
        if self.counted_dead:
            return f"worker {self.by} has counted this worker as dead"
        return f"worker {self.by} can no longer repeat what this worker missed"


class VerifyCount(Struct, frozen=True):
    """
    All workers have to be queried, as a call waits for the end of a count.

    Rule `every-worker-is-known`: as many were met as the broker has counted. One of these may have
    ended before, and one that was not met was counted in its place.
    """


Event: TypeAlias = "Deliver | Completed | TimedOut | PeerLeft | Evicted | VerifyCount"
