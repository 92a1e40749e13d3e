"""python-socketio's `instrument()`, so that the Admin UI sees and moves sockets of every worker."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any

from flask import Flask
from socketio.admin import HOSTNAME, InstrumentedServer

from flask_rooms.errors import RoomsError
from flask_rooms.signals import joined, left

logger = logging.getLogger("flask_rooms")


class ClusterAdmin(InstrumentedServer):  # type: ignore[misc]  # python-socketio is not typed
    """
    Shows the sockets of every worker in the Admin UI, and does to them what its buttons say.

    python-socketio lists and moves only the sockets of the worker that the admin is connected to,
    and reports the joins and leaves that its own calls have made there.

    Args:
        app: The application, whose signals tell of all joins and leaves.
        sio: Its Socket.IO server.
        options: As python-socketio's instrument() takes them.
    """

    def __init__(self, app: Flask, sio: Any, *args: Any, **options: Any) -> None:
        self._app = app
        self._newcomers: list[str] = []
        super().__init__(sio, *args, **options)

    def instrument(self) -> None:
        """Watch the server, and take the place of what python-socketio has changed in ours."""
        super().instrument()
        manager = self.sio.manager
        manager.events.hear = self._hear
        self._send, manager.emit = manager.emit, self._report
        if self.mode == "development":
            del manager.basic_enter_room, manager.basic_leave_room
            joined.connect(self._joined, self._app)
            left.connect(self._left, self._app)

    def uninstrument(self) -> None:
        """Give everything back."""
        super().uninstrument()
        vars(self.sio.manager.events).pop("hear", None)  # the class has its own
        for name in ("emit", "basic_enter_room", "basic_leave_room"):
            vars(self.sio.manager).pop(name, None)
        joined.disconnect(self._joined, self._app)
        left.disconnect(self._left, self._app)

    @property
    def server_id(self) -> str:
        """The name in the Admin UI, by which it tells the workers of one host from each other."""
        return self._server_id or self.sio.manager.worker

    @server_id.setter
    def server_id(self, given: str) -> None:
        # A worker has a name when it serves; python-socketio wants to know before that.
        self._server_id = None if given == HOSTNAME else given

    # -- what an admin does ---------------------------------------------------------------

    def admin_enter_room(self, _: str, namespace: str, room: Any, room_filter: Any = None) -> None:
        """Let sockets join a room."""
        self.sio.manager.move("join", namespace, room_filter, room)

    def admin_leave_room(self, _: str, namespace: str, room: Any, room_filter: Any = None) -> None:
        """Let sockets leave a room."""
        self.sio.manager.move("leave", namespace, room_filter, room)

    def admin_disconnect(self, _: str, namespace: str, close: Any, room_filter: Any = None) -> None:
        """Disconnect sockets."""
        self.sio.manager.move("disconnect", namespace, room_filter)

    # -- what an admin sees ---------------------------------------------------------------

    def admin_connect(self, sid: str, environ: Any, client_auth: Any) -> None:
        """Let an admin in, who is then told which sockets there are."""
        super().admin_connect(sid, environ, client_auth)
        self._newcomers.append(sid)

    def _report(self, event: str, data: Any, namespace: str | None, **options: Any) -> None:
        """Take the place of the manager's emit(), with which reports are sent, too."""
        if namespace != self.admin_namespace:
            self._send(event, data, namespace, **options)
            return
        newcomers: list[str] = []
        if event == "all_sockets":
            # python-socketio addresses it to the socket that it has listed last.
            newcomers, self._newcomers = self._newcomers, []
            options["room"] = newcomers
        try:
            self._send(event, data, namespace, **options)
            if newcomers:
                # Not before: the Admin UI forgets whom it knew when it gets a list.
                self.sio.manager.events.tell(newcomers)
        except RoomsError as error:  # what the application does must not fail for a report
            logger.warning("A report to the Admin UI could not be sent: %s", error)

    def _hear(self, newcomers: list[str]) -> None:
        self.sio.manager.spawn(self._introduce, newcomers)

    def _introduce(self, newcomers: list[str]) -> None:
        """Tell admins of another worker which sockets this one holds."""
        manager = self.sio.manager
        for namespace in manager.get_namespaces():
            for sid, eio_sid in manager.get_participants(namespace, None):
                try:
                    socket = self.serialize_socket(sid, namespace, eio_sid)
                except KeyError:
                    continue  # it has just gone
                self._tell("socket_connected", socket, to=newcomers)

    def _joined(self, app: Flask, *, namespace: str, room: Any, sid: str, **more: Any) -> None:
        self._tell("room_joined", namespace, room, sid)

    def _left(self, app: Flask, *, namespace: str, room: Any, sid: str, **more: Any) -> None:
        self._tell("room_left", namespace, room, sid)

    def _tell(self, event: str, *data: Any, to: list[str] | None = None) -> None:
        now = datetime.now(timezone.utc).isoformat()
        self.sio.emit(event, (*data, now), to=to, namespace=self.admin_namespace)
