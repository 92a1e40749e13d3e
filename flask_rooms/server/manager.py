"""python-socketio's client manager, over the registry of this worker and the cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from socketio.manager import Manager

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import ConfigurationError, Refused
from flask_rooms.membership.names import any_room, any_rooms
from flask_rooms.membership.namespace import is_own_room
from flask_rooms.membership.registry import Registry
from flask_rooms.membership.worker import LocalWorker
from flask_rooms.protocol.ids import is_sid, is_sid_room
from flask_rooms.protocol.messages import Action, Change, Query, Room
from flask_rooms.results import Part
from flask_rooms.server.acknowledgements import Acknowledgements
from flask_rooms.server.connecting import Connecting
from flask_rooms.server.context import calling_socket
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.emitter import Emitter
from flask_rooms.server.private import ServerHandlers, ServerInternals
from flask_rooms.server.rooms_view import RoomsView

logger = logging.getLogger("flask_rooms.server")


class RoomsManager(Manager):  # type: ignore[misc]  # python-socketio is not typed
    """
    Answers what python-socketio's server asks of its client manager, for sockets of all workers.

    It is given to Flask-SocketIO as `client_manager=`, in place of `message_queue=`.

    Args:
        registry: The sockets of this worker.
        worker: Carries out changes on them.
        cluster: The connection to the other workers.
        emitter: Sends events.
        acknowledgements: The callbacks that wait.
        connecting: Registers and accepts sockets.
        disconnects: Disconnects and forgets them.
        handlers: What takes the place of the server's own methods.
        internals: The server, bound in set_server().
    """

    def __init__(
        self,
        registry: Registry,
        worker: LocalWorker,
        cluster: Cluster,
        emitter: Emitter,
        acknowledgements: Acknowledgements,
        connecting: Connecting,
        disconnects: Disconnects,
        handlers: ServerHandlers,
        internals: ServerInternals,
    ) -> None:
        super().__init__()
        self.rooms = RoomsView(registry)
        self.callbacks = acknowledgements.local
        self._registry = registry
        self._worker = worker
        self._cluster = cluster
        self._emitter = emitter
        self._acknowledgements = acknowledgements
        self._connecting = connecting
        self._disconnects = disconnects
        self._handlers = handlers
        self._internals = internals

    # -- joining and leaving --------------------------------------------------------------

    def enter_room(self, sid: str, namespace: str, room: Room, eio_sid: Any = None) -> None:
        """Make a socket a member, wherever it is."""
        if is_sid_room(room, sid):
            raise ValueError("cannot enter a sid room")
        self._move("join", sid, namespace, room)

    def leave_room(self, sid: str, namespace: str, room: Room) -> None:
        """End a membership, wherever the socket is."""
        # Nearly all end here. A room of which a socket is a member has a valid name: no check.
        if type(room) is str and self._registry.fast_leave(namespace, sid, (room,)):
            return
        self._move("leave", sid, namespace, room)

    def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Make all members leave a room, on every worker."""
        if is_own_room(room):
            raise ValueError("cannot close a sid room")
        room = any_room(room)
        self._call("leave", namespace, (), (room,), room)

    def basic_enter_room(self, sid: str, namespace: str, room: Room, eio_sid: Any = None) -> bool:
        """Make a socket of this worker a member; False when it was one."""
        if is_sid_room(room, sid):
            raise ValueError("cannot enter a sid room")
        done = self._change("join", namespace, (sid,), room)
        if done.refused:
            raise Refused(done.refused, (str(room),))
        if done.outcome.unknown:
            raise ValueError("sid is not connected to requested namespace")
        return bool(done.outcome.changed)

    def basic_leave_room(self, sid: str, namespace: str, room: Room) -> bool:
        """End a membership of a socket of this worker; False when there was none."""
        return bool(self._change("leave", namespace, (sid,), room).outcome.changed)

    def basic_close_room(self, room: Room, namespace: str) -> None:
        """Make all members on this worker leave a room."""
        if is_own_room(room):
            raise ValueError("cannot close a sid room")
        self._change("leave", namespace, (), room, source=room)

    def _move(self, action: Any, sid: str, namespace: str, room: Room) -> None:
        name = any_room(room)
        if self._registry.get(namespace, sid) is not None:
            if action == "join":
                self.basic_enter_room(sid, namespace, name)
            else:
                self.basic_leave_room(sid, namespace, name)
        elif isinstance(sid, str) and is_sid(sid):
            self._call(action, namespace, (sid,), (name,))

    def move(self, action: Action, namespace: str, target: Any, *rooms: Any) -> None:
        """
        Carry out an action on sockets of every worker.

        Args:
            action: What to do.
            namespace: The namespace.
            target: A socket ID, a room for all its members, or None for the whole namespace.
            rooms: Which rooms to join or to leave.
        """
        names = tuple(any_room(room) for room in rooms)
        if target is None:
            members = self._cluster.calls.query(Query("members", namespace, None), None).names()
            self._call(action, namespace, tuple(map(str, members)), names)
        elif is_own_room(target):
            self._call(action, namespace, (target,), names)
        else:
            self._call(action, namespace, (), names, any_room(target))

    def _call(
        self,
        action: Action,
        namespace: str | None,
        sids: tuple[str, ...],
        rooms: tuple[Room, ...] = (),
        source: Room | None = None,
    ) -> None:
        # Flask-SocketIO's calls have nothing to return the outcome with: at least it is logged.
        change = Change(action, namespace or "/", sids, rooms, source, calling_socket())
        self._cluster.calls.change(change).add_done_callback(_log_failure)

    def _change(
        self,
        action: Action,
        namespace: str,
        sids: tuple[str, ...],
        room: Room,
        source: Room | None = None,
    ) -> Part:
        change = Change(action, namespace, sids, (room,), source, calling_socket())
        return self._worker.change(change, self._cluster.name)

    # -- events ---------------------------------------------------------------------------

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: Any = None,
        callback: Callable[..., object] | None = None,
        to: Any = None,
        ignore_queue: bool = False,
        **kwargs: Any,
    ) -> None:
        """Send an event as python-socketio's server asks for it."""
        rooms = any_rooms(to or room)
        space, skip = namespace or "/", _sids(skip_sid)
        self._emitter.send(event, data, space, rooms, skip, callback, ignore_queue)

    def trigger_callback(self, sid: str, id: Any, data: Any) -> None:
        """Call the callback that waits for a client's acknowledgement."""
        callback = self._acknowledgements.take_local(sid, id)
        if callback is not None:  # a client may acknowledge what nothing waits for
            callback(*(data if isinstance(data, list) else ()))

    # -- connecting and disconnecting -----------------------------------------------------

    def initialize(self) -> None:
        """Join the cluster: python-socketio calls this before it accepts the first client."""
        self._cluster.start()

    def set_server(self, server: Any) -> None:
        """
        Take over a server: python-socketio calls this when it makes one.

        Raises:
            ConfigurationError: It is not the first one; this happens in a second init_app().
        """
        if self.server is not None:
            raise ConfigurationError(
                "Rooms has initialised this SocketIO: remove your own call of init_app(), and set "
                "its options before Rooms()."
            )
        super().set_server(server)
        self._internals.bind(server, self._handlers)
        server.disconnect = self.kick

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Register a socket that is connecting; None when the client has one here already."""
        return self._connecting.register(eio_sid, namespace)

    def connect(self, sid: str, namespace: str) -> str | None:
        """Record that the application has accepted the socket."""
        return self._connecting.accept(sid, namespace)

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Whether the socket is here and not yet, or no longer, accepted."""
        socket = self._registry.get(namespace, sid)
        return socket is not None and not socket.connected

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Whether the socket is here and accepted."""
        socket = self._registry.get(namespace, sid)
        return socket is not None and socket.connected

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Register that the socket is being disconnected; its rooms are kept for the handler."""
        self._registry.claim(namespace, sid)
        return self.eio_sid_from_sid(sid, namespace)

    def kick(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a socket, wherever it is, in place of python-socketio's server."""
        name = namespace or "/"
        socket = self._registry.get(name, sid)
        if socket is not None and socket.accepted:
            self._disconnects.disconnect(socket, name)
        elif isinstance(sid, str) and is_sid(sid) and not (socket is None and ignore_queue):
            # On another worker, or here and connecting: accept() then ends it.
            self._call("disconnect", name, (sid,))

    def disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Forget a socket."""
        self.basic_disconnect(sid, namespace)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Forget a socket of this worker, and release the callbacks that wait for it."""
        self._disconnects.forget(sid, namespace)

    # -- what python-socketio asks -----------------------------------------------

    def get_namespaces(self) -> list[str]:
        """Return the namespaces that have a socket on this worker."""
        return self._registry.namespaces()

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Return socket ID and Engine.IO session of the members of a room on this worker."""
        return iter(self._registry.members(namespace, any_rooms(room)).items())

    def get_rooms(self, sid: str, namespace: str) -> list[Room]:
        """Return the rooms of a socket of this worker."""
        return list(self._registry.rooms_of(namespace, sid))

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Return the socket that an Engine.IO session has in a namespace."""
        socket = self._registry.get_by_eio_sid(namespace, eio_sid)
        return socket.sid if socket else None

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Return the Engine.IO session of a socket."""
        socket = self._registry.get(namespace, sid)
        return socket.eio_sid if socket else None

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        """Whether a room is a socket's own."""
        return isinstance(room, str) and is_sid(room)


def _sids(skip_sid: Any) -> tuple[str, ...]:
    if skip_sid is None:
        return ()
    return (skip_sid,) if isinstance(skip_sid, str) else tuple(filter(None, skip_sid))


def _log_failure(future: Any) -> None:
    error = future.exception()
    if error is not None:
        with safe_logging():
            logger.warning("A room change for another worker's socket: %s", error)
