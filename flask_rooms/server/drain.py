"""Moves the clients of this worker away, a few at a time, so that they connect to other workers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from werkzeug.wrappers import Response

from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.engine_io import session_of
from flask_rooms.server.private import ServerInternals

#: Seconds between two batches.
PAUSE = 0.05
#: How many clients a batch has at least. A larger number of clients makes larger batches, so that
#: the last one is disconnected when half of the time is over.
BATCH = 50

_REASON = "This worker is being stopped: connect again, to another one."


class Drain:
    """
    Refuses new clients, and disconnects those that are connected.

    They are not told that the server disconnects them, because clients take that as final: the
    connection ends, so that they connect again.

    Args:
        internals: The server.
        disconnects: Runs the disconnect handlers.
        signals: Sends the signals of what has ended.

    Attributes:
        begun: Whether new clients are refused.
    """

    def __init__(
        self, internals: ServerInternals, disconnects: Disconnects, signals: SignalQueue
    ) -> None:
        self._internals = internals
        self._disconnects = disconnects
        self._signals = signals
        self._begin()

    def reset_after_fork(self) -> None:
        """Accept clients again, in a forked child, and forget those of the parent."""
        self._internals.forget_all_connections()
        self._begin()

    def _begin(self) -> None:
        self.begun = False
        self._hung_up: set[str] = set()
        self._hanging_up: set[str] = set()

    # -- refusing -------------------------------------------------------------------------

    def guard_http(self, handle_request: Callable[..., Any]) -> Callable[..., Any]:
        """Return the server's *handle_request*, refusing new connections while draining."""

        def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if self.begun and not session_of(environ):
                body, kind = json.dumps({"message": _REASON}), "application/json"
                refusal = Response(body, 503, {"Retry-After": "0"}, content_type=kind)
                return refusal(environ, start_response)
            served: Iterable[bytes] = handle_request(environ, start_response)
            return served

        return guarded

    def guard_connect(self, connect: Callable[[str, str | None, Any], None]) -> Any:
        """Return the handler of a CONNECT packet, hanging up on the client while draining."""

        def guarded(eio_sid: str, namespace: str | None, auth: Any) -> None:
            if self.begun:
                self._disconnects.hang_up(eio_sid)
            else:
                connect(eio_sid, namespace, auth)

        return guarded

    # -- moving ---------------------------------------------------------------------------

    def move(self, deadline: float) -> bool:
        """
        Disconnect every client, and wait for the handlers until *deadline*.

        Returns:
            Whether all of them have returned.
        """
        self.begun = True
        connections = self._internals.connections()
        batches = max((deadline - time.monotonic()) / 2 / PAUSE, 1.0)
        size = max(BATCH, ceil(len(connections) / batches))
        moved = bool(connections)
        while not self._is_done(connections):
            self._hang_up([one for one in connections if one not in self._hung_up][:size])
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE)
            connections = self._internals.connections()
        if moved:
            time.sleep(PAUSE)  # the last answers have to leave the process
        return True

    def _is_done(self, connections: list[str]) -> bool:
        handled = not self._hanging_up and self._disconnects.are_done
        return not connections and handled and self._signals.are_sent

    def _hang_up(self, connections: list[str]) -> None:
        self._hung_up.update(connections)
        self._hanging_up.update(connections)
        for eio_sid in connections:  # each on its own: a handler may hang
            self._internals.spawn(self._hang_up_one, eio_sid)

    def _hang_up_one(self, eio_sid: str) -> None:
        try:
            self._disconnects.hang_up(eio_sid)
        finally:
            self._hanging_up.discard(eio_sid)
