"""What a cluster needs of the worker that it connects, and what it gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flask_rooms.protocol.messages import Ask, Change, Operation, Query, Room, Tell
from flask_rooms.results import Part, WorkerInfo


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


class Outbox(Protocol):
    """Sends operations to the other workers."""

    @property
    def name(self) -> str:
        """The name of this worker."""

    def publish(self, operation: Operation) -> None:
        """Submit an operation and send it."""


class LocalWorker(Protocol):
    """The worker that a cluster connects, with its sockets."""

    def change(self, change: Change, name: str) -> Part:
        """Carry out a change that this worker, called *name*, has been asked for by a caller."""

    def fast_leave(self, namespace: str, sid: str, rooms: tuple[Room, ...]) -> Part | None:
        """Take a socket out of rooms; None if change() is to do it, as something listens."""

    def change_for(self, change: Change, sender: str, reply: Callable[[Part], object]) -> None:
        """Carry out another worker's change on the sockets here, and *reply* what was done."""

    def give_way(self, change: Change, newer: int) -> None:
        """Disconnect the socket of *change* that others are older than: a newer one outlasts it."""

    def on_operation(self, operation: Operation, sender: str, outbox: Outbox) -> None:
        """Take in an event or an acknowledgement of another worker; answers go to *outbox*."""

    def told(self, tell: Tell) -> bool:
        """Take in a message of another worker; return whether there was a place for it."""

    def ask(self, ask: Ask, sender: str, outbox: Outbox) -> tuple[list[Room], list[int]]:
        """Ask the sockets here, whose answers go to *outbox*; return the names and counts."""

    def answer(self, query: Query) -> tuple[list[Room], list[int]]:
        """Return the names and counts that a query asks for."""

    def on_worker_met(self, worker: str) -> None:
        """Note that another worker was met."""

    def on_worker_left(self, worker: WorkerInfo, said_goodbye: bool) -> None:
        """Release what waits for another worker, which has left or counts as dead."""

    def on_serving(self) -> None:
        """Note that this worker begins to serve clients."""

    def on_restart(self) -> None:
        """Forget the other workers: this one has a new name."""

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""

    def disconnect_all(self) -> None:
        """End every membership of this worker's sockets, and disconnect them."""

    def start(self, function: Callable[..., object], *args: object) -> object:
        """Run *function* in the background; raises RuntimeError if no thread can be started."""

    def spawn(
        self, function: Callable[..., object], *args: object, kind: str | None = ...
    ) -> object:
        """
        Run *function* in the background, or in place if no thread can be started.

        Its thread has run functions of this *kind* alone before; None is for a new thread.
        """
