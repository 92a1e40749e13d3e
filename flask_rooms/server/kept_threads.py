"""
Threads that stay for a moment when they have done something, as to start one takes long.

A ThreadPoolExecutor has a bound, and what waits for a thread there could wait for ever: a guard may
wait for what another one does. It also joins its threads at the exit of the interpreter.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

#: Seconds that a thread waits for more to do.
STAY = 0.25
#: How many threads wait at most.
MAX_WAITING = 16

#: What a thread is given to do.
Job = Callable[[], object]


class _Waiting:
    """A thread that waits for a job."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._given = threading.Event()

    def give(self, job: Job) -> None:
        self._job = job
        self._given.set()

    def wait(self, seconds: float | None = None) -> bool:
        return self._given.wait(seconds)

    def take(self) -> Job | None:
        job, self._job = self._job, None  # or it would be kept until the next one
        return job


class KeptThreads:
    """
    The threads of one worker, for jobs of one kind, that have nothing to do, and end soon.

    Nothing waits behind anything else: a job is for a thread that waits, or for a new one. What a
    job leaves in its thread, as a connection to a database, is there for the next one.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def hand_over(self, job: Job) -> bool:
        """Let a thread that waits run *job*; return False if there is none."""
        if self._process != os.getpid():  # a fork has copied no thread
            self._process, self._waiting, self._lock = os.getpid(), [], threading.Lock()
        with self._lock:
            if not self._waiting:
                return False
            thread = self._waiting.pop()
        thread.give(job)
        return True

    def run(self, job: Job | None) -> None:
        """Run *job* in a new thread, and what comes afterwards; return when nothing does."""
        while job is not None:
            job()
            job = None  # what it holds is not to be kept while the thread waits
            job = self._next()

    def _next(self) -> Job | None:
        me = _Waiting()
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                return None
            self._waiting.append(me)
        if not me.wait(STAY):
            with self._lock:
                if me in self._waiting:
                    self._waiting.remove(me)
                    return None
            me.wait()  # a job is just being given
        return me.take()
