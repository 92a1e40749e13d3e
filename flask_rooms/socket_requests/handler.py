"""Socket requests: a Socket.IO event runs a Flask route, and its response is acknowledged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from flask import Flask
from socketio.packet import ACK, EVENT
from werkzeug.exceptions import SecurityError
from werkzeug.wrappers import Response as WerkzeugResponse
from werkzeug.wsgi import get_host

from flask_rooms.backends.logs import safe_logging
from flask_rooms.config import Config
from flask_rooms.membership.names import RESERVED_EVENTS
from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.refusals import Limit, Refusals
from flask_rooms.membership.registry import Registry
from flask_rooms.server.connections import Connections
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.engine_io import check_post, session_of
from flask_rooms.server.pace import Pauses
from flask_rooms.server.private import ServerInternals
from flask_rooms.server.upgrading import is_upgrade
from flask_rooms.socket_requests.context import SocketContext
from flask_rooms.socket_requests.environ import mark_socket, socket_of, use_http_scheme
from flask_rooms.socket_requests.error_stream import error_stream
from flask_rooms.socket_requests.payload import Malformed, Payload, parse
from flask_rooms.socket_requests.serial_queue import Admission
from flask_rooms.socket_requests.wsgi import acknowledgement, acknowledgement_of, call, values_of

logger = logging.getLogger("flask_rooms.socket_requests")

#: Events that no client may send: Socket.IO's own, and names to which python-socketio gives a
#: meaning, such as "*", its handler for all events.
RESERVED = RESERVED_EVENTS | {"*", "error", "__disconnect_final"}
#: The events that are socket requests, as in Sails.
VERBS = ("get", "post", "put", "patch", "delete", "options", "head")
#: The part of ROOMS_UNREAD_BYTES that delays the next request of a client; the rest is for what
#: it has not asked for.
UNREAD = 1 / 4

# https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
_OTHER_SITES = ("cross-site", "same-site")


class _Event(NamedTuple):
    """An event that a client has sent, as far as its acknowledgement needs it."""

    socket: Socket
    namespace: str
    id: int | None


class SocketRequests:
    """
    Serves the routes of an application to the clients of its Socket.IO server.

    An event handler of the application for one of the verbs takes precedence; a handler for all
    events ("*") does not.

    Args:
        app: The application.
        registry: The sockets of this worker.
        delivery: Sends acknowledgements.
        context: Has the queue and the cookies of each socket.
        internals: The server.
        config: The headers that clients may set, and the limits.
        refusals: Counts the requests for which there is no room.
        connections: Bounds how many event handlers run at once.
    """

    def __init__(
        self,
        app: Flask,
        registry: Registry,
        delivery: Delivery,
        context: SocketContext,
        internals: ServerInternals,
        config: Config,
        refusals: Refusals,
        connections: Connections,
    ) -> None:
        self._app = app
        self._registry = registry
        self._delivery = delivery
        self._context = context
        self._internals = internals
        self._headers = frozenset(name.lower() for name in config.request_headers)
        self._waiting_timeout = config.waiting_timeout
        self._unread_bytes = config.unread_bytes * UNREAD
        self._refusals = refusals
        self._connections = connections

    def handle(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        """Handle an event in place of python-socketio; events arrive here in the order sent."""
        space = namespace or "/"
        socket = self._registry.get_by_eio_sid(space, eio_sid)
        name = data[0] if isinstance(data, list) and data else None
        if socket is None or not socket.connected:
            return  # no client is left to acknowledge it to
        event = _Event(socket, space, id)
        if type(name) in (str, int):
            self._internals.log_event(name, socket.sid, space)
        if type(name) is int and self._internals.has_function(name, space):
            self._handle_event(event, data)  # Socket.IO allows numbers
        elif not isinstance(name, str):
            self._acknowledge(event, _error(400, "An event has a name."))
        elif name in RESERVED:  # only a hostile client sends these
            self._acknowledge(event, _error(400, f"{name} is Socket.IO's own event."))
        elif name in VERBS and not self._internals.has_own_handler(name, space):
            self._enqueue(event, name, tuple(data[1:]))
        elif self._is_unknown_verb(name, space, data):
            verbs = ", ".join(VERBS)
            refusal = _error(405, f"The verbs of socket requests are {verbs}.")
            self._acknowledge(event, refusal | {"headers": {"allow": verbs.upper()}})
        else:
            self._handle_event(event, data)

    def _handle_event(self, event: _Event, data: list[Any]) -> None:
        """Run the application's handler of an event, or acknowledge why not."""
        eio_sid = event.socket.eio_sid
        done = self._connections.begin_handler(eio_sid, partial(self._hold_reader, event.socket))
        if done is None:
            self._acknowledge(event, _error(429, "Too many events of this client are handled."))
            return

        def run() -> None:
            try:
                self._internals.run_event_handler(
                    event.socket.sid, eio_sid, event.namespace, event.id, data
                )
            finally:
                done()

        if self._internals.runs_events_in_background:
            self._internals.spawn(run, kind=None)
        else:
            run()

    def _is_unknown_verb(self, name: str, namespace: str, data: list[Any]) -> bool:
        """Whether an event has the form of a socket request and the application has no handler."""
        is_request = len(data) == 2 and isinstance(data[1], dict) and "url" in data[1]
        return is_request and not self._internals.has_handler(name, namespace)

    def _enqueue(self, event: _Event, verb: str, args: tuple[Any, ...]) -> None:
        """Add a request to its socket's queue, or acknowledge why not."""
        handshake = self._internals.handshake(event.socket.eio_sid)
        if handshake is None:
            return
        try:
            payload = parse(verb, args)
        except Malformed as error:
            self.refuse(event.socket, event.namespace, event.id, str(error), error.status)
            return
        queue = self._context.state(event.socket, handshake).queue
        admission = queue.put_patiently(
            partial(self._run, event, verb, payload, handshake),
            payload.size,
            self._waiting_timeout,
            partial(self._hold_reader, event.socket),
        )
        if admission is Admission.REFUSED:
            self._refusals.count("waiting_requests")
            self._acknowledge(event, _error(429, "Too many requests of this socket are waiting."))
        elif admission is Admission.START and self._internals.runs_events_in_background:
            self._internals.spawn(queue.run, Pauses(self._internals.sleep), kind="requests")
            self._internals.run_before_reading(event.socket.eio_sid)
        elif admission is Admission.START:
            queue.run(Pauses(self._internals.sleep))

    def _run(self, event: _Event, verb: str, payload: Payload, handshake: dict[str, Any]) -> None:
        """Run a request through the application, and acknowledge the response."""
        self._wait_for_reader(event.socket)
        if not event.socket.connected:
            return
        template = self._context.template(event.socket, handshake)
        path = template.full_path(payload)
        environ = template.environ(verb, payload, self._headers)
        body = payload.body[0] if payload.body else b""
        mark_socket(environ, event.socket.sid, event.namespace, body)
        state = self._context.state(event.socket, handshake)
        if header := state.cookies.header(path):
            environ["HTTP_COOKIE"] = header
        try:
            # Where the handshake came in, so that what is put around that sees the request.
            entry = template.entry or self._app
            response = call(
                entry,
                environ,
                lambda: event.socket.connected,
                lambda headers: state.cookies.update(values_of("set-cookie", headers), path),
            )
            reply = acknowledgement_of(response)
        except KeyboardInterrupt:
            raise
        except BaseException:  # of the application, such as SystemExit or a green Timeout
            with safe_logging():
                logger.exception("A socket request for %s failed.", payload.path)
            reply = _error(500, "Internal Server Error")
        # Where more requests wait, their answers are sent together.
        self._acknowledge(event, reply, at_once=not state.queue.waits)

    def refuse(
        self, socket: Socket, namespace: str, id: int | None, message: str, status: int
    ) -> None:
        """
        Send a client the error of a malformed socket request.

        Args:
            socket: The socket that has sent it.
            namespace: The namespace of the socket.
            id: The ID of the acknowledgement; without one the error is an event of its own.
            message: The error.
            status: Of the response, as in HTTP.
        """
        if id is not None:
            self._acknowledge(_Event(socket, namespace, id), _error(status, message))
            return
        # The event is that of Sails, without the stack trace.
        error = {"code": "SAILS:HOOK:SOCKETS:PARSE_VIRTUAL_REQ", "status": status}
        data = ["sails:parseError", error | {"message": message}]
        packet = self._internals.packet(EVENT, namespace=namespace, data=data)
        self._delivery.send_packet(socket.eio_sid, packet)

    def _acknowledge(self, event: _Event, reply: dict[str, Any], *, at_once: bool = False) -> None:
        if event.id is None or not event.socket.connected:
            return
        packet = self._internals.packet(
            ACK,
            namespace=event.namespace,
            id=event.id,
            data=[reply],
            binary=isinstance(reply["body"], bytes),  # else it would look for bytes everywhere
        )
        send = self._delivery.answer if at_once else self._delivery.send_packet
        send(event.socket.eio_sid, packet)

    # -- backpressure ---------------------------------------------------------------------

    def _hold_reader(self, socket: Socket) -> bool:
        """Let the queue of a connection run on before more is read; False if it has ended."""
        if self._internals.unread(socket.eio_sid) <= self._unread_bytes:  # else it may be dead
            self._internals.note_life(socket.eio_sid)  # its answer to a ping is not read, either
        self._internals.sleep(0.01)
        return socket.connected

    def _wait_for_reader(self, socket: Socket) -> None:
        # Unread responses take memory; over HTTP a client that does not read is kept waiting, too.
        while socket.connected and self._internals.unread(socket.eio_sid) > self._unread_bytes:
            self._internals.sleep(0.05)


def _error(status: int, message: str) -> dict[str, Any]:
    return acknowledgement(status, {"message": message})


def guard_http(
    app: Flask, internals: ServerInternals, refusals: Refusals, handle_request: Callable[..., Any]
) -> Callable[..., Any]:
    """Return the server's *handle_request*, refusing requests that no honest client makes."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        use_http_scheme(environ)  # python-engineio compares it with the origin's; hooks see it
        environ["wsgi.errors"] = error_stream(app)  # that of all events on the connection
        message = _refusal(app, environ)
        if message is None and environ["REQUEST_METHOD"] == "POST":
            refuse = _refuse_of(environ, internals, refusals)
            message = check_post(environ, internals.message_bytes, refuse, internals.any_text)
            # python-engineio raises KeyError for one that is closed, and only then forgets it.
            internals.forget_session(session_of(environ))
        if message is None:
            served: Iterable[bytes] = handle_request(environ, start_response)
            return served
        body = json.dumps({"message": message})
        refusal = WerkzeugResponse(body, status=400, mimetype="application/json")
        return refusal(environ, start_response)

    return guarded


def _refuse_of(
    environ: Mapping[str, Any], internals: ServerInternals, refusals: Refusals
) -> Callable[[Limit], object]:
    """Return what counts a limit that the connection of a request has reached."""
    eio_sid = session_of(environ)
    address = internals.address(eio_sid)
    # What the client calls its connection is kept only if there is one of that name.
    return lambda limit: refusals.count(limit, eio_sid if address else "", address)


def _refusal(app: Flask, environ: dict[str, Any]) -> str | None:
    """Return why a request to the Socket.IO server is refused, or None."""
    if socket_of(environ) is not None:
        return "Socket.IO itself is not served over a socket."
    logged = session_of(environ), environ.get("HTTP_ORIGIN", "")  # by python-engineio, as they are
    if not all(map(str.isprintable, logged)):
        return "This request has characters in it that cannot be printed."
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if "j" in query:
        # Any page may load a script, and would read the ID of the session in it.
        return "JSONP is not served."
    begins = "websocket" in query.get("transport", ()) and not any(query.get("sid", ()))
    if begins and not is_upgrade(environ):  # python-engineio looks at one of two headers alone
        return "This is not the handshake of a WebSocket."
    if environ.get("HTTP_SEC_FETCH_SITE") in _OTHER_SITES and not environ.get("HTTP_ORIGIN"):
        # Browsers leave the Origin out where a page loads a script, an image or a frame.
        return "A page of another site has to connect with an Origin that is allowed."
    if not _is_for_us(app, environ):
        return (
            "This host is not among TRUSTED_HOSTS. Behind a proxy that names it in a header, wrap "
            "app.wsgi_app in ProxyFix after Rooms(app)."
        )
    return None


def _is_for_us(app: Flask, environ: dict[str, Any]) -> bool:
    """Whether the host of a request is one that Flask would let in, too."""
    trusted = app.config.get("TRUSTED_HOSTS")  # since Flask 3.1
    try:
        get_host(environ, app.request_class.trusted_hosts if trusted is None else trusted)
    except SecurityError:
        return False
    return True
