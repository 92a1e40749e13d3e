"""Hooks: functions of the application that run before a socket connects and after it has left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, request, session
from socketio.exceptions import ConnectionRefusedError as RefusedWithReason
from werkzeug.exceptions import HTTPException

from flask_rooms.backends.logs import safe_logging
from flask_rooms.membership.contexts import request_context
from flask_rooms.membership.guards import ask, no_decision
from flask_rooms.membership.namespace import Socket
from flask_rooms.protocol.messages import Room
from flask_rooms.server.private import ServerInternals

logger = logging.getLogger("flask_rooms.server")

#: Takes what the client has sent as `auth`; False or a response refuses the client.
BeforeConnect = Callable[[Any], object]
#: Takes the reason, and the rooms that the socket was in.
AfterDisconnect = Callable[[str, frozenset[Room]], object]

# What Flask takes for a response, besides what no guard may return: a page that asks for a login.
_PAGES = (str, bytes, bytearray, dict, list)

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
        hooks: What to call.
        internals: Has the handshakes.
        environ_of: Returns the environment of a socket, with the cookies that it has now.
    """

    def __init__(
        self,
        app: Flask,
        hooks: Hooks,
        internals: ServerInternals,
        environ_of: Callable[[Socket, str, dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._app = app
        self._hooks = hooks
        self._internals = internals
        self._environ_of = environ_of

    def refusal(self, handshake: dict[str, Any], auth: Any) -> Any:
        """Return what to answer a client that a hook refuses; None if it may connect."""
        if not self._hooks.before_connect:
            return None
        try:
            with request_context(self._app, handshake):
                refused = any(self._refuses(hook, auth) for hook in self._hooks.before_connect)
        except RefusedWithReason as error:
            return error.error_args
        except ConnectionRefusedError as error:  # Python's own
            return {"message": str(error)} if str(error) else _REFUSED
        except HTTPException:  # `abort(403)`, as views and decorators for views refuse
            return _REFUSED
        except BaseException:  # of the application, such as SystemExit: not checked is refused
            with safe_logging():
                logger.exception("A before_connect hook has failed, and the client is refused.")
            return _REFUSED
        return _REFUSED if refused else None

    def _refuses(self, hook: BeforeConnect, auth: Any) -> bool:
        answer = ask(self._app, hook, auth)
        if isinstance(answer, _PAGES):
            raise no_decision(answer)
        return answer is False

    @property
    def has_after_disconnect(self) -> bool:
        """Whether a hook is called for a socket that has left."""
        return bool(self._hooks.after_disconnect)

    def after_disconnect(self, socket: Socket, namespace: str, reason: str) -> None:
        """Call the hooks for a socket that has left; raises nothing."""
        handshake = self._internals.handshake(socket.eio_sid)
        if not self._hooks.after_disconnect or handshake is None:
            return
        rooms = frozenset(socket.rooms.keys() - {socket.sid})
        try:
            context = self._app.request_context(self._environ_of(socket, namespace, handshake))
            found = self._enter(context)
            try:
                for hook in self._hooks.after_disconnect:
                    self._call(hook, reason, rooms)
                if found is not None:
                    self._save_session(found)
            except BaseException as error:
                context.pop(error)
                raise
            context.pop(None)  # whatever the disconnect handler has raised, which is being handled
        except BaseException:  # of the application: the store of the sessions may be down
            with safe_logging():
                logger.exception(
                    "The context of a disconnect failed, or its session was not saved."
                )

    def _enter(self, context: Any) -> dict[str, Any] | None:
        """Enter the context of a socket; return a copy of its session, None if there is none."""
        # Hooks are called without a session, too: they may need none.
        try:
            context.push()
            return deepcopy(dict(session))
        except BaseException:  # of the application, as above, or what is in the session
            with safe_logging():
                logger.exception(
                    "The session could not be loaded after a disconnect, or not copied."
                )
            return None

    def _call(self, hook: AfterDisconnect, reason: str, rooms: frozenset[Room]) -> None:
        try:
            self._app.ensure_sync(hook)(reason, rooms)  # an async hook as an async view
        except BaseException:  # of the application, such as SystemExit; the other hooks go on
            with safe_logging():
                logger.exception("An after_disconnect hook has failed.")

    def _save_session(self, found: dict[str, Any]) -> None:
        """Save what the hooks have changed in a session, given what they have found in it."""
        interface = self._app.session_interface
        current = session._get_current_object()  # type: ignore[attr-defined]  # of the proxy
        if not current.modified:
            return
        # It may have changed or ended meanwhile: a page often disconnects because its user logs
        # out. To save it as a whole would bring that user back.
        latest = interface.open_session(self._app, request)
        if latest is None or (found and not latest):
            return
        for key in found.keys() | current.keys():
            if key not in current:
                latest.pop(key, None)
            elif key not in found or found[key] != current[key]:
                latest[key] = current[key]
        # Only a session that is kept on the server: there is no response for a cookie.
        interface.save_session(self._app, latest, self._app.response_class())
