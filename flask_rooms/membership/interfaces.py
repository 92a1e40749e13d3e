"""What the sockets of this worker need of the parts above them, which have the same names there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from flask_rooms.membership.namespace import MembershipEvent, Origin, Socket
from flask_rooms.protocol.messages import Ask, Operation, Room, Tell


class Tasks(Protocol):
    """Runs functions in the way of the asynchronous mode."""

    def start(self, function: Callable[..., object], *args: object) -> object:
        """Run a function in the background; raises RuntimeError if no thread can be started."""

    def spawn(
        self, function: Callable[..., object], *args: object, kind: str | None = ...
    ) -> object:
        """
        Run a function in the background, or in place if no thread can be started.

        Its thread has run functions of this *kind* alone before; None is for a new thread.
        """

    def run_apart(self, function: Callable[[], Any], kind: str) -> Any:
        """Run a function in a thread and contexts of its own; wait, and return what it returns."""

    def create_event(self) -> Any:
        """Return an event that green threads may wait for."""


class Follower(Protocol):
    """Follows the membership changes before receivers of signals are told; a Tracker does."""

    @property
    def listens(self) -> bool:
        """Whether note() has anything to follow."""

    def note(self, events: list[MembershipEvent], origin: Origin) -> bool:
        """Note changes, under the lock of the registry; return whether flush() has to follow."""

    def flush(self) -> None:
        """Carry on what was noted."""


class Incoming(Protocol):
    """Delivers what other workers send to the clients of this one."""

    def on_operation(self, operation: Operation, sender: str, outbox: Any) -> None:
        """Deliver an event or an acknowledgement; answers go to *outbox*."""

    def ask(self, ask: Ask, sender: str, outbox: Any) -> tuple[list[Room], list[int]]:
        """Ask the sockets here for another worker; return the names and counts of a Reply."""

    def told(self, tell: Tell) -> bool:
        """Take in a message of another worker; return whether there was a place for it."""

    def on_worker_left(self, worker: str) -> None:
        """Release the callbacks that wait for a client of another worker, which has left."""

    def on_restart(self) -> None:
        """Await no answers of other workers: this one has a new name."""

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""


class Tracker(Protocol):
    """Keeps the lists of those who are present in the tracked rooms."""

    def on_operation(self, operation: Any, sender: str) -> None:
        """Take in what another worker lists."""

    def on_worker_met(self, worker: str) -> None:
        """Ask a worker that is met for its list."""

    def on_worker_left(self, worker: str, said_goodbye: bool) -> None:
        """Forget the list of a worker that has ended."""

    def on_serving(self) -> None:
        """Note that this worker begins to serve clients."""

    def on_restart(self) -> None:
        """Forget all lists: this worker has a new name."""

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, the lists of the parent."""


class Disconnects(Protocol):
    """Ends the connections behind the sockets."""

    def disconnect_in_background(self, sockets: list[Socket], namespace: str) -> None:
        """Disconnect the clients of sockets that have ended."""

    def origin_of(self, eio_sid: str) -> tuple[str, str]:
        """Return the address of a client, and how its program describes itself."""

    def hang_up(self, eio_sid: str) -> None:
        """End a connection, so that its client may connect again."""

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, the connections of the parent."""
