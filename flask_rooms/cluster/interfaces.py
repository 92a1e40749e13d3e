"""What a cluster needs of the worker that it connects, and how long it waits for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flask_rooms.cluster.confirmation import Part
from flask_rooms.protocol.messages import (
    Change,
    Operation,
    Query,
    Room,
)


@dataclass(frozen=True)
class Timing:
    """
    How long a cluster waits.

    Args:
        heartbeat: Seconds between two heartbeats.
        confirm: Seconds to wait for a confirmation at most.
    """

    heartbeat: float
    confirm: float


class LocalWorker(Protocol):
    """The worker that a cluster connects, with its sockets."""

    def change(self, change: Change) -> Part:
        """Carry out a change of this worker's own on its sockets."""

    def change_for(self, change: Change, sender: str, tell: Callable[[Part], object]) -> None:
        """Carry out another worker's change on the sockets here, and *tell* what was done."""

    def apply(self, operation: Operation, sender: str) -> None:
        """Carry out another operation on the sockets of this worker."""

    def answer(self, question: Query) -> tuple[list[Room], list[int]]:
        """Return the names and counts that a question asks for."""

    def worker_gone(self, worker: str) -> None:
        """Another worker has left; nothing will come from it any more."""

    def forked(self) -> None:
        """Forget, in a forked child, what is the parent's."""

    def holds(self, namespace: str, sid: str) -> bool:
        """Whether a socket is of this worker."""

    def expel(self) -> None:
        """End every membership of this worker's sockets, and disconnect them."""

    def spawn(self, function: Callable[..., object], *args: object) -> object:
        """Run *function* in the background."""
