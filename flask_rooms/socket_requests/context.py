"""The context of a socket: its environment with its present cookies, outside any request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask

from flask_rooms.config import Config
from flask_rooms.membership.contexts import request_context
from flask_rooms.membership.namespace import Socket
from flask_rooms.membership.registry import Registry
from flask_rooms.server.private import ServerInternals
from flask_rooms.socket_requests.cookies import Cookies
from flask_rooms.socket_requests.environ import Template, mark_socket, path_of, socket_environ
from flask_rooms.socket_requests.error_stream import error_stream
from flask_rooms.socket_requests.serial_queue import SerialQueue


@dataclass(eq=False)
class SocketState:
    """What is kept of one socket, for as long as it is connected."""

    queue: SerialQueue
    cookies: Cookies
    template: Template | None = None


class SocketContext:
    """
    Makes contexts in which `request`, `session` and a login are those of a socket.

    They are what the next request of that socket would see.

    Args:
        app: The application.
        registry: The sockets of this worker.
        internals: Has their handshakes.
        config: The bounds of a socket's queue.
    """

    def __init__(
        self, app: Flask, registry: Registry, internals: ServerInternals, config: Config
    ) -> None:
        self._app = app
        self._registry = registry
        self._internals = internals
        self._config = config
        self._creating = threading.Lock()

    def state(self, socket: Socket, handshake: dict[str, Any]) -> SocketState:
        """Return the queue and the cookies of a socket."""
        with self._creating:
            if socket.state is None:
                config = self._config
                queue = SerialQueue(config.waiting_requests, config.waiting_request_bytes)
                cookies = Cookies(handshake.get("HTTP_COOKIE", ""), self._paths(handshake))
                socket.state = SocketState(queue, cookies)
            state: SocketState = socket.state
            return state

    def _paths(self, handshake: dict[str, Any]) -> list[str]:
        """Return the paths that the cookies of a handshake may have been sent for."""
        # A proxy may have taken a prefix off, of which the session cookie's path alone tells.
        config = self._app.config
        return [path_of(handshake), config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"]]

    def template(self, socket: Socket, handshake: dict[str, Any]) -> Template:
        """Return what the requests of a socket have in common."""
        state = self.state(socket, handshake)
        if state.template is None:
            state.template = Template(handshake, error_stream(self._app))
        return state.template

    def environ(self, socket: Socket, namespace: str, handshake: dict[str, Any]) -> dict[str, Any]:
        """Return the environment of a socket outside any request, with all its cookies."""
        environ = socket_environ(handshake, error_stream(self._app))
        mark_socket(environ, socket.sid, namespace)
        if cookies := self.state(socket, handshake).cookies.header(None):
            environ["HTTP_COOKIE"] = cookies
        return environ

    def call(self, function: Callable[[], object], namespace: str, sid: str) -> object:
        """
        Call a function in the context of a socket; call this outside any other context.

        Returns:
            What the function returns; None if the socket has left, and it was not called.
        """
        socket = self._registry.get(namespace, sid)
        handshake = self._internals.handshake(socket.eio_sid) if socket else None
        if socket is None or handshake is None:
            return None
        with request_context(self._app, self.environ(socket, namespace, handshake)):
            return function()
