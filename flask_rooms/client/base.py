"""What both clients have in common: the verbs, and what is known of the connection."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeAlias, TypeGuard, TypeVar

from engineio.payload import Payload
from socketio.exceptions import BadNamespaceError

from flask_rooms.client.arguments import require_seconds
from flask_rooms.client.handlers import Handlers
from flask_rooms.client.history import Positions
from flask_rooms.client.logs import log_failure
from flask_rooms.client.presence import OnPresence, PresenceLists
from flask_rooms.client.responses import Response
from flask_rooms.client.standing import (
    OnRestored,
    Repetition,
    StandingRequest,
    StandingRequests,
)
from flask_rooms.errors import Disconnected, InvalidData, RequestFailed, RequestTimeout

#: Seconds between two checks of the connection. It is polled, because python-socketio has one
#: handler per event, and that of `disconnect` belongs to the program.
POLL_INTERVAL = 0.05

#: Seconds until standing requests are repeated again on a socket where that failed unexpectedly.
RETRY_INTERVAL = 1.0

#: How many requests of a client may be unanswered at once; the rest waits in the client, in order.
WINDOW = 64
#: How many packets a response to a poll may have. python-engineio's clients take 16, and end their
#: connection at the 17th, although a server sends all that waits.
POLLED_PACKETS = 5000

# What a request waits for, as RequestTimeout names it.
CONNECTION, ANSWER = "connection for", "answer to"

R = TypeVar("R")

Result: TypeAlias = "Response | RequestFailed | RequestTimeout | InvalidData"


class Verbs(ABC, Generic[R]):
    """
    The base class of both clients; R is the return type of their requests.

    Args:
        sio: A client of python-socketio, connected or not.
        timeout: Seconds from the call of a request to its response.
        headers: Default headers of each request.
        namespace: The namespace of the requests; that of a simple client is its own.

    Raises:
        InvalidArgument: The client is for the other class, or none; or the timeout is not a number
            of seconds.
    """

    def __init__(
        self,
        sio: Any,
        *,
        timeout: float = 10.0,
        headers: Mapping[str, Any] | None = None,
        namespace: str | None = None,
    ) -> None:
        Payload.max_decode_packets = max(Payload.max_decode_packets, POLLED_PACKETS)
        self._sio = sio
        self._simple = hasattr(sio, "client_class")
        self._timeout = require_seconds(timeout)
        self._headers = headers or {}
        self._own_namespace = namespace
        self._presence = PresenceLists()
        self._positions = Positions()
        self._handlers = Handlers(sio, namespace)
        self._standing = StandingRequests()
        self._watching = False
        self._watch_from = 0.0  # of the monotonic clock

    @abstractmethod
    def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        standing: bool = False,
    ) -> R:
        """
        Make a socket request, and wait for its response.

        If the socket is not connected, wait for the connection first.

        Args:
            method: `get`, `post`, `put`, `patch`, `delete`, `options` or `head`.
            url: A path, optionally with a query string.
            data: For `get`, `head` and `delete` a dictionary for the query string, else a JSON
                value or bytes; None sends no data. Or a function that returns JSON, called without
                arguments each time that the request is sent; it must not make requests.
            headers: Names and values; a value of None removes a default header.
            timeout: Seconds from the call to the response; the default is the client's.
            standing: Repeat the request on each new socket, before all others, until it is
                withdrawn or refused with a status of the 400s other than 408 and 429.

        Raises:
            InvalidArgument: 32 requests are standing, or the data of a standing one are not JSON,
                or the function for the data has failed, or the timeout is not a number of seconds.
            RequestFailed: The response has a status of 400 or more.
            RequestTimeout: There was no connection, or no response, in time.
            Disconnected: The socket disconnected before the response arrived; the request may
                have run.
        """

    def get(self, url: str, data: Any = None, **options: Any) -> R:
        """Make a GET request; see request()."""
        return self.request("get", url, data, **options)

    def post(self, url: str, data: Any = None, **options: Any) -> R:
        """Make a POST request; see request()."""
        return self.request("post", url, data, **options)

    def put(self, url: str, data: Any = None, **options: Any) -> R:
        """Make a PUT request; see request()."""
        return self.request("put", url, data, **options)

    def patch(self, url: str, data: Any = None, **options: Any) -> R:
        """Make a PATCH request; see request()."""
        return self.request("patch", url, data, **options)

    def delete(self, url: str, data: Any = None, **options: Any) -> R:
        """Make a DELETE request; see request()."""
        return self.request("delete", url, data, **options)

    def withdraw(self, method: str, url: str, data: Any = None) -> bool:
        """
        Repeat a standing request no longer.

        Args:
            method: The method of the request.
            url: The URL of the request.
            data: The data of the request; a function counts as None.

        Returns:
            Whether it was standing.
        """
        return self._standing.withdraw(method, url, data)

    def restored(self, callback: OnRestored) -> Callable[[], None]:
        """
        Call back each time the standing requests have been repeated on a new socket.

        Requests that were made meanwhile are sent after them. The callback may make requests.

        Args:
            callback: Called with a list of Repetition, in the order of the requests. That of an
                AsyncRoomsClient may be a coroutine function.

        Returns:
            A function that ends it.
        """
        return self._standing.follow(callback)

    def presence(self, room: str, callback: OnPresence) -> Callable[[], None]:
        """
        Follow who is present in a room; to be called before the socket joins it.

        The events `presence_state` and `presence_diff` of the client are handled from now on.

        Args:
            room: The name.
            callback: Called with the people and a PresenceDifference, in order, one at a time: in
                a thread of python-socketio, or in the event loop. After a reconnect the difference
                is that of the new list. If it raises, that is logged.

        Returns:
            A function that ends it.
        """
        self._handlers.add("presence_state", self._presence.replace)
        self._handlers.add("presence_diff", self._presence.change)
        return self._presence.follow(room, callback)

    def since(self, room: str) -> dict[str, Any] | None:
        """
        Return which events the client has got of a room with a history, None before the first.

        It is what `catch_up()` of the server takes as `since`. To be called before the socket joins
        the room, best in the function for the data of a standing request. The event
        `history_offset` of the client is handled from now on.

        Args:
            room: The name.
        """
        self._handlers.add("history_offset", self._positions.note)
        return self._positions.of(room)

    @property
    def _namespace(self) -> str:
        return self._own_namespace or (self._sio.namespace if self._simple else "/")

    @property
    def _client(self) -> Any:
        """The client behind a simple client, None before it connects; else the client itself."""
        return self._sio.client if self._simple else self._sio

    @property
    def _connected_client(self) -> Any:
        """The client, to send at once; without one, raise what it does if it is not connected."""
        client = self._client
        if client is None:  # the program has disconnected a simple client since the check
            raise BadNamespaceError("The client is not connected.")
        return client

    def _sid(self) -> str | None:
        """Return the socket ID, which is another one or None after the connection was lost."""
        client = self._client
        return None if client is None else client.get_sid(self._namespace)

    def _deadline(self, method: str, url: str, timeout: float | None) -> Deadline:
        # Without the query string, which may have what is not for a log.
        request = f"{method.upper()} {str(url).partition('?')[0]}"
        return Deadline(request, self._timeout if timeout is None else require_seconds(timeout))

    def _check(self, sid: str, answered: bool, request: str) -> None:
        if not answered and self._sid() != sid:
            raise Disconnected(f"The socket disconnected before the answer to {request} came.")

    @contextmanager
    def _kept(self, standing: bool, *what: Any) -> Iterator[StandingRequest | None]:
        """Keep a request that is standing, unless it is refused in the context."""
        if not standing:
            yield None
            return
        request = self._standing.add(*what)
        if not self._watching:
            self._watching = True
            self._watch()
        try:
            yield request
        except BaseException as error:
            self._standing.settle(request, error)
            raise
        finally:
            request.was_given_up = not request.was_sent

    @abstractmethod
    def _watch(self) -> None:
        """Begin to look for new sockets; it ends with this object."""

    def _restore_new_socket(self) -> None:
        """Repeat the standing requests if the client has a new socket; raise nothing."""
        if time.monotonic() < self._watch_from:
            return
        sid = None
        try:
            sid = self._sid()
            if sid is not None and (due := self._standing.begin(sid)):
                self._restore(sid, due)
        except Exception as error:  # noqa: BLE001 - logged, or that of a lost connection
            self._begin_anew(sid, error)

    @abstractmethod
    def _restore(self, sid: str, due: list[StandingRequest]) -> None:
        """Repeat the standing requests on a new socket."""

    def _begin_anew(self, sid: str | None, error: Exception) -> None:
        """Repeat the standing requests on the next socket, or on this one, as it has failed."""
        # Until they have been repeated, no other request is sent.
        if not isinstance(error, BadNamespaceError | Disconnected):
            log_failure("Repeating standing requests has failed; trying again.", error)
            self._watch_from = time.monotonic() + RETRY_INTERVAL
        if sid is not None:
            self._standing.abandon(sid)

    def _may_send(self, sid: str | None, kept: StandingRequest | None) -> TypeGuard[str]:
        """Return whether it is a request's turn on a socket; it counts as sent then."""
        if sid is None or not self._standing.allow(sid):
            return False
        if kept is not None:
            kept.was_sent = True
        return True

    def _conclude(
        self, sid: str, due: list[StandingRequest], results: list[Result]
    ) -> list[Repetition]:
        """Let other requests go on, and return what the standing ones came to."""
        self._standing.end(sid)
        repetitions = []
        for request, result in zip(due, results, strict=True):
            response, error = (result, None) if isinstance(result, Response) else (None, result)
            kept = self._standing.settle(request, error)
            repetitions.append(
                Repetition(request.method, request.url, request.data, response, error, kept)
            )
        return repetitions

    def _payload(self, url: str, data: Any, headers: Mapping[str, Any] | None) -> dict[str, Any]:
        both = {**self._headers, **(headers or {})}
        payload: dict[str, Any] = {
            "url": url,
            "headers": {name: value for name, value in both.items() if value is not None},
        }
        if data is not None:
            payload["data"] = data
        return payload

    def _ready(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return what is sent: with the data of this moment, where a function makes them."""
        make = payload.get("data")
        if not callable(make):
            return payload
        try:
            data = make()
            json.dumps(data)
        except Exception as error:
            raise InvalidData(
                f"The function for the data of a request has failed: {error}"
            ) from error
        return {**payload, "data": data}


class Deadline:
    """The time at which a request fails with RequestTimeout."""

    def __init__(self, request: str, seconds: float) -> None:
        self.request = request
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, missing: str) -> float:
        """Return the seconds left; raise RequestTimeout, which names *missing*, if none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise RequestTimeout(
                f"There was no {missing} {self.request} within {self._seconds:g} seconds."
            )
        return left

    def poll_timeout(self, missing: str) -> float:
        """Return the seconds until the next check; raise RequestTimeout as left() does."""
        return min(self.left(missing), POLL_INTERVAL)
