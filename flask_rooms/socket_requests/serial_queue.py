"""What one socket has waiting: done one after another, in the order in which it came."""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable

#: What is to be done.
Job = Callable[[], object]


class Admission(enum.Enum):
    """What became of a job that was to stand in a line."""

    #: The line was empty: whoever has put the job there has to see to it that work() is called.
    FIRST = enum.auto()
    #: Somebody is at work already.
    WAITS = enum.auto()
    #: The line is too long: the job is not in it.
    REFUSED = enum.auto()


class SerialQueue:
    """
    Jobs that stand in a line; no thread belongs to it while it is empty.

    Args:
        jobs: How many may wait.
        size: How much they may take together, in bytes. A single one may take more.
    """

    def __init__(self, jobs: int, size: int) -> None:
        self._jobs = jobs
        self._size = size
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Job, int]] = deque()
        self._bytes = 0  # of those that wait
        self._working = False

    def join(self, job: Job, size: int) -> Admission:
        """Put *job*, which takes *size* bytes, at the end of the line."""
        with self._lock:
            full = len(self._waiting) >= self._jobs or self._bytes + size > self._size
            if full and self._waiting:
                return Admission.REFUSED
            self._waiting.append((job, size))
            self._bytes += size
            if self._working:
                return Admission.WAITS
            self._working = True
            return Admission.FIRST

    def work(self, pause: Callable[[], object]) -> None:
        """
        Do all that waits.

        Args:
            pause: Called between two jobs, so that a long line does not keep others waiting.
        """
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException:
                # Whatever ends this worker, the next job is to find another one.
                self._stop()
                raise
            if self._waiting:
                pause()

    def _next(self) -> Job | None:
        with self._lock:
            if not self._waiting:
                self._working = False
                return None
            job, size = self._waiting.popleft()
            self._bytes -= size
            return job

    def _stop(self) -> None:
        with self._lock:
            self._working = False
