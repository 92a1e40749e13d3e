"""Standing requests: a client repeats them on each new socket, before all others, in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flask_rooms.client.logs import log_failure
from flask_rooms.client.responses import Response
from flask_rooms.errors import (
    Disconnected,
    InvalidArgument,
    InvalidData,
    RequestFailed,
    RequestTimeout,
)

#: How many requests can be standing. All are repeated at once, within what a server reads.
MAX_STANDING = 32


@dataclass(frozen=True)
class Repetition:
    """
    What repeating a standing request came to.

    Args:
        method: The method of the request, in lower case.
        url: The URL of the request.
        data: The data of the request, or the function that returns them.
        response: The response, or None if the request has failed.
        error: Why it has failed, or None.
        kept: Whether the request will be repeated again.
    """

    method: str
    url: str
    data: Any
    response: Response | None
    error: RequestFailed | RequestTimeout | InvalidData | None
    kept: bool


#: Takes what the standing requests came to, in their order.
OnRestored: TypeAlias = "Callable[[list[Repetition]], object]"


@dataclass(eq=False)
class StandingRequest:
    """
    A request to repeat.

    Args:
        method: The method, in lower case.
        url: The URL.
        data: The data, as they were when the request was made, or the function that returns them.
        headers: The headers of this request.
        timeout: Seconds for the response, or None for the client's.
        key: What makes it the same request.
        was_sent: Whether it has been sent for the first time, or one before that is the same.
        was_given_up: Whether it was never sent, and the program does not wait for it any more.
    """

    method: str
    url: str
    data: Any
    headers: Mapping[str, Any] | None
    timeout: float | None
    key: str = field(repr=False)
    was_sent: bool = False
    was_given_up: bool = False


class StandingRequests:
    """The standing requests of a client, and on which socket they have been repeated."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, StandingRequest] = {}
        self._callbacks: list[OnRestored] = []
        self._begun: str | None = None  # the socket of the latest restoration
        self._restored: str | None = None  # the socket on which it has ended

    def add(
        self,
        method: str,
        url: str,
        data: Any,
        headers: Mapping[str, Any] | None,
        timeout: float | None,
    ) -> StandingRequest:
        """Keep a request, or the new options of one that is there, in its place."""
        key = _key(method, url, data)
        with self._lock:
            before = self._all.get(key)
            if before is None and len(self._all) >= MAX_STANDING:
                raise InvalidArgument(
                    f"At most {MAX_STANDING} requests can be standing; withdraw() ends one."
                )
            was_sent = before is not None and before.was_sent
            data = data if callable(data) else json.loads(key)[2]
            request = StandingRequest(method.lower(), url, data, headers, timeout, key, was_sent)
            self._all[key] = request
            return request

    def withdraw(self, method: str, url: str, data: Any) -> bool:
        """Forget a request, and return whether it was there."""
        with self._lock:
            return self._all.pop(_key(method, url, data), None) is not None

    def settle(self, request: StandingRequest, error: BaseException | None) -> bool:
        """Forget a request that would fail again; return whether it is still standing."""
        with self._lock:
            # It may have been made anew since.
            if self._all.get(request.key) is request and _is_final(error):
                del self._all[request.key]
            return request.key in self._all

    def allow(self, sid: str) -> bool:
        """Return whether other requests may be sent on a socket."""
        with self._lock:
            self._begin_without_any(sid)
            return sid == self._restored

    def begin(self, sid: str) -> list[StandingRequest]:
        """Return the requests to repeat on a socket, the first time that it is asked for."""
        with self._lock:
            self._begin_without_any(sid)
            if sid == self._begun:
                return []
            self._begun = sid
            due = self._due()
            for one in due:
                one.was_sent = True
            return due

    def end(self, sid: str) -> None:
        """Allow other requests on a socket, on which these have been repeated."""
        with self._lock:
            self._restored = sid

    def abandon(self, sid: str) -> None:
        """Begin anew on the next socket, also if the server recovers this one."""
        with self._lock:
            if self._begun == sid:  # else the next one has come meanwhile
                self._begun = None

    def follow(self, callback: OnRestored) -> Callable[[], None]:
        """Call *callback* after each restoration; return a function that ends it."""
        self._callbacks.append(callback)

        def end() -> None:
            with suppress(ValueError):  # it has been ended already
                self._callbacks.remove(callback)

        return end

    @property
    def is_followed(self) -> bool:
        """Whether tell() has a callback to call."""
        return bool(self._callbacks)

    def tell(self, repetitions: list[Repetition]) -> list[object]:
        """Call the callbacks, and return what they have returned."""
        returned = []
        for callback in list(self._callbacks):
            try:
                returned.append(callback(repetitions))
            except Exception as error:  # noqa: BLE001 - logged
                log_failure("A callback of restored() has failed.", error)
        return returned

    def _begin_without_any(self, sid: str) -> None:
        if sid != self._begun and not self._due():
            self._begun = self._restored = sid

    def _due(self) -> list[StandingRequest]:
        return [one for one in self._all.values() if one.was_sent or one.was_given_up]


def _key(method: str, url: str, data: Any) -> str:
    try:
        return json.dumps([method.lower(), url, None if callable(data) else data])
    except (TypeError, ValueError) as error:
        raise InvalidData(f"The data of a standing request must be JSON: {error}.") from error


def _is_final(error: BaseException | None) -> bool:
    """Return whether a request was refused or cancelled, rather than made at a bad moment."""
    if isinstance(error, RequestFailed):
        return error.status < 500 and error.status not in (408, 429)
    return error is not None and not isinstance(error, RequestTimeout | Disconnected)
