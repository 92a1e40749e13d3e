"""Drives a Node over a Backend: one listener, one outbox, and the futures of what was asked."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Protocol

from flask_rooms.answers import Gathered, replies
from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError, RoomsError, Unconfirmed
from flask_rooms.farewell import attend_process
from flask_rooms.forks import begin_afresh_in_children
from flask_rooms.listener import SHORTEST, Listener
from flask_rooms.messages import (
    BadMessage,
    Change,
    Codec,
    Done,
    Emit,
    Frame,
    Goodbye,
    Operation,
    Question,
    Reply,
    Room,
)
from flask_rooms.node import Deliver, Event, Gone, Node, Outcast, Overdue, Settled
from flask_rooms.outcome import Confirmation, Outcome, Part
from flask_rooms.sids import new_worker_name, owner_of
from flask_rooms.stream import Limits

logger = logging.getLogger("flask_rooms")

#: How much one caller sends for all before the listener goes on with it.
_FRAMES_AT_ONCE = 8
#: Seconds for which what was sent last is waited for, before more is sent without it.
_ROUND_TRIP = 0.02
#: Seconds without a look at whether it is time to leave.
_LONGEST = 1.0
#: Seconds in which a stale connection shows itself.
_AT_ONCE = 0.5
#: Seconds between two looks at whether anybody else is there, while leaving.
_GLANCE = 0.01
#: A question that costs nobody anything.
FENCE = Question("count", "/", "")
_FOREIGN = "Does another application use this ROOMS_CHANNEL, or a worker another SECRET_KEY?"
_REMEDIES = {
    "version": "A worker has another version of Flask-Rooms, and neither understands the other: "
    "calls for its sockets will be Unconfirmed until all workers have the same.",
    "oversized": "Give all workers the same ROOMS_MESSAGE_BYTES.",
}
#: Bytes of a message that a socket ID in it takes, and more than that.
_ID_BYTES = 64
#: Seconds between two warnings of the same kind.
_WARN_EVERY = 60.0


def remedy(reason: str) -> str:
    """Return what to do about messages that were dropped for this reason."""
    return _REMEDIES.get(reason, _FOREIGN)


class Host(Protocol):
    """What a cluster needs of the worker that it connects."""

    def change(self, change: Change) -> Part:
        """Carry out a change of this worker's own on its sockets."""

    def change_for(self, change: Change, sender: str, tell: Callable[[Part], object]) -> None:
        """Carry out another worker's change on the sockets here, and *tell* what was done."""

    def apply(self, operation: Operation, sender: str) -> None:
        """Carry out another operation on the sockets of this worker."""

    def answer(self, question: Question) -> tuple[list[Room], list[int]]:
        """Return the names and counts that a question asks for."""

    def worker_gone(self, worker: str) -> None:
        """Another worker has left; nothing will come from it any more."""

    def forked(self) -> None:
        """Forget, in a forked child, what is the parent's."""

    def holds(self, namespace: str, sid: str) -> bool:
        """Whether a socket is of this worker."""

    def expel(self) -> None:
        """End every membership of this worker's sockets, and disconnect them."""

    def spawn(self, function: Callable[..., object], *args: object) -> object:
        """Run *function* in the background."""


@dataclass(frozen=True)
class Timing:
    """
    How long a cluster waits.

    Args:
        heartbeat: Seconds between two heartbeats.
        confirm: Seconds to wait for a confirmation at most.
    """

    heartbeat: float
    confirm: float


class Cluster:
    """
    This worker's connection to the others.

    It joins at the first use, and again, under a new name, in a forked child. Every method
    may be called from any thread, and none waits for the broker.

    Args:
        backend: Carries the bytes; not opened yet.
        codec: Encodes and signs.
        timing: Intervals and timeouts.
        limits: The bounds of the outbox, the repair log and a message.
    """

    def __init__(self, backend: Backend, codec: Codec, timing: Timing, limits: Limits) -> None:
        self._backend = backend
        self._codec = codec
        self._timing = timing
        self._limits = limits
        self._joined_in = 0  # the process in which this worker has a name
        self._ready_in = 0  # the process in which it hears itself
        self.host: Host
        self._starting = threading.Lock()
        #: Payloads that were refused, by reason.
        self.dropped: Counter[str] = Counter()
        self._warned: dict[str, float] = {}
        begin_afresh_in_children(self)

    # -- joining and leaving --------------------------------------------------------------

    @property
    def name(self) -> str:
        """This worker's name; joins the cluster if need be."""
        self._join()
        return self._node.name

    @property
    def peers(self) -> frozenset[str]:
        """The names of the other workers that count as alive."""
        with self._lock:
            return self._node.peers

    @property
    def backend(self) -> Backend:
        """What carries the messages."""
        return self._backend

    @property
    def hears_itself(self) -> bool:
        """Whether what this worker says has come back to it, and nothing was amiss since."""
        return self._listening.is_set() and not self._down

    def start(self) -> None:
        """
        Join the cluster, once in each process.

        Returns when this worker hears itself: then every other worker has its hello before
        anything that is published from now on, and owes it that. Without a broker it returns
        at once, and joins later.
        """
        if self._ready_in == os.getpid():
            return
        with self._starting:
            if self._ready_in == os.getpid():
                return
            self._lock = threading.Lock()
            self._publishing = threading.Lock()
            self._listening = threading.Event()
            self._unheard = False
            self._asks: dict[int, Confirmation] = {}
            self._inquiries: dict[int, Future[Settled | Overdue]] = {}
            self._down = False
            self._sent_at = float("-inf")
            try:
                self._backend.open()
            except BackendError as error:
                self.lost(error)
            # Well below the time after which those who are back sooner count us as dead.
            longest = self._timing.heartbeat / 2
            opened = not self._down
            self._listener = Listener(self, self._backend, opened=opened, longest=longest)
            self._node = self._new_node()
            self._joined_in = os.getpid()
            self.flush()
            self.host.spawn(self._listener.run)
            self.wait_until_heard()
            self._unheard = not self._listening.is_set()
            self._ready_in = os.getpid()
            attend_process()

    def wait_until_heard(self) -> None:
        """
        Return when this worker hears itself, and so the others have heard of it.

        Also after the confirmation timeout, and at once while the broker is away: own clients
        are served all the same.
        """
        if not self._down:
            self._listening.wait(self._timing.confirm)

    def _join(self) -> None:
        # The listener itself comes by here while start() still waits for it.
        if self._joined_in != os.getpid():
            self.start()

    @property
    def is_member(self) -> bool:
        """Whether this process has joined, and has not left again."""
        return self._ready_in == os.getpid() and not self._listener.stopping.is_set()

    def leave_soon(self, then: Callable[[], object]) -> None:
        """Have the listener say goodbye, within a heartbeat, and then call *then*."""
        self._listener.leaving = then

    def leave(self, then: Callable[[], object]) -> None:
        """Say goodbye, in the background, and then call *then*."""
        self.host.spawn(self._leave, then)

    def _leave(self, then: Callable[[], object]) -> None:
        self.stop()
        then()

    def forked(self) -> None:
        """Begin afresh in a forked child, which is no member until it joins by itself."""
        self._starting = threading.Lock()
        self.host.forked()

    def stop(self, timeout: float = 2.0) -> None:
        """Say goodbye, send what waits, and disconnect, within about *timeout* seconds."""
        if not self.is_member:
            return
        deadline = time.monotonic() + timeout
        try:
            self._be_heard(deadline)
            with self._lock:
                self._node.submit(Goodbye())
        except RoomsError:
            pass  # a full outbox: the others will notice by the missing heartbeats
        self._send_last(deadline)
        self._listener.stopping.set()
        self._backend.close()
        self._listener.stopped.wait(timeout)
        for ask in list(self._asks.values()):
            ask.fail(Unconfirmed((), 0.0))
        for number in list(self._inquiries):
            self._give_up(number)

    def _be_heard(self, deadline: float) -> None:
        """
        Wait until then for the others to follow a worker that has just started.

        They do so only after an exchange of heartbeats, and then want repeated what was said
        before. A script that says one thing and ends would be gone by then, and they would
        hear neither that nor its goodbye.
        """
        asked: frozenset[str] = frozenset()
        answer: Future[Settled | Overdue] = Future()
        while not (self._down or self._listener.stopped.is_set()) and time.monotonic() < deadline:
            with self._lock:
                known, settled = self._node.acquaintances, self._node.is_settled
            if settled or (answer.done() and known <= asked):
                return
            if not known <= asked:
                # Who answers has come to this question, and so has had what was before it.
                _, answer = self._put(FENCE, dict.fromkeys(known, ()))
                asked |= known
            self._listener.stopped.wait(_GLANCE)

    def _send_last(self, deadline: float) -> None:
        """Empty the outbox if that is possible until then; nobody will do it any more."""
        # Whoever is sending may not know yet of the last things, so it is waited for.
        while self._publishing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                more = not self._down and self._publish_next()
            finally:
                self._publishing.release()
            if not more or time.monotonic() > deadline:
                break
        with self._lock:
            lost = [one for one in self._node.waiting() if not isinstance(one, Goodbye)]
        if lost:
            logger.warning("Leaving the cluster with %d operations unsent.", len(lost))

    def _new_node(self) -> Node:
        return Node(
            new_worker_name(),
            time.monotonic(),
            heartbeat=self._timing.heartbeat,
            confirm=self._timing.confirm,
            limits=self._limits,
        )

    # -- what this worker says ------------------------------------------------------------

    def change(self, change: Change) -> Confirmation:
        """
        Carry out a membership change wherever its sockets are.

        Returns:
            The future of its outcome; complete on return when all sockets are named and of
            this worker.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full; nothing has changed.
        """
        here, there, whom = self._split(change)
        parts = 1 + (there is not None)
        future = Confirmation(parts, self._timing.confirm, self.host.spawn, self._silent)
        if there is not None:
            with self._lock:
                number, events = self._node.ask(there, whom, time.monotonic())
                self._asks[number] = future
            self._handle(events)
        future.contribute(self.host.change(here))
        if there is not None:
            self._sent(lambda: future.fail(Unconfirmed(whom or (), 0.0)))
        return future

    def _split(
        self, change: Change
    ) -> tuple[Change, Change | None, dict[str, tuple[str, ...]] | None]:
        """Return what this worker does, what others do, and whom of them to ask (None: all)."""
        me = self.name
        if change.source is not None:
            return change, change, None
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for sid in change.sids:
            # What this worker had under a name of before is still here for a moment.
            here = self.host.holds(change.namespace, sid)
            owners[me if here else owner_of(sid)].append(sid)
        own = replace(change, sids=tuple(owners.pop(me, ())))
        if not owners:
            return own, None, {}
        whom = {name: tuple(sids) for name, sids in owners.items()}
        rest = tuple(sid for sids in whom.values() for sid in sids)
        return own, replace(change, sids=rest), whom

    def _sent(self, nobody_listens: Callable[[], object]) -> None:
        """Send what was just submitted; an answer to it can be heard unless we are stopping."""
        self.flush()
        if self._listener.stopping.is_set():
            nobody_listens()

    def _silent(self, future: Confirmation) -> tuple[str, ...]:
        with self._lock:
            numbers = [number for number, ask in self._asks.items() if ask is future]
            return self._node.waits_for(numbers[0]) if numbers else ()

    def inquire(self, question: Question, timeout: float | None) -> Gathered:
        """
        Ask every worker, or the owner of a socket, and put the replies together.

        Args:
            question: What to ask; with "rooms_of" it is for the owner of that socket alone.
            timeout: Seconds to wait; never longer than the confirmation timeout.

        Raises:
            BackendUnavailable: The outbox is full.
        """
        me = self.name
        whom: dict[str, tuple[str, ...]] | None = None
        if question.kind == "rooms_of":
            sid = str(question.about)
            here = self.host.holds(question.namespace, sid)
            whom = {me if here else owner_of(sid): (sid,)}
        names, counts = self.host.answer(question)
        own = (tuple(names), tuple(counts))
        if whom is not None and me in whom:
            return Gathered((own,), True, ())
        replies, missing, complete = self._ask_others(question, whom, timeout)
        parts = tuple((reply.names, reply.counts) for reply in replies)
        return Gathered((own, *parts), complete, missing)

    def _ask_others(
        self, question: Question, whom: dict[str, tuple[str, ...]] | None, timeout: float | None
    ) -> tuple[tuple[Reply, ...], tuple[str, ...], bool]:
        number, future = self._put(question, whom)
        bound = self._timing.confirm
        try:
            event = future.result(bound if timeout is None else min(timeout, bound))
        except FutureTimeout:
            self._give_up(number)
            event = future.result(bound)
        missing = event.missing if isinstance(event, Overdue) else ()
        return event.replies, missing, isinstance(event, Settled)

    def _put(
        self, question: Question, whom: dict[str, tuple[str, ...]] | None
    ) -> tuple[int, Future[Settled | Overdue]]:
        """Send a question; return its number, and the future of what becomes of it."""
        future: Future[Settled | Overdue] = Future()
        with self._lock:
            number, events = self._node.ask(question, whom, time.monotonic())
            self._inquiries[number] = future
        self._handle(events)
        self._sent(lambda: self._give_up(number))
        return number, future

    def _give_up(self, number: int) -> None:
        with self._lock:
            events = self._node.give_up(number)
        self._handle(events)

    def publish(self, operation: Operation) -> None:
        """Submit an operation for the other workers, and send it."""
        self.submit(operation)
        self.flush()

    def submit(self, operation: Operation) -> None:
        """
        Put an operation for the other workers into the outbox; flush() sends it.

        Raises:
            InvalidArgument: It does not fit into one message.
            BackendUnavailable: The outbox is full.
        """
        self._join()
        with self._lock:
            self._node.submit(operation)

    def flush(self) -> None:
        """
        Send what waits, unless somebody is at it already, who then sends this as well.

        So a lone call costs one publish and is sent at once. What is said while that is on its
        way back to us shares one frame, which the listener sends when it hears the other come
        back: under load it is this that lets the broker, and everybody's listener, keep up.
        While the broker is away only the listener tries, and nobody else waits for it.
        """
        began = time.monotonic()
        for _ in range(_FRAMES_AT_ONCE):  # then the listener goes on
            if time.monotonic() - began > _AT_ONCE:  # the broker is slow: let no caller wait
                return
            if self._down or self._listener.stopping.is_set() or self._awaits_echo():
                return
            if not self._publishing.acquire(blocking=False):
                return
            try:
                if not self._publish_next():
                    return
            finally:
                self._publishing.release()

    def _awaits_echo(self) -> bool:
        with self._lock:
            under_way = self._node.awaits_echo
        return under_way and time.monotonic() - self._sent_at < _ROUND_TRIP

    def _publish_next(self) -> bool:
        """Send one frame; False when nothing waits, or it could not be sent."""
        now = time.monotonic()
        with self._lock:
            node = self._node  # which may be another one by the time this has failed
            frame = node.take(now)
        if frame is None:
            return False
        self._sent_at = now
        payload = self._codec.encode(frame)
        try:
            self._publish(payload)
        except BackendError as error:
            with self._lock:
                node.give_back(frame, time.monotonic())
            self.lost(error)
            return False
        return True

    def _publish(self, payload: bytes) -> None:
        began = time.monotonic()
        try:
            self._backend.publish(payload)
        except BackendError:
            # A connection that went stale while idle says so at once; it is worth another try.
            if time.monotonic() - began > _AT_ONCE:
                raise
            self._backend.publish(payload)

    # -- what it hears --------------------------------------------------------------------

    def patience(self) -> float:
        """Return how many seconds the listener may wait for the next payload."""
        with self._lock:
            wakes_at = self._node.wakes_at
            if self._node.has_unsent:  # it was held back, and is to be so no longer than that
                wakes_at = min(wakes_at, time.monotonic() + _ROUND_TRIP)
        if self._down:
            return SHORTEST
        longest = min(self._timing.heartbeat, self._timing.confirm, _LONGEST)
        return min(max(wakes_at - time.monotonic(), 0.001), longest)

    def lost(self, error: BackendError) -> None:
        """Take notice that the broker cannot be reached; only the listener tries it now."""
        if self._joined_in == os.getpid() and self._listener.stopping.is_set():
            return  # it is we who have closed it
        self._down = True
        self._warn("lost", "The broker cannot be reached, trying again: %s", error)

    def pass_time(self) -> None:
        """Tell whoever has waited long enough, although nothing can be heard."""
        with self._lock:
            events = self._node.tick(time.monotonic())
        self._handle(events)

    def hear(self, payload: bytes | None, reconnected: bool) -> bool:
        """Take in what the listener has received, and let time pass; False to connect again."""
        self._down = False  # so that the outbox is tried, too
        frame = None if payload is None else self._decode(payload)
        now = time.monotonic()
        with self._lock:
            node = self._node
            if reconnected:
                node.reconnected(now)
            self._node.alone = getattr(self._backend, "alone", False)
            events = [] if frame is None else self._node.receive(frame, now)
            events += self._node.tick(now)
            deaf = payload is None and self._node.is_deaf(now)
        if frame is not None and frame.sender == self._node.name:
            self._heard_itself()
        self._handle(events)
        if deaf:
            self._warn("deaf", "This worker does not hear itself any more, connecting again.")
        if deaf or self._node is not node:  # the others have not heard who has started over
            return False
        self.flush()
        return True

    def _heard_itself(self) -> None:
        if self._unheard:
            # It has accepted sockets of which the others could not know; they may have told
            # somebody that these do not exist.
            self._unheard = False
            self.host.expel()
        self._listening.set()

    def _decode(self, payload: bytes) -> Frame | None:
        try:
            return self._codec.decode(payload)
        except BadMessage as error:
            if error.sender:
                with self._lock:
                    self._node.hear_foreign(error.sender)
            self._refuse(error.reason)
            return None

    def _refuse(self, reason: str) -> None:
        self.dropped[reason] += 1
        self._warn(
            reason,
            "Dropped a message on the channel (%s; %d so far). %s",
            reason,
            self.dropped[reason],
            remedy(reason),
        )

    def _warn(self, kind: str, text: str, *args: object) -> None:
        now = time.monotonic()
        if now - self._warned.get(kind, float("-inf")) >= _WARN_EVERY:
            self._warned[kind] = now
            logger.warning(text, *args)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Deliver):
                self._deliver(event)
            elif isinstance(event, Settled | Overdue):
                self._complete(event)
            elif isinstance(event, Gone):
                self.host.worker_gone(event.worker)
            elif isinstance(event, Outcast):
                self._start_over(event.reason)

    def _complete(self, event: Settled | Overdue) -> None:
        if inquiry := self._inquiries.pop(event.number, None):
            inquiry.set_result(event)
        if ask := self._asks.pop(event.number, None):
            if isinstance(event, Settled):
                outcome = Outcome(event.changed, event.unchanged, event.unknown)
                ask.contribute(Part(outcome, event.refused))
            else:
                ask.fail(Unconfirmed(event.missing, self._timing.confirm))

    def _deliver(self, event: Deliver) -> None:
        try:
            self._apply(event)
        except Exception:  # one operation that fails must not take the next ones with it
            logger.exception("An operation of another worker could not be carried out.")

    def _apply(self, event: Deliver) -> None:
        operation = event.operation
        if isinstance(operation, Question):
            self._reply(event, operation)
        elif isinstance(operation, Change):
            self._carry_out(event, operation)
        else:
            self.host.apply(operation, event.sender)

    def _carry_out(self, event: Deliver, change: Change) -> None:
        if change.source is None:
            own = tuple(sid for sid in change.sids if owner_of(sid) == self._node.name)
            if not own:
                return
            change = replace(change, sids=own)
        listener = threading.get_ident()

        def tell(done: Part) -> None:
            did, refused = done.outcome, done.refused
            if change.source is not None:  # a room may have more members than a message has room
                refused = refused[: 1 + self._limits.frame // _ID_BYTES]
            answer = Done(
                event.sender, event.number, did.changed, did.unchanged, did.unknown, refused
            )
            self.submit(answer)
            if threading.get_ident() != listener:  # which sends when it has handled the frame
                self.flush()

        # If this fails there is no answer, and the asker hears that it is unconfirmed.
        self.host.change_for(change, event.sender, tell)

    def _reply(self, event: Deliver, question: Question) -> None:
        if question.kind == "rooms_of" and owner_of(str(question.about)) != self._node.name:
            return
        answer = self.host.answer(question)
        for reply in replies(event.sender, event.number, answer, self._limits):
            with self._lock:
                self._node.submit(reply)

    def _start_over(self, reason: str) -> None:
        """Go on under a new name and without sockets, so that no wrong membership stays."""
        logger.warning("Disconnecting all sockets of this worker: %s.", reason)
        with self._lock:
            waiting = self._node.waiting()
            self._node = self._new_node()
            self._listening.clear()
            self._unheard = True  # until its hello has come back, as at the start
            asks, self._asks = self._asks, {}
            inquiries, self._inquiries = self._inquiries, {}
            for operation in waiting:
                if isinstance(operation, Change | Emit):
                    self._node.submit(operation, bounded=False)
        for ask in asks.values():
            ask.fail(Unconfirmed((), self._timing.confirm))
        for number, inquiry in inquiries.items():
            inquiry.set_result(Overdue(number, ()))
        self.host.expel()
