"""python-socketio's `instrument()` for the sockets of every worker, as the Admin UI expects."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any

from flask import Flask
from socketio.admin import HOSTNAME, InstrumentedServer

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import RoomsError
from flask_rooms.server.delivery import Delivery
from flask_rooms.server.emitter import Emitter
from flask_rooms.signals import joined, left

logger = logging.getLogger("flask_rooms.server")


# What of a handshake is reported. Headers of any name may hold a secret, so only these are.
_SHOWN = frozenset(["host", "origin", "user_agent", "accept_language", "x_forwarded_for"])
_SHOWN_QUERY = frozenset(["EIO", "transport"])

#: Under which name workers tell each other of admins.
_TOPIC = "newcomers"


class ClusterAdmin(InstrumentedServer):  # type: ignore[misc]  # python-socketio is not typed
    """
    Shows the sockets of every worker in the Admin UI, and carries out its commands on them.

    python-socketio lists and moves only the sockets of the worker that the admin is connected to,
    and reports only the joins and leaves that its own calls have made there.

    Args:
        app: The application, whose signals report all joins and leaves.
        cluster: Has the name of this worker.
        emitter: Sends messages to the other workers.
        delivery: Receives messages from the other workers.
        sio: The Socket.IO server.
        options: As python-socketio's instrument() takes them.
    """

    def __init__(
        self,
        app: Flask,
        cluster: Cluster,
        emitter: Emitter,
        delivery: Delivery,
        sio: Any,
        *args: Any,
        **options: Any,
    ) -> None:
        self._app = app
        self._cluster = cluster
        self._emitter = emitter
        self._delivery = delivery
        self._newcomers: list[str] = []
        super().__init__(sio, *args, **options)

    def instrument(self) -> None:
        """Instrument the server, and replace what python-socketio has changed in the manager."""
        super().instrument()
        manager = self.sio.manager
        self._delivery.on_worker_message[_TOPIC] = self._on_newcomers
        self._send, manager.emit = manager.emit, self._report
        if self.mode == "development":
            del manager.basic_enter_room, manager.basic_leave_room
            joined.connect(self._joined, self._app)
            left.connect(self._left, self._app)

    def uninstrument(self) -> None:
        """Restore everything."""
        super().uninstrument()
        self._delivery.on_worker_message.pop(_TOPIC, None)
        vars(self.sio.manager).pop("emit", None)
        joined.disconnect(self._joined, self._app)
        left.disconnect(self._left, self._app)

    @property
    def server_id(self) -> str:
        """The name in the Admin UI, by which it tells the workers of one host from each other."""
        return self._server_id or self._cluster.name

    @server_id.setter
    def server_id(self, given: str) -> None:
        # A worker has its name once it serves; python-socketio asks before that.
        self._server_id = None if given == HOSTNAME else given

    # -- commands of an admin ---------------------------------------------------------------

    def admin_enter_room(self, _: str, namespace: str, room: Any, room_filter: Any = None) -> None:
        """Let sockets join a room."""
        self.sio.manager.move("join", namespace, room_filter, room)

    def admin_leave_room(self, _: str, namespace: str, room: Any, room_filter: Any = None) -> None:
        """Let sockets leave a room."""
        self.sio.manager.move("leave", namespace, room_filter, room)

    def admin_disconnect(self, _: str, namespace: str, close: Any, room_filter: Any = None) -> None:
        """Disconnect sockets."""
        self.sio.manager.move("disconnect", namespace, room_filter)

    # -- reports to an admin ---------------------------------------------------------------

    def admin_connect(self, sid: str, environ: Any, client_auth: Any) -> None:
        """Accept an admin, and send it the list of all sockets."""
        super().admin_connect(sid, environ, client_auth)
        self._newcomers.append(sid)

    def serialize_socket(self, sid: str, namespace: str, eio_sid: str | None = None) -> Any:
        """Return what is reported of a socket: nothing that would let its reader act as it."""
        socket: dict[str, Any] = super().serialize_socket(sid, namespace, eio_sid)
        handshake = socket["handshake"]
        # With the ID of its session, any client can use a connection.
        socket["clientId"] = sha256(str(socket["clientId"]).encode()).hexdigest()[:20]
        handshake["headers"] = {
            name: value for name, value in handshake["headers"].items() if name in _SHOWN
        }
        handshake["query"] = {
            name: value for name, value in handshake["query"].items() if name in _SHOWN_QUERY
        }
        return socket

    def _report(self, event: str, data: Any, namespace: str | None, **options: Any) -> None:
        """Emit in place of the manager, whose emit() sends the reports as well."""
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
                # Afterwards: the Admin UI forgets the sockets that it knows when it gets a list.
                self._emitter.tell_workers(_TOPIC, newcomers)
        except RoomsError as error:  # a report must not make the application's call fail
            with safe_logging():
                logger.warning("A report to the Admin UI could not be sent: %s", error)

    def _on_newcomers(self, newcomers: list[str]) -> None:
        self.sio.start_background_task(self._introduce, newcomers)

    def _introduce(self, newcomers: list[str]) -> None:
        """Report the sockets of this worker to admins of another one."""
        manager = self.sio.manager
        for namespace in manager.get_namespaces():
            for sid, eio_sid in manager.get_participants(namespace, None):
                try:
                    socket = self.serialize_socket(sid, namespace, eio_sid)
                except KeyError:
                    continue  # it has just gone
                self._emit_report("socket_connected", socket, to=newcomers)

    def _joined(self, app: Flask, *, namespace: str, room: Any, sid: str, **more: Any) -> None:
        self._emit_report("room_joined", namespace, room, sid)

    def _left(self, app: Flask, *, namespace: str, room: Any, sid: str, **more: Any) -> None:
        self._emit_report("room_left", namespace, room, sid)

    def _emit_report(self, event: str, *data: Any, to: list[str] | None = None) -> None:
        now = datetime.now(timezone.utc).isoformat()
        self.sio.emit(event, (*data, now), to=to, namespace=self.admin_namespace)
