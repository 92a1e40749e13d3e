"""How fast one connection may send, and how long it may keep the worker from the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Waited = TypeVar("_Waited")

#: Seconds that a task may work before it lets others run.
AT_A_STRETCH = 0.001


class Pace:
    """
    A token bucket that holds the tokens of one second.

    Args:
        rate: How many packets a second.
    """

    def __init__(self, rate: int) -> None:
        self._interval = 1 / rate
        self._due = 0.0  # when the bucket will be full again, if no further packet comes

    def delay(self, now: float) -> float:
        """Count a packet that has come *now*; return the seconds until it may be handled."""
        self._due = max(self._due, now) + self._interval
        return max(0.0, self._due - now - 1.0)


class Pauses:
    """
    Lets other tasks run whenever one has worked for a moment.

    To do so after every packet or request takes as long as a small request itself. Where the task
    waits, others run anyway, so that this is no work.

    Args:
        sleep: Lets them run for so many seconds.
    """

    def __init__(self, sleep: Callable[[float], object]) -> None:
        self._sleep = sleep
        self._due = time.monotonic() + AT_A_STRETCH

    def __call__(self) -> None:
        """Let other tasks run if it is time to."""
        if time.monotonic() >= self._due:
            self._sleep(0)
            self._due = time.monotonic() + AT_A_STRETCH

    def waiting(self, wait: Callable[[int], _Waited], size: int) -> _Waited:
        """Return what *wait* returns for *size*, without counting the time that it takes."""
        began = time.monotonic()
        waited = wait(size)
        self._due += time.monotonic() - began
        return waited
