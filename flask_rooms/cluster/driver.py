"""Drives a Node over a Backend: joins the other workers, receives, leaves, and restarts."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress

from flask_rooms.backends.base import Backend
from flask_rooms.backends.forks import reset_in_children
from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.answers import Answers
from flask_rooms.cluster.calls import Calls
from flask_rooms.cluster.dispatcher import Dispatcher
from flask_rooms.cluster.interfaces import LocalWorker, Timing
from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.receiver import LONGEST, SHORTEST, Receiver
from flask_rooms.cluster.sender import Sender
from flask_rooms.cluster.shutdown import register_process
from flask_rooms.cluster.statistics import CallStatistics, Traffic
from flask_rooms.cluster.transport import Transport
from flask_rooms.errors import BackendError, BackendUnavailable, RoomsError
from flask_rooms.protocol.codec import BadMessage, Codec
from flask_rooms.protocol.events import Deliver, Event, Evicted, PeerLeft, VerifyCount
from flask_rooms.protocol.messages import FENCE, About, Frame, Goodbye
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.stream import Limits
from flask_rooms.results import WorkerInfo

logger = logging.getLogger("flask_rooms.cluster")

#: The longest wait of the receiver in seconds, so that it can notice that it has to leave.
_LONGEST = 1.0
#: Which part of the time to leave is kept for the last messages, whatever the others answer.
_FOR_GOODBYE = 0.25
#: For how many seconds a new worker waits at most to meet the others, and counts them often.
_MEETING, _MEETING_INTERVAL = 2.0, 0.05
#: Seconds between two checks for other workers while leaving.
_LEAVE_INTERVAL = 0.01
#: Heartbeat intervals between two times at which the broker is asked how many workers there are.
_COUNT_INTERVAL = 0.05
#: The same in times that the answer took, and in seconds at most.
_COUNT_PAUSE, _LONGEST_COUNT_PAUSE = 4.0, 2.0


class Cluster:
    """
    The connection of this worker to the others.

    It joins at the first use, and again, under a new name, in a forked child. Every method
    may be called from any thread, and none waits for the broker.

    Args:
        backend: Carries the bytes; not opened yet.
        codec: Encodes and signs.
        timing: Intervals and timeouts.
        limits: The bounds of the outbox, the repair log and a message.
        worker: Holds the sockets.
        version: The version of Flask-Rooms, which the other workers are told.

    Attributes:
        version: As given.
        statistics: What the calls have come to.
        receiver: Receives, in this process.
        dispatcher: Carries out and answers what is received.
    """

    receiver: Receiver
    dispatcher: Dispatcher

    def __init__(
        self,
        backend: Backend,
        codec: Codec,
        timing: Timing,
        limits: Limits,
        worker: LocalWorker,
        version: str,
    ) -> None:
        # Well below the time after which workers that are back sooner count this one as dead.
        self._longest_pause = min(timing.heartbeat / 2, LONGEST)
        self._transport = Transport(backend, codec, self._longest_pause)
        self._timing = timing
        self._limits = limits
        self._worker = worker
        self.version = version
        self.statistics = CallStatistics()
        self._joined_in = 0  # the process in which this worker has a name
        self._ready_in = 0  # the process in which its own messages come back
        self._starting = threading.Lock()
        self._starter = 0  # the thread that opens the backend
        reset_in_children(self)

    # -- joining and leaving --------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of this worker; joins the cluster if it has not."""
        self._join()
        return self._shared.node.name

    @property
    def peers(self) -> frozenset[str]:
        """The names of the other workers that count as alive."""
        with self._shared.lock:
            return self._shared.node.peers

    @property
    def known_workers(self) -> tuple[frozenset[str], bool]:
        """The names of the other workers that may be alive, and whether there are no others."""
        self._join()
        with self._shared.lock:
            return self._shared.node.known_workers, self._shared.node.is_settled

    def info(self, name: str) -> WorkerInfo:
        """Return the name of a worker with what is known about it."""
        return self._shared.directory.info(name)

    @property
    def heard(self) -> list[WorkerInfo]:
        """The workers heard so far, also those that have left, and this one."""
        return self._shared.directory.infos()

    @property
    def backend(self) -> Backend:
        """The backend that carries the messages."""
        return self._transport.backend

    @property
    def dropped(self) -> Counter[str]:
        """How many payloads were refused, by reason."""
        return self._transport.dropped

    @property
    def broker_error(self) -> str | None:
        """Why the broker could not be reached the last time, or None."""
        return self._transport.error

    @property
    def traffic(self) -> Traffic:
        """What has passed between this worker and the others; nothing before it joins."""
        if self._ready_in != os.getpid():
            return Traffic()
        return self._shared.traffic(self._transport.reconnects)

    @property
    def hears_itself(self) -> bool:
        """Whether this worker receives its own messages, and the broker was reachable since."""
        if self._transport.down or not self._listening.is_set():
            return False
        if self.backend.private:  # it receives only when it sends
            return True
        with self._shared.lock:
            return not self._shared.node.is_unheard(time.monotonic())

    def confirm_alone(self) -> bool:
        """Return whether there is certainly no other worker; waits for an echo of the broker."""
        self._join()  # in a forked child, the locks are those of the parent before
        # The hello of another worker may be on its way: it comes before the echo.
        if not self.hears_itself or not self.calls.query(FENCE, None).complete:
            return False
        with self._shared.lock:
            return not self._shared.node.known_workers

    @property
    def calls(self) -> Calls:
        """Sends changes and queries; joins the cluster if it has not joined."""
        if self._joined_in != os.getpid():  # as _join() asks, for what is called most of all
            self._start()
        return self._calls

    @property
    def sender(self) -> Sender:
        """Sends operations without an answer; joins the cluster if it has not joined."""
        self._join()
        return self._sender

    def start(self) -> None:
        """
        Join the cluster, once in each process, in order to serve clients.

        Returns when this worker receives its own hello: every other worker has then received
        it before anything published from now on. Without a broker it returns at once, and joins
        later.
        """
        self._worker.on_serving()
        self._start()

    def _start(self) -> None:
        if self._ready_in == os.getpid():
            return
        if self._starter == threading.get_ident():
            # A handler of the application's logging, called by the driver of the broker.
            raise BackendUnavailable("This worker is about to join the cluster.")
        self._start_once()
        self._wait_until_met()  # as a member, which says goodbye if the process ends meanwhile
        self._transport.log_warnings()

    def _start_once(self) -> None:
        with self._starting:
            if self._ready_in == os.getpid():
                return
            # Locks are made anew: in a forked child those of the parent may be held for ever.
            self._listening = threading.Event()
            self._unheard = False
            self._said_goodbye = self._has_new_name = False
            self._former_peers: frozenset[str] = frozenset()  # before restarts; not met again yet
            self._shared = LockedNode(self._timing, self._limits, self.version)
            opened = self._open()
            self._shared.node.on_reconnect(time.monotonic())
            self._count_due = 0.0
            self._meets_until = time.monotonic() + _MEETING
            self.receiver = Receiver(self, self.backend, opened=opened, longest=self._longest_pause)
            echo = self.receiver.drain if self.backend.private else None
            self._sender = Sender(self._shared, self._transport, self.receiver.stopping, echo)
            worker = self._worker
            confirm, answers = self._timing.confirm, Answers(self._shared, worker, self.statistics)
            self._calls = Calls(
                self._shared, self._sender, worker, confirm, self.statistics, answers
            )
            self.dispatcher = Dispatcher(
                self._shared, self._sender, worker, self._limits, confirm, answers
            )
            self._joined_in = os.getpid()
            self._sender.send()
            if self.backend.private:
                self._meets_until = 0.0
                self.receiver.drain()
            else:
                self._start_receiver()
            self.wait_until_heard()
            with self._shared.lock:  # or the echo could come between the two
                self._unheard = not self._listening.is_set()
            self._ready_in = os.getpid()
            register_process()

    def _open(self) -> bool:
        self._starter = threading.get_ident()
        try:
            return self._transport.open(self._shared.node.name)
        finally:
            self._starter = 0

    def _start_receiver(self) -> None:
        try:
            self._worker.start(self.receiver.run)
        except RuntimeError:  # a worker that does not receive is none
            self._joined_in = 0
            self.backend.close()
            raise

    def wait_until_heard(self) -> None:
        """
        Return when this worker receives its own messages, so the others have its hello.

        Also after the confirmation timeout, and at once while the broker is down: its own
        clients are served all the same. Rule `hello-before-sockets`.
        """
        if not self._transport.down:
            self._listening.wait(self._timing.confirm)

    def _wait_until_met(self) -> None:
        """
        Return when the workers have been met that were connected before, or after a moment.

        Else the first calls of workers that start at once, on a channel on which there was none,
        would not end before each has been heard four times. Rule `every-worker-is-known`.
        """
        stopped = self.receiver.stopped
        while not (self._transport.down or stopped.is_set()):
            if time.monotonic() >= self._meets_until:
                return
            stopped.wait(_LEAVE_INTERVAL)

    def _join(self) -> None:
        # The receiver itself uses this while start() still waits for it.
        if self._joined_in != os.getpid():
            self._start()

    @property
    def is_member(self) -> bool:
        """Whether this process has joined, and has not left again."""
        return self._ready_in == os.getpid() and not self.receiver.stopping.is_set()

    def reset_after_fork(self) -> None:
        """Start again in a forked child, which is not a member until it joins by itself."""
        self._starting = threading.Lock()
        self._starter = 0
        self._worker.reset_after_fork()

    def stop(self, timeout: float = 2.0) -> None:
        """Send what waits and a goodbye, and disconnect, within about *timeout* seconds."""
        if not self.is_member:
            return
        if self.backend.private:  # there is nothing to say, and no thread to wait for
            self.receiver.stopping.set()
            self.backend.close()
            return
        deadline = time.monotonic() + timeout
        with suppress(RoomsError):  # a full outbox: no worker can be asked
            self._be_heard(deadline - timeout * _FOR_GOODBYE)
        with self._shared.lock:  # so that a restart cannot come between the two
            self._shared.node.submit(Goodbye())
            self._said_goodbye = True
        self._sender.send_last(deadline)
        self._await_echo(deadline)
        self.receiver.stopping.set()
        self.backend.close()
        self.receiver.stopped.wait(timeout)
        self._calls.fail_all()

    def _be_heard(self, deadline: float) -> None:
        """
        Wait until then for the others to follow a worker that has just started.

        They do so after an exchange of heartbeats, and then ask for what was published before.
        A script that makes one call and exits would be gone by then, and they would receive
        neither the call nor the goodbye. Rule `heard-before-leaving`.
        """
        asked: frozenset[str] = frozenset()
        answer: Future[Completed | TimedOut] = Future()
        stopped = self.receiver.stopped
        while not stopped.is_set() and time.monotonic() < deadline:
            if self._transport.down:  # the receiver connects again
                stopped.wait(_LEAVE_INTERVAL)
                continue
            with self._shared.lock:
                node = self._shared.node
                known, settled, followed = node.known_workers, node.is_settled, node.is_followed
            # Settled alone is not enough: a worker may vouch before the others have named this one.
            if followed or (known <= asked and (answer.done() if asked else settled)):
                return
            if not known <= asked:
                # A worker that answers this query has received everything before it.
                _, answer = self._calls.send(FENCE, dict.fromkeys(known, ()))
                asked |= known
            stopped.wait(_LEAVE_INTERVAL)

    def _await_echo(self, deadline: float) -> None:
        """Wait until then for what comes before the goodbye to come back; warn of what has not."""
        stopped, node = self.receiver.stopped, self._shared.node
        while node.unechoed > 1 and not (self._transport.down or stopped.is_set()):
            if time.monotonic() >= deadline:
                break
            stopped.wait(_LEAVE_INTERVAL)
        self._sender.warn_of_lost(node.unechoed - 1)

    # -- what the receiver calls ------------------------------------------------------------

    def poll_timeout(self) -> float:
        """Return how many seconds the receiver may wait for the next payload."""
        wakes_at = self._sender.wakes_at()
        if self._transport.down:
            return SHORTEST
        if time.monotonic() < self._meets_until:
            wakes_at = min(wakes_at, self._count_due)
        longest = min(self._timing.heartbeat, self._timing.confirm, _LONGEST)
        return min(max(wakes_at - time.monotonic(), 0.001), longest)

    def on_disconnect(self, error: BackendError) -> None:
        """Record that the broker is unreachable. From now on only the receiver retries."""
        self._sender.on_disconnect(error)

    def on_idle(self) -> None:
        """Time out the calls that have waited long enough, although nothing can be received."""
        with self._shared.lock:
            node = self._shared.node
            events = node.tick(time.monotonic())
            self._calls.note(events)
        self._handle(events, node)
        self._transport.log_warnings()

    def on_payload(self, payload: bytes | None, reconnected: bool) -> bool:
        """Handle what was received, and let time pass; return False to reconnect."""
        self._transport.on_received(reconnected)
        frame = None if payload is None else self._decode(payload)
        now = time.monotonic()
        if frame is not None and frame.heartbeat is not None and frame.heartbeat.about is not None:
            self._shared.directory.note(frame.sender, frame.heartbeat, now)
            self._compare_intervals(frame.sender, frame.heartbeat.about)
        with self._shared.lock:
            node = self._shared.node
            if reconnected:
                self._transport.reconnects += 1
                node.on_reconnect(now)
            node.note_alone(getattr(self._transport.backend, "alone", False))
            events = [] if frame is None else node.receive(frame, now)
            events += node.tick(now)
            if self._former_peers:
                events += self._lost_in_restart(node)
            if events:
                self._calls.note(events)
            met = node.take_met()
            deaf = payload is None and node.is_deaf(now)
        self._count_audience(node)
        if frame is not None and frame.sender == node.name and not frame.to:
            self._heard_itself()
        for name in met:
            self._worker.on_worker_met(name)
        if events:
            self._handle(events, node)
        self.dispatcher.release_overdue()
        if deaf:
            # Rule `reconnect-when-deaf`
            message = "This worker does not receive its own messages any more, reconnecting."
            self._transport.warn("deaf", message)
        self._transport.log_warnings()
        if deaf or self._has_new_name:  # under which it is reached once it is connected again
            self._has_new_name = False
            return False
        self._sender.flush_apart(self._worker.spawn)
        return True

    def _compare_intervals(self, name: str, about: About) -> None:
        """Rule `longer-interval`: warn of a worker that has another one."""
        if about.interval != self._timing.heartbeat:
            self._transport.warn(
                "interval",
                "ROOMS_HEARTBEAT_INTERVAL is %g seconds here and %g seconds for worker %s: set "
                "the same on every worker, as the end of a worker is noticed by the longer one.",
                self._timing.heartbeat,
                about.interval,
                self.info(name),
            )

    def _count_audience(self, node: Node) -> None:
        """Rule `every-worker-is-known`: a broker may know how many workers there are."""
        if node.is_settled:
            self._meets_until = 0.0
            return
        if (began := time.monotonic()) < self._count_due:
            return
        count = self._sender.count_workers()
        ended = time.monotonic()
        pause = pause_after(count, ended - began, self._timing.heartbeat)
        with self._shared.lock:
            node.note_audience(count, began)
            if count is None or node.has_met_audience:
                self._meets_until = 0.0
        if ended < self._meets_until:
            pause = min(pause, _MEETING_INTERVAL)
        self._count_due = ended + pause

    def _heard_itself(self) -> None:
        if self._unheard:
            # Rule `hello-before-sockets`: it has accepted sockets before the others had its hello.
            # They may have answered callers that these do not exist.
            self._worker.disconnect_all()
        with self._shared.lock:
            self._unheard = False
            self._listening.set()

    def _decode(self, payload: bytes) -> Frame | None:
        try:
            return self._transport.decode(payload)
        except BadMessage as error:
            if error.sender:
                with self._shared.lock:
                    self._shared.node.note_foreign_version(error.sender)
            self._transport.drop(error.reason)
            return None

    def _lost_in_restart(self, node: Node) -> list[Event]:
        """
        Return the other workers that left while this one restarted; call it under the lock.

        A new node has never met them, so it cannot tell.
        """
        if not node.is_settled:
            return []
        lost = self._former_peers - node.known_workers
        self._former_peers -= lost | node.peers  # the rest is known by name, and may be dead
        return [PeerLeft(name, said_goodbye=False) for name in lost]

    def _handle(self, events: list[Event], node: Node) -> None:
        for event in events:
            if isinstance(event, Deliver):
                self.dispatcher.dispatch(event)
            elif isinstance(event, Completed | TimedOut):
                self._calls.resolve(event, node)
            elif isinstance(event, PeerLeft):
                self._worker.on_worker_left(self.info(event.worker), event.said_goodbye)
            elif isinstance(event, Evicted):
                self.restart(event.reason)
            elif isinstance(event, VerifyCount):
                with suppress(RoomsError):  # a full outbox: what waits for this waits on
                    self._calls.send(FENCE, None)

    def restart(self, reason: str) -> None:
        """
        Continue under a new name and without sockets, so that no wrong membership stays.

        Rule `evicted-start-over`.
        """
        with self._shared.lock:
            if self._said_goodbye:
                return  # the others rightly count it as dead, and it must not join again
            self._former_peers |= self._shared.node.peers
            complete_calls = self._calls.end_all(reason)
            node = self._shared.renew()
            self.backend.address, self._has_new_name = node.name, True
            self._listening.clear()
            self._unheard = True  # until its hello has come back, as at the start
            self.dispatcher.forget_held()
        # Not under the lock: a handler of the application's logging may make calls, or hang.
        complete_calls()
        self._worker.on_restart()
        self._worker.disconnect_all()
        with safe_logging():
            logger.warning("Disconnecting all sockets of this worker: %s.", reason)


def pause_after(count: int | None, took: float, heartbeat: float) -> float:
    """
    Return how many seconds to receive before the workers are counted again.

    What arrives waits while a broker under load, or a far one, is asked. A worker that falls behind
    has its own messages back late, so it never knows all others, and would count for ever.

    Args:
        count: How many there were, or None where the broker did not say. It may be back at once.
        took: Seconds that the answer took.
        heartbeat: Seconds between two heartbeats.
    """
    pause = _COUNT_INTERVAL * heartbeat
    if count is None:
        return pause
    return max(pause, min(_COUNT_PAUSE * took, _LONGEST_COUNT_PAUSE))
