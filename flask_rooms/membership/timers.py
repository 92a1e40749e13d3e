"""Calls functions at set times: one heap, and one thread while something is in it."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from flask_rooms.backends.logs import safe_logging

logger = logging.getLogger("flask_rooms.membership")

#: Seconds after which the clock is looked at again: no thread can wait for some centuries.
_LONGEST = 3600.0


class Timers:
    """
    Calls functions later, one after the other, in a thread of its own; they have to be quick.

    Args:
        start_loop: Runs a function that waits in the background; returns whether it does.
    """

    def __init__(self, start_loop: Callable[..., bool]) -> None:
        self._start_loop = start_loop
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()  # so that functions are never compared
        self._running = False

    def after(self, seconds: float, function: Callable[[], object]) -> bool:
        """
        Call a function after so many seconds.

        Returns:
            False if no thread can be started: it is called once a later call has started one.
        """
        with self._changed:
            due = time.monotonic() + seconds
            heapq.heappush(self._heap, (due, next(self._numbers), function))
            is_first = self._heap[0][2] is function
            begin, self._running = not self._running, True
            if is_first:
                self._changed.notify()
        if begin and not self._start_loop(self._run, self._changed):
            with self._changed:
                self._running = False
            return False
        return True

    def _run(self, changed: threading.Condition) -> None:
        while True:
            function = self._next(changed)
            if function is None:
                return
            try:
                function()
            except Exception:  # the next one is not to be late for it
                with safe_logging():
                    logger.exception("What was to be done at a set time has failed.")

    def _next(self, changed: threading.Condition) -> Callable[[], object] | None:
        """Wait until something is due, and return it; None when nothing waits."""
        with changed:
            while self._heap:
                due, _, function = self._heap[0]
                remaining = due - time.monotonic()
                if remaining <= 0:
                    heapq.heappop(self._heap)
                    return function
                changed.wait(min(remaining, _LONGEST))
            self._running = False
            return None
