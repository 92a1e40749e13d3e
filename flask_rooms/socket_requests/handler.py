"""Socket requests: a Socket.IO event goes through the Flask application and is acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from flask import Flask, Request
from socketio.packet import ACK, EVENT
from werkzeug.wrappers import Response as WerkzeugResponse

from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.registry import Registry
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.private import ServerInternals
from flask_rooms.socket_requests.context import SocketContext
from flask_rooms.socket_requests.environ import SOCKET, full_path, of_request
from flask_rooms.socket_requests.payload import Malformed, Payload, parse
from flask_rooms.socket_requests.serial_queue import Admission
from flask_rooms.socket_requests.wsgi import acknowledgement, answer, call

logger = logging.getLogger("flask_rooms")

#: The events that are socket requests, as in Sails.
VERBS = ("get", "post", "put", "patch", "delete", "options", "head")
#: How many packets a client may leave unread before its next request has to wait for that.
UNREAD = 32
#: How many it may leave unread at all, since refusals are packets too.
UNREAD_AT_ALL = 1000


class SocketRequest(Request):
    """
    The application's request class: knows whether the request came over a socket.

    `sid` and `namespace` are set in socket requests here, and in Socket.IO event handlers by
    Flask-SocketIO.
    """

    # Over HTTP there are none, not even None: Flask-SocketIO's emit() would take that for
    # "no addressee" and send to everybody.
    sid: str
    namespace: str

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        if SOCKET in environ:
            self.sid, self.namespace = environ[SOCKET]

    @property
    def is_socket(self) -> bool:
        """True in a socket request and in a Socket.IO event handler, False over HTTP."""
        return "sid" in self.__dict__


class _Event(NamedTuple):
    """An event that a client has sent: what an answer to it needs."""

    socket: Socket
    namespace: str
    id: int | None


class SocketRequests:
    """
    Serves the routes of an application to the clients of its Socket.IO server.

    An event handler that the application has for one of the verbs comes first; one for all
    events ("*") does not.

    Args:
        app: The application.
        registry: The sockets of this worker.
        delivery: Sends answers.
        disconnects: Ends the connection of a client that does not read.
        context: Has the queue and the cookies of each socket.
        internals: The server.
        headers: The names of further headers that clients may set.
    """

    def __init__(
        self,
        app: Flask,
        registry: Registry,
        delivery: Delivery,
        disconnects: Disconnects,
        context: SocketContext,
        internals: ServerInternals,
        headers: Iterable[str],
    ) -> None:
        self._app = app
        self._registry = registry
        self._delivery = delivery
        self._disconnects = disconnects
        self._context = context
        self._internals = internals
        self._headers = frozenset(name.lower() for name in headers)

    def handle(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        """Handle an event in place of python-socketio, which would not keep their order."""
        space = namespace or "/"
        socket = self._registry.get_by_eio_sid(space, eio_sid)
        name = data[0] if isinstance(data, list) and data else None
        if socket is None or not socket.connected:
            return  # its requests have nobody to answer to
        event = _Event(socket, space, id)
        if not isinstance(name, str):
            self._acknowledge(event, answer(400, {"message": "An event has a name."}))
        elif self._internals.is_reserved(name):  # of which no client tells, but a hostile one
            message = f"{name} is Socket.IO's own event."
            self._acknowledge(event, answer(400, {"message": message}))
        elif name in VERBS and not self._internals.has_own_handler(name, space):
            self._ask(event, name, tuple(data[1:]))
        elif id is not None and self._is_nobodys(name, space, data):
            verbs = ", ".join(VERBS)
            message = f"The verbs of socket requests are {verbs}."
            self._acknowledge(event, answer(405, {"message": message}, {"allow": verbs.upper()}))
        else:
            self._internals.handle_event(eio_sid, namespace, id, data)

    def _is_nobodys(self, name: str, namespace: str, data: list[Any]) -> bool:
        """Whether this looks like a socket request, and the application does not know it either."""
        looks = len(data) == 2 and isinstance(data[1], dict) and "url" in data[1]
        return looks and not self._internals.has_handler(name, namespace)

    def _ask(self, event: _Event, verb: str, args: tuple[Any, ...]) -> None:
        """Put a request into its socket's line, or say why not."""
        handshake = self._internals.handshake(event.socket.eio_sid)
        if handshake is None:
            return
        try:
            payload = parse(verb, args)
        except Malformed as error:
            self.refuse(event.socket, event.namespace, event.id, str(error), error.status)
            return
        line = self._context.state(event.socket, handshake).queue
        place = line.join(partial(self._serve, event, verb, payload, handshake), payload.size)
        if place is Admission.REFUSED:
            message = "Too many requests of this socket are waiting."
            self._acknowledge(event, answer(429, {"message": message}))
        elif place is Admission.FIRST and self._internals.runs_events_in_background:
            self._internals.spawn(line.work, self._pause)
        elif place is Admission.FIRST:
            line.work(self._pause)

    def _serve(self, event: _Event, verb: str, payload: Payload, handshake: dict[str, Any]) -> None:
        """Run a request whose turn it is."""
        self._wait_for_reader(event.socket)
        if not event.socket.connected:
            return  # nobody waits for the answer
        path = full_path(payload, handshake)
        environ = of_request(verb, payload, handshake, self._headers)
        environ[SOCKET] = (event.socket.sid, event.namespace)
        cookies = self._context.state(event.socket, handshake).cookies
        if header := cookies.header(path):
            environ["HTTP_COOKIE"] = header
        try:
            # From the outside, so that middleware put around the application sees it too.
            response = call(self._app.wsgi_app, environ, lambda: event.socket.connected)
            cookies.follow(response.all("set-cookie"), path)
            said = acknowledgement(response)
        except KeyboardInterrupt:
            raise
        except BaseException:  # the application's own: an exit, a green Timeout
            logger.exception("A socket request for %s failed.", payload.path)
            said = answer(500, {"message": "Internal Server Error"})
        self._acknowledge(event, said)

    def refuse(
        self, socket: Socket, namespace: str, id: int | None, message: str, status: int
    ) -> None:
        """Tell a client that what it has sent is no socket request."""
        if id is not None:
            said = answer(status, {"message": message})
            self._acknowledge(_Event(socket, namespace, id), said)
            return
        # As Sails does, without the stack trace.
        error = {"code": "SAILS:HOOK:SOCKETS:PARSE_VIRTUAL_REQ", "status": status}
        data = ["sails:parseError", error | {"message": message}]
        self._send(socket, self._internals.packet(EVENT, namespace=namespace, data=data))

    def _acknowledge(self, event: _Event, said: dict[str, Any]) -> None:
        if event.id is None or not event.socket.connected:
            return
        make = partial(self._internals.packet, ACK, namespace=event.namespace, id=event.id)
        try:
            self._send(event.socket, make(data=[said]))
        except (TypeError, ValueError, OverflowError, RecursionError):
            logger.exception("An answer to a socket request cannot be sent.")
            said = answer(500, {"message": "Internal Server Error"})
            self._send(event.socket, make(data=[said]))

    # -- clients that ask and do not read -------------------------------------------------

    def _wait_for_reader(self, socket: Socket) -> None:
        # What the answers take is memory: over HTTP, too, a client that does not read waits.
        while socket.connected and self._internals.unread(socket.eio_sid) > UNREAD:
            self._internals.sleep(0.05)

    def _send(self, socket: Socket, packet: Any) -> None:
        if self._internals.unread(socket.eio_sid) <= UNREAD_AT_ALL:
            self._delivery.send_packet(socket.eio_sid, packet)
        else:  # it sends what we refuse, and does not read the refusals
            self._disconnects.hang_up(socket.eio_sid)

    def _pause(self) -> None:
        self._internals.sleep(0)


def refuse_nested(handle_request: Callable[..., Any]) -> Callable[..., Any]:
    """Return *handle_request*, the server's, refusing socket requests: no connection in another."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if SOCKET not in environ:
            served: Iterable[bytes] = handle_request(environ, start_response)
            return served
        refusal = WerkzeugResponse(
            '{"message": "Socket.IO itself is not served over a socket."}',
            status=400,
            mimetype="application/json",
        )
        return refusal(environ, start_response)

    return guarded
