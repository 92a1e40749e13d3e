"""Looks up the sockets of this worker and their rooms, each time as they are at one moment."""

from __future__ import annotations

import threading
from collections.abc import Iterable, KeysView

from flask_rooms.membership.attempts import Attempt, Attempts
from flask_rooms.membership.namespace import Namespace, Sizes, Socket
from flask_rooms.protocol.messages import Audience, Query, Room


class Index:
    """
    What a registry holds, and every question about it. Apart from clear(), nothing here changes it.

    Every method may be called from any thread, and holds the lock for as long as it looks.
    """

    def clear(self) -> None:
        """Forget everything, also while another thread holds the lock: for a forked child."""
        self._lock = threading.Lock()
        self._namespaces: dict[str, Namespace] = {}
        self._attempts = Attempts()
        self._leaving: dict[str, set[str]] = {}  # session -> sockets whose disconnect handlers run

    def answer(self, query: Query) -> tuple[list[Room], list[int]]:
        """Return the names and counts that *query* asks for, all of one moment."""
        about = query.about
        with self._lock:
            if query.kind == "statistics":
                sizes = self._sizes()._asdict()
                return list(sizes), list(sizes.values())
            here = self._namespace(query.namespace)
            if query.kind == "rooms":
                rooms = here.rooms(str(about))
                return list(rooms), list(rooms.values())
            if query.kind == "rooms_of":
                socket = here.live_socket(str(about))
                return (
                    ([], [])
                    if socket is None
                    else ([room for room in socket.rooms if room != socket.sid], [])
                )
            sockets = here.sockets if about is None else here.members(about)
            connected = [socket for socket in sockets.values() if not socket.ended]
        if query.kind == "count":
            return [], [len(connected)]
        if query.kind == "users":
            return list({socket.user.id for socket in connected if socket.user is not None}), []
        return [socket.sid for socket in connected], []

    def members(
        self,
        namespace: str,
        rooms: Iterable[Audience] | None,
        omit: Iterable[Audience] = (),
    ) -> dict[str, str]:
        """Return socket ID -> Engine.IO session of those that sockets_in() returns."""
        sockets = self.sockets_in(namespace, rooms, omit)
        return {sid: socket.eio_sid for sid, socket in sockets.items()}

    def sockets_in(
        self,
        namespace: str,
        rooms: Iterable[Audience] | None,
        omit: Iterable[Audience] = (),
    ) -> dict[str, Socket]:
        """
        Return the members of any of *rooms*, each once, by socket ID.

        Args:
            namespace: The namespace.
            rooms: Names, or None for every socket of the namespace.
            omit: Rooms and users whose sockets are left out.
        """
        with self._lock:
            here = self._namespace(namespace)
            found: dict[str, Socket] = {}
            if rooms is None:
                found = {sid: one for sid, one in here.sockets.items() if not one.ended}
            for room in rooms or ():
                found.update(here.members(room))
            for audience in omit:
                for sid in here.members(audience):
                    found.pop(sid, None)
            return found

    def has_members(self, namespace: str, room: Room) -> bool:
        """Whether a room has a member here."""
        with self._lock:
            return bool(self._namespace(namespace).members(room))

    def rooms_of(self, namespace: str, sid: str) -> KeysView[Room]:
        """Return the rooms of a socket in the order joined, so its own first; none if not here."""
        with self._lock:
            socket = self._namespace(namespace).sockets.get(sid)
            return dict(socket.rooms if socket else ()).keys()

    def sizes(self) -> Sizes:
        """Return how much there is; takes time for each socket and each room."""
        with self._lock:
            return self._sizes()

    def _sizes(self) -> Sizes:
        spaces = [here.sizes() for here in self._namespaces.values()]
        return Sizes(*map(sum, zip(*spaces, strict=True))) if spaces else Sizes()

    def namespaces_of(self, eio_sid: str) -> int:
        """Return how many sockets an Engine.IO session has, or is connecting."""
        with self._lock:
            found = set(self._attempts.namespaces_of(eio_sid))
            found.update(
                name for name, here in self._namespaces.items() if eio_sid in here.by_eio_sid
            )
            return len(found)

    def connections_of(self, attempt: Attempt) -> int:
        """Return over how many other connections the user of an attempt is here, or comes."""
        user = attempt.user
        if user is None:
            return 0
        with self._lock:
            found = {
                socket.eio_sid
                for here in self._namespaces.values()
                for socket in here.members(user).values()
            }
            found.update(other.eio_sid for other in self._attempts.before(attempt))
            return len(found - {attempt.eio_sid})

    def namespaces(self) -> list[str]:
        """Return the namespaces that have a socket here."""
        with self._lock:
            return list(self._namespaces)

    def get(self, namespace: str, sid: str) -> Socket | None:
        """Return the socket with this ID, or None."""
        with self._lock:
            return self._namespace(namespace).sockets.get(sid)

    def get_by_eio_sid(self, namespace: str, eio_sid: str) -> Socket | None:
        """Return the socket that this Engine.IO session has in *namespace*, or None."""
        with self._lock:
            return self._namespace(namespace).by_eio_sid.get(eio_sid)

    def is_vacant(self, eio_sid: str) -> bool:
        """Whether this Engine.IO session has no socket, is connecting none, and none is leaving."""
        with self._lock:
            is_busy = self._attempts.namespaces_of(eio_sid) or eio_sid in self._leaving
            return not (is_busy or self._has_socket(eio_sid))

    def has_socket(self, eio_sid: str) -> bool:
        """Whether this Engine.IO session has a socket, in any namespace."""
        with self._lock:
            return self._has_socket(eio_sid)

    def _has_socket(self, eio_sid: str) -> bool:
        return any(eio_sid in one.by_eio_sid for one in self._namespaces.values())

    def _namespace(self, name: str) -> Namespace:
        return self._namespaces.get(name) or Namespace(name)
