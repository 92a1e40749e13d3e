"""The thread that receives leaves room for others, however much arrives."""

from __future__ import annotations

import threading

from flask_rooms.backends.base import Backend
from flask_rooms.cluster.receiver import Receiver
from flask_rooms.errors import BackendError
from tests.support.apps import PATIENCE


class Flood(Backend):
    """A broker from which there is always something to receive, without waiting."""

    def open(self) -> None: ...

    def publish(self, payload: bytes) -> None: ...

    def receive(self, timeout: float) -> bytes:
        return b"x"

    def close(self) -> None: ...


class Sink:
    """Takes everything."""

    def poll_timeout(self) -> float:
        return PATIENCE

    def on_payload(self, payload: bytes | None, reconnected: bool) -> bool:
        return True

    def on_disconnect(self, error: BackendError) -> None: ...

    def on_idle(self) -> None: ...


def test_a_flood_of_messages_starves_no_other_thread() -> None:
    """Green threads run only when the one that receives lets them."""
    sink = Sink()
    receiver = Receiver(sink, Flood(), opened=True)
    thread = threading.Thread(target=receiver.run, daemon=True)
    stops = threading.Thread(target=receiver.stopping.set)

    thread.start()
    stops.start()

    thread.join(PATIENCE)
    assert receiver.stopped.is_set()
