"""Sends events to clients of any worker, and takes their acknowledgements back."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from engineio.exceptions import SocketIsClosedError
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket

from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import BackendUnavailable, InvalidArgument, RoomsError
from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.ids import is_sid, owner_of
from flask_rooms.protocol.messages import Acknowledged, Audience, Emit
from flask_rooms.server.packets import decode, encode_acknowledgement, encode_event

#: Callbacks that may wait for clients of other workers.
REMOTE_ACKS = 10_000

#: The namespace of the workers themselves; no client can be in it.
_WORKERS = ""


class Emitter:
    """
    Sends events to the sockets of this worker and, through the cluster, to those of the others.

    Args:
        registry: The sockets of this worker.
        cluster: The way to the others.
        spawn: Runs a function in the background.

    Attributes:
        server: python-socketio's: set by who knows it.
        callbacks: Socket ID -> acknowledgement -> who waits for it, for sockets of this worker.
    """

    server: Any

    def __init__(self, registry: Registry, cluster: Cluster, spawn: Callable[..., object]) -> None:
        self._registry = registry
        self._cluster = cluster
        self._spawn = spawn
        self.callbacks: dict[str, dict[int, Callable[..., object]]] = {}
        self._ack_ids = itertools.count(1)
        self._remote_acks: dict[int, tuple[str, Callable[..., object]]] = {}
        self.forked()

    def forked(self) -> None:
        """Begin afresh in a forked child: what waits for an answer is the parent's."""
        self._sending_parts = threading.Lock()
        self._remote_acks.clear()
        self.callbacks.clear()

    def send(
        self,
        event: str,
        data: Any,
        namespace: str,
        rooms: tuple[Audience, ...] | None,
        skip: tuple[str, ...],
        callback: Callable[..., object] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """
        Send an event to this worker's sockets first, then to those of the others.

        Args:
            event: Its name.
            data: What JSON and bytes can express; a tuple is several arguments.
            namespace: Where.
            rooms: Names, or None for the whole namespace.
            skip: Socket IDs to leave out.
            callback: Called with what a client acknowledges.
            ignore_queue: Whether to leave out the other workers.

        Raises:
            InvalidArgument: *data* cannot be encoded, or is too large for a message.
            BackendUnavailable: The outbox is full; this worker's sockets have got the event.
        """
        packet = encode_event(self.server.packet_class, event, data, namespace)
        emit = Emit(namespace, packet, rooms, skip, 0)
        if ignore_queue or (rooms is not None and all(self._is_own(one) for one in rooms)):
            self._deliver(emit, callback)
            return
        try:
            self._submit(emit, callback)
        except BackendUnavailable:
            # Whatever the way to the others is worth, this worker's sockets get theirs.
            self._deliver(emit, callback)
            raise
        self._deliver(emit, callback)
        self._cluster.flush()

    def _submit(self, emit: Emit, callback: Callable[..., object] | None) -> None:
        if callback is None or not emit.rooms:
            self._cluster.submit(emit)
            return
        ack = next(self._ack_ids)
        self._remote_acks[ack] = (owner_of(str(emit.rooms[0])), callback)
        try:
            self._cluster.submit(replace(emit, ack=ack))
        except RoomsError:
            del self._remote_acks[ack]
            raise
        while len(self._remote_acks) > REMOTE_ACKS:  # the oldest go, which nobody will answer
            self._remote_acks.pop(next(iter(self._remote_acks)), None)

    def _generate_ack_id(self, sid: str, callback: Callable[..., object]) -> int:
        ack = next(self._ack_ids)
        self.callbacks.setdefault(sid, {})[ack] = callback
        return ack

    def _deliver(self, emit: Emit, callback: Callable[..., object] | None) -> None:
        """Send to the sockets of this worker."""
        members = self._registry.members(emit.namespace, emit.rooms)
        for sid in emit.skip:
            members.pop(sid, None)
        if callback is None:
            packets = [EnginePacket(MESSAGE, part) for part in emit.packet]
            for eio_sid in members.values():
                self.send_parts(eio_sid, packets)
            return
        for sid, eio_sid in members.items():
            packet = decode(self.server.packet_class, emit.packet)
            packet.id = self._generate_ack_id(sid, callback)
            self.send_packet(eio_sid, packet)

    def send_packet(self, eio_sid: str, packet: Any) -> None:
        """Send one client a packet, in one piece."""
        encoded = packet.encode()
        parts = encoded if isinstance(encoded, list) else [encoded]
        self.send_parts(eio_sid, [EnginePacket(MESSAGE, part) for part in parts])

    def send_parts(self, eio_sid: str, packets: list[EnginePacket]) -> None:
        """Send one client the parts of an event; one that is gone is nobody else's business."""
        session = self.server.eio.sockets.get(eio_sid)
        if session is not None and _timed_out(session, self.server.eio.ping_timeout):
            # Sending would close it here and now, and run the application's handler for that.
            self._spawn(session.close, False)
            return
        with contextlib.suppress(SocketIsClosedError):
            if len(packets) == 1:
                self.server._send_eio_packet(eio_sid, packets[0])
                return
            with self._sending_parts:  # the parts of two events must not mix
                for packet in packets:
                    self.server._send_eio_packet(eio_sid, packet)

    def _answer(self, worker: str, ack: int, *args: Any) -> None:
        packet = encode_acknowledgement(self.server.packet_class, args)
        try:
            self._cluster.publish(Acknowledged(worker, ack, packet))
        except InvalidArgument:  # too large: then no answer will come, and that is said
            self._cluster.publish(Acknowledged(worker, ack, ()))

    def acknowledged(self, answer: Acknowledged) -> None:
        """Hand over what a client of another worker has acknowledged."""
        if answer.worker != self._cluster.name:
            return
        _, callback = self._remote_acks.pop(answer.ack, ("", None))
        if callback is not None and answer.packet:
            # In the background: it is the application's, and may take its time.
            self._spawn(callback, *(decode(self.server.packet_class, answer.packet).data or ()))

    def _is_own(self, room: Audience) -> bool:
        # Nobody but the socket itself can be in the room of its ID.
        return isinstance(room, str) and is_sid(room) and owner_of(room) == self._cluster.name

    def receive(self, emit: Emit, sender: str) -> None:
        """Send another worker's event to the sockets of this one."""
        if emit.namespace == _WORKERS:
            self.hear(decode(self.server.packet_class, emit.packet).data[1])
            return
        if not emit.ack:
            self._deliver(emit, None)
            return
        self._deliver(emit, partial(self._answer, sender, emit.ack))
        sid = str(emit.rooms[0]) if emit.rooms else ""
        if owner_of(sid) == self._cluster.name and not self._registry.get(emit.namespace, sid):
            self._cluster.publish(Acknowledged(sender, emit.ack, ()))  # nobody will answer

    def tell(self, what: Any) -> None:
        """Tell the other workers themselves something; each of them then calls its hear()."""
        packet = encode_event(self.server.packet_class, "", what, "/")
        self._cluster.publish(Emit(_WORKERS, packet, None, (), 0))

    def hear(self, what: Any) -> None:
        """Take in what another worker tells; replaced by who has a use for it."""

    def answered(self, sid: str, id: Any, data: Any) -> bool:
        """Hand a client's acknowledgement to whoever waits for it; False when nobody does."""
        callback = self.callbacks.get(sid, {}).pop(id, None) if type(id) is int else None
        if callback is not None:
            callback(*(data if isinstance(data, list) else ()))
        return callback is not None

    def worker_gone(self, worker: str) -> None:
        """Let go of the callbacks that wait for a client of that worker."""
        for ack, (owner, _) in list(self._remote_acks.items()):
            if owner == worker:
                self._remote_acks.pop(ack, None)

    def forget(self, sid: str) -> None:
        """Tell who waits for an answer of a socket of this worker that there will be none."""
        for callback in self.callbacks.pop(sid, {}).values():
            if isinstance(callback, partial) and callback.func == self._answer:
                worker, ack = callback.args
                with contextlib.suppress(RoomsError):  # it is told, or gives up by itself
                    self._cluster.publish(Acknowledged(worker, ack, ()))


def _timed_out(session: Any, ping_timeout: float) -> bool:
    return bool(session.last_ping) and time.time() - session.last_ping > ping_timeout
