"""Drives a Node over a Backend: joins the other workers, hears them, leaves, and starts over."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from flask_rooms.backends.base import Backend
from flask_rooms.cluster.calls import Calls, Gathered
from flask_rooms.cluster.confirmation import Confirmation
from flask_rooms.cluster.dispatcher import Dispatcher
from flask_rooms.cluster.forks import begin_afresh_in_children
from flask_rooms.cluster.interfaces import LocalWorker, Timing
from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.receiver import SHORTEST, Receiver
from flask_rooms.cluster.sender import Sender
from flask_rooms.cluster.shutdown import attend_process
from flask_rooms.cluster.transport import Transport
from flask_rooms.errors import BackendError, RoomsError
from flask_rooms.protocol.codec import BadMessage, Codec
from flask_rooms.protocol.messages import (
    Change,
    Emit,
    Frame,
    Goodbye,
    Operation,
    Query,
)
from flask_rooms.protocol.node import Deliver, Event, Evicted, Node, PeerLeft
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.stream import Limits

logger = logging.getLogger("flask_rooms")

#: Seconds without a look at whether it is time to leave.
_LONGEST = 1.0
#: Seconds between two looks at whether anybody else is there, while leaving.
_GLANCE = 0.01
#: A question that costs nobody anything.
FENCE = Query("count", "/", "")


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
        self._channel = Transport(backend, codec)
        self._timing = timing
        self._limits = limits
        self._joined_in = 0  # the process in which this worker has a name
        self._ready_in = 0  # the process in which it hears itself
        self.host: LocalWorker
        self._starting = threading.Lock()
        begin_afresh_in_children(self)

    # -- joining and leaving --------------------------------------------------------------

    @property
    def name(self) -> str:
        """This worker's name; joins the cluster if need be."""
        self._join()
        return self._shared.name

    @property
    def peers(self) -> frozenset[str]:
        """The names of the other workers that count as alive."""
        with self._shared.lock:
            return self._shared.node.peers

    @property
    def backend(self) -> Backend:
        """What carries the messages."""
        return self._channel.backend

    @property
    def dropped(self) -> Counter[str]:
        """Payloads that were refused, by reason."""
        return self._channel.dropped

    @property
    def hears_itself(self) -> bool:
        """Whether what this worker says has come back to it, and nothing was amiss since."""
        return self._listening.is_set() and not self._channel.down

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
            # All that has a lock is made anew: in a forked child the parent's may be held for ever.
            self._listening = threading.Event()
            self._unheard = False
            self._said_goodbye = False
            opened = self._channel.open()
            # Well below the time after which those who are back sooner count us as dead.
            longest = self._timing.heartbeat / 2
            self._listener = Receiver(self, self.backend, opened=opened, longest=longest)
            self._shared = LockedNode(self._timing, self._limits)
            self._sender = Sender(self._shared, self._channel, self._listener.stopping)
            self._asker = Calls(self._shared, self._sender, self.host, self._timing.confirm)
            self._deliveries = Dispatcher(self, self.host, self._limits)
            self._joined_in = os.getpid()
            self.flush()
            self.host.spawn(self._listener.run)
            self.wait_until_heard()
            with self._shared.lock:  # or it could be heard between the two
                self._unheard = not self._listening.is_set()
            self._ready_in = os.getpid()
            attend_process()

    def wait_until_heard(self) -> None:
        """
        Return when this worker hears itself, and so the others have heard of it.

        Also after the confirmation timeout, and at once while the broker is away: own clients
        are served all the same.
        """
        if not self._channel.down:
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
        with suppress(RoomsError):  # a full outbox: nobody can be asked
            self._be_heard(deadline)
        with self._shared.lock:  # so that it is said by whom the others know
            self._shared.node.submit(Goodbye())
            self._said_goodbye = True
        self._sender.send_last(deadline)
        self._listener.stopping.set()
        self.backend.close()
        self._listener.stopped.wait(timeout)
        self._asker.give_up_all()

    def _be_heard(self, deadline: float) -> None:
        """
        Wait until then for the others to follow a worker that has just started.

        They do so only after an exchange of heartbeats, and then want repeated what was said
        before. A script that says one thing and ends would be gone by then, and they would
        hear neither that nor its goodbye.
        """
        asked: frozenset[str] = frozenset()
        answer: Future[Completed | TimedOut] = Future()
        stopped = self._listener.stopped
        while not (self._channel.down or stopped.is_set()) and time.monotonic() < deadline:
            with self._shared.lock:
                node = self._shared.node
                known, settled = node.known_workers, node.is_settled
            if settled or (answer.done() and known <= asked):
                return
            if not known <= asked:
                # Who answers has come to this question, and so has had what was before it.
                _, answer = self._asker.ask(FENCE, dict.fromkeys(known, ()))
                asked |= known
            stopped.wait(_GLANCE)

    # -- what this worker says ------------------------------------------------------------

    def change(self, change: Change) -> Confirmation:
        """Carry out a membership change wherever its sockets are, as Calls.change() says."""
        self._join()
        return self._asker.change(change)

    def inquire(self, question: Query, timeout: float | None) -> Gathered:
        """Ask every worker, or the owner of a socket, as Calls.inquire() says."""
        self._join()
        return self._asker.inquire(question, timeout)

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
        self._shared.submit(operation)

    def flush(self) -> None:
        """Send what waits in the outbox, as Sender.flush() says."""
        self._sender.flush()

    # -- what it hears --------------------------------------------------------------------

    def patience(self) -> float:
        """Return how many seconds the listener may wait for the next payload."""
        wakes_at = self._sender.wakes_at()
        if self._channel.down:
            return SHORTEST
        longest = min(self._timing.heartbeat, self._timing.confirm, _LONGEST)
        return min(max(wakes_at - time.monotonic(), 0.001), longest)

    def lost(self, error: BackendError) -> None:
        """Take notice that the broker cannot be reached; only the listener tries it now."""
        self._sender.lost(error)

    def pass_time(self) -> None:
        """Tell whoever has waited long enough, although nothing can be heard."""
        with self._shared.lock:
            node = self._shared.node
            events = node.tick(time.monotonic())
        self._handle(events, node)

    def hear(self, payload: bytes | None, reconnected: bool) -> bool:
        """Take in what the listener has received, and let time pass; False to connect again."""
        self._channel.down = False  # so that the outbox is tried, too
        frame = None if payload is None else self._decode(payload)
        now = time.monotonic()
        with self._shared.lock:
            node = self._shared.node
            if reconnected:
                node.on_reconnect(now)
            node.alone = getattr(self.backend, "alone", False)
            events = [] if frame is None else node.receive(frame, now)
            events += node.tick(now)
            deaf = payload is None and node.is_deaf(now)
        if frame is not None and frame.sender == self._shared.name:
            self._heard_itself()
        self._handle(events, node)
        if deaf:
            message = "This worker does not hear itself any more, connecting again."
            self._channel.warn("deaf", message)
        if deaf or self._shared.node is not node:  # nobody has heard who has started over
            return False
        self.flush()
        return True

    def _heard_itself(self) -> None:
        if self._unheard:
            # It has accepted sockets of which the others could not know; they may have told
            # somebody that these do not exist.
            self.host.expel()
        with self._shared.lock:
            self._unheard = False
            self._listening.set()

    def _decode(self, payload: bytes) -> Frame | None:
        try:
            return self._channel.decode(payload)
        except BadMessage as error:
            if error.sender:
                with self._shared.lock:
                    self._shared.node.note_foreign_version(error.sender)
            self._channel.refuse(error.reason)
            return None

    def _handle(self, events: list[Event], node: Node) -> None:
        for event in events:
            if isinstance(event, Deliver):
                self._deliveries.deliver(event)
            elif isinstance(event, Completed | TimedOut):
                self._asker.conclude(event, node)
            elif isinstance(event, PeerLeft):
                self.host.worker_gone(event.worker)
            elif isinstance(event, Evicted):
                self._start_over(event.reason)

    def _start_over(self, reason: str) -> None:
        """Go on under a new name and without sockets, so that no wrong membership stays."""
        with self._shared.lock:
            if self._said_goodbye:
                return  # of course nobody counts it as alive, and nobody is to meet it again
            logger.warning("Disconnecting all sockets of this worker: %s.", reason)
            waiting = self._shared.node.waiting()
            node = self._shared.renew()
            self._listening.clear()
            self._unheard = True  # until its hello has come back, as at the start
            unanswered = self._asker.forget_all()
            for operation in waiting:
                if isinstance(operation, Change | Emit):
                    node.submit(operation, bounded=False)
        unanswered.fail(self._timing.confirm)
        self.host.expel()
