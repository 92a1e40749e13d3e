"""Who is in which room on this worker: two indexes in memory, no input or output."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from flask_rooms.messages import Room


@dataclass
class Socket:
    """
    One connected client in one namespace.

    Args:
        sid: The socket ID.
        eio_sid: The Engine.IO session that carries it (several namespaces may share one).
        connected: False while the connect handler has not accepted it yet, and again from
            the moment it is being disconnected.
        rooms: Where it is a member, the room of its own ID included.
    """

    sid: str
    eio_sid: str
    connected: bool = False
    rooms: set[Room] = field(default_factory=set)


@dataclass
class _Namespace:
    sockets: dict[str, Socket] = field(default_factory=dict)
    by_eio_sid: dict[str, Socket] = field(default_factory=dict)
    members: dict[Room, dict[str, Socket]] = field(default_factory=dict)


class Registry:
    """
    The sockets of this worker and their rooms.

    Room -> members and socket -> rooms are kept together, so a leave costs the same however
    many rooms there are, and a disconnect costs the socket's own rooms only. Every method
    may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._namespaces: dict[str, _Namespace] = {}

    def add(self, namespace: str, sid: str, eio_sid: str) -> bool:
        """Register a socket that is connecting; False when *eio_sid* has one here already."""
        with self._lock:
            space = self._namespaces.setdefault(namespace, _Namespace())
            if eio_sid in space.by_eio_sid:
                return False
            socket = Socket(sid, eio_sid, rooms={sid})
            space.sockets[sid] = space.by_eio_sid[eio_sid] = socket
            space.members.setdefault(sid, {})[sid] = socket
            return True

    def remove(self, namespace: str, sid: str) -> frozenset[Room]:
        """Forget a socket; returns the rooms that it was in (none when it is not here)."""
        with self._lock:
            space = self._namespaces.get(namespace)
            socket = space.sockets.pop(sid, None) if space else None
            if space is None or socket is None:
                return frozenset()
            del space.by_eio_sid[socket.eio_sid]
            for room in socket.rooms:
                _drop(space, room, sid)
            if not space.sockets:
                del self._namespaces[namespace]
            return frozenset(socket.rooms)

    def join(self, namespace: str, sid: str, room: Room) -> bool:
        """Make a socket a member; False when it was one, KeyError when it is not here."""
        with self._lock:
            space = self._namespaces[namespace]
            socket = space.sockets[sid]
            if room in socket.rooms:
                return False
            socket.rooms.add(room)
            space.members.setdefault(room, {})[sid] = socket
            return True

    def leave(self, namespace: str, sid: str, room: Room) -> bool:
        """End a membership; False when there was none, KeyError when the socket is not here."""
        with self._lock:
            space = self._namespaces[namespace]
            socket = space.sockets[sid]
            if room not in socket.rooms:
                return False
            socket.rooms.remove(room)
            _drop(space, room, sid)
            return True

    def leave_all(self) -> set[str]:
        """End every membership but that in the own room; returns the Engine.IO sessions."""
        with self._lock:
            sessions = set()
            for space in self._namespaces.values():
                for socket in space.sockets.values():
                    for room in socket.rooms - {socket.sid}:
                        _drop(space, room, socket.sid)
                    socket.rooms &= {socket.sid}
                    sessions.add(socket.eio_sid)
            return sessions

    def members(self, namespace: str, rooms: Iterable[Room] | None) -> dict[str, str]:
        """
        Return socket ID -> Engine.IO session for everybody in any of *rooms*, each once.

        Args:
            namespace: Where to look.
            rooms: Names, or None for every socket of the namespace.
        """
        with self._lock:
            space = self._namespaces.get(namespace)
            if space is None:
                return {}
            if rooms is None:
                return {sid: socket.eio_sid for sid, socket in space.sockets.items()}
            found: dict[str, str] = {}
            for room in rooms:
                for sid, socket in space.members.get(room, {}).items():
                    found[sid] = socket.eio_sid
            return found

    def rooms_of(self, namespace: str, sid: str) -> frozenset[Room]:
        """Return the rooms of a socket, its own included; none when it is not here."""
        with self._lock:
            socket = self._find(namespace, sid)
            return frozenset(socket.rooms) if socket else frozenset()

    def namespaces(self) -> list[str]:
        """Return the namespaces that have a socket here."""
        with self._lock:
            return list(self._namespaces)

    def get(self, namespace: str, sid: str) -> Socket | None:
        """Return the socket with this ID, or None."""
        with self._lock:
            return self._find(namespace, sid)

    def get_by_eio_sid(self, namespace: str, eio_sid: str) -> Socket | None:
        """Return the socket that this Engine.IO session has in *namespace*, or None."""
        with self._lock:
            space = self._namespaces.get(namespace)
            return space.by_eio_sid.get(eio_sid) if space else None

    def _find(self, namespace: str, sid: str) -> Socket | None:
        space = self._namespaces.get(namespace)
        return space.sockets.get(sid) if space else None


def _drop(space: _Namespace, room: Room, sid: str) -> None:
    members = space.members[room]
    del members[sid]
    if not members:
        del space.members[room]
