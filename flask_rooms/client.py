"""
Socket requests for Python programs, over python-socketio's clients.

`RoomsClient` is for `socketio.Client` and `socketio.SimpleClient`, `AsyncRoomsClient` for their
twins of asyncio.
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
from typing import Any, Generic, TypeVar

from socketio.exceptions import BadNamespaceError

from flask_rooms.errors import Disconnected, RequestFailed, RequestTimeout

__all__ = [
    "AsyncRoomsClient",
    "Disconnected",
    "RequestFailed",
    "RequestTimeout",
    "Response",
    "RoomsClient",
]

#: Seconds between two looks at the connection. python-socketio tells one handler of each event,
#: and that is the program's, so nobody tells us.
LOOK = 0.05

# What a request can wait for.
_CONNECTION, _ANSWER = "connection", "answer"

R = TypeVar("R")


@dataclass(frozen=True)
class Response:
    """
    A good answer.

    Args:
        status: As in HTTP, less than 400.
        body: A JSON value, a string, or bytes.
        headers: With names in lower case.
    """

    status: int
    body: Any
    headers: Mapping[str, str]


class _Verbs(ABC, Generic[R]):
    """
    What the two clients have in common; R is what their requests return.

    Args:
        sio: A client of python-socketio, connected or not.
        timeout: Seconds for a request, from the call to the answer.
        headers: Sent with each request, unless it has its own of that name.
        namespace: Where the requests go; a simple client knows that itself.
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
        Make a socket request; the other methods make one of their own kind.

        If the socket is not connected, it waits for that.

        Args:
            method: `get`, `post`, `put`, `patch`, `delete`, `options` or `head`.
            url: A path, with a query if you like.
            data: For `get`, `head` and `delete` a dictionary for the query string, else what JSON
                can express, or bytes; None sends none.
            headers: Names and values; one that is None is not sent.
            timeout: Seconds from the call to the answer, in place of the client's own.

        Raises:
            RequestFailed: The answer has a status of 400 or more.
            RequestTimeout: There was no connection, or no answer, in time.
            Disconnected: The socket disconnected before the answer came; the request may have
                been carried out.
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

    @property
    def _namespace(self) -> str:
        return self._own_namespace or (self._sio.namespace if self._simple else "/")

    @property
    def _client(self) -> Any:
        """The client itself; None when it is a simple one that has none yet."""
        return self._sio.client if self._simple else self._sio

    def _sid(self) -> str | None:
        """Return the socket ID: another one, or None, when the connection has been lost."""
        client = self._client
        return None if client is None else client.get_sid(self._namespace)

    def _deadline(self, timeout: float | None) -> _Deadline:
        return _Deadline(self._timeout if timeout is None else timeout)

    def _check(self, sid: str, answered: bool) -> None:
        if not answered and self._sid() != sid:
            raise Disconnected("The socket disconnected before the answer came.")

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
    Socket requests over a `socketio.Client` or `socketio.SimpleClient`; any thread may make them.

    Args:
        sio: The client, connected or not.
        timeout: Seconds for a request, from the call to the answer.
        headers: Sent with each request, unless it has its own of that name.
        namespace: Where the requests go; a simple client knows that itself.
    """

    def __init__(self, sio: Any, **options: Any) -> None:
        super().__init__(sio, **options)
        self._sending = threading.Lock()  # python-socketio's emit() wants one caller at a time

    def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Make a socket request; the base class says what it takes and raises."""
        deadline = self._deadline(timeout)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        sid = self._send(method, self._payload(url, data, headers), future.set_result, deadline)
        while not future.done():
            concurrent.futures.wait([future], deadline.look(_ANSWER))
            self._check(sid, future.done())
        return _response(future.result())

    def _send(
        self, method: str, payload: Any, callback: Callable[[Any], None], deadline: _Deadline
    ) -> str:
        """Send the request when its turn has come; return the socket ID that it went out with."""
        while not self._sending.acquire(timeout=deadline.left(_CONNECTION)):
            pass
        try:
            while True:
                sid = self._sid()
                if sid is not None:
                    # It may have been lost since we looked, and comes again.
                    with suppress(BadNamespaceError):
                        self._client.emit(method.lower(), payload, self._namespace, callback)
                        return sid
                time.sleep(deadline.look(_CONNECTION))
        finally:
            self._sending.release()


class AsyncRoomsClient(_Verbs[Coroutine[Any, Any, Response]]):
    """
    Socket requests over a `socketio.AsyncClient` or `socketio.AsyncSimpleClient`.

    Args:
        sio: The client, connected or not.
        timeout: Seconds for a request, from the call to the answer.
        headers: Sent with each request, unless it has its own of that name.
        namespace: Where the requests go; a simple client knows that itself.
    """

    def __init__(self, sio: Any, **options: Any) -> None:
        super().__init__(sio, **options)
        self._sending = asyncio.Lock()

    async def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Make a socket request; the base class says what it takes and raises."""
        deadline = self._deadline(timeout)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sid = await self._send(
            method, self._payload(url, data, headers), future.set_result, deadline
        )
        while not future.done():
            await asyncio.wait([future], timeout=deadline.look(_ANSWER))
            self._check(sid, future.done())
        return _response(future.result())

    async def _send(
        self, method: str, payload: Any, callback: Callable[[Any], None], deadline: _Deadline
    ) -> str:
        """Send the request when its turn has come; return the socket ID that it went out with."""
        turn = asyncio.ensure_future(self._sending.acquire())
        try:
            while not turn.done():
                await asyncio.wait([turn], timeout=deadline.left(_CONNECTION))
            while True:
                sid = self._sid()
                if sid is not None:
                    with suppress(BadNamespaceError):
                        await self._client.emit(method.lower(), payload, self._namespace, callback)
                        return sid
                await asyncio.sleep(deadline.look(_CONNECTION))
        finally:
            # cancel() is False for a turn that has come: then it is ours to give back.
            if not turn.cancel():
                self._sending.release()


class _Deadline:
    """When a request has to have its answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, missing: str) -> float:
        """Return the seconds that are left; raise RequestTimeout when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise RequestTimeout(f"There was no {missing} within {self._seconds:g} seconds.")
        return left

    def look(self, missing: str) -> float:
        """Return the seconds until the next look; raise RequestTimeout when it is too late."""
        return min(self.left(missing), LOOK)


def _response(answer: Mapping[str, Any]) -> Response:
    response = Response(answer["statusCode"], answer["body"], answer["headers"])
    if response.status >= 400:
        raise RequestFailed(response.status, response.body, response.headers)
    return response
