"""Runs functions in the background, in the way of the asynchronous mode, and apart from callers."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from flask_rooms.backends.logs import Throttle, safe_logging
from flask_rooms.server.kept_threads import KeptThreads

#: Seconds after which a caller that waits for the application's own code is reported.
SLOW = 5.0
#: How many threads of run_apart() may wait for each other, as of a guard that joins a room.
MAX_NESTED = 20

_SLOW_CALL = (
    "A guard, handler or receiver of signals has run for %g seconds, and its caller waits: does it "
    "wait for a lock, or a connection, that the caller holds? (%d so far on this worker)"
)

_depth: contextvars.ContextVar[int] = contextvars.ContextVar("flask_rooms.depth", default=0)

logger = logging.getLogger("flask_rooms.server")


class Tasks:
    """
    Threads, or green threads, as the server of Socket.IO has them.

    Attributes:
        server: The server, which is made after what needs tasks.
    """

    server: Any
    _lacks_threads = False

    def __init__(self) -> None:
        self._threads: defaultdict[str, KeptThreads] = defaultdict(KeptThreads)
        self._slow_calls = 0
        self._throttle = Throttle()

    def start(
        self, function: Callable[..., object], *args: object, kind: str | None = "own"
    ) -> object:
        """
        Run a function in the background, in the way of the mode, and in an empty context.

        Args:
            function: What to run.
            args: Its arguments.
            kind: What functions may have run in its thread before, where these are not green: those
                of the same kind. "own" are those of Flask-Rooms, which leave nothing there. None is
                for a new thread, as Flask-SocketIO has one for each of the application's handlers.

        Raises:
            RuntimeError: No thread can be started.
        """
        # Green threads may inherit the context, and with it the application's request.
        run = partial(contextvars.Context().run, _run_to_its_end, function, *args)
        if kind is None or self.server.async_mode != "threading":  # green ones start in no time
            return self.server.start_background_task(run)
        threads = self._threads[kind]
        # At its exit the interpreter stops threads at any moment.
        if threading.main_thread().is_alive() and threads.hand_over(run):
            return None
        return self.server.start_background_task(threads.run, run)

    def spawn(
        self, function: Callable[..., object], *args: object, kind: str | None = "own"
    ) -> object:
        """Run a function as start() does, or here and now where no thread can be started."""
        try:
            task = self.start(function, *args, kind=kind)
            if task is not None:  # else a thread that was kept runs it
                self._lacks_threads = False
            return task
        except RuntimeError as error:
            self._note_no_thread("Running in place what should run in the background: %s.", error)
        try:
            return contextvars.Context().run(function, *args)
        except BaseException:  # as in a thread of its own, it reaches no caller
            with safe_logging():
                logger.exception("What should run in the background has failed.")
            return None

    def start_loop(self, function: Callable[..., object], *args: object) -> bool:
        """
        Run a function that waits, again and again, in the background.

        Returns:
            Whether it runs. If no thread can be started, it does not, with a warning: in place its
            caller would wait for ever. The caller tries again at the next occasion.
        """
        try:
            self.start(function, *args)
        except RuntimeError as error:
            self._note_no_thread("What has to be done at set times is late: %s.", error)
            return False
        return True

    def _note_no_thread(self, text: str, error: RuntimeError) -> None:
        # At its exit the interpreter starts no thread, too; of that there is nothing to say. In
        # Python 3.12 that begins before the main thread has ended.
        ends = not threading.main_thread().is_alive() or "at interpreter shutdown" in str(error)
        if not ends and not self._lacks_threads:
            self._lacks_threads = True  # right behind the look, or two threads would warn
            with safe_logging():
                logger.warning(text, error)

    def create_event(self) -> Any:
        """Return an event that threads of the asynchronous mode may wait for."""
        return self.server.eio.create_event()

    def run_apart(self, function: Callable[[], Any], kind: str | None = None) -> Any:
        """
        Run a function in a thread, or green thread, and a context of its own, and wait for it.

        What is local to the caller's thread or context, such as `flask.g` and the session of a
        database, is neither seen nor torn down there.

        Args:
            function: What to run.
            kind: As start() has it.

        Returns:
            What the function returns.

        Raises:
            RecursionError: It is called from within too many others.
            RuntimeError: The function has ended its thread, as by SystemExit.
            Exception: What the function raises.
        """
        depth = _depth.get() + 1
        if depth > MAX_NESTED:
            raise RecursionError("Guards or receivers of signals call each other without end.")
        result: list[Any] = []
        errors: list[Exception] = []
        done = self.create_event()

        def run() -> None:
            _depth.set(depth)
            try:
                result.append(function())
            except Exception as error:  # noqa: BLE001 - raised in the caller's thread
                errors.append(error)
            except BaseException as error:  # noqa: BLE001 - it is about this thread alone
                errors.append(RuntimeError(f"The application has ended a thread by {error!r}."))
            finally:
                done.set()

        self.spawn(run, kind=kind)
        if not done.wait(SLOW):
            self._report_slow_call()
            done.wait()
        if errors:
            raise errors[0]
        return result[0]

    def _report_slow_call(self) -> None:
        self._slow_calls += 1
        if self._throttle.is_due("slow"):  # a client may have many handlers run
            with safe_logging():
                logger.warning(_SLOW_CALL, SLOW, self._slow_calls)

    def sleep(self, seconds: float) -> None:
        """Let other tasks run for so many seconds."""
        self.server.sleep(seconds)


def _run_to_its_end(function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    except SystemExit:  # of the application: a thread says nothing, a green one ends the process
        with safe_logging():
            logger.exception("A handler or callback has raised SystemExit, and the worker goes on.")
