"""Dispatches the operations of other workers to this one, and sends its answers."""

from __future__ import annotations

import logging
import threading
import time

from msgspec.structs import replace

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.answers import Answers
from flask_rooms.cluster.interfaces import LocalWorker
from flask_rooms.cluster.locked_node import LockedNode
from flask_rooms.cluster.sender import Sender
from flask_rooms.cluster.tracing import NO_SPAN, operation_span
from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.ids import is_sid, owner_of
from flask_rooms.protocol.lanes import Lanes, WaitingJoin
from flask_rooms.protocol.messages import (
    OF_A_SOCKET,
    Ask,
    Change,
    Done,
    Emit,
    Query,
    Room,
    Succeeds,
    Tell,
)
from flask_rooms.protocol.paging import replies
from flask_rooms.protocol.stream import Limits
from flask_rooms.results import Part

logger = logging.getLogger("flask_rooms.cluster")

#: Bytes that a socket ID takes in a message, rounded up.
_ID_BYTES = 64


class Dispatcher:
    """
    Hands each operation of another worker to this one, and answers it.

    Args:
        shared: The node of this worker, whose stream takes the answers.
        sender: Sends answers that are given later.
        worker: Carries out the operations.
        limits: How long an answer may be.
        confirm: Seconds that a guarded join of another worker may hold up what follows it.
        answers: Answers queries for this worker.
    """

    def __init__(
        self,
        shared: LockedNode,
        sender: Sender,
        worker: LocalWorker,
        limits: Limits,
        confirm: float,
        answers: Answers,
    ) -> None:
        self._shared = shared
        self._sender = sender
        self._worker = worker
        self._limits = limits
        self._confirm = confirm
        self._answers = answers
        self._lanes = Lanes()
        self._lock = threading.Lock()

    def dispatch(self, event: Deliver) -> None:
        """Carry out one operation; called by the receiver, which then sends the answers."""
        operation = event.operation
        with self._lock:
            if isinstance(operation, Succeeds):
                self._lanes.succeed(event.sender, operation.former)
                return
            waits = self._lanes.hold(event)
        if not waits:
            self._carry_out(event)

    def release_overdue(self) -> None:
        """Carry out what has waited for guards of another operation for too long."""
        if self._lanes.is_empty:
            return
        with self._lock:
            overdue = self._lanes.overdue(time.monotonic())
        for join in overdue:
            self._end(join)

    def forget_held(self) -> None:
        """Drop what waits for guards: this worker has restarted, and has no sockets."""
        with self._lock:
            self._lanes = Lanes()

    def _end(self, join: WaitingJoin) -> None:
        """Rule `guarded-joins-keep-order`: carry out what has waited for a join."""
        with self._lock:
            lanes = self._lanes
            lanes.end(join)
            if not lanes.begin_drain(join.sender):
                return  # the thread that is draining looks again
        while True:
            with self._lock:
                event = lanes.next(join.sender)
            if event is None:
                return
            self._carry_out(event)

    def _carry_out(self, event: Deliver) -> None:
        operation = event.operation
        try:
            if isinstance(operation, Query):
                self.reply(event, operation)
            elif isinstance(operation, Change):
                self._change(event, operation)
            elif isinstance(operation, Ask):
                self._ask(event, operation)
            elif isinstance(operation, Tell):
                self._told(event, operation)
            elif isinstance(operation, Emit) and operation.trace:
                with operation_span("broadcast", operation.trace):
                    self._worker.on_operation(operation, event.sender, self._sender)
            else:
                self._worker.on_operation(operation, event.sender, self._sender)
        except Exception:  # one operation that fails must not take the next ones with it
            with safe_logging():
                logger.exception("An operation of another worker could not be carried out.")

    def _change(self, event: Deliver, change: Change) -> None:
        if change.source is None:
            name = self._shared.node.name
            own = tuple([sid for sid in change.sids if owner_of(sid) == name])
            if not own:
                return
            if len(own) < len(change.sids):
                change = replace(change, sids=own)
        receiver = threading.get_ident()
        join = self._begin(event, change)
        span = operation_span(change.action, change.trace) if change.trace else NO_SPAN

        def confirm(part: Part) -> None:
            did, refused = part.outcome, part.refused
            if change.source is not None:  # a message has no room for all members of a room
                refused = refused[: 1 + self._limits.frame // _ID_BYTES]
            answer = Done(
                event.sender,
                event.number,
                did.changed,
                did.unchanged,
                did.unknown,
                refused,
                part.newer,
            )
            self._shared.submit(answer)
            if join is not None:
                self._end(join)
            if threading.get_ident() != receiver:  # which sends after the whole frame
                self._sender.flush()
            span.end(did, refused=len(refused))

        # If this raises there is no answer, and the caller gets Unconfirmed.
        with span.kept_open():
            self._worker.change_for(change, event.sender, confirm)

    def _begin(self, event: Deliver, change: Change) -> WaitingJoin | None:
        if change.action != "join":
            return None
        join = WaitingJoin(event.sender, change, time.monotonic() + self._confirm)
        with self._lock:
            self._lanes.begin(join)
        return join

    def reply(self, event: Deliver, query: Query) -> None:
        """Answer a query, unless it is for the owner of a socket of another worker."""
        if query.kind in OF_A_SOCKET and owner_of(str(query.about)) != self._shared.node.name:
            return
        self._reply(event, self._answers.answer(query))

    def _ask(self, event: Deliver, ask: Ask) -> None:
        """Ask the sockets here, unless it is for the owners of sockets of other workers."""
        name = self._shared.node.name
        if ask.rooms is not None and all(_is_of_another(room, name) for room in ask.rooms):
            return
        with operation_span("ask", ask.trace):
            self._reply(event, self._worker.ask(ask, event.sender, self._sender))

    def _told(self, event: Deliver, tell: Tell) -> None:
        with operation_span("tell", tell.trace):
            if self._worker.told(tell):  # else there is no answer, and the sender gets Unconfirmed
                self._reply(event, ([self._shared.node.name], []))

    def _reply(self, event: Deliver, answer: tuple[list[Room], list[int]]) -> None:
        for reply in replies(event.sender, event.number, answer, self._limits):
            self._shared.submit(reply)


def _is_of_another(room: object, worker: str) -> bool:
    """Whether a room is that of a socket ID of another worker."""
    return isinstance(room, str) and is_sid(room) and owner_of(room) != worker
