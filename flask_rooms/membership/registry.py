"""The sockets of this worker and their rooms: one lock, two indexes that agree, no I/O."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec.structs import replace

from flask_rooms.membership.attempts import Attempt
from flask_rooms.membership.expiries import Expiries
from flask_rooms.membership.index import Index
from flask_rooms.membership.namespace import (
    MembershipEvent,
    Namespace,
    Origin,
    PendingJoin,
    Socket,
)
from flask_rooms.protocol.messages import NO_OPTIONS, Change, ConnectTime, Room

#: Takes the membership events of one step and their origin; returns whether it has kept any.
Listener: TypeAlias = "Callable[[list[MembershipEvent], Origin], bool]"

#: The origin of a call on this worker of which nothing more is known.
CALL = Origin("call")


@dataclass
class Changed:
    """
    What a Change did on this worker.

    Args:
        events: The memberships that have begun or ended.
        unchanged: How many were so already.
        unknown: Socket IDs that are not here.
        refused: Socket IDs that would be in too many rooms, so that nothing was done.
        ended: The sockets that are being disconnected, whose memberships have all ended.
        described: How many sockets were given data.
        newer: The latest connect time of a socket of the user that outlasts the one which the
            others were to be older than; 0 if there is none.
        listened: Whether the listener has kept an event.
    """

    events: list[MembershipEvent] = field(default_factory=list)
    unchanged: int = 0
    unknown: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    ended: list[Socket] = field(default_factory=list)
    described: int = 0
    newer: int = 0
    listened: bool = False


class Registry(Index):
    """
    The sockets of this worker and their rooms.

    Room -> members and socket -> rooms are kept together, so a leave costs the same however
    many rooms there are, and a disconnect costs the rooms of that socket only. Every method
    may be called from any thread.

    Args:
        listener: Called with each change, in the order of the changes, under the lock: it has
            to be quick.
        rooms_per_socket: How many rooms a socket may be in, besides that of its ID.
        listens: Whether *listener* would do anything with a change now; called under the lock, too.

    Attributes:
        on_vacated: Called with an Engine.IO session that has one socket less, or has connected or
            failed to connect one; under the lock, too.
    """

    def __init__(
        self,
        listener: Listener = lambda events, origin: False,
        rooms_per_socket: float = math.inf,
        listens: Callable[[], bool] = lambda: True,
    ) -> None:
        self._listener = listener
        self._listens = listens
        self._rooms_per_socket = rooms_per_socket
        self.on_vacated: Callable[[str], object] = lambda eio_sid: None
        self.clear()

    def clear(self) -> None:
        """Forget everything, also while another thread holds the lock: for a forked child."""
        super().clear()
        self._expiries = Expiries()
        self._login_due = math.inf  # when the first login expires, or before
        self._latest = 0  # the latest connect time of a socket of any worker, as far as known

    # -- sockets that are connecting ---------------------------------------------------------

    def begin(self, namespace: str, eio_sid: str) -> Attempt | None:
        """
        Register that a client is connecting; its user is not known yet.

        Returns:
            The attempt; None while an earlier one of the same client is undecided.
        """
        with self._lock:
            return self._attempts.begin(namespace, eio_sid)

    def attempt(self, namespace: str, eio_sid: str) -> Attempt | None:
        """Return the undecided attempt of a client, or None."""
        with self._lock:
            return self._attempts.get(namespace, eio_sid)

    def finish(self, attempt: Attempt) -> None:
        """Forget an attempt that is decided; does nothing if clear() has done so."""
        with self._lock:
            if self._attempts.finish(attempt):
                self.on_vacated(attempt.eio_sid)

    def withdraw(self, namespace: str, eio_sid: str, origin: Origin = CALL) -> bool:
        """
        Record that a client has left while it is connecting; its socket has no rooms any more.

        Returns:
            Whether the client is connecting.
        """
        with self._lock:
            attempt = self._attempts.get(namespace, eio_sid)
            if attempt is None:
                return False
            attempt.withdrawn = True
            here = self._namespace(namespace)
            socket = here.live_socket(attempt.sid)
            if socket is not None and not socket.accepted:
                self._listener(here.end(socket), origin)
            return True

    def admit(self, attempt: Attempt, sid: str) -> list[PendingJoin] | None:
        """
        Register the socket of an attempt; the connect handler may still refuse it.

        Returns:
            The joins of its user since the attempt began, which are still to be carried out for
            it; None when the client has a socket here already or has left, or the user was
            disconnected.
        """
        namespace, eio_sid, user = attempt.namespace, attempt.eio_sid, attempt.user
        with self._lock:
            missed = attempt.take_missed()
            here = self._namespace(namespace)
            if attempt.withdrawn or eio_sid in here.by_eio_sid:
                return None
            if any(one.action == "disconnect" for one in missed):
                return None
            self._namespaces[namespace] = here
            attempt.sid = sid
            socket = Socket(sid, eio_sid, rooms={sid: None}, user=user, expires=attempt.expires)
            self._note_login(attempt.expires)
            # Rule `newest-stays`: later than every connect time that this worker has heard of.
            socket.since = time.time_ns() // 1000
            socket.order = self._latest = max(socket.since, self._latest + 1)
            here.add(socket)
            joins: list[PendingJoin] = []
            for change in missed:
                if change.action == "join":
                    joins.append(PendingJoin(replace(change, sids=(sid,), source=None), [sid]))
                    here.prepare(joins[-1], [sid], change.rooms)
                else:
                    here.apply(change.action, socket, change.rooms)
            for join in joins:
                rooms = tuple(room for _, room in here.standing(join))
                join.change = replace(join.change, rooms=rooms)
            return [join for join in joins if join.change.rooms]

    def accept(self, namespace: str, sid: str) -> Socket | None:
        """Record that the connect handler has accepted a socket; return it, or None if it left."""
        with self._lock:
            socket = self._namespace(namespace).sockets.get(sid)
            if socket is not None:
                socket.accepted = True
            return socket

    # -- changes -----------------------------------------------------------------------------

    def claim(self, namespace: str, sid: str) -> bool:
        """
        Claim a socket in order to run its disconnect handler.

        Returns:
            Whether the caller has to run it: False when it is claimed already, when the socket
            has left, and while its connect handler has not accepted it.
        """
        with self._lock:
            here = self._namespace(namespace)
            socket = here.sockets.get(sid)
            if socket is None or socket.leaving or not socket.accepted:
                return False
            socket.leaving = True
            self._leaving.setdefault(socket.eio_sid, set()).add(sid)
            here.release_session(socket)
            return True

    def remove(self, namespace: str, sid: str, origin: Origin = CALL) -> list[MembershipEvent]:
        """Forget a socket; return the memberships that end with it."""
        with self._lock:
            here = self._namespace(namespace)
            socket = here.sockets.get(sid)
            if socket is None:
                return []
            events = here.remove(socket)
            self._listener(events, origin)
            if not here.sockets:
                del self._namespaces[namespace]
            if socket.leaving:
                leaving = self._leaving[socket.eio_sid]
                leaving.discard(sid)
                if not leaving:
                    del self._leaving[socket.eio_sid]
            self.on_vacated(socket.eio_sid)
            return events

    def apply(self, change: Change, origin: Origin = CALL) -> Changed:
        """Carry out *change* on the sockets that are here, in one step."""
        done = Changed()
        with self._lock:
            here = self._namespace(change.namespace)
            sids = self._sids_of(here, change)
            if change.action == "join":
                done.refused = self._crowded(here, sids, change.rooms)
                if done.refused:
                    return done
            for sid in sids:
                socket = here.sockets.get(sid)
                if socket is None or socket.ended:
                    done.unknown.append(sid)
                    continue
                events = here.apply(change.action, socket, change.rooms)
                done.events += filter(None, events)
                done.unchanged += events.count(None)
                self._note(here, done, socket, change)
            if change.options.older_than is not None:
                done.newer = self._newer(here, change, change.options.older_than)
            else:
                self._attempts.remember(change)
            done.listened = self._listener(done.events, origin)
        return done

    def fast_leave(self, namespace: str, sid: str, rooms: tuple[Room, ...]) -> int | None:
        """
        Take a socket out of rooms as apply() does, where nothing listens.

        Most leaves are such, and what apply() has to collect takes longer than the leave.

        Returns:
            In how many it was. None if apply() is to do it, as something listens, or the socket is
            not here; then nothing has been done.
        """
        with self._lock:
            here = self._namespaces.get(namespace)
            socket = None if here is None else here.live_socket(sid)
            if here is None or socket is None or self._listens():
                return None
            left = 0
            for room in rooms:
                left += here.fast_leave(socket, room)
            return left

    def _note(self, here: Namespace, done: Changed, socket: Socket, change: Change) -> None:
        """Do what a change does to a socket besides its memberships."""
        if change.action == "disconnect":
            socket.reconnects = change.options.reconnect
            done.ended.append(socket)
        elif change.action == "join":
            for room in change.rooms:
                self._set_expiry(here, socket, room, change.options.expires)
        elif change.action == "set_data":
            socket.data = change.options.data
            done.described += 1

    def _set_expiry(
        self, here: Namespace, socket: Socket, room: Room, expires: float | None
    ) -> None:
        """Have a membership end after so many seconds, or never."""
        if expires is None:
            socket.expiring.pop(room, None)
        elif room in socket.rooms:
            self._expiries.add(time.monotonic() + expires, here.name, socket, room)

    def expire(self) -> bool:
        """End the memberships whose time is over; return whether the listener has kept an event."""
        with self._lock:
            due = self._expiries.take(time.monotonic())
            left = [self._namespace(name).drop(socket, room) for name, socket, room in due]
            return self._listener([one for one in left if one is not None], Origin("expired"))

    @property
    def next_expiry(self) -> float | None:
        """When the next membership ends by itself; None if none does."""
        return self._expiries.next

    def _sids_of(self, here: Namespace, change: Change) -> Sequence[str]:
        sids, options = here.sids_of(change), change.options
        if options is NO_OPTIONS:
            return sids
        if options.omit:
            sids = here.without(sids, options.omit)
        if options.older_than is not None:
            limit = options.older_than
            self._latest = max(self._latest, limit[0])
            sids = [
                sid
                for sid in sids
                if sid in here.sockets and here.sockets[sid].connect_time < limit
            ]
        return sids

    def _newer(self, here: Namespace, change: Change, limit: ConnectTime) -> int:
        """Rule `newest-stays`: return when the last one connected that outlasts *limit*, or 0."""
        if change.source is None or change.options.omit:
            return 0
        sockets = here.members(change.source).values()
        return max(
            (one.order for one in sockets if one.outlasts and one.connect_time > limit), default=0
        )

    def outlast(self, socket: Socket) -> ConnectTime:
        """Have older sockets disconnected in favour of one; return its connect time."""
        with self._lock:
            socket.outlasts = True
            return socket.connect_time

    def note_newer(self, latest: int) -> None:
        """Rule `newest-stays`: give the next socket a later connect time than this."""
        with self._lock:
            self._latest = max(self._latest, latest)

    def _crowded(self, here: Namespace, sids: Sequence[str], rooms: tuple[Room, ...]) -> list[str]:
        """Return the sockets that would be in too many rooms."""

        def is_crowded(socket: Socket) -> bool:
            new = sum(room not in socket.rooms for room in set(rooms))
            return bool(new) and len(socket.rooms) - 1 + new > self._rooms_per_socket

        found = ((sid, here.live_socket(sid)) for sid in sids)
        return [sid for sid, socket in found if socket is not None and is_crowded(socket)]

    def leave_all(self, origin: Origin = CALL) -> set[str]:
        """End every membership but those in own rooms; return the Engine.IO sessions."""
        with self._lock:
            namespaces = self._namespaces.values()
            sockets = [(here, socket) for here in namespaces for socket in here.sockets.values()]
            events = [event for here, socket in sockets for event in here.leave_all(socket)]
            self._listener(events, origin)
            return {socket.eio_sid for _, socket in sockets}

    # -- joins that wait for a guard -----------------------------------------------------------

    def prepare(self, change: Change) -> PendingJoin:
        """Register a join that is about to happen, so that what undoes it meanwhile counts."""
        with self._lock:
            here = self._namespace(change.namespace)
            sids = [sid for sid in self._sids_of(here, change) if here.live_socket(sid)]
            join = PendingJoin(change, sids)
            here.prepare(join, sids, change.rooms)
            self._attempts.remember(change)
        return join

    def rollback(self, join: PendingJoin) -> None:
        """Give up a join that was prepared."""
        with self._lock:
            self._namespace(join.change.namespace).settle(join)
            self._attempts.forget(join.change)

    def commit(self, join: PendingJoin, origin: Origin = CALL) -> Changed | None:
        """
        Carry out a join that was prepared, without what was undone meanwhile.

        Returns:
            What it did; None after a recheck, when the guards have to be asked again.
        """
        change, done = join.change, Changed()
        with self._lock:
            if join.stale:
                join.stale = False
                return None
            here = self._namespace(change.namespace)
            standing = set(here.settle(join))  # there may be thousands
            done.refused = self._crowded(here, join.sids, change.rooms)
            if done.refused:
                self._attempts.forget(change)
                return done
            for sid in dict.fromkeys([*change.sids, *join.sids]):
                socket = here.live_socket(sid)
                if socket is None:
                    done.unknown.append(sid)
                    continue
                rooms = tuple(room for room in change.rooms if (sid, room) in standing)
                events = here.apply("join", socket, rooms)
                for room in rooms:
                    self._set_expiry(here, socket, room, change.options.expires)
                done.events += filter(None, events)
                done.unchanged += events.count(None)  # what was undone counts as neither
            done.listened = self._listener(done.events, origin)
        return done

    def begin_recheck(self, namespace: str, room: Room) -> list[str]:
        """Return the members of a room, and have guards asked again about pending joins."""
        with self._lock:
            here = self._namespace(namespace)
            here.make_stale(room)
            return [*here.members(room)]

    # -- logins ---------------------------------------------------------------------------------

    def set_login_expiry(self, socket: Socket, at: float | None) -> None:
        """Set when the login of a socket expires, in seconds since 1970; None for never."""
        with self._lock:
            socket.expires = at
            self._note_login(at)

    def _note_login(self, at: float | None) -> None:
        if at is not None:
            self._login_due = min(self._login_due, at)

    def expired(self, now: float) -> list[tuple[str, Socket]]:
        """Return the sockets whose login has expired, with their namespaces."""
        with self._lock:
            if now < self._login_due:  # a look at all sockets holds up every other thread
                return []
            logins = [
                (name, socket, socket.expires)
                for name, here in self._namespaces.items()
                for socket in here.sockets.values()
                if socket.expires is not None
            ]
            self._login_due = min((at for _, _, at in logins), default=math.inf)
            return [(name, one) for name, one, at in logins if at <= now and one.connected]
