"""The sockets of one namespace on this worker, and two indexes: who is in which room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from flask_rooms.messages import Action, Audience, Room, User
from flask_rooms.sids import is_sid, is_sid_room


@dataclass
class Socket:
    """
    One connected client in one namespace.

    Args:
        sid: The socket ID.
        eio_sid: The Engine.IO session that carries it (several namespaces may share one).
        connected: False while the connect handler has not accepted it yet, and again from
            the moment it is being disconnected.
        rooms: Where it is a member, the room of its own ID included; kept for the disconnect
            handler when the memberships are over.
        user: Whose socket it is, where that is known.
        ended: Whether its memberships are over, since it is being disconnected.
    """

    sid: str
    eio_sid: str
    connected: bool = False
    rooms: set[Room] = field(default_factory=set)
    user: User | None = None
    ended: bool = False


class Moved(NamedTuple):
    """
    A membership that has begun or ended.

    Args:
        namespace: Where.
        sid: Whose.
        room: In which room.
        joined: Whether it has begun.
        edge: Whether it is the room's first on this worker, or was its last.
    """

    namespace: str
    sid: str
    room: Room
    joined: bool
    edge: bool


@dataclass
class Changed:
    """
    What a Change did on this worker.

    Args:
        moved: The memberships that have begun or ended.
        unchanged: How many were so already.
        unknown: Socket IDs that are not here.
        ended: The sockets that are being disconnected, with all their memberships over.
    """

    moved: list[Moved] = field(default_factory=list)
    unchanged: int = 0
    unknown: list[str] = field(default_factory=list)
    ended: list[Socket] = field(default_factory=list)


class Space:
    """
    The memberships in one namespace; not for several threads at once.

    Args:
        name: The namespace.

    Attributes:
        sockets: By socket ID.
        by_eio_sid: The same, by Engine.IO session.
        members: Room, or user, -> its sockets by ID; never empty.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sockets: dict[str, Socket] = {}
        self.by_eio_sid: dict[str, Socket] = {}
        self.members: dict[Audience, dict[str, Socket]] = {}

    def add(self, socket: Socket) -> None:
        """Register a socket, which is in the room of its own ID from the first."""
        self.sockets[socket.sid] = self.by_eio_sid[socket.eio_sid] = socket
        for audience in (socket.user, *socket.rooms):
            if audience is not None:
                self.members.setdefault(audience, {})[socket.sid] = socket

    def remove(self, socket: Socket) -> list[Moved]:
        """Forget a socket."""
        moved = self.end(socket)
        del self.sockets[socket.sid]
        del self.by_eio_sid[socket.eio_sid]
        return moved

    def living(self, sid: str) -> Socket | None:
        """Return the socket with this ID, unless it is being disconnected."""
        socket = self.sockets.get(sid)
        return None if socket is None or socket.ended else socket

    def change(self, action: Action, socket: Socket, rooms: tuple[Room, ...]) -> list[Moved | None]:
        """Do to a socket what a Change says; None stands for what was so already."""
        if action == "leave_all":
            return [*self.leave_all(socket)]
        if action == "disconnect":
            return [*self.end(socket)]
        if action == "leave":
            return [self.leave(socket, room) for room in rooms]
        # The room of another socket's ID is that socket's alone, whoever says otherwise.
        return [self.join(socket, room) for room in rooms if not is_sid_room(room, socket.sid)]

    def join(self, socket: Socket, room: Room) -> Moved | None:
        """Make a socket a member; None when it was one."""
        if room in socket.rooms:
            return None
        socket.rooms.add(room)
        members = self.members.setdefault(room, {})
        members[socket.sid] = socket
        return Moved(self.name, socket.sid, room, True, len(members) == 1)

    def leave(self, socket: Socket, room: Room) -> Moved | None:
        """End a membership; None when there was none."""
        if room not in socket.rooms:
            return None
        socket.rooms.remove(room)
        return Moved(self.name, socket.sid, room, False, self._drop(room, socket.sid))

    def leave_all(self, socket: Socket) -> list[Moved]:
        """End every membership but that in the room of the socket's own ID."""
        if socket.ended:
            return []
        left = (self.leave(socket, room) for room in socket.rooms - {socket.sid})
        return [moved for moved in left if moved is not None]

    def end(self, socket: Socket) -> list[Moved]:
        """End every membership; the socket remembers its rooms for the disconnect handler."""
        if socket.ended:
            return []
        socket.ended = True
        socket.connected = False
        if socket.user is not None:
            self._drop(socket.user, socket.sid)
        edges = {room: self._drop(room, socket.sid) for room in socket.rooms}
        return [Moved(self.name, socket.sid, room, False, edge) for room, edge in edges.items()]

    def rooms(self, prefix: str) -> dict[Room, int]:
        """Return the rooms here, less those of socket IDs, with the number of their members."""
        return {
            room: len(members)
            for room, members in self.members.items()
            if isinstance(room, str | int) and str(room).startswith(prefix) and not is_own(room)
        }

    def _drop(self, audience: Audience, sid: str) -> bool:
        """Forget a member; True when it was the last one here."""
        members = self.members[audience]
        del members[sid]
        if not members:
            del self.members[audience]
        return not members


def is_own(room: Room) -> bool:
    """Whether a room is that of some socket's ID."""
    return isinstance(room, str) and is_sid(room)
