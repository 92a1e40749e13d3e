"""Who is in which room on this worker; no input or output."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from flask_rooms.memberships import Moved, Socket, Space
from flask_rooms.messages import Audience, Change, Question, Room, User


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


class Registry:
    """
    The sockets of this worker and their rooms.

    Room -> members and socket -> rooms are kept together, so a leave costs the same however
    many rooms there are, and a disconnect costs the socket's own rooms only. Every method
    may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spaces: dict[str, Space] = {}

    def clear(self) -> None:
        """Forget everything, whoever may hold the lock: for a forked child."""
        self._lock = threading.Lock()
        self._spaces = {}

    def add(self, namespace: str, sid: str, eio_sid: str, user: User | None = None) -> bool:
        """Register a socket that is connecting; False when *eio_sid* has one here already."""
        with self._lock:
            space = self._spaces.setdefault(namespace, Space(namespace))
            if eio_sid in space.by_eio_sid:
                return False
            space.add(Socket(sid, eio_sid, rooms={sid}, user=user))
            return True

    def remove(self, namespace: str, sid: str) -> list[Moved]:
        """Forget a socket; returns the memberships that end with it."""
        with self._lock:
            space = self._space(namespace)
            socket = space.sockets.get(sid)
            if socket is None:
                return []
            moved = space.remove(socket)
            if not space.sockets:
                del self._spaces[namespace]
            return moved

    def change(self, change: Change) -> Changed:
        """Do what *change* asks with the sockets that are here, all in one step."""
        done = Changed()
        with self._lock:
            space = self._space(change.namespace)
            members = () if change.source is None else space.members.get(change.source, ())
            for sid in (*change.sids, *members):
                socket = space.living(sid)
                if socket is None:
                    done.unknown.append(sid)
                    continue
                moved = space.change(change.action, socket, change.rooms)
                done.moved += filter(None, moved)
                done.unchanged += moved.count(None)
                if change.action == "disconnect":
                    done.ended.append(socket)
        return done

    def leave_all(self) -> tuple[list[Moved], set[str]]:
        """End every membership but those in own rooms; also returns the Engine.IO sessions."""
        with self._lock:
            spaces = self._spaces.values()
            everybody = [(space, socket) for space in spaces for socket in space.sockets.values()]
            moved = [one for space, socket in everybody for one in space.leave_all(socket)]
            return moved, {socket.eio_sid for _, socket in everybody}

    def answer(self, question: Question) -> tuple[list[Room], list[int]]:
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

    def _space(self, namespace: str) -> Space:
        return self._spaces.get(namespace) or Space(namespace)
