"""The future of a membership call: completed once, by the last contribution or by an error."""

from __future__ import annotations

import _thread
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from flask_rooms.backends.forks import reset_in_children
from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.late_future import LateFuture, states
from flask_rooms.cluster.statistics import CallStatistics
from flask_rooms.errors import Refused
from flask_rooms.protocol.messages import Change, Tell, User
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.results import Outcome, Part

logger = logging.getLogger("flask_rooms.cluster")

T = TypeVar("T")

#: How many failures that nothing looks at may wait to be logged.
MAX_UNSEEN = 1000
#: Seconds that a process which ends waits until they are.
LOGGING = 1.0


class _Unseen:
    """
    Logs failures that nothing has looked at, in a thread of its own.

    A future may be dropped at any moment, by the garbage collector, in a thread that holds any
    lock: also that of a handler of logging. So add() takes none.
    """

    def __init__(self) -> None:
        self.reset_after_fork()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self._waiting: deque[tuple[Change | Tell, Exception]] = deque(maxlen=MAX_UNSEEN)
        self._logging = False
        self._failed: weakref.WeakSet[Confirmation] = weakref.WeakSet()

    def watch(self, future: Confirmation) -> None:
        """Have a future that has failed, and that something holds, logged at the exit at least."""
        self._failed.add(future)

    def log_all(self) -> None:
        """Log what nothing has looked at until the process ends; in bounded time."""
        for future in list(self._failed):
            future.report()
        deadline = time.monotonic() + LOGGING
        while self._logging and time.monotonic() < deadline:
            time.sleep(0.001)

    def add(self, change: Change | Tell, error: Exception) -> None:
        """Have a failure logged."""
        self._waiting.append((change, error))
        if self._logging:
            return
        self._logging = True
        try:
            _thread.start_new_thread(self._log, ())
        except RuntimeError:  # the interpreter ends, and no other thread holds a lock
            self._log()

    def _log(self) -> None:
        while True:
            try:
                change, error = self._waiting.popleft()
            except IndexError:
                self._logging = False
                if not self._waiting:  # else another one has come between the two
                    return
            else:
                with safe_logging():
                    logger.warning("%s: %s", _description(change), error)


unseen = _Unseen()


class Confirmation(LateFuture[Outcome]):
    """
    The future of an Outcome that several workers contribute to; it cannot be cancelled.

    An error that is never looked at, by result(), exception() or a callback, is logged when the
    future is dropped, as asyncio does with tasks, or when the process ends.

    Args:
        change: What the future is about.
        parts: How many contributions make it complete.
        bound: Seconds that result() and exception() wait at most.
        spawn: Runs done-callbacks outside the receiver's thread, which must not wait for them.
        end: Completes the future, where nothing else has, when its caller waits no longer.
        statistics: Counts what it comes to.

    Attributes:
        ended: What the other workers have done; None while some have not answered.
    """

    def __init__(
        self,
        change: Change | Tell,
        parts: int,
        bound: float,
        spawn: Callable[..., object],
        end: Callable[[Confirmation], object],
        statistics: CallStatistics,
    ) -> None:
        super().__init__()
        self.change = change
        self._missing_parts = parts
        self._bound = bound
        self._spawn = spawn
        self._end = end
        self._statistics = statistics
        self.ended: Completed | TimedOut | None = None
        self._began = time.monotonic()
        self._sum: Part | None = None
        self._complete = False
        self._error: Exception | None = None
        self._looked_at = False

    def contribute(self, part: Part) -> None:
        """Add one part; the last one completes the future."""
        with states.lock:
            self._sum = total = part if self._sum is None else self._sum.plus(part)
            self._missing_parts -= 1
            if self._missing_parts > 0 or self._complete:
                return
            self._complete = True
        if total.refused:
            rooms = () if isinstance(self.change, Tell) else self.change.rooms
            self._fail("refused", Refused(total.refused, map(str, rooms)))
            return
        self._statistics.changes[self.change.action, "confirmed"] += 1
        self._statistics.count_confirmed(self._began)
        self.set_result(total.outcome)

    def fail(self, error: Exception) -> None:
        """Complete the future with an error."""
        with states.lock:
            if self._complete:
                return
            self._complete = True
        self._fail("unconfirmed", error)

    def _fail(self, outcome: str, error: Exception) -> None:
        self._statistics.changes[self.change.action, outcome] += 1
        self._error = error
        unseen.watch(self)
        self.set_exception(error)

    def report(self) -> None:
        """Have its error logged if nothing has looked at it."""
        if self._error is not None and not self._looked_at:
            self._looked_at = True
            unseen.add(self.change, self._error)

    __del__ = report

    def add_done_callback(self, fn: Callable[[Future[Outcome]], object]) -> None:
        """As in concurrent.futures: called at once if done, else later in a thread of its own."""
        self._looked_at = True
        if self.done():
            _call(fn, self)
        else:
            super().add_done_callback(lambda future: self._spawn(_call, fn, future, kind=None))

    def result(self, timeout: float | None = None) -> Outcome:
        """
        Wait for the outcome.

        Args:
            timeout: Seconds; never longer than the confirmation timeout of the cluster.

        Raises:
            Unconfirmed: The workers concerned have not confirmed in time.
            concurrent.futures.TimeoutError: *timeout* was shorter than that and is over.
        """
        return self._wait(super().result, timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as result() does, and return its error or None."""
        return self._wait(super().exception, timeout)

    def _wait(self, wait: Callable[[float], T], timeout: float | None) -> T:
        looked_at, self._looked_at = self._looked_at, True
        if timeout is not None and timeout < self._bound:
            try:
                return wait(timeout)
            except FutureTimeout:  # of the caller, who knows nothing of the outcome
                self._looked_at = looked_at
                raise
        try:
            return wait(self._bound)
        except FutureTimeout:
            self._end(self)
        return wait(self._bound)  # complete by now, by this thread or another


class Settled(LateFuture[Outcome]):
    """
    The future of an outcome that is known from the start.

    Args:
        outcome: The outcome.
    """

    _is_known = True

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self._known = outcome

    def exception(self, timeout: float | None = None) -> None:
        """Return None, as there is none."""


def _call(fn: Callable[[Future[Outcome]], object], future: Future[Outcome]) -> None:
    try:
        fn(future)
    except Exception:  # of the application; concurrent.futures would log it as well
        with safe_logging():
            logger.exception("A callback for the outcome of a room change has failed.")


def _description(change: Change | Tell) -> str:
    """Return what a call was about, in a few words; an ID of a socket is not for the log."""
    if isinstance(change, Tell):
        return f"Who has the message {change.event!r} was not looked at"
    if change.source is None:
        sockets = f"{len(change.sids)} socket(s)"
    elif isinstance(change.source, User):
        sockets = f"the sockets of user {change.source.id!r}"
    else:
        sockets = f"the members of {change.source!r}"
    rooms = f", {', '.join(map(repr, change.rooms[:3]))}" if change.rooms else ""
    return f"The outcome of {change.action} for {sockets}{rooms} was not looked at"
