"""Says goodbye to the other workers when the process ends, by itself or by SIGTERM."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import weakref
from collections.abc import Callable
from typing import Protocol


class Leavable(Protocol):
    """Whoever has to say goodbye."""

    def stop(self) -> None:
        """Say goodbye, now and in bounded time."""

    def leave_soon(self, then: Callable[[], object]) -> None:
        """Have the listener say goodbye and call *then*; called by a signal handler."""

    @property
    def is_member(self) -> bool:
        """Whether there is anybody to say goodbye to, in this process."""


_leavers: weakref.WeakSet[Leavable] = weakref.WeakSet()
#: The process whose own hooks know of us.
_attended_in = 0
#: Among the finalizers of multiprocessing; the application's own may still want to speak.
_LAST = -1000
#: One entry for each goodbye that SIGTERM waits for; a list, since its pop() is atomic.
_awaited: list[None] = []


def attend(leaver: Leavable) -> None:
    """
    See to it that *leaver*, which is held weakly, says goodbye before the process ends.

    SIGTERM ends a process without any clean-up, unless there is a handler for it. So it gets
    one that says goodbye first and then ends the process as before. Where somebody has a
    handler already, as gunicorn and Celery do, theirs stays, and leads to an ordinary exit.
    """
    if not _leavers:
        atexit.register(_stop_all)
    _leavers.add(leaver)
    try:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminate)
    except ValueError:
        pass  # only the main thread may set handlers


def attend_process() -> None:
    """
    See to it that goodbye is said also where a process ends without `atexit`.

    The children of multiprocessing and of Celery's prefork pool end with os._exit(), after hooks
    of their own: each child that joins the cluster is entered there. What brings the hooks is
    imported there already, or the process is none of theirs.
    """
    global _attended_in
    if _attended_in == os.getpid():
        return
    _attended_in = os.getpid()
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.Finalize(None, _stop_all, exitpriority=_LAST)
    if (signals := sys.modules.get("celery.signals")) is not None:
        signals.worker_process_shutdown.connect(_celery_child_ends, weak=False)


def _celery_child_ends(**_: object) -> None:
    _stop_all()


def _stop_all() -> None:
    for leaver in list(_leavers):
        leaver.stop()


def _terminate(number: int, frame: object) -> None:
    # The thread that was interrupted may hold any lock, so nothing is done here but set flags.
    members = [] if _awaited else [leaver for leaver in list(_leavers) if leaver.is_member]
    if not members:
        _die()
    _awaited.extend([None] * len(members))
    for leaver in members:
        leaver.leave_soon(_has_left)


def _has_left() -> None:
    if len(_awaited) > 1:
        _awaited.pop()
    else:
        # While an entry is left, the handler takes this for the second signal, and ends it all.
        os.kill(os.getpid(), signal.SIGTERM)


def _die() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
