"""Delivers events and acknowledgements to the clients of this worker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from flask_rooms.cluster.interfaces import Outbox
from flask_rooms.errors import InvalidArgument, RoomsError
from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import Acknowledged, Emit, Operation, Room
from flask_rooms.server.acknowledgements import Acknowledgements, Cancellable, only_socket
from flask_rooms.server.holds import Holds
from flask_rooms.server.packets import Encoded, decode, encode_acknowledgement
from flask_rooms.server.private import ServerInternals, engine_packets

#: The namespace of messages from worker to worker; no client can be in it.
WORKERS = ""


class Delivery:
    """
    Sends events to the clients of this worker, for its own callers and for other workers.

    Args:
        registry: The sockets of this worker.
        internals: The server that sends to them.
        acknowledgements: The callbacks that wait.

    Attributes:
        holds: What is kept from sockets that catch up with a room.
        on_worker_message: Topic -> what is called with what another worker tells of it, by
            tell_workers().
    """

    def __init__(
        self, registry: Registry, internals: ServerInternals, acknowledgements: Acknowledgements
    ) -> None:
        self._registry = registry
        self._internals = internals
        self._acknowledgements = acknowledgements
        self.holds = Holds(lambda: internals.packet_class)
        self.on_worker_message: dict[str, Callable[[Any], object]] = {}

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self.holds.reset()
        self._acknowledgements.reset_after_fork()

    def on_worker_left(self, worker: str) -> None:
        """Release the callbacks that wait for a client of another worker, which has left."""
        self._acknowledgements.on_worker_left(worker)

    # -- to clients -----------------------------------------------------------------------

    def deliver(self, emit: Emit, callback: Callable[..., object] | None) -> None:
        """Send an event to the sockets of this worker that it is for."""
        members = self._registry.sockets_in(emit.namespace, emit.rooms, emit.omit)
        for sid in emit.skip:
            members.pop(sid, None)
        if emit.volatile:
            unread = self._internals.unread
            members = {sid: one for sid, one in members.items() if not unread(one.eio_sid)}
        if callback is None:
            self.holds.filter(emit, members)
            self._internals.send(members.values(), engine_packets(emit.packet))
            return
        for sid, socket in members.items():
            packet = decode(self._internals.packet_class, emit.packet)
            packet.id = self._acknowledgements.add_local(sid, callback)
            self.send_packet(socket.eio_sid, packet)
            if self._registry.get(emit.namespace, sid) is None:  # it has left meanwhile
                self.cancel_acknowledgements(sid)

    def release(self, sid: str, room: Room) -> None:
        """Send a socket what has been kept from it, and end the hold."""
        while emit := self.holds.take(sid, room):
            try:
                socket = self._registry.get(emit.namespace, sid)
                recipients = {} if socket is None else {sid: socket}
                self.holds.filter_known(emit, recipients)
                self._internals.send(recipients.values(), engine_packets(emit.packet))
            except BaseException:  # the Timeout of a green caller; the rest is not lost for it
                self._internals.spawn(self.release, sid, room)
                raise

    def send_parts(self, eio_sid: str, parts: Encoded) -> None:
        """Send one client what is encoded."""
        self._internals.send_to([eio_sid], engine_packets(parts))

    def send_packet(self, eio_sid: str, packet: Any) -> None:
        """Send one client a packet of Socket.IO."""
        self.send_packet_to([eio_sid], packet)

    def answer(self, eio_sid: str, packet: Any) -> None:
        """Send one client a packet of Socket.IO, at once if nothing else waits for that client."""
        self._internals.answer(eio_sid, _encoded(packet))

    def send_packet_to(self, eio_sids: Iterable[str], packet: Any) -> None:
        """Send clients a packet of Socket.IO, which is encoded once."""
        self._internals.send_to(eio_sids, _encoded(packet))

    def cancel_acknowledgements(self, sid: str) -> None:
        """Forget the callbacks that wait for a socket, and tell other workers that wait for it."""
        for callback in self._acknowledgements.take_all_local(sid):
            if isinstance(callback, Cancellable):
                callback.cancel()

    # -- from other workers ---------------------------------------------------------------

    def on_operation(self, operation: Operation, sender: str, outbox: Outbox) -> None:
        """Deliver another worker's event or acknowledgement; answers go to *outbox*."""
        if isinstance(operation, Acknowledged):
            if operation.worker == outbox.name:
                self._acknowledged(operation)
        elif isinstance(operation, Emit) and operation.namespace == WORKERS:
            packet = decode(self._internals.packet_class, operation.packet)
            topic, message = packet.data
            if topic in self.on_worker_message:
                self.on_worker_message[topic](message)
        elif isinstance(operation, Emit):
            self._receive_event(operation, sender, outbox)

    def _receive_event(self, emit: Emit, sender: str, outbox: Outbox) -> None:
        if not emit.ack:
            self.deliver(emit, None)
            return
        answer = _Answer(self._internals, sender, emit.ack, outbox)
        self.deliver(emit, answer)
        sid = only_socket(emit.rooms)
        if sid is None or owner_of(sid) != outbox.name:
            return
        if not self._registry.get(emit.namespace, sid):
            answer.cancel()  # no client will answer

    def _acknowledged(self, answer: Acknowledged) -> None:
        callback = self._acknowledgements.answered_remote(answer.ack)
        if callback is not None and answer.packet:
            # In the background: it is the application's, and may take its time.
            data = decode(self._internals.packet_class, answer.packet).data
            self._internals.spawn(callback, *(data or ()), kind=None)


class _Answer(Cancellable):
    """
    Sends a client's acknowledgement back to the worker that waits for it.

    Args:
        internals: Has the class of packets.
        worker: The worker that waits.
        ack: Its number for the acknowledgement.
        outbox: Sends it.
    """

    def __init__(self, internals: ServerInternals, worker: str, ack: int, outbox: Outbox) -> None:
        self._internals = internals
        self._worker = worker
        self._ack = ack
        self._outbox = outbox

    def __call__(self, *args: Any) -> None:
        try:
            packet = encode_acknowledgement(self._internals.packet_class, args)
            self._outbox.publish(Acknowledged(self._worker, self._ack, packet))
        except InvalidArgument:  # it is too large or no data, so no answer will come
            self._outbox.publish(Acknowledged(self._worker, self._ack, ()))

    def cancel(self) -> None:
        """Tell the worker that no answer will come."""
        with contextlib.suppress(RoomsError):  # the outbox is full: the caller times out
            self._outbox.publish(Acknowledged(self._worker, self._ack, ()))


def _encoded(packet: Any) -> list[Any]:
    encoded = packet.encode()
    return engine_packets(encoded if isinstance(encoded, list) else [encoded])
