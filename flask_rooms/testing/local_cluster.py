"""cluster(), several workers of one application in this process, with faults on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, overload

from flask import Flask

from flask_rooms.backends.base import Backend
from flask_rooms.backends.overrides import Overrides, current_overrides
from flask_rooms.errors import BackendUnavailable, ConfigurationError, Unconfirmed
from flask_rooms.history import MemoryHistory
from flask_rooms.testing.bus import Bus, BusBackend, Faults
from flask_rooms.testing.worker import Worker

#: Seconds until the workers have to know each other. A passing test does not wait for it.
_SETTLE_TIMEOUT = 30.0


class LocalCluster(Sequence[Worker]):
    """
    The workers of a test, which run inside a `with` block; made by `cluster()`.

    Args:
        create_app: Returns the application of one worker.
        workers: The number of workers.
        seed: The seed of the random faults.
        options: The options of Rooms.
    """

    def __init__(
        self, create_app: Callable[[], Flask], workers: int, seed: int, options: dict[str, Any]
    ) -> None:
        self._create_app = create_app
        self._count = workers
        self._bus = Bus(seed)
        self._overrides = Overrides(options, self._connect, MemoryHistory())
        self._backends: dict[Flask, BusBackend] = {}
        self._workers: list[Worker] = []

    def __enter__(self) -> LocalCluster:
        try:
            for _ in range(self._count):
                self._start_one()
            self._settle()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @overload
    def __getitem__(self, index: int) -> Worker: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Worker]: ...

    def __getitem__(self, index: int | slice) -> Worker | Sequence[Worker]:
        return self._workers[index]

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def faults(self) -> Faults:
        """The faults of the messages between the workers; set its attributes."""
        return self._bus.faults

    def add(self) -> Worker:
        """Start another worker, for example in place of one that has crashed."""
        worker = self._start_one()
        self._settle()
        return worker

    def down(self) -> None:
        """Stop the broker: every worker loses its connection."""
        self._bus.down = True

    def up(self) -> None:
        """Start the broker again, and return when the workers know each other."""
        self._bus.down = False
        self._settle()

    # -- workers --------------------------------------------------------------------------

    def _connect(self, app: Flask, channel: str) -> Backend:
        self._backends[app] = BusBackend(self._bus, channel)
        return self._backends[app]

    def _start_one(self) -> Worker:
        token = current_overrides.set(self._overrides)
        try:
            app = self._create_app()
        finally:
            current_overrides.reset(token)
        backend = self._backends.pop(app, None)
        if backend is None:
            raise ConfigurationError(
                "cluster() needs a factory: each call must return a new Flask application that "
                "was passed to Rooms(app) or init_app(app)."
            )
        worker = Worker(app, backend, self._fence, self._settle)
        self._workers.append(worker)
        worker.start()
        return worker

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    # -- synchronisation ------------------------------------------------------------------

    def _reachable(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.reachable]

    def _fence(self, receiver: Worker) -> None:
        """Return when *receiver* has every message that reachable workers have sent so far."""
        if receiver.reachable:
            self._exchange_fences([(worker, receiver) for worker in self._reachable()])

    def _exchange_fences(self, pairs: list[tuple[Worker, Worker]]) -> None:
        waits = [sender.send_fence(other) for sender, other in pairs if sender is not other]
        for wait in waits:
            wait()

    def _settle(self) -> None:
        """Return when all reachable workers know each other and have answered each other."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while not self._settled():
            for worker in self._reachable():
                if worker.drop_reason:
                    raise ConfigurationError(
                        f"The workers refuse each other's messages ({worker.drop_reason}): the "
                        "factory must give all of them the same SECRET_KEY."
                    )
            if time.monotonic() > deadline:
                raise TimeoutError(
                    "The workers do not receive each other's messages: check that they have the "
                    "same ROOMS_CHANNEL."
                )
            threading.Event().wait(0.01)

    def _settled(self) -> bool:
        if not self._know_each_other():
            return False
        reachable = self._reachable()
        try:
            self._exchange_fences([(one, other) for one in reachable for other in reachable])
        except (BackendUnavailable, Unconfirmed):
            return False  # an outbox is still full, or a worker that was declared dead restarts
        return self._know_each_other()

    def _know_each_other(self) -> bool:
        reachable = self._reachable()
        names = {worker.name for worker in reachable}
        return all(worker.knows(names) for worker in reachable)


def cluster(
    create_app: Callable[[], Flask],
    workers: int = 2,
    *,
    heartbeat_interval: float = 0.1,
    confirm_timeout: float = 5.0,
    seed: int = 0,
    **options: Any,
) -> LocalCluster:
    """
    Run several workers of an application in this process, for a test.

    Each worker is an application of its own, made by *create_app* as in production. The backend
    of its configuration is not used: an in-process broker connects the workers.

    Args:
        create_app: Returns a new application that was passed to Rooms(app) or init_app(app).
        workers: The number of workers to start.
        heartbeat_interval: Seconds between two heartbeats; it bounds how soon a dead worker is
            detected.
        confirm_timeout: Seconds to wait for the confirmation of another worker.
        seed: The seed of the random faults.
        options: Further options of Rooms, such as `outbox_bytes`; they take precedence over
            the application's configuration.

    Returns:
        A context manager for a `with` block, and a sequence of workers in it.

    Raises:
        ConfigurationError: On entering: *create_app* returns no new application with Rooms, or
            an option is not valid.
        TimeoutError: On entering: the workers do not receive each other's messages.
    """
    return LocalCluster(
        create_app,
        workers,
        seed,
        {"heartbeat_interval": heartbeat_interval, "confirm_timeout": confirm_timeout, **options},
    )
