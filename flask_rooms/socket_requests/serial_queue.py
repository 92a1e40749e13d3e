"""A bounded queue of one socket's requests: they run one at a time, in the order sent."""

from __future__ import annotations

import contextvars
import enum
import threading
import time
from collections import deque
from collections.abc import Callable

#: A function to run.
Job = Callable[[], object]


class Admission(enum.Enum):
    """What SerialQueue.put() has done with a job."""

    #: The job is queued and no thread runs the queue: the caller has to arrange a call of run().
    START = enum.auto()
    #: The job is queued, and a thread that runs the queue will reach it.
    QUEUED = enum.auto()
    #: The queue is full, and the job is not in it.
    REFUSED = enum.auto()


class SerialQueue:
    """
    Jobs that run one after another; while it is empty, no thread belongs to it.

    Args:
        jobs: How many may wait.
        size: The limit on their total size, in bytes. A single job may exceed it.
    """

    def __init__(self, jobs: int, size: int) -> None:
        self._jobs = jobs
        self._size = size
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Job, int]] = deque()
        self._bytes = 0  # of those that wait
        self._running = False
        self._awaited = False  # whether a reader waits for room

    @property
    def waits(self) -> bool:
        """Whether jobs wait for the present one to end."""
        return bool(self._waiting)

    def put_patiently(
        self, job: Job, size: int, timeout: float, wait: Callable[[], bool]
    ) -> Admission:
        """
        Add a job as put() does, but wait for room first.

        The caller is the reader of a connection, which reads no more meanwhile. Only one waits:
        else a client that sends in parallel would hold many threads.

        Args:
            job: The function to run.
            size: The memory that it holds while it waits, in bytes.
            timeout: Seconds to wait at most.
            wait: Waits for a moment; False ends the wait.
        """
        admission = self.put(job, size)
        if admission is not Admission.REFUSED:
            return admission
        with self._lock:
            if self._awaited:
                return admission
            self._awaited = True
        try:
            deadline = time.monotonic() + timeout
            while admission is Admission.REFUSED and time.monotonic() < deadline and wait():
                admission = self.put(job, size)
            return admission
        finally:
            self._awaited = False

    def put(self, job: Job, size: int) -> Admission:
        """
        Add a job to the end of the queue, unless that is full.

        Args:
            job: The function to run.
            size: The memory that it holds while it waits, in bytes.
        """
        with self._lock:
            full = len(self._waiting) >= self._jobs or self._bytes + size > self._size
            if full and self._waiting:
                return Admission.REFUSED
            self._waiting.append((job, size))
            self._bytes += size
            if self._running:
                return Admission.QUEUED
            self._running = True
            return Admission.START

    def run(self, pause: Callable[[], object]) -> None:
        """
        Run jobs until the queue is empty.

        Args:
            pause: Called between two jobs, so that a long queue does not starve other threads.
        """
        while (job := self._next()) is not None:
            try:
                # What a job sets in its context is not seen by the next one.
                contextvars.Context().run(job)
                if self._waiting:
                    pause()
            except BaseException:
                # The error ends this thread, and the next put() has to start another one.
                self._stop()
                raise

    def _next(self) -> Job | None:
        with self._lock:
            if not self._waiting:
                self._running = False
                return None
            job, size = self._waiting.popleft()
            self._bytes -= size
            return job

    def _stop(self) -> None:
        with self._lock:
            self._running = False
