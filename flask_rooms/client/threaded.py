"""The client of programs with threads."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Callable, Mapping
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
from flask_rooms.client.responses import Response, to_response
from flask_rooms.client.standing import Repetition, StandingRequest
from flask_rooms.errors import InvalidData, RequestFailed, RequestTimeout


class RoomsClient(Verbs[Response]):
    """
    Socket requests over a `socketio.Client` or `socketio.SimpleClient`, from any thread.

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
        require_client(sio, "RoomsClient")
        super().__init__(sio, **options)
        self._sending = threading.Lock()  # keeps the order
        self._emitting = threading.Lock()  # python-socketio's emit() is not thread-safe
        self._window = threading.Semaphore(WINDOW)
        self._teller: threading.Thread | None = None  # the latest that has called back

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
        self, future: concurrent.futures.Future[Any], sid: str, deadline: Deadline
    ) -> Response:
        while not future.done():
            concurrent.futures.wait([future], deadline.poll_timeout(ANSWER))
            self._check(sid, future.done(), deadline.request)
        return to_response(future.result(), deadline.request)

    def _send(
        self,
        method: str,
        payload: Any,
        callback: Callable[[Any], None],
        deadline: Deadline,
        kept: StandingRequest | None,
    ) -> str:
        """Send a request when it is its turn, and return the socket ID that sent it."""
        while not self._sending.acquire(timeout=deadline.left(CONNECTION)):
            pass
        try:
            while not self._window.acquire(timeout=deadline.left(ANSWER)):
                pass
            return self._send_now(method, payload, callback, deadline, kept)
        finally:
            self._sending.release()

    def _send_now(
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
                    # Raised if the connection was lost since the check; it reconnects.
                    with suppress(BadNamespaceError):
                        self._emit(method, payload, callback)
                        return sid
                time.sleep(deadline.poll_timeout(CONNECTION))
        except BaseException:  # also a KeyboardInterrupt: its place is free again
            self._window.release()
            raise

    def _emit(self, method: str, payload: Any, callback: Callable[[Any], None]) -> None:
        ready = self._ready(payload)
        with self._emitting:
            self._connected_client.emit(method.lower(), ready, self._namespace, callback)

    def _watch(self) -> None:
        threading.Thread(target=_watch, args=[weakref.ref(self)], daemon=True).start()

    def _restore(self, sid: str, due: list[StandingRequest]) -> None:
        repeated = [self._repeat(request) for request in due]
        results = [self._result(sid, *one) for one in repeated]
        repetitions = self._conclude(sid, due, results)
        if self._standing.is_followed:
            self._tell(repetitions)

    def _tell(self, repetitions: list[Repetition]) -> None:
        """
        Call the callbacks of restored(), after those for the socket before.

        In another thread, as one may wait for a connection that this thread has to restore.
        """

        def tell(former: threading.Thread | None = self._teller) -> None:
            if former is not None:
                former.join()
            self._standing.tell(repetitions)

        teller = threading.Thread(target=tell, daemon=True)
        try:
            teller.start()
        except RuntimeError:  # no thread can be started
            tell()
        else:
            self._teller = teller

    def _repeat(self, request: StandingRequest) -> tuple[concurrent.futures.Future[Any], Deadline]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        payload = self._payload(request.url, request.data, request.headers)
        try:
            self._emit(request.method, payload, future.set_result)
        except InvalidData as error:
            future.set_exception(error)
        return future, self._deadline(request.method, request.url, request.timeout)

    def _result(
        self, sid: str, future: concurrent.futures.Future[Any], deadline: Deadline
    ) -> Result:
        try:
            return self._receive(future, sid, deadline)
        except (RequestFailed, RequestTimeout, InvalidData) as error:
            return error


def _watch(client: weakref.ref[RoomsClient]) -> None:
    while (one := client()) is not None:
        one._restore_new_socket()
        del one
        time.sleep(POLL_INTERVAL)
