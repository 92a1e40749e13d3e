"""Sockets, the API of `flask_rooms.sockets`: its calls reach the sockets of every worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace

from flask_rooms.api.arguments import (
    OneSocket,
    lifetime,
    namespace_of_call,
    omitted,
    room_or_sockets,
    socket_ids,
    socket_of_user,
    sockets_or_user,
)
from flask_rooms.api.events import Events, Omit, OmitUser
from flask_rooms.api.presence import Presence
from flask_rooms.api.queries import Queries
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.tracing import call_span, is_traced
from flask_rooms.errors import InvalidArgument, InvalidData, InvalidRoom, InvalidSocket
from flask_rooms.membership.names import NOT_GIVEN, NotGiven, room_name, room_names, type_of
from flask_rooms.membership.registry import Registry
from flask_rooms.presence.tracker import Tracker
from flask_rooms.protocol.ids import is_sid, owner_of
from flask_rooms.protocol.messages import (
    NO_OPTIONS,
    Action,
    Audience,
    Change,
    ConnectTime,
    Options,
    User,
)
from flask_rooms.results import Missed, Outcome
from flask_rooms.server.asking import Asking
from flask_rooms.server.catching_up import CatchingUp
from flask_rooms.server.context import calling_socket
from flask_rooms.server.emitter import Emitter

Result = TypeVar("Result", bound=Outcome)

Callback: TypeAlias = "Callable[[BaseException | None], object]"

#: Characters of JSON that the data of a socket may take.
DATA_LENGTH = 16_384


class Sockets(Queries, Events):
    """
    The sockets of one application, on all workers.

    Use it as `flask_rooms.sockets` inside an application context, and as `rooms.sockets`
    elsewhere. Every method may be called from any thread.

    A *socket* is `flask.request` in a socket request or a Socket.IO event handler, or a
    socket ID. The default *namespace* is that of the request, or "/" outside of a socket request.
    """

    def __init__(
        self,
        cluster: Cluster,
        emitter: Emitter,
        registry: Registry,
        asking: Asking,
        confirm_timeout: float,
        tracker: Tracker,
        catching_up: CatchingUp,
    ) -> None:
        Queries.__init__(self, cluster)
        Events.__init__(self, cluster, emitter, asking, confirm_timeout)
        self._registry = registry
        self._presence = Presence(tracker)
        self._catching_up = catching_up

    @property
    def presence(self) -> Presence:
        """Who is present in a room: `presence(room)`, and `presence.update(...)`."""
        return self._presence

    def join(
        self,
        socket: OneSocket | Iterable[OneSocket] | NotGiven = NOT_GIVEN,
        room: str | Iterable[str] | NotGiven = NOT_GIVEN,
        callback: Callback | None = None,
        *,
        user: str | int | None = None,
        expires: float | None = None,
        namespace: str | None = None,
    ) -> Future[Outcome]:
        """
        Put sockets into rooms.

        Args:
            socket: A socket or an iterable of sockets.
            room: A name or an iterable of names.
            callback: Called exactly once, with None or the error, when the outcome is known.
            user: In place of *socket*: the ID of a user, for all sockets of that user.
            expires: Seconds after which the memberships end by themselves. A later join sets
                another time, or makes them last.
            namespace: The namespace of the sockets.

        Returns:
            The future of an Outcome. If the sockets are of this worker, it is done on return,
            and they are members. Its exception is Refused if a guard refuses one of them, or if
            one would be in more rooms than `ROOMS_ROOMS_PER_SOCKET`.

        Raises:
            InvalidSocket: *socket* is neither a socket request nor a socket ID, or is given
                together with *user*.
            NotASocketRequest: *socket* is an HTTP request.
            InvalidRoom: *room* is not a name, or is the room of another socket's ID.
            InvalidArgument: *callback*, *user*, *expires* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        space, sids, source = sockets_or_user(socket, user, namespace)
        rooms = room_names(room)
        _refuse_foreign_ids(rooms, sids)
        options = NO_OPTIONS if expires is None else Options(expires=lifetime(expires))
        return self._change(callback, "join", space, sids, rooms, source, options)

    def leave(
        self,
        socket: OneSocket | Iterable[OneSocket] | NotGiven = NOT_GIVEN,
        room: str | Iterable[str] | NotGiven = NOT_GIVEN,
        callback: Callback | None = None,
        *,
        user: str | int | None = None,
        omit: Omit = None,
        omit_user: OmitUser = None,
        namespace: str | None = None,
    ) -> Future[Outcome]:
        """
        Take sockets out of rooms.

        A socket that is not a member, or that no worker holds, is not an error: the outcome
        counts it as `unchanged` or lists it in `unknown`.

        Args:
            socket: A socket or an iterable of sockets.
            room: A name or an iterable of names.
            callback: Called exactly once, with None or the error, when the outcome is known.
            user: In place of *socket*: the ID of a user, for all sockets of that user.
            omit: Sockets, or rooms whose members are left out; a name, a socket, or an iterable.
            omit_user: The ID of a user whose sockets are left out, or an iterable of IDs.
            namespace: The namespace of the sockets.

        Returns:
            The future of an Outcome. If the sockets are of this worker, it is done on return,
            and they are no longer members. Later broadcasts of this caller to the rooms reach
            none of the sockets, even if it has not waited for the future.

        Raises:
            InvalidSocket: *socket* is neither a socket request nor a socket ID, or is given
                together with *user*; or *omit* contains neither a socket nor a name.
            NotASocketRequest: *socket*, or one in *omit*, is an HTTP request.
            InvalidRoom: *room*, or a string in *omit*, is not a name.
            InvalidArgument: *callback*, *user*, *omit_user* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        space, sids, source = sockets_or_user(socket, user, namespace)
        rooms = room_names(room)
        options = _options(omit, omit_user, space)
        # Nearly all leaves are such, and most of what others take is a Change that nothing needs.
        if len(sids) == 1 and options is NO_OPTIONS and callback is None and not is_traced():
            calls = self._cluster.calls
            done = calls.fast_leave(space, sids[0], rooms)
            if done is not None:
                return done
            return calls.change(Change("leave", space, sids, rooms, source, calling_socket()))
        return self._change(callback, "leave", space, sids, rooms, source, options)

    def leave_all(
        self,
        room: OneSocket | Iterable[OneSocket] | NotGiven = NOT_GIVEN,
        callback: Callback | None = None,
        *,
        user: str | int | None = None,
        namespace: str | None = None,
    ) -> Future[Outcome]:
        """
        Take the members of a room, on every worker, or the given sockets out of all rooms.

        Each socket stays in the room of its own ID.

        Args:
            room: A name; or a socket or an iterable of sockets.
            callback: Called exactly once, with None or the error, when the outcome is known.
            user: In place of *room*: the ID of a user, for all sockets of that user.
            namespace: The namespace of the room or the sockets.

        Returns:
            The future of an Outcome; for a room it is done when every worker has answered. The
            sockets of this worker have left on return.

        Raises:
            InvalidRoom: *room* is a string that cannot name a room.
            InvalidSocket: *room* is neither a string nor a socket request, or is given together
                with *user*.
            NotASocketRequest: *room* is an HTTP request.
            InvalidArgument: *callback*, *user* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        if user is None and room is NOT_GIVEN:
            raise InvalidSocket("Give a room, a socket, or `user=` for all sockets of a user.")
        if user is None:
            return self._change_all("leave_all", "leave_all", room, (), callback, namespace)
        space, sids, source = sockets_or_user(room, user, namespace)
        return self._change(callback, "leave_all", space, sids, (), source)

    def add_room_members_to_rooms(
        self,
        source: str,
        rooms: str | Iterable[str],
        callback: Callback | None = None,
        *,
        namespace: str | None = None,
    ) -> Future[Outcome]:
        """
        Put the members of a room, on every worker, into other rooms, too.

        Each worker does so for the members that it has at that moment.

        Args:
            source: A room's name; or a socket ID, whose room has one member.
            rooms: A name or an iterable of names.
            callback: Called exactly once, with None or the error, when the outcome is known.
            namespace: The namespace of the room.

        Returns:
            The future of an Outcome, done when every worker has answered.

        Raises:
            InvalidRoom: *source* or one of *rooms* is not a name, or one of *rooms* is the room
                of another socket's ID.
            InvalidArgument: *callback* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        name, names = room_name(source), room_names(rooms)
        _refuse_foreign_ids(names, (name,))
        call = "add_room_members_to_rooms"
        return self._change_all(call, "join", name, names, callback, namespace)

    def remove_room_members_from_rooms(
        self,
        source: str,
        rooms: str | Iterable[str],
        callback: Callback | None = None,
        *,
        namespace: str | None = None,
    ) -> Future[Outcome]:
        """
        Take the members of a room, on every worker, out of other rooms, or out of that room.

        Args:
            source: A room's name; or a socket ID, whose room has one member.
            rooms: A name or an iterable of names.
            callback: Called exactly once, with None or the error, when the outcome is known.
            namespace: The namespace of the room.

        Returns:
            The future of an Outcome, done when every worker has answered. Later broadcasts of
            this caller to *rooms* reach none of these sockets.

        Raises:
            InvalidRoom: *source* or one of *rooms* is not a name.
            InvalidArgument: *callback* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        name, names = room_name(source), room_names(rooms)
        call = "remove_room_members_from_rooms"
        return self._change_all(call, "leave", name, names, callback, namespace)

    def disconnect(
        self,
        socket: OneSocket | Iterable[OneSocket] | NotGiven = NOT_GIVEN,
        callback: Callback | None = None,
        *,
        user: str | int | None = None,
        older_than: OneSocket | None = None,
        omit: Omit = None,
        omit_user: OmitUser = None,
        reconnect: bool = False,
        namespace: str | None = None,
    ) -> Future[Outcome]:
        """
        Disconnect sockets; their clients do not reconnect automatically, unless told otherwise.

        Where only one tab of a user may stay, call `disconnect(user=..., older_than=request)` in
        the `connect` handler: of several that connect at the same time, on any workers, one stays.

        Args:
            socket: A socket or an iterable of sockets.
            callback: Called exactly once, with None or the error, when the outcome is known.
            user: In place of *socket*: the ID of a user, for all sockets of that user.
            older_than: With *user*: only the sockets that connected before this one, which is of
                that user and of this worker. If a newer socket has had the older ones
                disconnected in the same way, this one is disconnected, too.
            omit: Sockets, or rooms whose members are left out; a name, a socket, or an iterable.
            omit_user: The ID of a user whose sockets are left out, or an iterable of IDs.
            reconnect: Whether the clients reconnect automatically: their connections are closed,
                which ends their sockets in other namespaces, too.
            namespace: The namespace of the sockets.

        Returns:
            The future of an Outcome, whose `changed` counts sockets. When it is done, nothing
            more reaches them; the application's disconnect handler may still be running.

        Raises:
            InvalidSocket: *socket* is neither a socket request nor a socket ID, or is given
                together with *user*; *older_than* is not a socket of *user* on this worker; or
                *omit* contains neither a socket nor a name.
            NotASocketRequest: *socket*, *older_than* or one in *omit* is an HTTP request.
            InvalidRoom: *omit* contains a string that cannot name a room.
            InvalidArgument: *older_than* is given without *user*; or *callback*, *user*,
                *omit_user*, *reconnect* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        space, sids, source = sockets_or_user(socket, user, namespace)
        if not isinstance(reconnect, bool):
            raise InvalidArgument(f"`reconnect=` is True or False, not {type_of(reconnect)}.")
        checked_callback(callback)
        options = _options(omit, omit_user, space, reconnect=reconnect)
        if older_than is not None:
            space, newest = socket_of_user(older_than, source, namespace)
            limit = self._connect_time(space, newest, source, outlasts=not options.omit)
            if limit is None:
                sids, source = (newest,), None  # it has left: nothing is done in its favour
            else:
                options = replace(options, older_than=limit)
        return self._change(callback, "disconnect", space, sids, (), source, options)

    def set_data(
        self,
        socket: OneSocket | Iterable[OneSocket],
        data: Any,
        callback: Callback | None = None,
        *,
        namespace: str | None = None,
    ) -> Future[Outcome]:
        """
        Describe sockets with data of the application, which `describe` returns on every worker.

        The data replaces what was set before, and is gone with the socket.

        Args:
            socket: A socket or an iterable of sockets.
            data: What JSON can express, in at most 16,384 characters; None for nothing.
            callback: Called exactly once, with None or the error, when the outcome is known.
            namespace: The namespace of the sockets.

        Returns:
            The future of an Outcome, whose `changed` counts sockets.

        Raises:
            InvalidSocket: *socket* is neither a socket request nor a socket ID.
            NotASocketRequest: *socket* is an HTTP request.
            InvalidArgument: *data*, *callback* or *namespace* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        space, sids = socket_ids(socket, namespace)
        options = Options(data=_as_json(data))
        return self._change(callback, "set_data", space, sids, (), None, options)

    def catch_up(
        self,
        socket: OneSocket,
        room: str,
        since: Mapping[str, Any] | None,
        *,
        namespace: str | None = None,
    ) -> Missed:
        """
        Put a socket of this worker into a room, and send it the events that its client has missed.

        To be called in place of join(), for a room that `rooms.history()` has a rule for. The
        events come as they were sent, in order, and before what is new.

        Args:
            socket: A socket request, or the ID of a socket of this worker.
            room: A name.
            since: What the client has sent: the `epoch` and the latest `offsets` of the events
                `history_offset` that it has got for the room; None if it has got none.
            namespace: The namespace of the socket.

        Raises:
            InvalidArgument: *since* is not of that form, or *namespace* is not valid.
            InvalidRoom: *room* is not a name, or no rule of `rooms.history()` matches it.
            InvalidSocket: *socket* is not one socket of this worker.
            NotASocketRequest: *socket* is an HTTP request.
            Refused: A guard has refused the socket; it gets nothing.
            Unconfirmed: A guard has taken too long; it gets nothing.
            BackendUnavailable: The history cannot be reached; the socket is in the room.
        """
        space, sids = socket_ids(socket, namespace)
        if len(sids) != 1:
            raise InvalidSocket("catch_up() is for one socket: call it again for the others.")
        name, sid = room_name(room), sids[0]

        def join() -> Outcome:
            return self.join(sid, name, namespace=space).result()

        return self._catching_up.catch_up(space, sid, name, since, join)

    def get_id(self, request: OneSocket) -> str:
        """
        Return the socket ID of a socket request.

        Raises:
            NotASocketRequest: *request* is an HTTP request.
            InvalidSocket: *request* is neither a request nor a socket ID.
        """
        _, sids = socket_ids((request,), None)
        return sids[0]

    def _recheck(self, room: Any, callback: Any, namespace: Any) -> Future[Outcome]:
        name, space = room_name(room), namespace_of_call(namespace)
        return self._change(callback, "recheck", space, (), (name,), name, call="rooms.recheck")

    def _connect_time(
        self, namespace: str, sid: str, user: User | None, *, outlasts: bool
    ) -> ConnectTime | None:
        """Return when a socket of a user on this worker connected; None if it has just left."""
        socket = self._registry.get(namespace, sid)
        if socket is None and owner_of(sid) in self._cluster.calls.own_names:
            return None
        if socket is None or socket.user != user:
            raise InvalidSocket(
                "`older_than=` is a socket of that user, on this worker: pass `request` in its "
                "`connect` handler, or in a request of it."
            )
        return self._registry.outlast(socket) if outlasts else socket.connect_time

    def _change_all(
        self,
        call: str,
        action: Action,
        source: Any,
        rooms: tuple[str, ...],
        callback: Any,
        namespace: Any,
    ) -> Future[Outcome]:
        space, sids, room = room_or_sockets(source, namespace)
        return self._change(callback, action, space, sids, rooms, room, call=f"sockets.{call}")

    def _change(
        self,
        callback: Any,
        action: Action,
        namespace: str,
        sids: tuple[str, ...],
        rooms: tuple[str, ...],
        source: Audience | None,
        options: Options = NO_OPTIONS,
        call: str = "",
    ) -> Future[Outcome]:
        callback = checked_callback(callback)
        change = Change(action, namespace, sids, rooms, source, calling_socket(), options)
        if is_traced():
            future = self._change_in_span(call or f"sockets.{action}", change)
        else:
            future = self._cluster.calls.change(change)
        return when_done(future, callback)

    def _change_in_span(self, name: str, change: Change) -> Future[Outcome]:
        with call_span(name, sockets=len(change.sids), rooms=len(change.rooms)) as span:
            change = replace(change, trace=span.context)
            return span.follow(self._cluster.calls.change(change))


def _as_json(data: Any) -> str:
    try:
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(f"This data cannot be sent to other workers: {error}.") from error
    if len(text) > DATA_LENGTH:
        raise InvalidData(
            f"The data of a socket takes at most {DATA_LENGTH} characters of JSON, not {len(text)}."
        )
    return "" if data is None else text


def _options(omit: Any, omit_user: Any, namespace: str, *, reconnect: bool = False) -> Options:
    if omit is None and omit_user is None and not reconnect:
        return NO_OPTIONS  # as nearly always
    sids, others = omitted(omit, omit_user, namespace)
    if not (sids or others or reconnect):
        return NO_OPTIONS
    return Options((*sids, *others), reconnect=reconnect)


def _refuse_foreign_ids(rooms: tuple[str, ...], sids: tuple[str, ...]) -> None:
    for room in rooms:
        if is_sid(room) and set(sids) != {room}:
            raise InvalidRoom(
                "The room named by a socket ID is that socket's alone: use another room's name."
            )


def when_done(future: Future[Result], callback: Callback | None) -> Future[Result]:
    """Have *callback* called with the error of a future or None; return the future."""
    if callback is not None:
        future.add_done_callback(lambda done: callback(done.exception()))
    return future


def checked_callback(callback: Any) -> Callable[[BaseException | None], object] | None:
    """Return *callback* if it is None or can be called, else raise InvalidArgument."""
    is_function = callable(callback) and not iscoroutinefunction(callback)  # it would not run
    if callback is not None and not is_function:
        raise InvalidArgument(
            "A callback is a function that takes the error or None, and is not async, "
            f"not {type_of(callback)}: pass none to use the future that is returned."
        )
    return callback  # type: ignore[no-any-return]  # callable; its signature cannot be checked
