"""Asks the clients of every worker, and puts their answers together."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.interfaces import Outbox
from flask_rooms.membership.timers import Timers
from flask_rooms.protocol.ids import is_sid, owner_of
from flask_rooms.protocol.messages import Answered, Ask, Audience, Reply, Room
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.results import Responses
from flask_rooms.server.packets import Encoded, decode, encode_event
from flask_rooms.server.polls import Batches, Fate, Polls, size_of
from flask_rooms.server.private import ServerInternals

logger = logging.getLogger("flask_rooms.server")

T = TypeVar("T")

#: Seconds after its time is over until a question is closed by who waits for it.
_MARGIN = 1.0


class Asking:
    """
    The questions of this worker's callers, and those of other workers to the clients here.

    Args:
        polls: Asks the clients of this worker.
        internals: Has the class of packets, and runs callbacks.
        timers: Closes each question in time.
        answers: How large all answers to one question may be, in bytes.
        message: How large a message to another worker may be, in bytes.
    """

    def __init__(
        self,
        polls: Polls,
        internals: ServerInternals,
        timers: Timers,
        answers: int,
        message: int,
    ) -> None:
        self._polls = polls
        self._internals = internals
        self._timers = timers
        self._answers = answers
        self._message = message
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self._open.clear()
        self._timers.reset_after_fork()
        self._polls.reset_after_fork()

    # -- this worker's callers ------------------------------------------------------------

    def ask(
        self,
        cluster: Cluster,
        event: str,
        data: Any,
        namespace: str,
        rooms: tuple[Audience, ...] | None,
        omit: tuple[Audience, ...],
        timeout: float,
        trace: str = "",
    ) -> Question:
        """
        Send an event that the clients are to answer.

        Args:
            cluster: The connection to the other workers.
            event: Its name.
            data: What JSON and bytes can express; a tuple is several arguments.
            namespace: The namespace.
            rooms: The recipients; None for the whole namespace.
            omit: Sockets, rooms and users whose sockets are left out.
            timeout: Seconds for which answers are awaited.
            trace: What the other workers record it under, or empty.

        Raises:
            InvalidArgument: *data* cannot be encoded, or is too large for a message.
            BackendUnavailable: The outbox is full; no client has been asked.
        """
        encoded = encode_event(self._internals.packet_class, event, data, namespace)
        packet = decode(self._internals.packet_class, encoded)  # before anything is kept or sent
        number = next(self._numbers)
        ask = Ask(number, namespace, encoded, rooms, omit, float(timeout), trace)
        named = [str(room) for room in rooms or () if isinstance(room, str) and is_sid(room)]
        question = Question(
            named,
            timeout,
            self._answers,
            self._internals,
            partial(self._open.pop, number, None),
        )
        self._open[number] = question
        close = question.close
        try:
            close = self._ask_others(cluster, ask, question, named)
            asked = self._polls.ask(ask, packet, question.report)
            question.add_own(asked, self._polls.left_out(ask, asked))
        except BaseException:
            self._open.pop(number, None)
            raise
        question.on_overdue = close
        self._timers.after(timeout, partial(self._on_overdue, number))
        return question

    def _on_overdue(self, number: int) -> None:
        question = self._open.get(number)
        if question is not None:
            question.on_overdue()

    def _ask_others(
        self, cluster: Cluster, ask: Ask, question: Question, named: list[str]
    ) -> Callable[[], None]:
        """Ask the sockets of the other workers; return what closes the question in time."""
        calls, targets = cluster.calls, None
        if ask.rooms is not None and len(named) == len(ask.rooms):
            others = [sid for sid in named if owner_of(sid) not in calls.own_names]
            targets = {owner_of(sid): () for sid in others}
            if not others:
                question.add_asked((), ())
                return question.close
        number, future = calls.send(ask, targets)

        def on_rosters(done: Future[Completed | TimedOut]) -> None:
            event = done.result()
            missing = event.missing if isinstance(event, TimedOut) else ()
            asked, left_out = _told_apart(event.replies)
            question.add_asked(asked, left_out, isinstance(event, Completed), calls.infos(missing))

        def close() -> None:
            calls.time_out(number, future)
            question.close()

        future.add_done_callback(on_rosters)
        return close

    # -- other workers --------------------------------------------------------------------

    def ask_for(self, ask: Ask, sender: str, outbox: Outbox) -> tuple[list[Room], list[int]]:
        """
        Ask the clients of this worker for another one.

        Returns:
            Their socket IDs, as a Reply has names and counts. Where a socket that is named is here,
            and was not asked, each has a count: 1 if it was asked, and 0 if not.
        """
        packet = decode(self._internals.packet_class, ask.packet)
        batches = Batches(sender, ask.ask, outbox, self._timers, self._message)
        sids = self._polls.ask(ask, packet, batches)
        batches.expect(len(sids))
        left_out = self._polls.left_out(ask, sids)
        counts = [1] * len(sids) + [0] * len(left_out) if left_out else []
        return [*sids, *left_out], counts

    def on_answered(self, answered: Answered) -> None:
        """Take what became of sockets that another worker has asked."""
        question = self._open.get(answered.ask)
        if question is None:
            return
        for sid, packet in answered.answers:
            question.report(sid, "answered", packet)
        for sid in answered.left:
            question.report(sid, "left", ())
        for sid in answered.failed:
            question.report(sid, "failed", ())

    def on_worker_left(self, worker: str) -> None:
        """Take the sockets of a worker that is gone for having left."""
        for question in list(self._open.values()):
            question.on_worker_left(worker)

    def on_restart(self) -> None:
        """Await no answers of other workers: they go to the former name of this one."""
        for question in list(self._open.values()):
            question.on_restart()


class Question(Future[Responses]):
    """
    The future of what clients answer; it never raises, and cannot be cancelled.

    Args:
        named: The socket IDs that were named, which may be those of no socket.
        timeout: Seconds for which answers are awaited.
        limit: How large all answers may be, in bytes.
        internals: Has the class of packets, and runs callbacks.
        on_closed: Called when it is done.

    Attributes:
        on_overdue: Closes the question when its time is over.
    """

    def __init__(
        self,
        named: Iterable[str],
        timeout: float,
        limit: int,
        internals: ServerInternals,
        on_closed: Callable[[], object],
    ) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._deadline = time.monotonic() + timeout
        self._internals = internals
        self._on_closed = on_closed
        self._lock = threading.Lock()
        self._named = set(named)
        self._room = limit
        self._asked: set[str] = set()
        self._own = frozenset[str]()  # those of this worker
        self._lost = set[str]()  # those whose answers do not arrive any more
        self._answers: dict[str, Any] = {}
        self._without: dict[str, Fate] = {}  # socket -> why it has given no answer
        self._gone: set[str] = set()  # workers that have left since
        self._unheard: set[str] = set()  # those that may not have named their sockets
        self._unsaid = 2  # this worker, and the others together: who has not named its sockets
        self._complete = True
        self._missing: tuple[str, ...] = ()
        self._closed = False
        self.on_overdue: Callable[[], object] = self.close

    # -- what becomes of the sockets ------------------------------------------------------

    def add_own(self, sids: Iterable[str], left_out: Iterable[str]) -> None:
        """Note which sockets this worker has asked, and which named ones it has not."""
        self._own = frozenset(sids)
        self.add_asked(self._own, left_out)

    def add_asked(
        self,
        sids: Iterable[str],
        left_out: Iterable[str],
        complete: bool = True,
        missing: tuple[str, ...] = (),
    ) -> None:
        """Note which sockets the other workers have asked, and which named ones they have not."""
        with self._lock:
            self._asked.update(sids)
            self._named.difference_update(left_out)
            self._unsaid -= 1
            self._complete = self._complete and complete
            self._missing += missing
            self._note_gone()
        self._close_if_done()

    def report(self, sid: str, fate: Fate, packet: Encoded) -> None:
        """Note what became of a socket; only the first time counts."""
        answer: Any = None
        if fate == "answered":
            try:
                answer = _value(decode(self._internals.packet_class, packet).data)
            except Exception:  # of the application's own JSON module
                with safe_logging():
                    logger.exception("What a client has answered could not be decoded.")
                fate = "failed"
        size = size_of(packet)
        with self._lock:
            if sid in self._answers or sid in self._without:
                return
            if fate == "answered" and size <= self._room:
                self._room -= size
                self._answers[sid] = answer
            else:
                self._without[sid] = "failed" if fate == "answered" else fate
        self._close_if_done()

    def on_worker_left(self, worker: str) -> None:
        """Note that the sockets of a worker have left."""
        with self._lock:
            self._gone.add(worker)
            if self._unsaid:
                self._unheard.add(worker)
            self._note_gone()
        self._close_if_done()

    def on_restart(self) -> None:
        """Note that what the sockets of other workers answer does not arrive any more."""
        with self._lock:
            lost = self._awaited() - self._own
            self._lost |= lost
            self._missing += tuple(sorted(set(map(owner_of, lost))))
            self._complete = self._complete and not lost
        self._close_if_done()

    def _awaited(self) -> set[str]:
        return self._asked - self._answers.keys() - self._without.keys()

    def _note_gone(self) -> None:
        if self._gone:
            for sid in self._asked - self._answers.keys():
                if owner_of(sid) in self._gone:
                    self._without.setdefault(sid, "left")

    # -- the end --------------------------------------------------------------------------

    def _close_if_done(self) -> None:
        with self._lock:
            known = len(self._answers) + len(self._without) + len(self._lost)
            if self._unsaid or known < len(self._asked):
                return
            if self._awaited() - self._lost:
                return
        self.close()

    def close(self) -> None:
        """Complete the future with what is known."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            result = self._responses()
        self._on_closed()
        self.set_result(result)

    def _responses(self) -> Responses:
        asked = self._asked | self._answers.keys() | self._without.keys()
        unheard = self._unheard.difference(map(owner_of, asked))
        complete = self._complete and not self._unsaid and not unheard
        silent = (asked | self._named) - self._answers.keys() - self._without.keys()
        unknown = silent - asked if complete else frozenset()  # that no worker holds
        left = {sid for sid, fate in self._without.items() if fate == "left"} | unknown
        failed = self._without.keys() - left
        return Responses(
            dict(self._answers),
            frozenset(silent - unknown),
            frozenset(left),
            frozenset(failed),
            complete,
            (*self._missing, *sorted(unheard)),
        )

    def add_done_callback(self, fn: Callable[[Future[Responses]], object]) -> None:
        """As in concurrent.futures: called at once if done, else later in a thread of its own."""
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: self._internals.spawn(fn, future, kind=None))

    def result(self, timeout: float | None = None) -> Responses:
        """Wait for the responses, never longer than the time of the question."""
        return self._wait(super().result, timeout)

    def exception(self, timeout: float | None = None) -> None:
        """Wait as result() does, and return None."""
        self._wait(super().exception, timeout)

    def _wait(self, wait: Callable[[float], T], timeout: float | None) -> T:
        bound = max(self._deadline - time.monotonic(), 0) + _MARGIN
        if timeout is not None and timeout < bound:
            return wait(timeout)
        try:
            return wait(bound)
        except FutureTimeout:
            self.on_overdue()
        return wait(bound)


def _told_apart(replies: Iterable[Reply]) -> tuple[list[str], list[str]]:
    """Return the sockets that other workers have asked, and those that they have not asked."""
    sockets = [pair for one in replies for pair in zip_longest(one.names, one.counts, fillvalue=1)]
    asked = [str(sid) for sid, count in sockets if count]
    return asked, [str(sid) for sid, count in sockets if not count]


def _value(arguments: list[Any] | None) -> Any:
    """Return what a client has acknowledged, as Flask-SocketIO's call() does."""
    if not arguments:
        return None
    return arguments[0] if len(arguments) == 1 else tuple(arguments)
