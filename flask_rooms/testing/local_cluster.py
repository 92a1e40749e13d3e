"""Several workers of one application in this process, and everything that can go wrong there."""

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
from flask_rooms.testing.bus import Bus, BusBackend, Faults
from flask_rooms.testing.worker import Worker

#: Seconds to wait for what must come; a longer one costs nothing while tests pass.
_PATIENCE = 30.0


class LocalCluster(Sequence[Worker]):
    """
    The workers of a test, from the start of a `with` block to its end; made by `cluster()`.

    Args:
        create_app: Makes the application of one worker.
        workers: How many.
        seed: Of the faults.
        options: Those of Rooms.
    """

    def __init__(
        self, create_app: Callable[[], Flask], workers: int, seed: int, options: dict[str, Any]
    ) -> None:
        self._create_app = create_app
        self._count = workers
        self._bus = Bus(seed)
        self._overrides = Overrides(options, self._connect)
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
        """What goes wrong between the workers; set its attributes."""
        return self._bus.faults

    def add(self) -> Worker:
        """Start one more worker, as in place of one that has crashed."""
        worker = self._start_one()
        self._settle()
        return worker

    def down(self) -> None:
        """Take the broker away: every worker loses its connection."""
        self._bus.down = True

    def up(self) -> None:
        """Bring the broker back, and return when the workers hear each other again."""
        self._bus.down = False
        self._settle()

    # -- making workers -------------------------------------------------------------------

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
                "cluster() needs a factory: each call has to make a new Flask application and "
                "to give it to Rooms(app) or init_app(app)."
            )
        worker = Worker(app, backend, self._fence, self._settle)
        self._workers.append(worker)
        worker.start()
        return worker

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    # -- waiting for each other -----------------------------------------------------------

    def _reachable(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.reachable]

    def _fence(self, listener: Worker) -> None:
        """Return when *listener* has all that the others have said so far."""
        if listener.reachable:
            self._ask([(worker, listener) for worker in self._reachable()])

    def _ask(self, pairs: list[tuple[Worker, Worker]]) -> None:
        signs = [worker.ask(other) for worker, other in pairs if worker is not other]
        for sign in signs:
            sign()

    def _settle(self) -> None:
        """Return when all that have a way to each other know each other, and have answered."""
        deadline = time.monotonic() + _PATIENCE
        while not self._settled():
            for worker in self._reachable():
                if worker.refused:
                    raise ConfigurationError(
                        f"The workers refuse each other's messages ({worker.refused}): the "
                        "factory has to give each the same SECRET_KEY."
                    )
            if time.monotonic() > deadline:
                raise TimeoutError(
                    "The workers do not hear each other: have they the same ROOMS_CHANNEL?"
                )
            threading.Event().wait(0.01)

    def _settled(self) -> bool:
        if not self._acquainted():
            return False
        everybody = self._reachable()
        try:
            self._ask([(one, other) for one in everybody for other in everybody])
        except (BackendUnavailable, Unconfirmed):
            return False  # an outbox is still full; or one was counted dead, and starts again
        return self._acquainted()

    def _acquainted(self) -> bool:
        everybody = self._reachable()
        names = {worker.name for worker in everybody}
        return all(worker.knows(names) for worker in everybody)


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

    Each worker is an application of its own, made by *create_app* as in production. Whatever
    backend its configuration names is left alone: the workers meet in this process.

    Args:
        create_app: Makes an application and gives it to Rooms(app) or init_app(app).
        workers: How many workers to start with.
        heartbeat_interval: Seconds; the shorter, the sooner a dead worker is noticed.
        confirm_timeout: Seconds to wait for the confirmation of another worker.
        seed: Of the random faults.
        options: Further options of Rooms, such as `outbox_bytes`; they take precedence over
            the application's configuration.

    Returns:
        A context manager for a `with` block, and a sequence of workers in it.

    Raises:
        ConfigurationError: On entering: *create_app* makes no new application with Rooms, or an
            option is wrong.
        TimeoutError: On entering: the workers do not hear each other.
    """
    return LocalCluster(
        create_app,
        workers,
        seed,
        {"heartbeat_interval": heartbeat_interval, "confirm_timeout": confirm_timeout, **options},
    )
