"""
Socket requests of Python programs, over python-socketio's clients.

`RoomsClient` is for `socketio.Client` and `socketio.SimpleClient`, `AsyncRoomsClient` for
`socketio.AsyncClient` and `socketio.AsyncSimpleClient`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeAlias, TypeGuard, TypeVar

from engineio.payload import Payload
from socketio.exceptions import BadNamespaceError

from flask_rooms.client.presence import OnPresence, PresenceDifference, PresenceLists
from flask_rooms.client.responses import Response, to_response
from flask_rooms.client.standing import (
    OnRestored,
    Repetition,
    StandingRequest,
    StandingRequests,
)
from flask_rooms.errors import Disconnected, RequestFailed, RequestTimeout

__all__ = [
    "AsyncRoomsClient",
    "Disconnected",
    "PresenceDifference",
    "Repetition",
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
#: How many packets a response to a poll may have. python-engineio's clients take 16, and end their
#: connection at the 17th, although a server sends all that waits.
POLLED_PACKETS = 5000

# What a request waits for, as RequestTimeout names it.
_CONNECTION, _ANSWER = "connection for", "answer to"

R = TypeVar("R")

_Result: TypeAlias = "Response | RequestFailed | RequestTimeout"


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
        Payload.max_decode_packets = max(Payload.max_decode_packets, POLLED_PACKETS)
        self._sio = sio
        self._simple = hasattr(sio, "client_class")
        self._timeout = timeout
        self._headers = headers or {}
        self._own_namespace = namespace
        self._presence: PresenceLists | None = None
        self._standing = StandingRequests()
        self._watching = False

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
                value or bytes; None sends no data.
            headers: Names and values; a value of None removes a default header.
            timeout: Seconds from the call to the response; the default is the client's.
            standing: Repeat the request on each new socket, before all others, until it is
                withdrawn or refused with a status of the 400s other than 408 and 429.

        Raises:
            InvalidArgument: 32 requests are standing, or the data of a standing one are not JSON.
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
            data: The data of the request.

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
            self._presence = PresenceLists()
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
            request.was_sent = True  # or given up

    @abstractmethod
    def _watch(self) -> None:
        """Begin to look for new sockets; it ends with this object."""

    def _restore_new_socket(self) -> None:
        """Repeat the standing requests if the client has a new socket."""
        sid = self._sid()
        if sid is not None and (due := self._standing.begin(sid)):
            self._restore(sid, due)

    @abstractmethod
    def _restore(self, sid: str, due: list[StandingRequest]) -> None:
        """Repeat the standing requests on a new socket."""

    def _may_send(self, sid: str | None, kept: StandingRequest | None) -> TypeGuard[str]:
        """Return whether it is a request's turn on a socket; it counts as sent then."""
        if sid is None or not self._standing.allow(sid):
            return False
        if kept is not None:
            kept.was_sent = True
        return True

    def _conclude(
        self, sid: str, due: list[StandingRequest], results: list[_Result]
    ) -> list[object]:
        """Let other requests go on, and tell the program what the standing ones came to."""
        self._standing.end(sid)
        repetitions = []
        for request, result in zip(due, results, strict=True):
            response, error = (result, None) if isinstance(result, Response) else (None, result)
            kept = self._standing.settle(request, error)
            repetitions.append(
                Repetition(request.method, request.url, request.data, response, error, kept)
            )
        return self._standing.tell(repetitions)

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
        self._sending = threading.Lock()  # keeps the order
        self._emitting = threading.Lock()  # python-socketio's emit() is not thread-safe
        self._window = threading.Semaphore(WINDOW)

    def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        standing: bool = False,
    ) -> Response:
        """Make a socket request; the base class has its arguments and errors."""
        deadline = self._deadline(method, url, timeout)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        payload = self._payload(url, data, headers)
        with self._kept(standing, method, url, data, headers, timeout) as kept:
            sid = self._send(method, payload, future.set_result, deadline, kept)
            try:
                return self._receive(future, sid, deadline)
            finally:
                self._window.release()

    def _receive(
        self, future: concurrent.futures.Future[Any], sid: str, deadline: _Deadline
    ) -> Response:
        while not future.done():
            concurrent.futures.wait([future], deadline.poll_timeout(_ANSWER))
            self._check(sid, future.done(), deadline.request)
        return to_response(future.result(), deadline.request)

    def _send(
        self,
        method: str,
        payload: Any,
        callback: Callable[[Any], None],
        deadline: _Deadline,
        kept: StandingRequest | None,
    ) -> str:
        """Send a request when it is its turn, and return the socket ID that sent it."""
        while not self._sending.acquire(timeout=deadline.left(_CONNECTION)):
            pass
        try:
            while not self._window.acquire(timeout=deadline.left(_ANSWER)):
                pass
            return self._send_now(method, payload, callback, deadline, kept)
        finally:
            self._sending.release()

    def _send_now(
        self,
        method: str,
        payload: Any,
        callback: Callable[[Any], None],
        deadline: _Deadline,
        kept: StandingRequest | None,
    ) -> str:
        try:
            while True:
                sid = self._sid()
                if self._may_send(sid, kept):
                    # Raised if the connection was lost since the check; it reconnects.
                    with suppress(BadNamespaceError):
                        self._emit(method, payload, callback)
                        return sid
                time.sleep(deadline.poll_timeout(_CONNECTION))
        except BaseException:
            self._window.release()
            raise

    def _emit(self, method: str, payload: Any, callback: Callable[[Any], None]) -> None:
        with self._emitting:
            self._client.emit(method.lower(), payload, self._namespace, callback)

    def _watch(self) -> None:
        threading.Thread(target=_watch, args=[weakref.ref(self)], daemon=True).start()

    def _restore(self, sid: str, due: list[StandingRequest]) -> None:
        try:
            repeated = [self._repeat(request) for request in due]
            results = [self._result(sid, *one) for one in repeated]
        except (BadNamespaceError, Disconnected):
            self._standing.abandon(sid)
        else:
            self._conclude(sid, due, results)

    def _repeat(self, request: StandingRequest) -> tuple[concurrent.futures.Future[Any], _Deadline]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        payload = self._payload(request.url, request.data, request.headers)
        self._emit(request.method, payload, future.set_result)
        return future, self._deadline(request.method, request.url, request.timeout)

    def _result(
        self, sid: str, future: concurrent.futures.Future[Any], deadline: _Deadline
    ) -> _Result:
        try:
            return self._receive(future, sid, deadline)
        except (RequestFailed, RequestTimeout) as error:
            return error


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
        self._restoration: asyncio.Future[None] | None = None

    async def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        standing: bool = False,
    ) -> Response:
        """Make a socket request; the base class has its arguments and errors."""
        deadline = self._deadline(method, url, timeout)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        payload = self._payload(url, data, headers)
        with self._kept(standing, method, url, data, headers, timeout) as kept:
            sid = await self._send(method, payload, future.set_result, deadline, kept)
            try:
                return await self._receive(future, sid, deadline)
            finally:
                self._window.release()

    async def _receive(
        self, future: asyncio.Future[Any], sid: str, deadline: _Deadline
    ) -> Response:
        while not future.done():
            await asyncio.wait([future], timeout=deadline.poll_timeout(_ANSWER))
            self._check(sid, future.done(), deadline.request)
        return to_response(future.result(), deadline.request)

    async def _send(
        self,
        method: str,
        payload: Any,
        callback: Callable[[Any], None],
        deadline: _Deadline,
        kept: StandingRequest | None,
    ) -> str:
        """Send a request when it is its turn, and return the socket ID that sent it."""
        acquisition = asyncio.ensure_future(self._sending.acquire())
        try:
            while not acquisition.done():
                await asyncio.wait([acquisition], timeout=deadline.left(_CONNECTION))
            while self._window.locked():
                await asyncio.sleep(deadline.poll_timeout(_ANSWER))
            await self._window.acquire()  # at once: only one sends
            return await self._send_now(method, payload, callback, deadline, kept)
        finally:
            # cancel() returns False if the lock has been acquired.
            if not acquisition.cancel():
                self._sending.release()

    async def _send_now(
        self,
        method: str,
        payload: Any,
        callback: Callable[[Any], None],
        deadline: _Deadline,
        kept: StandingRequest | None,
    ) -> str:
        try:
            while True:
                sid = self._sid()
                if self._may_send(sid, kept):
                    with suppress(BadNamespaceError):
                        await self._emit(method, payload, callback)
                        return sid
                await asyncio.sleep(deadline.poll_timeout(_CONNECTION))
        except BaseException:
            self._window.release()
            raise

    async def _emit(self, method: str, payload: Any, callback: Callable[[Any], None]) -> None:
        await self._client.emit(method.lower(), payload, self._namespace, callback)

    def _watch(self) -> None:
        _watch_async(weakref.ref(self), asyncio.get_running_loop())

    def _restore(self, sid: str, due: list[StandingRequest]) -> None:
        self._restoration = asyncio.ensure_future(self._repeat_all(sid, due))

    async def _repeat_all(self, sid: str, due: list[StandingRequest]) -> None:
        try:
            repeated = [await self._repeat(request) for request in due]
            results = [await self._result(sid, *one) for one in repeated]
        except (BadNamespaceError, Disconnected):
            self._standing.abandon(sid)
            return
        for returned in self._conclude(sid, due, results):
            if inspect.isawaitable(returned):
                await returned

    async def _repeat(self, request: StandingRequest) -> tuple[asyncio.Future[Any], _Deadline]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        payload = self._payload(request.url, request.data, request.headers)
        await self._emit(request.method, payload, future.set_result)
        return future, self._deadline(request.method, request.url, request.timeout)

    async def _result(self, sid: str, future: asyncio.Future[Any], deadline: _Deadline) -> _Result:
        try:
            return await self._receive(future, sid, deadline)
        except (RequestFailed, RequestTimeout) as error:
            return error


def _watch(client: weakref.ref[RoomsClient]) -> None:
    while (one := client()) is not None:
        one._restore_new_socket()
        del one
        time.sleep(POLL_INTERVAL)


def _watch_async(client: weakref.ref[AsyncRoomsClient], loop: asyncio.AbstractEventLoop) -> None:
    one = client()
    if one is not None:
        one._restore_new_socket()
        loop.call_later(POLL_INTERVAL, _watch_async, client, loop)


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
