"""Asks the clients of this worker, and reports of each the answer, or why there is none."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, Literal, TypeAlias

from flask_rooms.cluster.interfaces import Outbox
from flask_rooms.errors import InvalidArgument
from flask_rooms.membership.registry import Registry
from flask_rooms.membership.timers import Timers
from flask_rooms.protocol.ids import is_sid
from flask_rooms.protocol.messages import Answered, Ask
from flask_rooms.server.acknowledgements import Acknowledgements, Cancellable
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.packets import Encoded, encode_acknowledgement
from flask_rooms.server.private import ServerInternals

#: How many sockets of one worker may be awaited at once; further ones are not asked.
MAX_AWAITED = 100_000
#: Seconds for which answers for another worker are collected into one message.
COLLECT = 0.05
#: The most bytes that a socket ID takes in a message, with the framing of an answer.
_ENTRY = 80

Fate: TypeAlias = Literal["answered", "left", "failed"]
#: Takes a socket ID, what became of it, and what it has acknowledged.
Report: TypeAlias = "Callable[[str, Fate, Encoded], object]"


class Polls:
    """
    The questions whose answers are awaited of the clients of this worker.

    Args:
        registry: The sockets.
        delivery: Sends to them.
        acknowledgements: The callbacks that wait for them.
        internals: Has the class of packets.
        timers: Ends each question in time.
        limit: How large all answers of one question may be, in bytes.
    """

    def __init__(
        self,
        registry: Registry,
        delivery: Delivery,
        acknowledgements: Acknowledgements,
        internals: ServerInternals,
        timers: Timers,
        limit: int,
    ) -> None:
        self._registry = registry
        self._delivery = delivery
        self._acknowledgements = acknowledgements
        self._internals = internals
        self._timers = timers
        self._limit = limit
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self._lock = threading.Lock()
        self._awaited = 0

    def ask(self, ask: Ask, packet: Any, report: Report) -> list[str]:
        """Ask the sockets here that a question is for, with its packet; return their IDs."""
        members = self._registry.members(ask.namespace, ask.rooms, ask.omit)
        for audience in ask.omit:
            members.pop(str(audience), None)  # a socket may have left the room of its own ID
        sids = list(members)
        for sid in sids[self._admit(len(sids)) :]:
            del members[sid]
            report(sid, "failed", ())
        ack = self._acknowledgements.new_id()
        poll = _Poll(self._internals, report, self._settled, self._limit, members)
        for sid in members:
            self._acknowledgements.keep_local(sid, ack, _Awaited(poll, sid))
        packet.id = ack
        try:
            self._delivery.send_packet_to(members.values(), packet)
        except BaseException:
            self._forget(poll, ack)
            raise
        for sid in members:
            if self._registry.get(ask.namespace, sid) is None:  # it has left meanwhile
                self._delivery.cancel_acknowledgements(sid)
        waits = weakref.ref(poll)  # or all answers would be kept until the time is over
        self._timers.after(ask.timeout, partial(self._on_overdue, waits, ack))
        return sids

    def left_out(self, ask: Ask, asked: Collection[str]) -> list[str]:
        """Return the sockets here that a question names, and that it was not for all the same."""
        named = [str(room) for room in ask.rooms or () if isinstance(room, str) and is_sid(room)]
        here = [sid for sid in named if self._registry.get(ask.namespace, sid) is not None]
        return [sid for sid in here if sid not in asked]

    def _admit(self, count: int) -> int:
        """Return how many of so many sockets may be asked."""
        with self._lock:
            admitted = min(count, MAX_AWAITED - self._awaited)
            self._awaited += admitted
            return admitted

    def _settled(self) -> None:
        with self._lock:
            self._awaited -= 1

    def _on_overdue(self, waits: weakref.ref[_Poll], ack: int) -> None:
        poll = waits()
        if poll is not None:  # else nothing waits for it any more
            self._forget(poll, ack)

    def _forget(self, poll: _Poll, ack: int) -> None:
        """Await no more answers."""
        for sid in list(poll.waiting):
            if self._acknowledgements.take_local(sid, ack) is not None:
                poll.settle(sid)


class _Poll:
    """
    One question: what all the sockets that were asked have in common.

    Attributes:
        waiting: The sockets of which nothing is known yet.
    """

    def __init__(
        self,
        internals: ServerInternals,
        report: Report,
        settled: Callable[[], None],
        limit: int,
        sids: Iterable[str],
    ) -> None:
        self._internals = internals
        self._report = report
        self._settled = settled
        self._room = limit
        self._lock = threading.Lock()
        self.waiting = set(sids)

    def settle(self, sid: str) -> None:
        self.waiting.discard(sid)
        self._settled()

    def answered(self, sid: str, arguments: tuple[Any, ...]) -> None:
        self.settle(sid)
        try:
            packet = encode_acknowledgement(self._internals.packet_class, arguments)
        except InvalidArgument:
            self._report(sid, "failed", ())
            return
        size = size_of(packet)
        with self._lock:
            fits = size <= self._room
            self._room -= size if fits else 0
        self._report(sid, "answered" if fits else "failed", packet if fits else ())

    def left(self, sid: str) -> None:
        self.settle(sid)
        self._report(sid, "left", ())


class _Awaited(Cancellable):
    """The callback of one socket that was asked."""

    __slots__ = ("_poll", "_sid")

    def __init__(self, poll: _Poll, sid: str) -> None:
        self._poll = poll
        self._sid = sid

    def __call__(self, *args: Any) -> None:
        self._poll.answered(self._sid, args)

    def cancel(self) -> None:
        self._poll.left(self._sid)


class Batches:
    """
    Collects what became of sockets, and sends it to the worker that has asked, a message at a time.

    Args:
        worker: That worker.
        ask: Its number for the question.
        outbox: Sends the messages.
        timers: Says when what was collected is sent.
        limit: How large a message may be, in bytes.
    """

    def __init__(self, worker: str, ask: int, outbox: Outbox, timers: Timers, limit: int) -> None:
        self._worker = worker
        self._ask = ask
        self._outbox = outbox
        self._timers = timers
        self._limit = limit
        self._lock = threading.Lock()
        self._open: int | None = None  # sockets of which nothing is known yet, once all are known
        self._known = 0
        self._waits = False  # whether a timer will send what is collected
        self._clear()

    def _clear(self) -> None:
        self._answers: list[tuple[str, Encoded]] = []
        self._others: dict[Fate, list[str]] = {"left": [], "failed": []}
        self._size = 0

    def __call__(self, sid: str, fate: Fate, packet: Encoded) -> None:
        """Take what became of a socket."""
        size = _ENTRY + size_of(packet)
        if size > self._limit:
            fate, packet, size = "failed", (), _ENTRY
        messages = []
        with self._lock:
            self._known += 1
            if self._size + size > self._limit:
                messages.append(self._take())
            self._size += size
            if fate == "answered":
                self._answers.append((sid, packet))
            else:
                self._others[fate].append(sid)
            if self._known == self._open:
                messages.append(self._take())
            elif not self._waits:
                self._waits = True
                self._timers.after(COLLECT, self._flush)
        self._publish(messages)

    def expect(self, count: int) -> None:
        """Take note of how many sockets were asked."""
        with self._lock:
            self._open = count
            messages = [self._take()] if self._known == count else []
        self._publish(messages)

    def _flush(self) -> None:
        with self._lock:
            self._waits = False
            message = self._take()
        self._publish([message])

    def _take(self) -> Answered | None:
        """Return what is collected; call it under the lock."""
        answers, others = self._answers, self._others
        self._clear()
        if not (answers or others["left"] or others["failed"]):
            return None
        return Answered(
            self._worker, self._ask, tuple(answers), tuple(others["left"]), tuple(others["failed"])
        )

    def _publish(self, messages: list[Answered | None]) -> None:
        for message in messages:
            if message is not None:
                self._outbox.publish(message)


def size_of(packet: Encoded) -> int:
    """Return how large an encoded packet is, in bytes."""
    return sum(len(part if isinstance(part, bytes) else part.encode()) for part in packet)
