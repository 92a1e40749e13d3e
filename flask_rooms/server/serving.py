"""How a worker begins to serve clients, and how it ends: without losing any of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from flask_rooms.backends import MemoryBackend
from flask_rooms.backends.forks import reset_in_children
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.shutdown import handle_signals
from flask_rooms.history.keeper import Keeper
from flask_rooms.results import Health
from flask_rooms.server.drain import Drain
from flask_rooms.server.private import ServerInternals


class Serving:
    """
    The life of one application's worker in a process that serves it.

    Args:
        cluster: The connection to the other workers.
        drain: Moves the clients away.
        internals: The server.
        timeout: Seconds for the clients and their handlers, where a process ends.
        keeper: Keeps the history of rooms.
    """

    def __init__(
        self,
        cluster: Cluster,
        drain: Drain,
        internals: ServerInternals,
        timeout: float,
        keeper: Keeper,
    ) -> None:
        self._cluster = cluster
        self._drain = drain
        self._internals = internals
        self._timeout = timeout
        self._keeper = keeper
        self._begun_in = 0  # the process that serves
        self._moved_by: float | None = None  # until when the end of the process waits
        reset_in_children(self)

    def begin(self) -> None:
        """Join the cluster, and move the clients away when a signal asks the process to end."""
        if self._begun_in != os.getpid():
            self._begun_in = os.getpid()
            handle_signals()
        self._cluster.start()

    def spawn(self, function: Callable[..., object], *args: object) -> None:
        """Run a function in the background."""
        self._internals.spawn(function, *args)

    def start_loop(self, function: Callable[..., object], *args: object) -> bool:
        """Run a function that waits in the background; return whether it runs."""
        return self._internals.start_loop(function, *args)

    @property
    def in_process(self) -> bool:
        """Whether the backend connects the workers of this process only."""
        return isinstance(self._cluster.backend, MemoryBackend)

    @property
    def is_member(self) -> bool:
        """Whether this process has joined the cluster, and has not left it."""
        return self._cluster.is_member

    @property
    def health(self) -> Health:
        """Whether this worker can serve clients."""
        joined = self.is_member
        broker = joined and self._cluster.hears_itself
        problem = None if broker else self._cluster.broker_error
        return Health(joined, broker, self._drain.begun, problem)

    def drain(self, timeout: float | None) -> bool:
        """Move the clients away and leave the cluster; return whether all handlers have run."""
        timeout = self._timeout if timeout is None else timeout
        done = self._drain.move(time.monotonic() + timeout)
        self._cluster.stop()
        return done

    def move_clients(self) -> None:
        """Move the clients away, because the process is about to end."""
        if self._moved_by is None:
            self._moved_by = time.monotonic() + self._timeout
        if self._internals.has_served or self._drain.begun:
            self._drain.move(self._moved_by)

    def stop(self) -> None:
        """Move the clients away and leave the cluster, because the process ends."""
        self.move_clients()
        self._cluster.stop()
        self._keeper.close()

    def reset_after_fork(self) -> None:
        """Begin again, in a forked child."""
        self._moved_by = None
        self._drain.reset_after_fork()
