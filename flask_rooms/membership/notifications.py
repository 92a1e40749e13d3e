"""Sends the signals of one application, in the order in which things happened."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from blinker import NamedSignal
from flask import Flask

from flask_rooms.backends.logs import safe_logging
from flask_rooms.membership.interfaces import Follower, Tasks
from flask_rooms.membership.namespace import MembershipEvent, Origin
from flask_rooms.results import WorkerInfo
from flask_rooms.signals import (
    joined,
    left,
    room_created,
    room_deleted,
    user_joined,
    user_left,
    worker_gone,
)

logger = logging.getLogger("flask_rooms.membership")

_DROPPED = "%d changes wait for receivers of signals that do not return: dropping signals."
_LATE = (
    "A receiver of a signal has not returned for %g seconds: from now on it gets its signals later "
    "than others, and calls return before it has had them."
)

#: How many signals may wait for receivers that do not return.
WAITING = 100_000
#: Seconds after which a receiver that has not returned delays no other one.
PATIENCE = 1.0


@dataclass(frozen=True)
class _Signal:
    signal: NamedSignal
    about: dict[str, Any]
    is_muted: bool  # by `with signal.muted()`, when it happened
    then: Callable[..., object] | None = None  # called as one more receiver, the last

    def receivers(self, app: Flask) -> Iterable[Callable[..., object]]:
        if not self.is_muted:
            yield from self.signal.receivers_for(app)
        if self.then is not None:
            yield self.then

    def give(self, receiver: Callable[..., object], app: Flask) -> None:
        app.ensure_sync(receiver)(app, **self.about)  # an async one, as of Flask's own signals

    def __str__(self) -> str:
        return f"A receiver of the signal {self.signal.name!r}"


@dataclass(frozen=True)
class WorkerMessage:
    """
    A message of a worker, for the handlers of the application.

    Args:
        event: What it is about.
        handlers: What is called with its data.
        decode: Returns the data, anew for each handler, which may change them.
    """

    event: str
    handlers: Sequence[Callable[[Any], object]]
    decode: Callable[[], Any]

    def receivers(self, app: Flask) -> Iterable[Callable[[Any], object]]:
        """Return the handlers."""
        return self.handlers

    def give(self, receiver: Callable[[Any], object], app: Flask) -> None:
        """Call a handler."""
        app.ensure_sync(receiver)(self.decode())

    def __str__(self) -> str:
        return f"A handler of the message {self.event!r}"


@dataclass(frozen=True)
class _Call:
    receiver: Callable[..., object]
    what: _Signal | WorkerMessage

    @property
    def key(self) -> Hashable:
        # A bound method is a new object each time, and its object need not be hashable.
        if inspect.ismethod(self.receiver):
            return id(self.receiver.__self__), id(self.receiver.__func__)
        return id(self.receiver)


@dataclass(eq=False)
class _Turn:
    """
    A thread that sends.

    Args:
        done: Set when it has sent everything.
        call: The receiver that it is calling; None between two.
        since: When that began.
        late: What waits for its receiver, after which another thread has taken over the rest.
    """

    done: Any
    call: _Call | None = None
    since: float = 0.0
    late: deque[_Call] | None = None


class SignalQueue:
    """
    Sends the signals of one application, and what workers tell it, in order, one after the other.

    A receiver that raises or hangs delays no membership change and no other receiver. If one does
    not return in time, another thread takes over, and that receiver gets what waits for it when it
    returns. Each receiver is called in a context of the application of its own, outside any other.

    Args:
        app: The sender of the signals; its context is pushed for the receivers.
        tasks: Starts the threads.
        follower: Follows the changes first, since receivers may ask it.

    Attributes:
        failures: How many calls of receivers have raised an error.
        dropped: How many signals were not sent, because receivers do not return.
    """

    def __init__(self, app: Flask, tasks: Tasks, follower: Follower | None = None) -> None:
        self._app = app
        self._follower = follower
        self._tasks = tasks
        self._waiting: deque[_Signal | WorkerMessage] = deque()
        self.failures = 0
        self.dropped = 0
        self._warned: set[str] = set()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self._lock = threading.Lock()
        self._waiting.clear()
        self._calls: deque[_Call] = deque()  # of the signal that is being sent
        self._turn: _Turn | None = None
        self._late: dict[Hashable, deque[_Call]] = {}  # receiver -> what waits for it

    @property
    def listens(self) -> bool:
        """Whether add() has anything to do with an event."""
        return _has_receivers() or (self._follower is not None and self._follower.listens)

    def add(self, events: list[MembershipEvent], origin: Origin) -> bool:
        """Queue membership events; return whether flush() has something to do."""
        is_followed = self._follower is not None and self._follower.note(events, origin)
        if not (events and _has_receivers()):
            return is_followed
        for event in events:
            self._announce(event, origin)
        return True

    def add_gone(self, worker: WorkerInfo, said_goodbye: bool) -> bool:
        """Queue the end of another worker; return whether there is something to send."""
        if not worker_gone.receivers:
            return False
        reason = "goodbye" if said_goodbye else "dead"
        self._add(worker_gone, {"worker": worker, "reason": reason})
        return True

    def add_message(self, message: WorkerMessage) -> bool:
        """Queue a message of a worker; return whether there was a place for it."""
        return not message.handlers or self._put(message, self._waiting)

    def add_person(
        self, has_joined: bool, about: dict[str, Any], then: Callable[[], object]
    ) -> None:
        """Queue that a person has joined or left a room; *then* is called after the receivers."""
        signal = user_joined if has_joined else user_left
        sent = _Signal(signal, about, signal.is_muted, lambda app, **about: then())
        self._put(sent, self._waiting)

    def _announce(self, event: MembershipEvent, origin: Origin) -> None:
        about = {
            "namespace": event.namespace,
            "sid": event.sid,
            "user": event.user,
            "room": event.room,
            "reason": self._reason(event, origin),
            "worker": origin.worker,
            "by": origin.by or None,
        }
        if event.joined and event.edge:
            self._add(room_created, about)
        self._add(joined if event.joined else left, about)
        if event.edge and not event.joined:
            self._add(room_deleted, about)

    def _reason(self, event: MembershipEvent, origin: Origin) -> str:
        own = origin.by == event.sid and origin.reason in ("call", "remote")
        return "request" if own else origin.reason

    def _add(self, signal: NamedSignal, about: dict[str, Any]) -> None:
        if signal.has_receivers_for(self._app) and not signal.is_muted:
            self._put(_Signal(signal, about, is_muted=False), self._waiting)

    def _put(self, one: _Signal | WorkerMessage | _Call, queue: deque[Any]) -> bool:
        if len(queue) < WAITING:
            queue.append(one)
            return True
        self.dropped += 1  # flush() logs it: here the registry may be locked
        return False

    # -- sending --------------------------------------------------------------------------

    @property
    def are_sent(self) -> bool:
        """Whether nothing waits, and no receiver is running."""
        return not (self._waiting or self._turn or self._late)

    def flush(self) -> None:
        """
        Send what waits, unless another thread is sending.

        Returns when it is sent, but waits for no receiver that does not return in time.
        """
        if self._follower is not None:
            self._follower.flush()
        self._warn_once("dropped" if self.dropped else "", _DROPPED, WAITING)
        while (turn := self._begin()) is not None:
            self._tasks.spawn(self._send_all, turn, kind="receivers")
            while turn.late is None and not turn.done.wait(PATIENCE):
                self._take_over(turn)
            if turn.late is not None:
                self._warn_once("late", _LATE, PATIENCE)

    def _begin(self) -> _Turn | None:
        with self._lock:
            if self._turn is not None or not (self._waiting or self._calls):
                return None
            self._turn = _Turn(self._tasks.create_event())
            return self._turn

    def _take_over(self, turn: _Turn) -> None:
        """End a turn whose receiver has not returned in time."""
        with self._lock:
            call = turn.call
            if call is not None and time.monotonic() - turn.since >= PATIENCE:
                self._turn = None
                turn.late = self._late[call.key] = deque()

    def _send_all(self, turn: _Turn) -> None:
        while (call := self._next(turn)) is not None:
            self._send(call)
        turn.done.set()

    def _next(self, turn: _Turn) -> _Call | None:
        """Return the next call of a turn; None ends it."""
        with self._lock:
            last, turn.call = turn.call, None
            if turn.late is not None and last is not None:
                if not turn.late:
                    del self._late[last.key]
                    return None
                turn.call = turn.late.popleft()
                return turn.call
        while not self._calls and self._waiting:  # only the thread whose turn it is does so
            self._expand(self._waiting.popleft())
        with self._lock:
            if not self._calls:
                self._turn = None
                return None
            turn.call, turn.since = self._calls.popleft(), time.monotonic()
            return turn.call

    def _expand(self, what: _Signal | WorkerMessage) -> None:
        calls = [_Call(receiver, what) for receiver in what.receivers(self._app)]
        with self._lock:
            for call in calls:
                self._put(call, self._late.get(call.key, self._calls))

    def _send(self, call: _Call) -> None:
        try:
            # One context for each, as `flask.g` may hold what is about one socket.
            with self._app.app_context():
                self._call(call)
        except BaseException:  # of the application, in a teardown
            with safe_logging():
                logger.exception("The context of a signal's receivers could not be torn down.")

    def _call(self, call: _Call) -> None:
        try:
            call.what.give(call.receiver, self._app)
        except BaseException:  # of the application, such as SystemExit; the others go on
            self.failures += 1
            with safe_logging():
                logger.exception("%s has failed.", call.what)

    def _warn_once(self, kind: str, text: str, *args: object) -> None:
        if kind and kind not in self._warned:
            self._warned.add(kind)
            with safe_logging():
                logger.warning(text, *args)


def _has_receivers() -> bool:
    """Whether a signal about memberships has a receiver, in any application."""
    return bool(
        joined.receivers or left.receivers or room_created.receivers or room_deleted.receivers
    )
