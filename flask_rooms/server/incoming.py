"""Hands what other workers send to the parts that it is for."""

from __future__ import annotations

from flask_rooms.cluster.interfaces import Outbox
from flask_rooms.protocol.messages import Answered, Ask, Operation, Room, Tell
from flask_rooms.server.asking import Asking
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.tells import Tells


class Incoming:
    """
    What other workers send to the clients of this one, and what their clients answer.

    Args:
        delivery: Delivers events and acknowledgements.
        asking: Asks clients, and takes their answers.
        tells: Takes what is for the application.
    """

    def __init__(self, delivery: Delivery, asking: Asking, tells: Tells) -> None:
        self._delivery = delivery
        self._asking = asking
        self._tells = tells

    def on_operation(self, operation: Operation, sender: str, outbox: Outbox) -> None:
        """Deliver an event, an acknowledgement or an answer; answers to it go to *outbox*."""
        if isinstance(operation, Answered):
            self._asking.on_answered(operation)
        else:
            self._delivery.on_operation(operation, sender, outbox)

    def ask(self, ask: Ask, sender: str, outbox: Outbox) -> tuple[list[Room], list[int]]:
        """Ask the clients of this worker; return names and counts, as Asking.ask_for() does."""
        return self._asking.ask_for(ask, sender, outbox)

    def told(self, tell: Tell) -> bool:
        """Have the handlers of a message called; return whether there was a place for it."""
        return self._tells.on_told(tell)

    def on_worker_left(self, worker: str) -> None:
        """Release what waits for the clients of another worker, which has left."""
        self._delivery.on_worker_left(worker)
        self._asking.on_worker_left(worker)

    def on_restart(self) -> None:
        """Await no answers to what this worker has asked under its former name."""
        self._asking.on_restart()

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self._delivery.reset_after_fork()
        self._asking.reset_after_fork()
