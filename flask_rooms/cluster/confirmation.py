"""The future of a membership call: completed once, by the last contribution or an error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TypeVar

from flask_rooms.errors import Refused, Unconfirmed
from flask_rooms.results import Outcome

logger = logging.getLogger("flask_rooms")

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """
    What a change has done on one worker, or on several.

    Args:
        outcome: What was done.
        refused: Sockets that a guard does not let in; where they are nothing was done.
    """

    outcome: Outcome
    refused: tuple[str, ...] = ()

    def __add__(self, other: Part) -> Part:
        return Part(self.outcome + other.outcome, self.refused + other.refused)


class Confirmation(Future[Outcome]):
    """
    The future of an Outcome that several places contribute to; it cannot be cancelled.

    Args:
        parts: How many contributions make it complete.
        bound: Seconds that result() and exception() wait at the most.
        silent: Names the workers that have not answered.
        spawn: Runs done-callbacks away from the thread that listens to the other workers,
            which has to go on listening while they run.
    """

    def __init__(
        self,
        parts: int,
        bound: float,
        spawn: Callable[..., object],
        silent: Callable[[Confirmation], Iterable[str]],
    ) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._parts = parts
        self._bound = bound
        self._spawn = spawn
        self._silent = silent
        self._sum = Part(Outcome())
        self._complete = False
        self._adding = threading.Lock()

    def contribute(self, part: Part) -> None:
        """Add one part; the last one completes the future."""
        with self._adding:
            self._sum += part
            self._parts -= 1
            if self._parts > 0 or self._complete:
                return
            self._complete = True
        if self._sum.refused:
            self.set_exception(Refused(self._sum.refused))
        else:
            self.set_result(self._sum.outcome)

    def fail(self, error: Exception) -> None:
        """Complete the future with an error."""
        with self._adding:
            if self._complete:
                return
            self._complete = True
        self.set_exception(error)

    def add_done_callback(self, fn: Callable[[Future[Outcome]], object]) -> None:
        """As in concurrent.futures; at once when it is done, in a thread of its own later."""
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: self._spawn(_call, fn, future))

    def result(self, timeout: float | None = None) -> Outcome:
        """
        Wait for the outcome.

        Args:
            timeout: Seconds; never longer than the cluster's confirmation timeout.

        Raises:
            Unconfirmed: It is not known in time whether it happened.
            concurrent.futures.TimeoutError: *timeout* was shorter than that and is over.
        """
        return self._wait(super().result, timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as result() does, and return its error or None."""
        return self._wait(super().exception, timeout)

    def _wait(self, wait: Callable[[float], T], timeout: float | None) -> T:
        if timeout is not None and timeout < self._bound:
            return wait(timeout)
        try:
            return wait(self._bound)
        except FutureTimeout:
            self.fail(Unconfirmed(self._silent(self), self._bound))
        return wait(self._bound)  # if somebody else was faster, it is as good as complete


def _call(fn: Callable[[Future[Outcome]], object], future: Future[Outcome]) -> None:
    try:
        fn(future)
    except Exception:  # the application's own, which concurrent.futures would log as well
        logger.exception("A callback for the outcome of a room change has failed.")
