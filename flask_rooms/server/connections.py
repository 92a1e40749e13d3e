"""The connections of this worker, and the ends of those that take more than they may."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from werkzeug.wrappers import Response

from flask_rooms.backends.forks import reset_in_children
from flask_rooms.backends.logs import safe_logging
from flask_rooms.config import Config
from flask_rooms.membership.attempts import Attempt
from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.refusals import Limit, Refusals
from flask_rooms.membership.registry import Registry
from flask_rooms.server.engine_io import session_of
from flask_rooms.server.output import Output
from flask_rooms.server.pace import Pace
from flask_rooms.server.private import ServerInternals
from flask_rooms.server.slots import Slots
from flask_rooms.server.turns import Sent, Turn
from flask_rooms.server.upgrading import is_upgrade, tcp_of

logger = logging.getLogger("flask_rooms.server")

#: The reasons of disconnects because of a limit.
UNREAD = "too much unread"
NO_SOCKET = "no socket"
TOO_FAST = "too many packets"
LOGIN_EXPIRED = "login expired"

#: Seconds between two looks at connections and logins that may have to end.
TICK = 0.5
#: Seconds for which a connection may stay when its last socket has ended, or was refused: its
#: client may be about to connect in another namespace.
LINGER = 2.0
#: Seconds; a packet that is early by less is not held up.
MIN_DELAY = 0.01
#: Seconds after which the WebSocket of a connection that has ended, or the response to a poll, is
#: cut if it is still there.
CLOSING = 10.0


@dataclass(eq=False)
class _Connection:
    """
    One Engine.IO session, which may carry sockets of several namespaces.

    Args:
        output: What its client has not read.
        slots: Those of its event handlers.
        pace: How fast it may send.
        deadline: When it ends if it has no socket by then; None while it has one.
        fresh: Whether it has neither had a socket nor been refused one.
        ended: When it ended; None as long as it has not.
    """

    output: Output
    slots: Slots
    pace: Pace
    deadline: float | None
    fresh: bool = True
    ended: float | None = None
    _turns: dict[str, Turn] = field(default_factory=dict)

    def turn(self, of: str) -> Turn:
        """Return the turn of requests for "packets", or for the "upgrade" to a WebSocket."""
        # Made for the first one, which clients that begin with a WebSocket never send.
        return self._turns.get(of) or self._turns.setdefault(of, Turn())

    def end_turn(self, of: str) -> None:
        """Let the next request for that be served."""
        if of == "packets":
            self.output.responded()
        self.turn(of).end()

    @property
    def responds(self) -> bool:
        """Whether a response with packets is being sent."""
        return "packets" in self._turns and self.turn("packets").is_taken


class Connections:
    """
    Watches the Engine.IO sessions of this worker, all of them in one task.

    What is called for a connection that is not known, such as that of a test client, does nothing.

    Args:
        config: The limits.
        registry: The sockets of this worker.
        refusals: Counts the limits that are reached.
        internals: The server.
        disconnect: Disconnects sockets of a namespace, in the background, for a reason.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        refusals: Refusals,
        internals: ServerInternals,
        disconnect: Callable[[list[Socket], str, str], object],
    ) -> None:
        self._config = config
        self._registry = registry
        self._refusals = refusals
        self._internals = internals
        self._disconnect = disconnect
        registry.on_vacated = self._on_vacated
        self.reset_after_fork()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, the connections of the parent."""
        # Without a lock, which a forked child might inherit: each step on it is one operation.
        self._connections: dict[str, _Connection] = {}
        # Those that have ended, or may have no socket: the others are thousands that need no look.
        self._unsettled: dict[str, _Connection] = {}
        # Those of which a reader waits: they send too fast.
        self._held_up: dict[str, object] = {}
        self._watched_in = 0  # the process that has the task

    # -- begin and end --------------------------------------------------------------------

    def on_begin(self, eio_sid: str, output: Output) -> None:
        """Watch a connection, which has no socket yet."""
        deadline = time.monotonic() + self._config.connect_timeout
        slots = Slots(self._config.concurrent_events)
        pace = Pace(self._config.packets_per_second)
        connection = _Connection(output, slots, pace, deadline)
        self._connections[eio_sid] = self._unsettled[eio_sid] = connection
        if self._watched_in != os.getpid():
            self._watched_in = os.getpid()
            sleep = self._internals.bare_sleep
            if not self._internals.start_loop(_watch, weakref.ref(self), sleep):
                self._watched_in = 0  # so that the next connection tries again

    def on_end(self, eio_sid: str) -> None:
        """Take a connection for ended; its WebSocket may still be there."""
        connection = self._connections.get(eio_sid)
        if connection is not None:
            self._note_end(eio_sid, connection)

    def _on_vacated(self, eio_sid: str) -> None:
        """Look at a connection that may have no socket any more; called under a lock."""
        connection = self._connections.get(eio_sid)
        if connection is not None:
            self._unsettled[eio_sid] = connection

    def _note_end(self, eio_sid: str, connection: _Connection) -> None:
        connection.ended = time.monotonic()
        self._unsettled[eio_sid] = connection

    def on_decided(self, eio_sid: str) -> None:
        """End a connection soon, unless its client has been accepted or connects elsewhere."""
        connection = self._connections.get(eio_sid)
        if connection is not None and connection.deadline is not None:
            connection.deadline = min(connection.deadline, time.monotonic() + LINGER)
            connection.fresh = False

    def on_unread(self, eio_sid: str) -> None:
        """End a connection whose client does not read; called by the thread that sends to it."""
        # In the background: it may hold a lock, and what is logged be sent to clients.
        self._internals.spawn(self._refuse, eio_sid, "unread_bytes", UNREAD)

    def _refuse(self, eio_sid: str, limit: Limit, reason: str) -> None:
        self._refusals.count(limit)
        self._end(eio_sid, reason)

    def _end(self, eio_sid: str, reason: str) -> None:
        # In the background: disconnect handlers run, and may take their time.
        self._internals.spawn(self._internals.end, eio_sid, reason)

    # -- limits -----------------------------------------------------------------------------

    def limited(self, handle_request: Callable[..., Any]) -> Callable[..., Any]:
        """Return the server's *handle_request*, refusing connections of which there are enough."""
        limit = self._config.connections

        def limited(environ: dict[str, Any], start_response: Any) -> Any:
            if limit is None or session_of(environ) or self._open() < limit:
                return handle_request(environ, start_response)
            self._refusals.count("connections")
            refusal = Response("This worker has enough connections.", status=503)
            return refusal(environ, start_response)

        return limited

    def _open(self) -> int:
        ended = sum(one.ended is not None for one in list(self._unsettled.values()))
        return len(self._connections) - ended

    def in_turn(self, handle_request: Callable[..., Any]) -> Callable[..., Any]:
        """
        Return the server's *handle_request*, serving one request for packets at a time.

        A client that sends the next one without having read a response would have any number of
        responses and threads kept. Engine.IO's own server refuses that, too.
        """

        def in_turn(environ: dict[str, Any], start_response: Any) -> Any:
            connection = self._connections.get(eio_sid := session_of(environ))
            if connection is None:
                return handle_request(environ, start_response)
            handle = self._unless_closed(handle_request, eio_sid, connection)
            if environ["REQUEST_METHOD"] != "GET":
                return handle(environ, start_response)
            of = "upgrade" if is_upgrade(environ) else "packets"
            if not connection.turn(of).take(
                tcp_of(environ), partial(self._wait_for_turn, connection)
            ):
                if connection.ended is None:  # else both were sent before their client knew
                    self._refusals.count("overlapping_requests")
                refusal = Response("Another request of this connection is served.", status=400)
                return refusal(environ, start_response)
            try:
                body = handle(environ, start_response)
            except BaseException:
                connection.end_turn(of)
                raise
            return Sent(body, partial(connection.end_turn, of))

        return in_turn

    def _unless_closed(
        self, handle_request: Callable[..., Any], eio_sid: str, connection: _Connection
    ) -> Callable[..., Any]:
        """Return *handle_request*, refusing what has come too late for a connection."""

        def handle(environ: dict[str, Any], start_response: Any) -> Any:
            if connection.ended is None or not self._internals.is_closed(eio_sid):
                return handle_request(environ, start_response)
            # So does python-engineio, and logs an error where a worker has moved its clients.
            return Response("This connection has ended.", status=400)(environ, start_response)

        return handle

    def _wait_for_turn(self, connection: _Connection) -> bool:
        self._internals.sleep(MIN_DELAY)
        return connection.ended is None

    def paced(self, handle: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
        """Return the function that handles messages, at the pace of each connection."""

        def paced(eio_sid: str, data: Any) -> None:
            if self.keep_pace(eio_sid):
                handle(eio_sid, data)

        return paced

    def keep_pace(self, eio_sid: str) -> bool:
        """Wait until a packet may be handled, while no more is read; False to drop it."""
        connection = self._connections.get(eio_sid)
        if connection is None:
            return True
        delay = connection.pace.delay(time.monotonic())
        if connection.ended is not None:
            return False
        if delay <= MIN_DELAY:
            return True
        self._refusals.count("packets_per_second")
        # Only one reader waits: a client that sends in parallel requests would hold many threads.
        reader = object()
        if self._held_up.setdefault(eio_sid, reader) is not reader:
            self._note_end(eio_sid, connection)
            self._end(eio_sid, TOO_FAST)
            return False
        try:
            self._internals.note_life(eio_sid)  # its answer to a ping is not read, either
            self._internals.sleep(delay)
        finally:
            del self._held_up[eio_sid]
        return True

    def refusal(self, attempt: Attempt) -> str | None:
        """Return what to answer a client that has enough sockets, or whose user has; else None."""
        if self._registry.namespaces_of(attempt.eio_sid) > self._config.sockets_per_connection:
            self._refusals.count("sockets_per_connection")
            return "This connection has enough sockets"
        limit = self._config.connections_per_user
        if attempt.user is None or limit is None:
            return None
        if self._registry.connections_of(attempt) >= limit:
            self._refusals.count("connections_per_user")
            return "This user has enough connections"
        return None

    # -- event handlers -------------------------------------------------------------------

    def begin_handler(self, eio_sid: str, wait: Callable[[], bool]) -> Callable[[], object] | None:
        """
        Wait until another event handler of a connection may run.

        Args:
            eio_sid: The connection.
            wait: Waits for a moment; False ends the wait.

        Returns:
            What to call when the handler has returned; None if it must not run.
        """
        connection = self._connections.get(eio_sid)
        if connection is None:
            return _nothing
        if connection.slots.take_patiently(self._config.waiting_timeout, wait):
            return connection.slots.release
        self._refusals.count("concurrent_events")
        return None

    # -- the task that watches ------------------------------------------------------------

    def look(self) -> bool:
        """Look at all that may have to end; return whether there is something to watch."""
        try:
            self._end_expired()
            self._look()
        except Exception:  # the next look may succeed
            with safe_logging():
                logger.exception("The connections could not be checked.")
        if self._connections:
            return True
        self._watched_in = 0
        if not self._connections:
            return False
        self._watched_in = os.getpid()  # one has begun meanwhile, and has found the task at work
        return True

    def _end_expired(self) -> None:
        for namespace, socket in self._registry.expired(time.time()):
            self._refusals.count("login_expired")
            self._disconnect([socket], namespace, LOGIN_EXPIRED)

    def _look(self) -> None:
        now = time.monotonic()
        for eio_sid, connection in list(self._unsettled.items()):
            if connection.ended is not None:
                self._clear(eio_sid, connection, now)
                continue
            # Taken out before, as a socket that ends from here on puts it back.
            self._unsettled.pop(eio_sid, None)
            if not self._registry.is_vacant(eio_sid):
                connection.deadline, connection.fresh = None, False
                continue
            self._unsettled[eio_sid] = connection
            self._end_if_due(eio_sid, connection, now)

    def _end_if_due(self, eio_sid: str, connection: _Connection, now: float) -> None:
        """End a connection that has been without a socket for too long."""
        if connection.deadline is None:
            connection.deadline = now + LINGER
        elif connection.deadline <= now:
            if connection.fresh:
                self._refusals.count("connect_timeout")
            self._end(eio_sid, NO_SOCKET)
            connection.ended = now

    def _clear(self, eio_sid: str, connection: _Connection, now: float) -> None:
        """Forget a connection that has ended, and cut what its client keeps open."""
        if connection.output.transport is not None or connection.responds:
            if connection.ended is not None and now - connection.ended >= CLOSING:
                self._internals.cut(connection.output)
                connection.turn("packets").cut()
        elif self._internals.forget_session(eio_sid):
            self._connections.pop(eio_sid, None)
            self._unsettled.pop(eio_sid, None)


def _nothing() -> Any:
    return None


def _watch(watched: weakref.ref[Connections], sleep: Callable[[float], object]) -> None:
    """Look at the connections of an application until there are none, or it is dropped itself."""
    while True:
        sleep(TICK)
        connections = watched()
        if connections is None or not connections.look():
            return
        del connections
