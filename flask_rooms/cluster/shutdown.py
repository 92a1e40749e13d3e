"""Leaves the cluster before the process exits, by itself or on SIGTERM."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import weakref
from collections.abc import Callable
from typing import Protocol


class Leavable(Protocol):
    """A member of a cluster that has to leave it in good order."""

    def stop(self) -> None:
        """Leave now, in bounded time."""

    def leave_soon(self, then: Callable[[], object]) -> None:
        """Make the receiver leave and call *then*; called by a signal handler."""

    @property
    def is_member(self) -> bool:
        """Whether this process has joined, and has not left."""


_registered: weakref.WeakSet[Leavable] = weakref.WeakSet()
#: The process in which the exit hooks of multiprocessing and Celery are registered.
_hooked_in = 0
#: Priority among the finalizers of multiprocessing: after those of the application.
_LAST = -1000
#: One entry for each member that SIGTERM waits for; a list, since its pop() is atomic.
_awaited: list[None] = []


def register(member: Leavable) -> None:
    """
    Leave the cluster before the process exits. Holds *member* weakly.

    SIGTERM ends a process without any clean-up unless it has a handler. It gets one that leaves
    first and then ends the process as before. Where there is a handler already, as in gunicorn
    and Celery, that stays, and leads to an ordinary exit.
    """
    if not _registered:
        atexit.register(_stop_all)
    _registered.add(member)
    try:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminate)
    except ValueError:
        pass  # only the main thread may set handlers


def register_process() -> None:
    """
    Leave also where a process exits without `atexit`; called in each process that joins.

    The children of multiprocessing and of Celery's prefork pool end with os._exit(), after hooks
    of their own. A module that brings such hooks is imported already where it is used.
    """
    global _hooked_in
    if _hooked_in == os.getpid():
        return
    _hooked_in = os.getpid()
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.Finalize(None, _stop_all, exitpriority=_LAST)
    if (signals := sys.modules.get("celery.signals")) is not None:
        signals.worker_process_shutdown.connect(_celery_child_ends, weak=False)


def _celery_child_ends(**_: object) -> None:
    _stop_all()


def _stop_all() -> None:
    for member in list(_registered):
        member.stop()


def _terminate(number: int, frame: object) -> None:
    # The interrupted thread may hold any lock, so this only sets flags.
    members = [] if _awaited else [one for one in list(_registered) if one.is_member]
    if not members:
        _die()
    _awaited.extend([None] * len(members))
    for member in members:
        member.leave_soon(_has_left)


def _has_left() -> None:
    if len(_awaited) > 1:
        _awaited.pop()
    else:
        # While an entry is left, the handler takes this for a second signal and exits.
        os.kill(os.getpid(), signal.SIGTERM)


def _die() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
