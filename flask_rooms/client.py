"""
Socket requests of Python programs, over python-socketio's clients.

`RoomsClient` is for `socketio.Client` and `socketio.SimpleClient`, `AsyncRoomsClient` for
`socketio.AsyncClient` and `socketio.AsyncSimpleClient`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from socketio.exceptions import BadNamespaceError

from flask_rooms.errors import Disconnected, RequestFailed, RequestTimeout

__all__ = [
    "AsyncRoomsClient",
    "Disconnected",
    "PresenceDifference",
    "RequestFailed",
    "RequestTimeout",
    "Response",
    "RoomsClient",
]

#: Seconds between two checks of the connection. It is polled, because python-socketio has one
#: handler per event, and that of `disconnect` belongs to the program.
POLL_INTERVAL = 0.05

#: How many requests of a client may be unanswered at once; the rest waits in the client, in order.
WINDOW = 64

# What a request waits for, as RequestTimeout names it.
_CONNECTION, _ANSWER = "connection for", "answer to"

R = TypeVar("R")


@dataclass(frozen=True)
class Response:
    """
    The response to a socket request.

    Args:
        status: The status code, as in HTTP; less than 400.
        body: A JSON value, a string, or bytes.
        headers: The headers, with names in lower case.
    """

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class PresenceDifference:
    """
    How a list of those who are present differs from the one before it.

    A person is a dictionary: `user`, the ID of the user, or None; `since`, in seconds since 1970;
    `data`, what is known of the person's sockets, the same only once; and without a user
    `socket`, the ID of the socket.

    Args:
        joined: The people who are new.
        changed: Those whose data have changed, as they are now.
        left: Those who are gone, as they were.
    """

    joined: list[dict[str, Any]]
    changed: list[dict[str, Any]]
    left: list[dict[str, Any]]


#: Takes the people who are present, and how that differs from the list before.
OnPresence: TypeAlias = "Callable[[list[dict[str, Any]], PresenceDifference], object]"


class _PresenceLists:
    """The lists of those who are present in rooms, as the server tells them."""

    def __init__(self) -> None:
        self._lists: dict[str, tuple[int, dict[Any, dict[str, Any]]]] = {}
        self._callbacks: dict[str, list[OnPresence]] = {}

    def follow(self, room: str, callback: OnPresence) -> Callable[[], None]:
        """Call *callback* with the lists of a room; return a function that ends it."""
        callbacks = self._callbacks.setdefault(room, [])
        callbacks.append(callback)

        def end() -> None:
            with suppress(ValueError):  # it has been ended already
                callbacks.remove(callback)

        return end

    def replace(self, state: dict[str, Any]) -> None:
        """Take in a whole list."""
        _, before = self._lists.get(state["room"], (0, {}))
        now = {_name(person): person for person in state["people"]}
        self._lists[state["room"]] = state["version"], now
        difference = PresenceDifference(
            [person for name, person in now.items() if name not in before],
            [person for name, person in now.items() if before.get(name, person) != person],
            [person for name, person in before.items() if name not in now],
        )
        self._tell(state["room"], now, difference)

    def change(self, told: dict[str, Any]) -> None:
        """Take in a difference, unless its list is still on its way."""
        version, people = self._lists.get(told["room"], (-2, {}))
        if told["version"] != version + 1:
            return
        difference = PresenceDifference(told["joined"], told["changed"], told["left"])
        people.update((_name(person), person) for person in told["joined"] + told["changed"])
        for person in told["left"]:
            people.pop(_name(person), None)
        self._lists[told["room"]] = told["version"], people
        self._tell(told["room"], people, difference)

    def _tell(
        self, room: str, people: dict[Any, dict[str, Any]], difference: PresenceDifference
    ) -> None:
        for callback in list(self._callbacks.get(room, ())):
            callback(list(people.values()), difference)


def _name(person: dict[str, Any]) -> tuple[str | None, str | None]:
    return person["user"], person.get("socket")


class _Verbs(ABC, Generic[R]):
    """
    The base class of both clients; R is the return type of their requests.

    Args:
        sio: A client of python-socketio, connected or not.
        timeout: Seconds from the call of a request to its response.
        headers: Default headers of each request.
        namespace: The namespace of the requests; that of a simple client is its own.
    """

    def __init__(
        self,
        sio: Any,
        *,
        timeout: float = 10.0,
        headers: Mapping[str, Any] | None = None,
        namespace: str | None = None,
    ) -> None:
        self._sio = sio
        self._simple = hasattr(sio, "client_class")
        self._timeout = timeout
        self._headers = headers or {}
        self._own_namespace = namespace
        self._presence: _PresenceLists | None = None

    @abstractmethod
    def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> R:
        """
        Make a socket request, and wait for its response.

        If the socket is not connected, wait for the connection first.

        Args:
            method: `get`, `post`, `put`, `patch`, `delete`, `options` or `head`.
            url: A path, optionally with a query string.
            data: For `get`, `head` and `delete` a dictionary for the query string, else a JSON
                value or bytes; None sends no data.
            headers: Names and values; a value of None removes a default header.
            timeout: Seconds from the call to the response; the default is the client's.

        Raises:
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

    def presence(self, room: str, callback: OnPresence) -> Callable[[], None]:
        """
        Follow who is present in a room; to be called before the socket joins it.

        A simple client has to be connected. The events `presence_state` and `presence_diff` of
        the client are handled from now on.

        Args:
            room: The name.
            callback: Called in the thread or the task that receives, with the people and a
                PresenceDifference. After a reconnect that is how the new list differs.

        Returns:
            A function that ends it.
        """
        if self._presence is None:
            self._presence = _PresenceLists()
            self._client.on("presence_state", self._presence.replace, namespace=self._namespace)
            self._client.on("presence_diff", self._presence.change, namespace=self._namespace)
        return self._presence.follow(room, callback)

    @property
    def _namespace(self) -> str:
        return self._own_namespace or (self._sio.namespace if self._simple else "/")

    @property
    def _client(self) -> Any:
        """The client behind a simple client, None before it connects; else the client itself."""
        return self._sio.client if self._simple else self._sio

    def _sid(self) -> str | None:
        """Return the socket ID, which is another one or None after the connection was lost."""
        client = self._client
        return None if client is None else client.get_sid(self._namespace)

    def _deadline(self, method: str, url: str, timeout: float | None) -> _Deadline:
        # Without the query string, which may have what is not for a log.
        request = f"{method.upper()} {str(url).partition('?')[0]}"
        return _Deadline(request, self._timeout if timeout is None else timeout)

    def _check(self, sid: str, answered: bool, request: str) -> None:
        if not answered and self._sid() != sid:
            raise Disconnected(f"The socket disconnected before the answer to {request} came.")

    def _payload(self, url: str, data: Any, headers: Mapping[str, Any] | None) -> dict[str, Any]:
        both = {**self._headers, **(headers or {})}
        payload: dict[str, Any] = {
            "url": url,
            "headers": {name: value for name, value in both.items() if value is not None},
        }
        if data is not None:
            payload["data"] = data
        return payload


class RoomsClient(_Verbs[Response]):
    """
    Socket requests over a `socketio.Client` or `socketio.SimpleClient`, from any thread.

    Args:
        sio: The client, connected or not.
        timeout: Seconds from the call of a request to its response.
        headers: Default headers of each request.
        namespace: The namespace of the requests; that of a simple client is its own.
    """

    def __init__(self, sio: Any, **options: Any) -> None:
        super().__init__(sio, **options)
        self._sending = threading.Lock()  # python-socketio's emit() is not thread-safe
        self._window = threading.Semaphore(WINDOW)

    def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Make a socket request; the base class has its arguments and errors."""
        deadline = self._deadline(method, url, timeout)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        sid = self._send(method, self._payload(url, data, headers), future.set_result, deadline)
        try:
            while not future.done():
                concurrent.futures.wait([future], deadline.poll_timeout(_ANSWER))
                self._check(sid, future.done(), deadline.request)
        finally:
            self._window.release()
        return _response(future.result(), deadline.request)

    def _send(
        self, method: str, payload: Any, callback: Callable[[Any], None], deadline: _Deadline
    ) -> str:
        """Send a request when it is its turn, and return the socket ID that sent it."""
        while not self._sending.acquire(timeout=deadline.left(_CONNECTION)):
            pass
        try:
            while not self._window.acquire(timeout=deadline.left(_ANSWER)):
                pass
            return self._send_now(method, payload, callback, deadline)
        finally:
            self._sending.release()

    def _send_now(
        self, method: str, payload: Any, callback: Callable[[Any], None], deadline: _Deadline
    ) -> str:
        try:
            while True:
                sid = self._sid()
                if sid is not None:
                    # Raised if the connection was lost since the check; it reconnects.
                    with suppress(BadNamespaceError):
                        self._client.emit(method.lower(), payload, self._namespace, callback)
                        return sid
                time.sleep(deadline.poll_timeout(_CONNECTION))
        except BaseException:
            self._window.release()
            raise


class AsyncRoomsClient(_Verbs[Coroutine[Any, Any, Response]]):
    """
    Socket requests over a `socketio.AsyncClient` or `socketio.AsyncSimpleClient`.

    Args:
        sio: The client, connected or not.
        timeout: Seconds from the call of a request to its response.
        headers: Default headers of each request.
        namespace: The namespace of the requests; that of a simple client is its own.
    """

    def __init__(self, sio: Any, **options: Any) -> None:
        super().__init__(sio, **options)
        self._sending = asyncio.Lock()
        self._window = asyncio.Semaphore(WINDOW)

    async def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Make a socket request; the base class has its arguments and errors."""
        deadline = self._deadline(method, url, timeout)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sid = await self._send(
            method, self._payload(url, data, headers), future.set_result, deadline
        )
        try:
            while not future.done():
                await asyncio.wait([future], timeout=deadline.poll_timeout(_ANSWER))
                self._check(sid, future.done(), deadline.request)
        finally:
            self._window.release()
        return _response(future.result(), deadline.request)

    async def _send(
        self, method: str, payload: Any, callback: Callable[[Any], None], deadline: _Deadline
    ) -> str:
        """Send a request when it is its turn, and return the socket ID that sent it."""
        acquisition = asyncio.ensure_future(self._sending.acquire())
        try:
            while not acquisition.done():
                await asyncio.wait([acquisition], timeout=deadline.left(_CONNECTION))
            while self._window.locked():
                await asyncio.sleep(deadline.poll_timeout(_ANSWER))
            await self._window.acquire()  # at once: only one sends
            return await self._send_now(method, payload, callback, deadline)
        finally:
            # cancel() returns False if the lock has been acquired.
            if not acquisition.cancel():
                self._sending.release()

    async def _send_now(
        self, method: str, payload: Any, callback: Callable[[Any], None], deadline: _Deadline
    ) -> str:
        try:
            while True:
                sid = self._sid()
                if sid is not None:
                    with suppress(BadNamespaceError):
                        await self._client.emit(method.lower(), payload, self._namespace, callback)
                        return sid
                await asyncio.sleep(deadline.poll_timeout(_CONNECTION))
        except BaseException:
            self._window.release()
            raise


class _Deadline:
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


def _response(answer: Mapping[str, Any], request: str) -> Response:
    response = Response(answer["statusCode"], answer["body"], answer["headers"])
    if response.status >= 400:
        raise RequestFailed(response.status, response.body, response.headers, request)
    return response
