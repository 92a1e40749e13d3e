"""Numbers the events of rooms with a history, and sends a client those that it has missed."""

from __future__ import annotations

from collections.abc import Callable, KeysView
from typing import Any

from msgspec.structs import replace

from flask_rooms.errors import InvalidArgument, InvalidSocket
from flask_rooms.history.keeper import MAX_OFFSET, EventNumber, Keeper, MissedEvents, Position
from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.messages import Emit, Room
from flask_rooms.results import Missed
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.holds import OFFSET
from flask_rooms.server.packets import Encoded, encode_event
from flask_rooms.server.private import ServerInternals


class CatchingUp:
    """
    Lets clients that come back have what was sent to a room meanwhile.

    Args:
        keeper: Keeps the events.
        registry: The sockets of this worker.
        delivery: Sends to them.
        internals: Has the class of packets.
        message_bytes: The size of a message to the other workers, in bytes.
    """

    def __init__(
        self,
        keeper: Keeper,
        registry: Registry,
        delivery: Delivery,
        internals: ServerInternals,
        message_bytes: int,
    ) -> None:
        self._keeper = keeper
        self._registry = registry
        self._delivery = delivery
        self._internals = internals
        self._message_bytes = message_bytes

    # -- what is sent ---------------------------------------------------------------------

    def number(self, emit: Emit, is_alone: Callable[[], bool]) -> Encoded:
        """
        Keep an event in those of its rooms that have a history.

        Args:
            emit: The event.
            is_alone: Returns whether there is no other worker.

        Returns:
            The events that tell clients its numbers; nothing if it has none.

        Raises:
            InvalidArgument: It is too large for the other workers.
            BackendUnavailable: The store cannot be reached.
        """
        rooms = self._keeper.rooms(emit.rooms)
        if not rooms or emit.volatile:
            return ()
        if sum(map(len, emit.packet)) > self._message_bytes // 8:
            # An event that is refused must not have been kept.
            longest = [EventNumber(room, "x" * 64, MAX_OFFSET) for room, _ in rooms]
            whole = replace(emit, packet=(*emit.packet, *self._told(emit.namespace, longest)))
            if len(encode_operation(whole)) > self._message_bytes and not is_alone():
                raise InvalidArgument(
                    f"An event to a room with a history has at most {self._message_bytes} bytes: "
                    "send less, or raise ROOMS_MESSAGE_BYTES."
                )
        numbers = self._keeper.append(emit.namespace, rooms, emit.packet, emit.omit)
        return self._told(emit.namespace, numbers)

    def _told(self, namespace: str, numbers: list[EventNumber]) -> Encoded:
        parts: Encoded = ()
        for number in numbers:
            parts += self._offset(namespace, number._asdict())
        return parts

    def _offset(self, namespace: str, data: dict[str, Any]) -> Encoded:
        return encode_event(self._internals.packet_class, OFFSET, data, namespace)

    # -- what was missed ------------------------------------------------------------------

    def catch_up(
        self, namespace: str, sid: str, room: str, since: Any, join: Callable[[], object]
    ) -> Missed:
        """
        Have a socket join a room, and send it what it has missed, then what is new.

        Args:
            namespace: The namespace of the socket.
            sid: Its ID.
            room: A name.
            since: What its client has said that it has, or None.
            join: Puts it into the room, or raises an error.
        """
        position = Position.of(since)
        self._keeper.require_rule(room)
        socket = self._registry.get(namespace, sid)
        if socket is None:
            raise InvalidSocket("catch_up() is for a socket of this worker: pass `request`.")
        # What comes for the room from the join on waits, so that nothing overtakes what was missed,
        # and what is in both the history and the room's new events comes once.
        holds = self._delivery.holds
        holds.begin(sid, room)
        try:
            join()
            departures = holds.departures(sid, room)
            past = self._keeper.read(namespace, room, position)
            rooms = self._registry.rooms_of(namespace, sid)
            is_next = room in rooms and holds.caught_up(
                *(namespace, sid, room, past.epoch, past.last, departures)
            )
            if not is_next:
                return Missed(0, gone=False)
            missed = Missed(self._replay(namespace, socket, room, past, rooms), past.gone)
            self._keeper.count(missed.sent, gone=missed.gone)
            return missed
        finally:
            self._delivery.release(sid, room)

    def _replay(
        self, namespace: str, socket: Socket, room: Room, past: MissedEvents, rooms: KeysView[Room]
    ) -> int:
        user = "" if socket.user is None else socket.user.id
        sent = 0
        for event in past.events:
            is_for = user not in event.omit_users and rooms.isdisjoint(event.omit_rooms)
            number = EventNumber(room, past.epoch, event.offset)
            told = self._told(namespace, [number])
            self._delivery.send_parts(socket.eio_sid, (*event.packet, *told) if is_for else told)
            sent += is_for
        last = {**EventNumber(room, past.epoch, past.last)._asdict(), "gone": past.gone}
        self._delivery.send_parts(socket.eio_sid, self._offset(namespace, last))
        return sent
