"""The sockets of one namespace on this worker, indexed both ways: by room and by socket."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flask_rooms.protocol.ids import is_sid, is_sid_room
from flask_rooms.protocol.messages import Action, Audience, Change, ConnectTime, Room, User


@dataclass
class Socket:
    """
    One connected client in one namespace.

    Args:
        sid: The socket ID.
        eio_sid: The Engine.IO session that carries it (several namespaces may share one).
        rooms: The rooms it is a member of, that of its own ID included, as the keys of a dict,
            which takes half of a set's memory; kept for the disconnect handler after the
            memberships have ended.
        user: Its user, where that is known.
        accepted: Whether the connect handler has accepted it.
        ended: Whether its memberships have ended, since it is being disconnected.
        leaving: Whether its disconnect handler is claimed, so that it runs once.
        expires: When its login expires, in seconds since 1970; None if it does not.
        order: The first part of its connect time, by which the sockets of all workers are ordered.
        outlasts: Whether the older sockets of its user are disconnected in its favour.
        reconnects: Whether its client may connect again by itself once it is disconnected.
        since: When it connected, in microseconds since 1970.
        data: What the application describes it with, as JSON.
        expiring: Room -> when the membership ends by itself, by the clock of time.monotonic().
        state: What socket requests keep for it: its queue and its cookies.
        connection: What the server sends to it over, so that it need not be looked up.
    """

    sid: str
    eio_sid: str
    rooms: dict[Room, None] = field(default_factory=dict)
    user: User | None = None
    accepted: bool = False
    ended: bool = False
    leaving: bool = False
    expires: float | None = None
    order: int = 0
    outlasts: bool = False
    reconnects: bool = False
    since: int = 0
    data: str = ""
    expiring: dict[Room, float] = field(default_factory=dict)
    state: Any = None
    connection: Any = None

    @property
    def connect_time(self) -> ConnectTime:
        """When it connected, on which all workers agree; see Rule `newest-stays`."""
        return self.order, self.sid

    @property
    def connected(self) -> bool:
        """Whether its client can send events."""
        return self.accepted and not self.ended and not self.leaving


class Sizes(NamedTuple):
    """
    How much there is on this worker.

    Args:
        sockets: How many sockets are connected.
        rooms: How many rooms have a member among them, without the rooms of socket IDs.
        memberships: How many memberships they have in these.
        users: How many users they are of.
    """

    sockets: int = 0
    rooms: int = 0
    memberships: int = 0
    users: int = 0


class MembershipEvent(NamedTuple):
    """
    A membership that has begun or ended.

    Args:
        namespace: The namespace.
        sid: The socket.
        user: The user of the socket, where that is known.
        room: The room.
        joined: Whether the membership has begun, and not ended.
        edge: Whether it is the room's first on this worker, or was its last.
    """

    namespace: str
    sid: str
    user: str | None
    room: Room
    joined: bool
    edge: bool


class Origin(NamedTuple):
    """
    Why memberships have changed.

    Args:
        reason: "request" for a call in a request of that very socket, "call" for another call
            on this worker, "remote" for one on another worker, "expired" where its time is
            over, "recheck" where a guard no longer
            lets a socket in, "disconnect" where the socket has ended, and "expelled" where this
            worker had to restart.
        worker: The name of the worker on which the call was made; empty if there was none.
        by: The ID of the socket in whose request it was made; empty if there was none.
        refused: Whether the socket has ended since its connect handler has not let it in.
    """

    reason: str
    worker: str = ""
    by: str = ""
    refused: bool = False


@dataclass(eq=False)
class PendingJoin:
    """
    A join that waits for guards; whatever undoes it meanwhile removes it from `joining`.

    Args:
        change: What is to be done.
        sids: The sockets of this worker that it is for.
        stale: Whether a recheck has happened since, so that the guards are to be asked again.
        prepared: Each socket ID and room for which it was registered, in order.
    """

    change: Change
    sids: list[str]
    stale: bool = False
    prepared: list[tuple[str, Room]] = field(default_factory=list)


class Namespace:
    """
    The memberships in one namespace; not for several threads at once.

    Args:
        name: The namespace.

    Attributes:
        sockets: By socket ID.
        by_eio_sid: The same by Engine.IO session, without those that are leaving.
        joining: Room -> socket ID -> the joins that wait for a guard; never empty.
        joining_rooms: Socket ID -> the rooms of its joins that wait for a guard; never empty.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sockets: dict[str, Socket] = {}
        self.by_eio_sid: dict[str, Socket] = {}
        # Room or user -> its sockets by ID; where it has only one, as most have, that socket.
        self._members: dict[Audience, dict[str, Socket] | Socket] = {}
        self.joining: dict[Audience, dict[str, set[PendingJoin]]] = {}
        self.joining_rooms: dict[str, dict[Room, None]] = {}

    def add(self, socket: Socket) -> None:
        """Register a socket, which is in the room of its own ID from the start."""
        self.sockets[socket.sid] = self.by_eio_sid[socket.eio_sid] = socket
        for audience in (socket.user, *socket.rooms):
            if audience is not None:
                self._enter(audience, socket)

    def remove(self, socket: Socket) -> list[MembershipEvent]:
        """Forget a socket."""
        events = self.end(socket)
        del self.sockets[socket.sid]
        self.release_session(socket)
        return events

    def release_session(self, socket: Socket) -> None:
        """Let the client connect another socket here, over the same connection."""
        if self.by_eio_sid.get(socket.eio_sid) is socket:
            del self.by_eio_sid[socket.eio_sid]

    def live_socket(self, sid: str) -> Socket | None:
        """Return the socket with this ID, unless it is being disconnected."""
        socket = self.sockets.get(sid)
        return None if socket is None or socket.ended else socket

    def apply(
        self, action: Action, socket: Socket, rooms: tuple[Room, ...]
    ) -> list[MembershipEvent | None]:
        """Carry out an action on one socket; None stands for a membership that was so already."""
        if action == "leave":
            return [self.leave(socket, room) for room in rooms]
        if action == "leave_all":
            return [*self.leave_all(socket)]
        if action == "disconnect":
            return [*self.end(socket)]
        if action == "set_data":
            return []
        # The room of a socket ID belongs to that socket alone.
        return [self.join(socket, room) for room in rooms if not is_sid_room(room, socket.sid)]

    def join(self, socket: Socket, room: Room) -> MembershipEvent | None:
        """Make a socket a member; None when it was one."""
        if room in socket.rooms:
            return None
        socket.rooms[room] = None
        edge = self._enter(room, socket)
        return self._event(socket, room, joined=True, edge=edge)

    def leave(self, socket: Socket, room: Room) -> MembershipEvent | None:
        """End a membership; None when there was none."""
        if self.joining:
            self._cancel_joins(socket.sid, room)
        return self.drop(socket, room)

    def drop(self, socket: Socket, room: Room) -> MembershipEvent | None:
        """End a membership, but no join that waits for a guard; None when there was none."""
        edge = self._end(socket, room)
        return None if edge is None else self._event(socket, room, joined=False, edge=edge)

    def fast_leave(self, socket: Socket, room: Room) -> bool:
        """End a membership as leave() does, without an event; return whether there was one."""
        if self.joining:
            self._cancel_joins(socket.sid, room)
        return self._end(socket, room) is not None

    def _end(self, socket: Socket, room: Room) -> bool | None:
        """End a membership; return whether it was the last one of the room here, None if none."""
        if room not in socket.rooms:
            return None
        del socket.rooms[room]
        if socket.expiring:
            socket.expiring.pop(room, None)
        return self._drop(room, socket.sid)

    def leave_all(self, socket: Socket) -> list[MembershipEvent]:
        """End every membership but that in the room of the socket's own ID."""
        if socket.ended:
            return []
        self._cancel_all_joins(socket.sid)
        left = (self.leave(socket, room) for room in [*socket.rooms] if room != socket.sid)
        return [event for event in left if event is not None]

    def end(self, socket: Socket) -> list[MembershipEvent]:
        """End every membership; the socket remembers its rooms for the disconnect handler."""
        if socket.ended:
            return []
        self._cancel_all_joins(socket.sid)
        socket.ended = True
        socket.expiring.clear()
        if socket.user is not None:
            self._drop(socket.user, socket.sid)
        edges = {room: self._drop(room, socket.sid) for room in socket.rooms}
        return [self._event(socket, room, joined=False, edge=edge) for room, edge in edges.items()]

    def rooms(self, prefix: str) -> dict[Room, int]:
        """Return the rooms here, without those of socket IDs, with the number of their members."""
        return {
            room: 1 if isinstance(members, Socket) else len(members)
            for room, members in self._members.items()
            if isinstance(room, str | int)
            and str(room).startswith(prefix)
            and not is_own_room(room)
        }

    def sizes(self) -> Sizes:
        """Return how much there is."""
        # A socket that has ended keeps its rooms for the disconnect handler alone.
        live = [socket for socket in self.sockets.values() if not socket.ended]
        own = sum(socket.sid in socket.rooms for socket in live)  # which has no other member
        users = sum(type(audience) is User for audience in self._members)
        memberships = sum(len(socket.rooms) for socket in live) - own
        return Sizes(len(live), len(self._members) - users - own, memberships, users)

    def sids_of(self, change: Change) -> Sequence[str]:
        """Return the sockets that a change names, or the members that it is for."""
        if change.source is None:
            return change.sids
        if change.action == "join":
            return [*self.members(change.source)]
        return self.members_of(change.source)

    def prepare(self, join: PendingJoin, sids: Iterable[str], rooms: Iterable[Room]) -> None:
        """Register what of a join waits for a guard."""
        for sid, room in itertools.product(sids, rooms):
            self.joining.setdefault(room, {}).setdefault(sid, set()).add(join)
            self.joining_rooms.setdefault(sid, {})[room] = None
            join.prepared.append((sid, room))

    def standing(self, join: PendingJoin) -> list[tuple[str, Room]]:
        """Return what of a join has not been undone."""
        found = dict.fromkeys(join.prepared)
        return [(sid, room) for sid, room in found if join in self._joins(room, sid)]

    def settle(self, join: PendingJoin) -> list[tuple[str, Room]]:
        """Return what of a join has not been undone, and forget that it waits."""
        standing = self.standing(join)
        for sid, room in standing:
            self._joins(room, sid).remove(join)
            if not self._joins(room, sid):
                self._cancel_joins(sid, room)
        return standing

    def members(self, audience: Audience) -> Mapping[str, Socket]:
        """Return the sockets of a room or a user, by their IDs."""
        members = self._members.get(audience, {})
        return {members.sid: members} if isinstance(members, Socket) else members

    def members_of(self, source: Audience) -> list[str]:
        """Return the sockets that are in a room, and those whose join waits for a guard."""
        return [*{**self.members(source), **self.joining.get(source, {})}]

    def make_stale(self, room: Room) -> None:
        """Have guards asked again about the joins of a room that wait for them."""
        for join in itertools.chain.from_iterable(self.joining.get(room, {}).values()):
            join.stale = True

    def _joins(self, room: Room, sid: str) -> set[PendingJoin]:
        return self.joining.get(room, {}).get(sid, set())

    def _cancel_joins(self, sid: str, room: Room) -> None:
        if sid in self.joining.get(room, ()):
            _remove(self.joining, room, sid)
            _remove(self.joining_rooms, sid, room)

    def _cancel_all_joins(self, sid: str) -> None:
        for room in [*self.joining_rooms.get(sid, ())]:
            self._cancel_joins(sid, room)

    def without(self, sids: Iterable[str], omit: Iterable[Audience]) -> list[str]:
        """Return those of *sids* that are neither named in *omit* nor members of what it names."""
        omitted: set[Any] = set()
        for audience in omit:
            omitted.add(audience)  # a socket may have left the room of its own ID
            omitted.update(self.members(audience))
        return [sid for sid in sids if sid not in omitted]

    def _event(self, socket: Socket, room: Room, *, joined: bool, edge: bool) -> MembershipEvent:
        user = None if socket.user is None else socket.user.id
        return MembershipEvent(self.name, socket.sid, user, room, joined, edge)

    def _enter(self, audience: Audience, socket: Socket) -> bool:
        """Add a member; return True when it is the first one here."""
        members = self._members.setdefault(audience, socket)
        if members is socket:
            return True
        if isinstance(members, Socket):
            members = self._members[audience] = {members.sid: members}
        members[socket.sid] = socket
        return False

    def _drop(self, audience: Audience, sid: str) -> bool:
        """Remove a member; return True when it was the last one here."""
        members = self._members[audience]
        if isinstance(members, Socket) or len(members) == 1:
            del self._members[audience]
            return True
        del members[sid]
        return False


def _remove(index: dict[Any, dict[Any, Any]], key: object, one: object) -> None:
    """Remove *one* from what an index has under a key, and the key with the last."""
    del index[key][one]
    if not index[key]:
        del index[key]


def is_own_room(room: Room) -> bool:
    """Whether a room is the one of a socket ID."""
    return isinstance(room, str) and is_sid(room)
