"""The application's own functions at the beginning and at the end of a socket's life."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, session
from socketio.exceptions import ConnectionRefusedError as RefusedWithReason
from socketio.packet import CONNECT_ERROR

from flask_rooms.membership.namespace import Socket
from flask_rooms.protocol.messages import Room

logger = logging.getLogger("flask_rooms")

#: Takes what the client has sent as `auth`; False refuses the client.
BeforeConnect = Callable[[Any], object]
#: Takes the reason, and the rooms in which the socket was.
AfterDisconnect = Callable[[str, frozenset[Room]], object]

_REFUSED = {"message": "Connection rejected by server"}


@dataclass
class Hooks:
    """The functions of one Rooms, in the order in which they were registered."""

    before_connect: list[BeforeConnect] = field(default_factory=list)
    after_disconnect: list[AfterDisconnect] = field(default_factory=list)


class HookRunner:
    """
    Calls the hooks of an application.

    Args:
        app: The application.
        server: Its Socket.IO server.
        hooks: What to call.
        environ_of: Returns the environment of a socket, with the cookies that it has now.
    """

    def __init__(
        self,
        app: Flask,
        server: Any,
        hooks: Hooks,
        environ_of: Callable[[Socket, str, dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._app = app
        self._server = server
        self._hooks = hooks
        self._environ_of = environ_of
        self._handle_connect = server._handle_connect
        server._handle_connect = self._connecting
        server.manager.after_disconnect(self._disconnected)

    def _connecting(self, eio_sid: str, namespace: str | None, auth: Any) -> None:
        refusal = self._refusal(self._server.environ[eio_sid], auth)
        if refusal is None:
            self._handle_connect(eio_sid, namespace, auth)
            return
        make = self._server.packet_class
        packet = make(CONNECT_ERROR, data=refusal, namespace=namespace or "/")
        self._server.manager.events.send_packet(eio_sid, packet)

    def _refusal(self, handshake: dict[str, Any], auth: Any) -> Any:
        """Return what to tell a client that may not connect; None if it may."""
        if not self._hooks.before_connect:
            return None
        try:
            with self._app.request_context(handshake):
                refused = any(hook(auth) is False for hook in self._hooks.before_connect)
        except RefusedWithReason as error:
            return error.error_args
        except ConnectionRefusedError as error:  # Python's own
            return {"message": str(error)} if str(error) else _REFUSED
        except Exception:  # the application's own: whoever cannot be checked stays outside
            logger.exception("A before_connect hook has failed, and the client is refused.")
            return _REFUSED
        return _REFUSED if refused else None

    def _disconnected(self, socket: Socket, namespace: str, reason: str) -> None:
        handshake = self._server.environ.get(socket.eio_sid)
        if not self._hooks.after_disconnect or handshake is None:
            return
        rooms = frozenset(socket.rooms - {socket.sid})
        try:
            with self._app.request_context(self._environ_of(socket, namespace, handshake)):
                for hook in self._hooks.after_disconnect:
                    self._call(hook, reason, rooms)
                self._save_session()
        except Exception:  # where the sessions are kept may be away
            logger.exception("The session could not be loaded or saved after a disconnect.")

    def _call(self, hook: AfterDisconnect, reason: str, rooms: frozenset[Room]) -> None:
        try:
            hook(reason, rooms)
        except Exception:  # the application's own, and no business of the other hooks
            logger.exception("An after_disconnect hook has failed.")

    def _save_session(self) -> None:
        interface = self._app.session_interface
        current = session._get_current_object()  # type: ignore[attr-defined]  # of the proxy
        if not interface.is_null_session(current):
            # Where the session is kept on the server, that is; a cookie has nowhere to go.
            interface.save_session(self._app, current, self._app.response_class())
