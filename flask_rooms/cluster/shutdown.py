"""Leaves the cluster before the process ends: by itself, or because of a signal."""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, FrameType
from typing import Any, NoReturn, Protocol

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.confirmation import unseen

logger = logging.getLogger("flask_rooms.cluster")


class Leavable(Protocol):
    """A member of a cluster that has to leave it in good order."""

    def move_clients(self) -> None:
        """Have the clients connect to other workers, in bounded time."""

    def stop(self) -> None:
        """Move the clients, and leave; in bounded time."""

    @property
    def is_member(self) -> bool:
        """Whether this process has joined, and has not left."""


_registered: weakref.WeakSet[Leavable] = weakref.WeakSet()
#: The process in which the exit hooks of multiprocessing and Celery are registered.
_hooked_in = 0
#: The process whose hub wakes up by itself, where it is that of eventlet.
_awake_in = 0
#: Seconds after which it does.
_LOOK = 0.5
#: Priority among the finalizers of multiprocessing: after those of the application.
_LAST = -1000
#: The signals that ask a server to end; gunicorn ends at once on SIGQUIT.
_ENDING = ("SIGTERM", "SIGINT", "SIGQUIT")


def register(member: Leavable) -> None:
    """
    Leave the cluster before the process exits. Holds *member* weakly.

    SIGTERM ends a process without any clean-up unless it has a handler. It gets one that leaves
    first and then ends the process as before.
    """
    if not _registered:
        atexit.register(_stop_all)
    _registered.add(member)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        _handle(signal.SIGTERM)


def handle_signals() -> None:
    """
    Move the clients away as soon as a signal asks this server to end.

    The handlers that there are, as those of gunicorn, are called as before; in a process with
    green threads, in one of their own. A signal without a handler, and one that is ignored, stay
    so, except for SIGTERM; see register().
    """
    for name in _ENDING:
        number = getattr(signal, name, None)  # there is no SIGQUIT on Windows
        if number is not None and callable(signal.getsignal(number)):
            _handle(number)


def register_process() -> None:
    """
    Leave also where a process exits without `atexit`; called in each process that joins.

    The children of multiprocessing and of Celery's prefork pool end with os._exit(), after hooks
    of their own. A module that brings such hooks is imported already where it is used. RQ's end
    in the same way, without hooks.
    """
    global _hooked_in
    if _hooked_in == os.getpid():
        return
    _hooked_in = os.getpid()
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.Finalize(None, _stop_all, exitpriority=_LAST)
    if (signals := sys.modules.get("celery.signals")) is not None:
        signals.worker_process_shutdown.connect(_celery_child_ends, weak=False)
    if "RQ_JOB_ID" in os.environ:
        _leave_before_os_exit()


def _celery_child_ends(**_: object) -> None:
    _stop_all()


def _stop_all() -> None:
    for member in list(_registered):
        _safely(member.stop)
    unseen.log_all()


# -- signals ----------------------------------------------------------------------------------


def _handle(number: int) -> None:
    _keep_awake()
    former = signal.getsignal(number)
    if not isinstance(former, _SignalHandler):
        with suppress(ValueError):  # only the main thread may set handlers
            signal.signal(number, _SignalHandler(former))


def _keep_awake() -> None:
    """
    Have the hub of eventlet look every half second whether a handler has started something.

    A signal does not wake it: where nothing else happens in the process, it would sleep on for up
    to a minute.
    """
    global _awake_in
    eventlet = sys.modules.get("eventlet.patcher")
    is_green = eventlet is not None and eventlet.is_monkey_patched("thread")
    if is_green and _awake_in != os.getpid():
        _awake_in = os.getpid()
        _in_threads([_wake_up])


def _wake_up() -> None:
    while True:
        time.sleep(_LOOK)


class _SignalHandler:
    """
    The handler of a signal that asks the process to end.

    A second signal waits for nothing.

    Args:
        former: What handled the signal before.
    """

    #: The process that was asked to end.
    _ending_in = 0
    #: The process whose workers have left, so that it can end.
    _left_in = 0
    #: The thread in which a former handler is being called, which may call another one of these.
    _in_former = 0

    def __init__(self, former: Any) -> None:
        self._former = former

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _SignalHandler._left_in == os.getpid():
            _end_by(number)
        nested = _SignalHandler._in_former == _thread.get_ident()
        again = _SignalHandler._ending_in == os.getpid() and not nested
        members = [] if again else [one for one in list(_registered) if one.is_member]
        _SignalHandler._ending_in = os.getpid()
        if callable(self._former):
            _in_threads([partial(_safely, one.move_clients) for one in members])
            if again or nested or not _threads_are_green():
                self._call_former(number, frame)
            else:
                # What it raises, such as KeyboardInterrupt, would interrupt the green thread that
                # happens to run, as one in which a guard decides. From a thread of its own it
                # reaches the hub, which raises it in the main one.
                _in_threads([partial(self._call_former, number, frame)])
        elif members:
            _in_threads([partial(_end, members, number)])
        else:
            _end_by(number)

    def _call_former(self, number: int, frame: FrameType | None) -> None:
        _SignalHandler._in_former = _thread.get_ident()
        try:
            self._former(number, frame)
        finally:
            _SignalHandler._in_former = 0


def _threads_are_green() -> bool:
    return not isinstance(_thread.start_new_thread, BuiltinFunctionType)


def _end_by(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _in_threads(functions: list[Callable[[], object]]) -> None:
    # The interrupted thread may hold any lock, also those of `threading` and `logging`, and may be
    # the hub of the green threads. This starts a thread without a lock; in a patched process it
    # is a green one.
    for function in functions:
        _thread.start_new_thread(function, ())


def _end(members: list[Leavable], number: int) -> None:
    left: list[None] = []
    try:
        _in_threads([partial(_note_when_left, one, left) for one in members])
    except RuntimeError:  # the interpreter ends already, and its exit hook does this
        return
    while len(left) < len(members):
        time.sleep(0.01)
    unseen.log_all()
    _SignalHandler._left_in = os.getpid()
    os.kill(os.getpid(), number)  # in the main thread, which alone may restore the default


def _note_when_left(member: Leavable, left: list[None]) -> None:
    _safely(member.stop)
    left.append(None)


def _safely(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:  # the process has to end all the same
        with safe_logging():
            logger.exception("A worker that ends could not leave the cluster in good order.")


# -- RQ ---------------------------------------------------------------------------------------


def _leave_before_os_exit() -> None:
    """RQ ends the process of a job with os._exit(), and has no hook for that."""
    exit_now = os._exit

    def leave_and_exit(status: int) -> NoReturn:
        os._exit = exit_now
        _safely(_stop_all)
        exit_now(status)

    os._exit = leave_and_exit
