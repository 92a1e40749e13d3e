"""Who is in which room on this worker; no input or output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from flask_rooms.membership.namespace import Intent, MembershipEvent, Namespace, Origin, Socket
from flask_rooms.protocol.messages import (
    Audience,
    Change,
    Query,
    Room,
    User,
)

#: What changes were made, and why.
Note: TypeAlias = "Callable[[list[MembershipEvent], Origin], object]"

#: The origin that a call on this worker has, unless more is known.
CALL = Origin("call")


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

    moved: list[MembershipEvent] = field(default_factory=list)
    unchanged: int = 0
    unknown: list[str] = field(default_factory=list)
    ended: list[Socket] = field(default_factory=list)


@dataclass(frozen=True)
class Joining:
    """
    A join that waits until guards have been asked.

    Args:
        change: What is to be done.
        sids: The sockets of this worker that it is for.
        intent: By which it is recognised.
    """

    change: Change
    sids: list[str]
    intent: Intent


class Registry:
    """
    The sockets of this worker and their rooms.

    Room -> members and socket -> rooms are kept together, so a leave costs the same however
    many rooms there are, and a disconnect costs the socket's own rooms only. Every method
    may be called from any thread.

    Args:
        note: Told of each change, in the very order in which they are made; has to be quick.
    """

    def __init__(self, note: Note = lambda moved, origin: None) -> None:
        self._note = note
        self._lock = threading.Lock()
        self._spaces: dict[str, Namespace] = {}
        # (namespace, Engine.IO session) -> what was done to users since the session arrived
        self._arriving: dict[tuple[str, str], list[Change]] = {}

    def clear(self) -> None:
        """Forget everything, whoever may hold the lock: for a forked child."""
        self._lock = threading.Lock()
        self._spaces = {}
        self._arriving = {}

    def arrive(self, namespace: str, eio_sid: str) -> None:
        """
        Note that a socket is coming whose user is not known yet.

        What is done to that user meanwhile is done to the socket as well, in add().
        """
        with self._lock:
            self._arriving[namespace, eio_sid] = []

    def turn_away(self, namespace: str, eio_sid: str) -> None:
        """Note that a socket that was arriving is not coming, or has come."""
        with self._lock:
            self._arriving.pop((namespace, eio_sid), None)

    def add(
        self, namespace: str, sid: str, eio_sid: str, user: User | None = None
    ) -> Joining | None:
        """
        Register a socket that is connecting.

        Returns:
            The rooms that its user was put into since it arrived, which it is still to join; or
            None when *eio_sid* has a socket here already, or its user was just disconnected.
        """
        with self._lock:
            missed = [c for c in self._arriving.pop((namespace, eio_sid), ()) if c.source == user]
            space = self._space(namespace)
            if eio_sid in space.by_eio_sid or any(c.action == "disconnect" for c in missed):
                return None
            self._spaces[namespace] = space
            socket = Socket(sid, eio_sid, rooms={sid}, user=user)
            space.add(socket)
            intent = Intent()
            for change in missed:
                if change.action == "join":
                    space.intents.update({(sid, room): intent for room in change.rooms})
                else:
                    space.change(change.action, socket, change.rooms)
            rooms = tuple(room for _, room in _standing(space, intent))
            return Joining(Change("join", namespace, (sid,), rooms), [sid], intent)

    def accept(self, namespace: str, sid: str) -> Socket | None:
        """Note that the connect handler has let a socket in; returns it, or None if it is gone."""
        with self._lock:
            socket = self._space(namespace).sockets.get(sid)
            if socket is not None:
                socket.accepted = True
            return socket

    def claim(self, namespace: str, sid: str) -> bool:
        """
        Take on to see a socket off.

        Returns:
            Whether it is the caller who has to: it is False when somebody else does, when the
            socket is gone, and while its connect handler has not accepted it.
        """
        with self._lock:
            space = self._space(namespace)
            socket = space.sockets.get(sid)
            if socket is None or socket.leaving or not socket.accepted:
                return False
            socket.leaving = True
            space.part(socket)
            return True

    def remove(self, namespace: str, sid: str, origin: Origin = CALL) -> list[MembershipEvent]:
        """Forget a socket; returns the memberships that end with it."""
        with self._lock:
            space = self._space(namespace)
            socket = space.sockets.get(sid)
            if socket is None:
                return []
            moved = space.remove(socket)
            self._note(moved, origin)
            if not space.sockets:
                del self._spaces[namespace]
            return moved

    def change(self, change: Change, origin: Origin = CALL) -> Changed:
        """Do what *change* asks with the sockets that are here, all in one step."""
        done = Changed()
        with self._lock:
            space = self._space(change.namespace)
            for sid in self._meant(space, change):
                socket = space.living(sid)
                if socket is None:
                    done.unknown.append(sid)
                    continue
                moved = space.change(change.action, socket, change.rooms)
                done.moved += filter(None, moved)
                done.unchanged += moved.count(None)
                if change.action == "disconnect":
                    done.ended.append(socket)
            if isinstance(change.source, User):
                for (namespace, _), missed in self._arriving.items():
                    if namespace == change.namespace:
                        missed.append(change)
            self._note(done.moved, origin)
        return done

    def _meant(self, space: Namespace, change: Change) -> list[str]:
        if change.source is None:
            return [*change.sids]
        if change.action == "join":
            return [*space.members.get(change.source, ())]
        return space.meant_by(change.source)

    # -- joins that a guard is asked about --------------------------------------------------

    def intend(self, change: Change) -> Joining:
        """Announce a join, so that whatever undoes it meanwhile is not forgotten."""
        intent = Intent()
        with self._lock:
            space = self._space(change.namespace)
            sids = [sid for sid in self._meant(space, change) if space.living(sid)]
            for sid in sids:
                space.intents.update({(sid, room): intent for room in change.rooms})
        return Joining(change, sids, intent)

    def withdraw(self, joining: Joining) -> None:
        """Give up what was announced."""
        with self._lock:
            space = self._space(joining.change.namespace)
            for key in _standing(space, joining.intent):
                del space.intents[key]

    def fulfil(self, joining: Joining, origin: Origin = CALL) -> Changed | None:
        """
        Carry out what was announced, less what was undone meanwhile.

        Returns:
            What that was; None when there was a recheck, so that the guards are to be asked again.
        """
        change, intent = joining.change, joining.intent
        done = Changed()
        with self._lock:
            if intent.stale:
                intent.stale = False
                return None
            space = self._space(change.namespace)
            standing = set(_standing(space, intent))  # there may be thousands
            for key in standing:
                del space.intents[key]
            for sid in dict.fromkeys([*change.sids, *joining.sids]):
                socket = space.living(sid)
                if socket is None:
                    done.unknown.append(sid)
                    continue
                rooms = tuple(room for room in change.rooms if (sid, room) in standing)
                moved = space.change("join", socket, rooms)
                done.moved += filter(None, moved)
                done.unchanged += moved.count(None) + len(change.rooms) - len(rooms)
            self._note(done.moved, origin)
        return done

    def recheck(self, namespace: str, room: Room) -> list[str]:
        """Return the members of a room, and have the joins that are announced asked again."""
        with self._lock:
            space = self._space(namespace)
            for (_, joining), intent in space.intents.items():
                intent.stale |= joining == room
            return [*space.members.get(room, ())]

    def leave_all(self, origin: Origin = CALL) -> set[str]:
        """End every membership but those in own rooms; returns the Engine.IO sessions."""
        with self._lock:
            spaces = self._spaces.values()
            everybody = [(space, socket) for space in spaces for socket in space.sockets.values()]
            moved = [one for space, socket in everybody for one in space.leave_all(socket)]
            self._note(moved, origin)
            return {socket.eio_sid for _, socket in everybody}

    def answer(self, question: Query) -> tuple[list[Room], list[int]]:
        """Return the names and counts that *question* asks for, all of one moment."""
        about = question.about
        with self._lock:
            space = self._space(question.namespace)
            if question.kind == "rooms":
                rooms = space.rooms(str(about))
                return list(rooms), list(rooms.values())
            if question.kind == "rooms_of":
                socket = space.living(str(about))
                return ([], []) if socket is None else ([*(socket.rooms - {socket.sid})], [])
            everybody = space.sockets if about is None else space.members.get(about, {})
            living = [socket for socket in everybody.values() if not socket.ended]
        if question.kind == "count":
            return [], [len(living)]
        if question.kind == "users":
            return list({socket.user.id for socket in living if socket.user is not None}), []
        return [socket.sid for socket in living], []

    def members(self, namespace: str, rooms: Iterable[Audience] | None) -> dict[str, str]:
        """
        Return socket ID -> Engine.IO session for everybody in any of *rooms*, each once.

        Args:
            namespace: Where to look.
            rooms: Names, or None for every socket of the namespace.
        """
        with self._lock:
            space = self._space(namespace)
            if rooms is None:
                return {s.sid: s.eio_sid for s in space.sockets.values() if not s.ended}
            found: dict[str, str] = {}
            for room in rooms:
                for sid, socket in space.members.get(room, {}).items():
                    found[sid] = socket.eio_sid
            return found

    def rooms_of(self, namespace: str, sid: str) -> frozenset[Room]:
        """Return the rooms of a socket, its own included; none when it is not here."""
        with self._lock:
            socket = self._space(namespace).sockets.get(sid)
            return frozenset(socket.rooms) if socket else frozenset()

    def namespaces(self) -> list[str]:
        """Return the namespaces that have a socket here."""
        with self._lock:
            return list(self._spaces)

    def get(self, namespace: str, sid: str) -> Socket | None:
        """Return the socket with this ID, or None."""
        with self._lock:
            return self._space(namespace).sockets.get(sid)

    def get_by_eio_sid(self, namespace: str, eio_sid: str) -> Socket | None:
        """Return the socket that this Engine.IO session has in *namespace*, or None."""
        with self._lock:
            return self._space(namespace).by_eio_sid.get(eio_sid)

    def _space(self, namespace: str) -> Namespace:
        return self._spaces.get(namespace) or Namespace(namespace)


def _standing(space: Namespace, intent: Intent) -> list[tuple[str, Room]]:
    """Return what of an announced join has not been undone."""
    return [key for key, one in space.intents.items() if one is intent]
