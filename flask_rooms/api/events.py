"""Events: the calls that send to rooms and users of the whole cluster, and ask them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, TypeAlias

from flask_rooms.api.arguments import (
    OneSocket,
    finite_seconds,
    namespace_of_call,
    omitted,
)
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.tracing import call_span
from flask_rooms.errors import InvalidArgument
from flask_rooms.membership.names import (
    NOT_GIVEN,
    NotGiven,
    event_name,
    room_names,
    type_of,
    user_id,
)
from flask_rooms.protocol.messages import Audience
from flask_rooms.results import Responses
from flask_rooms.server.asking import Asking
from flask_rooms.server.emitter import Emitter

#: What a call may leave out: a socket, a room's name, or an iterable of these.
Omit: TypeAlias = "OneSocket | Iterable[OneSocket] | None"
#: Users whose sockets a call leaves out.
OmitUser: TypeAlias = "str | int | Iterable[str | int] | None"

#: The event of a broadcast without one, as in Sails.
DEFAULT_EVENT = "message"


class Events:
    """The events for clients of every worker."""

    def __init__(
        self, cluster: Cluster, emitter: Emitter, asking: Asking, confirm_timeout: float
    ) -> None:
        self._cluster = cluster
        self._emitter = emitter
        self._asking = asking
        self._confirm_timeout = confirm_timeout

    def broadcast(
        self,
        rooms: str | Iterable[str] | NotGiven = NOT_GIVEN,
        *event_and_data: Any,
        user: str | int | None = None,
        omit: Omit = None,
        omit_user: OmitUser = None,
        volatile: bool = False,
        namespace: str | None = None,
    ) -> None:
        """
        Send an event to the members of one or more rooms; each socket gets it once.

        For the sockets of a user, call `broadcast([event,] data, user=...)`.

        Args:
            rooms: A name or an iterable of names.
            event_and_data: The data, or the event and the data. The default event is "message".
                A tuple as data is sent as several arguments.
            user: In place of *rooms*: the ID of a user, for all sockets of that user.
            omit: Sockets, or rooms whose members are left out; a name, a socket, or an iterable.
            omit_user: The ID of a user whose sockets are left out, or an iterable of IDs.
            volatile: Whether a client that has not read everything yet does not get the event.
            namespace: The namespace of the room.

        Raises:
            InvalidRoom: A room is not a name.
            InvalidSocket: *omit* contains neither a socket nor a name.
            InvalidArgument: The event or the data cannot be sent; or *user*, *omit_user*,
                *volatile* or *namespace* is not valid.
            BackendUnavailable: The outbox is full, and the sockets of this worker have got the
                event; or the history of one of the rooms cannot be reached, and no client that is
                there has got it.
        """
        audience, event, data = _addressed(rooms, event_and_data, user)
        self._emit("broadcast", audience, event, data, omit, omit_user, volatile, namespace)

    def blast(
        self,
        *event_and_data: Any,
        omit: Omit = None,
        omit_user: OmitUser = None,
        volatile: bool = False,
        namespace: str | None = None,
    ) -> None:
        """
        Send an event to every socket of a namespace.

        Args:
            event_and_data: The data, or the event and the data. The default event is "message".
                A tuple as data is sent as several arguments.
            omit: Sockets, or rooms whose members are left out; a name, a socket, or an iterable.
            omit_user: The ID of a user whose sockets are left out, or an iterable of IDs.
            volatile: Whether a client that has not read everything yet does not get the event.
            namespace: The namespace of the sockets.

        Raises:
            InvalidSocket: *omit* contains neither a socket nor a name.
            InvalidRoom: *omit* contains a string that cannot name a room.
            InvalidArgument: The event or the data cannot be sent; or *omit_user*, *volatile* or
                *namespace* is not valid.
            BackendUnavailable: The outbox is full; the sockets of this worker have got the event.
        """
        event, data = _event_and_data(event_and_data)
        self._emit("blast", None, event, data, omit, omit_user, volatile, namespace)

    def ask(
        self,
        rooms: str | Iterable[str] | NotGiven = NOT_GIVEN,
        *event_and_data: Any,
        user: str | int | None = None,
        timeout: float | None = None,
        omit: Omit = None,
        omit_user: OmitUser = None,
        namespace: str | None = None,
    ) -> Future[Responses]:
        """
        Send an event to the members of one or more rooms, and collect what their clients answer.

        A client answers by calling the last argument of its event handler, or by returning a value
        from it, depending on its library. For the sockets of a user, call
        `ask([event,] data, user=...)`.

        Args:
            rooms: A name or an iterable of names; a socket ID for one socket.
            event_and_data: The data, or the event and the data. The default event is "message".
                A tuple as data is sent as several arguments.
            user: In place of *rooms*: the ID of a user, for all sockets of that user.
            timeout: Seconds for which answers are awaited, 4,000,000 at most; by default
                `ROOMS_CONFIRM_TIMEOUT`.
            omit: Sockets, or rooms whose members are left out; a name, a socket, or an iterable.
            omit_user: The ID of a user whose sockets are left out, or an iterable of IDs.
            namespace: The namespace of the room.

        Returns:
            The future of Responses. It is done when all have answered or left, or when *timeout*
            is over, and it raises no exception because of a client or a worker.

        Raises:
            InvalidRoom: A room is not a name.
            InvalidSocket: *omit* contains neither a socket nor a name.
            InvalidArgument: The event, the data, *user*, *omit_user*, *timeout* or *namespace* is
                not valid.
            BackendUnavailable: The outbox is full; no client has been asked.
        """
        audience, event, data = _addressed(rooms, event_and_data, user)
        space, wait = namespace_of_call(namespace), finite_seconds(timeout)
        skip, others = omitted(omit, omit_user, space)
        with call_span("sockets.ask", rooms=len(audience)) as span:
            question = self._asking.ask(
                self._cluster,
                event,
                data,
                space,
                audience,
                (*skip, *others),
                self._confirm_timeout if wait is None else wait,
                span.context,
            )
            return span.follow(question)

    def _emit(
        self,
        call: str,
        rooms: tuple[Audience, ...] | None,
        event: str,
        data: Any,
        omit: Any,
        omit_user: Any,
        volatile: Any,
        namespace: Any,
    ) -> None:
        if not isinstance(volatile, bool):
            raise InvalidArgument(f"`volatile=` is True or False, not {type_of(volatile)}.")
        space = namespace_of_call(namespace)
        skip, others = omitted(omit, omit_user, space)
        with call_span(f"sockets.{call}", rooms=len(rooms or ())) as span:
            self._emitter.send(
                event,
                data,
                space,
                rooms,
                skip,
                omit=others,
                volatile=volatile,
                trace=span.context,
            )


def _addressed(
    rooms: Any, event_and_data: tuple[Any, ...], user: Any
) -> tuple[tuple[Audience, ...], str, Any]:
    """Return the recipients of an event, its name and its data."""
    if user is None:
        return (room_names(rooms), *_event_and_data(event_and_data))
    given = () if rooms is NOT_GIVEN else (rooms,)
    return ((user_id(user),), *_event_and_data((*given, *event_and_data)))


def _event_and_data(given: tuple[Any, ...]) -> tuple[str, Any]:
    if len(given) not in (1, 2):
        raise InvalidArgument("Give the data, or the event and the data.")
    return event_name(DEFAULT_EVENT if len(given) == 1 else given[0]), given[-1]
