"""The client of programs with asyncio."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from socketio.exceptions import BadNamespaceError

from flask_rooms.client.arguments import require_client
from flask_rooms.client.base import (
    ANSWER,
    CONNECTION,
    POLL_INTERVAL,
    WINDOW,
    Deadline,
    Result,
    Verbs,
)
from flask_rooms.client.logs import log_failure
from flask_rooms.client.responses import Response, to_response
from flask_rooms.client.standing import StandingRequest
from flask_rooms.errors import InvalidData, RequestFailed, RequestTimeout


class AsyncRoomsClient(Verbs[Coroutine[Any, Any, Response]]):
    """
    Socket requests over a `socketio.AsyncClient` or `socketio.AsyncSimpleClient`.

    Args:
        sio: The client, connected or not.
        timeout: Seconds from the call of a request to its response.
        headers: Default headers of each request.
        namespace: The namespace of the requests; that of a simple client is its own.

    Raises:
        InvalidArgument: The client is for the other class, or none; or the timeout is not a number
            of seconds.
    """

    def __init__(self, sio: Any, **options: Any) -> None:
        require_client(sio, "AsyncRoomsClient")
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

    async def _receive(self, future: asyncio.Future[Any], sid: str, deadline: Deadline) -> Response:
        while not future.done():
            await asyncio.wait([future], timeout=deadline.poll_timeout(ANSWER))
            self._check(sid, future.done(), deadline.request)
        return to_response(future.result(), deadline.request)

    async def _send(
        self,
        method: str,
        payload: Any,
        callback: Callable[[Any], None],
        deadline: Deadline,
        kept: StandingRequest | None,
    ) -> str:
        """Send a request when it is its turn, and return the socket ID that sent it."""
        acquisition = asyncio.ensure_future(self._sending.acquire())
        try:
            while not acquisition.done():
                await asyncio.wait([acquisition], timeout=deadline.left(CONNECTION))
            while self._window.locked():
                await asyncio.sleep(deadline.poll_timeout(ANSWER))
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
        deadline: Deadline,
        kept: StandingRequest | None,
    ) -> str:
        try:
            while True:
                sid = self._sid()
                if self._may_send(sid, kept):
                    with suppress(BadNamespaceError):
                        await self._emit(method, payload, callback)
                        return sid
                await asyncio.sleep(deadline.poll_timeout(CONNECTION))
        except BaseException:  # also where the caller is cancelled: its place is free again
            self._window.release()
            raise

    async def _emit(self, method: str, payload: Any, callback: Callable[[Any], None]) -> None:
        ready = self._ready(payload)
        await self._connected_client.emit(method.lower(), ready, self._namespace, callback)

    def _watch(self) -> None:
        _watch_async(weakref.ref(self), asyncio.get_running_loop())

    def _restore(self, sid: str, due: list[StandingRequest]) -> None:
        self._restoration = asyncio.ensure_future(self._repeat_all(sid, due))

    async def _repeat_all(self, sid: str, due: list[StandingRequest]) -> None:
        try:
            repeated = [await self._repeat(request) for request in due]
            results = [await self._result(sid, *one) for one in repeated]
        except Exception as error:  # noqa: BLE001 - logged, or that of a lost connection
            self._begin_anew(sid, error)
            return
        for returned in self._standing.tell(self._conclude(sid, due, results)):
            if inspect.isawaitable(returned):
                await _finish(returned)

    async def _repeat(self, request: StandingRequest) -> tuple[asyncio.Future[Any], Deadline]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        payload = self._payload(request.url, request.data, request.headers)
        try:
            await self._emit(request.method, payload, future.set_result)
        except InvalidData as error:
            future.set_exception(error)
        return future, self._deadline(request.method, request.url, request.timeout)

    async def _result(self, sid: str, future: asyncio.Future[Any], deadline: Deadline) -> Result:
        try:
            return await self._receive(future, sid, deadline)
        except (RequestFailed, RequestTimeout, InvalidData) as error:
            return error


async def _finish(callback: Awaitable[object]) -> None:
    try:
        await callback
    except Exception as error:  # noqa: BLE001 - logged
        log_failure("A callback of restored() has failed.", error)


def _watch_async(client: weakref.ref[AsyncRoomsClient], loop: asyncio.AbstractEventLoop) -> None:
    one = client()
    if one is not None:
        one._restore_new_socket()
        loop.call_later(POLL_INTERVAL, _watch_async, client, loop)
