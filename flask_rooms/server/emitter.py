"""Sends events to clients of every worker: to those of this one first, then to the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import BackendUnavailable, InvalidArgument, RoomsError
from flask_rooms.protocol.ids import is_sid, owner_of
from flask_rooms.protocol.messages import Audience, Emit
from flask_rooms.server.acknowledgements import Acknowledgements
from flask_rooms.server.catching_up import CatchingUp
from flask_rooms.server.delivery import WORKERS, Delivery
from flask_rooms.server.holds import OFFSET
from flask_rooms.server.packets import Encoded, decode, encode_event
from flask_rooms.server.private import ServerInternals


class Emitter:
    """
    Sends events to the sockets of this worker and, through the cluster, to those of the others.

    Args:
        cluster: The connection to the others.
        delivery: Sends to the sockets of this worker.
        acknowledgements: Keeps the callbacks.
        catching_up: Keeps the events of rooms with a history.
        internals: Has the class of packets.
    """

    def __init__(
        self,
        cluster: Cluster,
        delivery: Delivery,
        acknowledgements: Acknowledgements,
        catching_up: CatchingUp,
        internals: ServerInternals,
    ) -> None:
        self._cluster = cluster
        self._delivery = delivery
        self._acknowledgements = acknowledgements
        self._catching_up = catching_up
        self._internals = internals

    def send(
        self,
        event: str,
        data: Any,
        namespace: str,
        rooms: tuple[Audience, ...] | None,
        skip: tuple[str, ...],
        callback: Callable[..., object] | None = None,
        ignore_queue: bool = False,
        omit: tuple[Audience, ...] = (),
        volatile: bool = False,
        trace: str = "",
    ) -> None:
        """
        Send an event to the sockets of this worker first, then to those of the others.

        Args:
            event: Its name.
            data: What JSON and bytes can express; a tuple is several arguments.
            namespace: The namespace.
            rooms: Names, or None for the whole namespace.
            skip: Socket IDs to leave out.
            callback: Called with what a client acknowledges.
            ignore_queue: Whether to leave out the other workers.
            omit: Rooms and users whose sockets are left out.
            volatile: Whether clients that have not read everything are left out.
            trace: What the other workers record it under, or empty.

        Raises:
            InvalidArgument: *event* is `history_offset`, or *data* cannot be encoded, or is too
                large for a message and there are other workers; nothing has been sent.
            BackendUnavailable: The outbox is full, and this worker's sockets have got the event;
                or the history of one of the rooms cannot be reached, and no client that is there
                has got it.
        """
        if event == OFFSET:
            raise InvalidArgument(f"{event!r} is Flask-Rooms' own event: name yours otherwise.")
        packet = encode_event(self._internals.packet_class, event, data, namespace)
        if callback is not None:  # each worker decodes it, to number it for its clients
            decode(self._internals.packet_class, packet)
        self._cluster.statistics.events += 1
        emit = Emit(namespace, packet, rooms, skip, 0, omit, volatile, trace)
        if ignore_queue or (rooms is not None and all(self._is_own(one) for one in rooms)):
            self._delivery.deliver(emit, callback)
            return
        told: Encoded = ()
        if callback is None:
            told = self._catching_up.number(emit, self._cluster.confirm_alone)
        self._send(replace(emit, packet=(*packet, *told)) if told else emit, callback)
        if told and (skip or omit):
            # For those that were left out the number is done, too.
            self._send(Emit(namespace, told, rooms, (), 0), None)

    def _send(self, emit: Emit, callback: Callable[..., object] | None) -> None:
        try:
            self._submit(emit, callback)
        except BackendUnavailable:
            # The sockets of this worker do not depend on the broker.
            self._delivery.deliver(emit, callback)
            raise
        except InvalidArgument:  # it is too large for a message, which is nothing to a lone worker
            if not self._cluster.confirm_alone():
                raise
        self._delivery.deliver(emit, callback)
        self._cluster.sender.flush()

    def _submit(self, emit: Emit, callback: Callable[..., object] | None) -> None:
        if callback is None or emit.rooms == ():
            self._cluster.sender.submit(emit)
            return
        ack = self._acknowledgements.add_remote(emit.rooms, callback)
        try:
            self._cluster.sender.submit(replace(emit, ack=ack))
        except RoomsError:
            self._acknowledgements.forget_remote(ack)
            raise

    def _is_own(self, room: Audience) -> bool:
        # Only the socket itself can be in the room of its ID.
        return isinstance(room, str) and is_sid(room) and owner_of(room) == self._cluster.name

    def tell_workers(self, topic: str, message: Any) -> None:
        """Send a message to the other workers themselves: each calls its on_worker_message."""
        packet = encode_event(self._internals.packet_class, topic, message, "/")
        self._cluster.sender.publish(Emit(WORKERS, packet, None, (), 0))
