"""Everything that Flask-Rooms raises, in one tree, ordered by who has to act."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class RoomsError(Exception):
    """The root: catch this one to catch whatever Flask-Rooms raises."""


class ConfigurationError(RoomsError, RuntimeError):
    """
    The application is not set up correctly; the message says what to change.

    It is also a RuntimeError, as Flask's own errors are outside of an application context.
    """


class InvalidArgument(RoomsError, ValueError):
    """A call was given something that it cannot use; nothing has changed."""


class InvalidData(InvalidArgument, TypeError):
    """These are data that no client can be sent: a TypeError too, as in Flask-SocketIO."""


class InvalidRoom(InvalidArgument):
    """A room name must be a non-empty string, and not another socket's ID."""


class InvalidSocket(InvalidArgument):
    """A socket must be a socket request, a socket ID, or an iterable of these."""


class NotASocketRequest(InvalidArgument):
    """An HTTP request has no socket: check `request.is_socket` first."""


class Refused(RoomsError):
    """
    A guard does not let the sockets named in `sids` into a room, and nothing has changed there.

    Args:
        sids: The socket IDs, of each worker as many as fit into a message.
    """

    def __init__(self, sids: Iterable[str]) -> None:
        self.sids = tuple(sids)
        super().__init__(
            f"A guard has refused {', '.join(self.sids)}: who may join is decided by the functions "
            "that the application has registered with rooms.guard()."
        )

    def __reduce__(self) -> tuple[object, ...]:
        # As below.
        return (Refused, (self.sids,))


class BackendUnavailable(RoomsError):
    """The outbox for the other workers is full because the broker is away."""


class Unconfirmed(RoomsError):
    """
    The workers named in `workers` did not confirm in time; it may still happen.

    Args:
        workers: Names of the workers that have not answered.
        timeout: Seconds that were waited.
    """

    def __init__(self, workers: Iterable[str], timeout: float) -> None:
        self.workers = tuple(sorted(workers))
        self.timeout = timeout
        silent = ", ".join(self.workers) or "the broker"
        super().__init__(
            f"No confirmation within {timeout:g} seconds from {silent}. The change may still be "
            "carried out: check the broker and those workers, or raise ROOMS_CONFIRM_TIMEOUT."
        )

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call Unconfirmed(message) on unpickling (Celery does that).
        return (Unconfirmed, (self.workers, self.timeout))


class BackendError(RoomsError):
    """A backend lost its connection, or is closed; raised by backends to the cluster."""


class RequestFailed(RoomsError):
    """
    A client's socket request was answered with a status of 400 or more; see flask_rooms.client.

    Args:
        status: As in HTTP.
        body: A JSON value, a string, or bytes.
        headers: With names in lower case.
    """

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        message = body.get("message") if isinstance(body, dict) else None
        reason = f": {message}" if isinstance(message, str) else "."
        super().__init__(f"The answer has status {status}{reason}")

    def __reduce__(self) -> tuple[object, ...]:
        # As above.
        return (RequestFailed, (self.status, self.body, self.headers))


class RequestTimeout(RoomsError, TimeoutError):
    """A client's socket request had no connection, or no answer, in time."""


class Disconnected(RoomsError, ConnectionError):
    """A client's socket disconnected before an answer came; it may have been carried out."""
