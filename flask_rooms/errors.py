"""The exceptions of Flask-Rooms: one tree, divided by who has to act."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: How many rooms a message names.
_NAMED = 3


class RoomsError(Exception):
    """The base class of all exceptions of Flask-Rooms."""


class ConfigurationError(RoomsError, RuntimeError):
    """
    The application is not set up correctly; the message says what to change.

    It is also a RuntimeError, as Flask's own error outside of an application context is.
    """


class OutsideContext(ConfigurationError, AttributeError):
    """
    There is no current application with Rooms: use `rooms.sockets`, or `app.app_context()`.

    It is also an AttributeError, which is what tools expect that look at every attribute.
    """


class InvalidArgument(RoomsError, ValueError):
    """An argument of a call is not valid; nothing has changed."""


class InvalidData(InvalidArgument, TypeError):
    """The data of an event cannot be sent; also a TypeError, as Flask-SocketIO raises."""


class InvalidRoom(InvalidArgument):
    """A room name must be a non-empty string, and not another socket's ID."""


class InvalidSocket(InvalidArgument):
    """A socket must be a socket request, a socket ID, or an iterable of these."""


class NotASocketRequest(InvalidArgument):
    """An HTTP request has no socket: check `request.is_socket` first."""


class Refused(RoomsError):
    """
    A guard, or the limit of rooms, has refused sockets; no membership has changed.

    Args:
        sids: The IDs of the refused sockets; of each worker only as many as fit into a message.
        rooms: The rooms that they were to join.
    """

    def __init__(self, sids: Iterable[str], rooms: Iterable[str] = ()) -> None:
        self.sids = tuple(sids)
        self.rooms = tuple(rooms)
        super().__init__(
            f"A guard, or the limit of rooms, has refused {', '.join(self.sids)}"
            f"{_rooms_in_words(self.rooms)}: a function that the application has registered with "
            "rooms.guard() does not let it join, or it is in as many rooms as "
            "ROOMS_ROOMS_PER_SOCKET allows."
        )

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call Refused(message) on unpickling, as Celery does.
        return (Refused, (self.sids, self.rooms))


def _rooms_in_words(rooms: tuple[str, ...]) -> str:
    if not rooms:
        return ""
    more = f" and {len(rooms) - _NAMED} more" if len(rooms) > _NAMED else ""
    return f" in {', '.join(map(repr, rooms[:_NAMED]))}{more}"


class BackendUnavailable(RoomsError):
    """The outbox for the other workers is full, because the broker is unreachable."""


class Unconfirmed(RoomsError):
    """
    Some workers have not confirmed a change in time; it may still be carried out.

    Args:
        workers: The names of these workers; each is a flask_rooms.results.WorkerInfo where it
            is raised.
        timeout: The time that the call has waited, in seconds.
        reason: Why it has not waited for them, as a sentence for the message; by default it has.
    """

    def __init__(self, workers: Iterable[str], timeout: float, reason: str = "") -> None:
        self.workers = tuple(sorted(workers))
        self.timeout = timeout
        self.reason = reason
        missing = [getattr(one, "description", one) for one in self.workers] or ["the broker"]
        waited = (
            f"No confirmation within {timeout:g} seconds from {', '.join(missing)}. The change "
            "may still be carried out: check the broker and those workers, or raise "
            "ROOMS_CONFIRM_TIMEOUT."
        )
        super().__init__(reason or waited)

    def __reduce__(self) -> tuple[object, ...]:
        # As in Refused.
        return (Unconfirmed, (self.workers, self.timeout, self.reason))


class BackendError(RoomsError):
    """A backend has lost its connection or is closed; raised by backends to the cluster."""


class RequestFailed(RoomsError):
    """
    A socket request of flask_rooms.client has a response with a status of 400 or more.

    Args:
        status: The status code, as in HTTP.
        body: A JSON value, a string, or bytes.
        headers: The headers, with names in lower case.
        request: The verb and the path of the request, for the message.
    """

    def __init__(
        self, status: int, body: Any, headers: Mapping[str, str], request: str = ""
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.request = request
        message = body.get("message") if isinstance(body, dict) else None
        reason = f": {message}" if isinstance(message, str) else "."
        answer = f"The answer to {request}" if request else "The answer"
        super().__init__(f"{answer} has status {status}{reason}")

    def __reduce__(self) -> tuple[object, ...]:
        # As in Refused.
        return (RequestFailed, (self.status, self.body, self.headers, self.request))


class RequestTimeout(RoomsError, TimeoutError):
    """A socket request of flask_rooms.client got no connection or no response in time."""


class Disconnected(RoomsError, ConnectionError):
    """The socket of flask_rooms.client disconnected too early; the request may have run."""
