"""The workers: one process after the other, each behind a proxy of its own."""

from __future__ import annotations

import http.client
import threading
from typing import Any
from urllib.error import HTTPError

from tests.support.brokers import Broker
from tests.support.proxy import Proxy
from tests.support.workers import Worker

APPLICATION = "tests.faults.app"


class Unanswered(Exception):
    """The worker has ended before it could answer, or has not answered for a very long time."""


class Seat:
    """
    One worker's place in the cluster, which outlives its processes.

    Args:
        index: Its number.
        broker: The broker.
        channel: Of the cluster.
        options: Of the worker's command line.

    Attributes:
        restarted: Whether it has started over or was replaced since the last check, so that what
            it held and what it had to say is gone.
        paused: Whether it was stopped since the last check, so that its callers were, too.
        failures: Answers that were an error of the application.
    """

    def __init__(self, index: int, broker: Broker, channel: str, *options: str) -> None:
        self.index = index
        url = broker.url_for(index)
        self._proxy = Proxy(url) if broker.proxied else None
        self._backend = self._proxy.url if self._proxy else url
        self.restarted = self.paused = False
        self.failures: list[str] = []
        self.name = ""  # at the last check
        self._channel, self._options = channel, options
        self._there = threading.Event()
        self._worker = self._new()

    @property
    def proxy(self) -> Proxy:
        """What is between the worker and the broker."""
        assert self._proxy is not None
        return self._proxy

    @property
    def url(self) -> str:
        """Where the worker serves."""
        return self._worker.url

    def wait_until_listening(self) -> None:
        """Return when the worker serves."""
        self._worker.wait_until_listening()
        self.name = self._worker.name
        self._there.set()

    def is_there(self, seconds: float) -> bool:
        """Whether it serves, within so many seconds."""
        return self._there.wait(seconds)

    def post(self, path: str, **data: Any) -> Any:
        """
        Run a route of the application.

        Raises:
            Unanswered: There is no answer, and it is unknown what was done.
        """
        try:
            return self._worker.post(path, **data)
        except HTTPError as error:
            self.failures.append(f"{path}: {error}")
            raise Unanswered from error
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered from error

    def pause(self) -> None:
        """Stop the worker from doing anything."""
        self.paused = True
        self._worker.pause()

    def resume(self) -> None:
        """Let it continue."""
        self._worker.resume()

    def kill(self) -> None:
        """End the worker without a warning."""
        self._there.clear()
        self.restarted = True
        self._worker.kill()

    def replace(self) -> None:
        """Start a new worker in the place of the one that was killed."""
        self._worker = self._new()
        self.wait_until_listening()

    def stop(self) -> None:
        """End the worker in peace, and the proxy."""
        self._worker.stop()
        if self._proxy:
            self._proxy.stop()

    def heal(self) -> None:
        """Let the proxy carry everything again."""
        if self._proxy:
            self._proxy.heal()

    def begin_to_stop(self) -> None:
        """Tell the worker to end, without waiting for that."""
        self._worker.begin_to_stop()

    def _new(self) -> Worker:
        return Worker(self._backend, self._channel, APPLICATION, *self._options)
