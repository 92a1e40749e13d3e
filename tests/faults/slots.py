"""The clients: each connects again whenever its socket has ended, as a browser would."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty

from socketio.exceptions import ConnectionError as NotConnected

from tests.faults.journal import Life
from tests.faults.seats import Seat
from tests.support.clients import Client

#: Seconds between two tries to connect.
PAUSE = 0.1


class Slot:
    """
    One client of a worker, with one socket after the other.

    Args:
        seat: The worker.
        callers: For each room, the worker on which its memberships are asked for.

    Attributes:
        lives: Its sockets since the last check; the last one is the present one.
    """

    def __init__(self, seat: Seat, callers: dict[str, Seat]) -> None:
        self.seat = seat
        self.lives: list[Life] = []
        self._callers = callers
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def life(self, seconds: float) -> Life | None:
        """Return the present socket, waiting so long for one."""
        return self.lives[-1] if self._connected.wait(seconds) else None

    def begin_again(self) -> None:
        """Forget what has been checked, and the sockets that have ended."""
        for life in self.lives:
            life.begin_again()
        self.lives = self.lives[-1:]

    def stop(self) -> None:
        """Disconnect for good."""
        self._stopping.set()
        if self._client is not None:
            with suppress(Exception):  # it may be about to end by itself
                self._client.disconnect()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self.seat.is_there(PAUSE):
                continue
            try:
                self._client = client = Client(self.seat.url)
            except (NotConnected, OSError):
                self._stopping.wait(PAUSE)
                continue
            life = Life(self.seat, client.sid, self._callers)
            self.lives.append(life)
            self._connected.set()
            while not life.ended:
                with suppress(Empty):
                    life.hear(*client.receive())
            self._connected.clear()
            with suppress(Exception):
                client.disconnect()
