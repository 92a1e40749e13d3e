"""python-socketio's client manager, over the registry of this worker and the cluster."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from socketio.manager import Manager

from flask_rooms.cluster.confirmation import Part
from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import Refused
from flask_rooms.membership.changes import Changes
from flask_rooms.membership.guards import Guards, InContext
from flask_rooms.membership.names import any_room, any_rooms
from flask_rooms.membership.namespace import Origin, Socket, is_own
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.registry import Registry
from flask_rooms.protocol.ids import is_sid, is_sid_room, new_sid
from flask_rooms.protocol.messages import (
    Acknowledged,
    Action,
    Change,
    Emit,
    Operation,
    Query,
    Room,
    User,
)
from flask_rooms.server.context import asking_socket
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.emitter import Emitter
from flask_rooms.server.rooms_view import RoomsView

logger = logging.getLogger("flask_rooms")


class RoomsManager(Manager):  # type: ignore[misc]  # python-socketio is not typed
    """
    Keeps the sockets of this worker, and speaks to the other workers for python-socketio.

    It is given to Flask-SocketIO as `client_manager=`, and takes the place of
    `message_queue=`: whatever python-socketio's server asks about a socket of another worker
    goes through the cluster.

    Args:
        registry: The sockets of this worker.
        cluster: The way to the others.
        guards: Decide who may join.
        announcer: Sends the signals, of which *registry* tells it.
    """

    def __init__(
        self, registry: Registry, cluster: Cluster, guards: Guards, announcer: SignalQueue
    ) -> None:
        super().__init__()
        self.rooms = RoomsView(registry)
        self._registry = registry
        self._cluster = cluster
        self._announcer = announcer
        self.events = Emitter(registry, cluster, self.spawn)
        self.callbacks = self.events.callbacks
        self._departures = Disconnects(
            registry, send=self.events.send_parts, forget=self.basic_disconnect, spawn=self.spawn
        )
        self._changes = Changes(
            registry,
            guards,
            announcer,
            call=self._call,
            end=self._departures.dismiss_all,
            spawn=self.spawn,
        )
        #: Calls a function in the context of a socket: set by who knows Flask.
        self.in_context: InContext
        #: Returns whose socket is connecting, given its environment and `auth`; likewise.
        self.load_user: Callable[[dict[str, Any], Any], User | None]
        self._users: dict[tuple[str, str], User | None] = {}  # of the sockets that are connecting
        cluster.host = self

    # -- what the cluster asks of this worker ---------------------------------------------

    def change(self, change: Change) -> Part:
        """Carry out a change of this worker's own on its sockets."""
        return self._changes.carry_out(change, Origin("call", self._cluster.name, change.by))

    def change_for(self, change: Change, sender: str, tell: Callable[[Part], object]) -> None:
        """Carry out another worker's change on the sockets here, and *tell* what was done."""
        self._changes.carry_out_for(change, Origin("remote", sender, change.by), tell)

    def apply(self, operation: Operation, sender: str) -> None:
        """Carry out another operation on the sockets of this worker."""
        if isinstance(operation, Emit):
            self.events.receive(operation, sender)
        elif isinstance(operation, Acknowledged):
            self.events.acknowledged(operation)

    def answer(self, question: Query) -> tuple[list[Room], list[int]]:
        """Return the names and counts that another worker, or this one, asks for."""
        return self._registry.answer(question)

    def worker_gone(self, worker: str) -> None:
        """Another worker has left; nothing will come from it any more."""
        self.events.worker_gone(worker)

    @property
    def worker(self) -> str:
        """This worker's name; joins the cluster if need be."""
        return self._cluster.name

    def forked(self) -> None:
        """Begin afresh in a forked child: sockets and all that waits for them are the parent's."""
        self._registry.clear()
        self._announcer.forked()
        self._departures.forked()
        self.events.forked()

    def after_disconnect(self, tell: Callable[[Socket, str, Any], object]) -> None:
        """Have each socket that is gone *told*, with its namespace and the reason."""
        self._departures.after = tell

    def socket(self, namespace: str, eio_sid: str) -> Socket | None:
        """Return the socket that an Engine.IO session has in a namespace."""
        return self._registry.get_by_eio_sid(namespace, eio_sid)

    def holds(self, namespace: str, sid: str) -> bool:
        """Whether a socket is of this worker."""
        return self._registry.get(namespace, sid) is not None

    def expel(self) -> None:
        """End every membership of this worker's sockets, and let their clients connect again."""
        for eio_sid in self._registry.leave_all(Origin("expelled")):
            self.spawn(self.hang_up, eio_sid)
        self.spawn(self._announcer.send)

    def spawn(self, function: Callable[..., object], *args: object) -> object:
        """Run *function* in the background, in the way of the asynchronous mode."""
        try:
            return self.server.start_background_task(function, *args)
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            return function(*args)

    def hang_up(self, eio_sid: str) -> None:
        """End a connection, so that its client may connect again."""
        # Not a Socket.IO disconnect: clients take that as final and stay away.
        session = self.server.eio.sockets.get(eio_sid)
        if session is None:
            self._session_ended(eio_sid, self.server.reason.SERVER_DISCONNECT)
        else:
            session.close(wait=False)  # its client may never read what waits for it

    # -- joining and leaving --------------------------------------------------------------

    def enter_room(self, sid: str, namespace: str, room: Room, eio_sid: Any = None) -> None:
        """Make a socket a member, wherever it is."""
        if is_sid_room(room, sid):
            raise ValueError("cannot enter a sid room")
        self._move("join", sid, namespace, room)

    def leave_room(self, sid: str, namespace: str, room: Room) -> None:
        """End a membership, wherever the socket is."""
        self._move("leave", sid, namespace, room)

    def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Let everybody leave a room, on every worker."""
        if is_own(room):
            raise ValueError("cannot close a sid room")
        room = any_room(room)
        self._ask("leave", namespace, (), (room,), room)

    def basic_enter_room(self, sid: str, namespace: str, room: Room, eio_sid: Any = None) -> bool:
        """Make a socket of this worker a member; False when it was one."""
        if is_sid_room(room, sid):
            raise ValueError("cannot enter a sid room")
        done = self._change("join", namespace, (sid,), room)
        if done.refused:
            raise Refused(done.refused)
        if done.outcome.unknown:
            raise ValueError("sid is not connected to requested namespace")
        return bool(done.outcome.changed)

    def basic_leave_room(self, sid: str, namespace: str, room: Room) -> bool:
        """End a membership of a socket of this worker; False when there was none."""
        return bool(self._change("leave", namespace, (sid,), room).outcome.changed)

    def basic_close_room(self, room: Room, namespace: str) -> None:
        """Let everybody on this worker leave a room."""
        if is_own(room):
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
            self._ask(action, namespace, (sid,), (name,))

    def move(self, action: Action, namespace: str, whom: Any, *rooms: Any) -> None:
        """
        Do something to sockets of every worker.

        Args:
            action: What.
            namespace: Where.
            whom: A socket ID, a room for all its members, or None for the whole namespace.
            rooms: Which rooms to join or to leave.
        """
        names = tuple(any_room(room) for room in rooms)
        if whom is None:
            everybody = self._cluster.inquire(Query("members", namespace, None), None).names()
            self._ask(action, namespace, tuple(map(str, everybody)), names)
        elif is_own(whom):
            self._ask(action, namespace, (whom,), names)
        else:
            self._ask(action, namespace, (), names, any_room(whom))

    def _ask(
        self,
        action: Action,
        namespace: str | None,
        sids: tuple[str, ...],
        rooms: tuple[Room, ...] = (),
        source: Room | None = None,
    ) -> None:
        # Flask-SocketIO's calls have nothing to return the outcome with: at least it is logged.
        change = Change(action, namespace or "/", sids, rooms, source, asking_socket())
        self._cluster.change(change).add_done_callback(_log_failure)

    def _change(
        self,
        action: Action,
        namespace: str,
        sids: tuple[str, ...],
        room: Room,
        source: Room | None = None,
    ) -> Part:
        return self.change(Change(action, namespace, sids, (room,), source, asking_socket()))

    def _call(self, function: Callable[[], object], namespace: str, sid: str) -> object:
        return self.in_context(function, namespace, sid)

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
        if callback is not None:
            if rooms is None:
                raise ValueError("Cannot use callback without a room set.")
            callback = _once(callback)
        space, skip = namespace or "/", _sids(skip_sid)
        self.events.send(event, data, space, rooms, skip, callback, ignore_queue)

    def trigger_callback(self, sid: str, id: Any, data: Any) -> None:
        """Hand a client's acknowledgement to whoever waits for it."""
        if not self.events.answered(sid, id, data):
            self._get_logger().warning("Unknown callback received, ignoring.")

    # -- connecting and disconnecting -----------------------------------------------------

    def initialize(self) -> None:
        """Join the cluster: python-socketio calls this before it accepts the first client."""
        self._cluster.start()

    def set_server(self, server: Any) -> None:
        """Take charge of a server's sockets: python-socketio calls this."""
        super().set_server(server)
        # python-socketio forgets a socket when all of the application's handlers went well;
        # here it is forgotten in any case, or it would be a member for ever.
        self._departures.server = self.events.server = server
        self._handle_connect = server._handle_connect
        server._handle_connect = self._connecting
        server._handle_disconnect = self._departures.client_left
        server.disconnect = self._kick
        server._handle_eio_disconnect = self._session_ended  # what instrument() goes back to
        server.eio.on("disconnect", self._session_ended)

    def _connecting(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        space = namespace or "/"
        arriving = (space, eio_sid)
        self._registry.arrive(space, eio_sid)
        try:
            self._users[arriving] = self.load_user(self.server.environ[eio_sid], data)
        except Exception:  # the application's own: pre_connect() finds no user, and says no
            logger.exception("It could not be found out whose socket this is: it is refused.")
        try:
            self._handle_connect(eio_sid, namespace, data)
            self._accept_late(eio_sid, space)
        except BaseException:
            self._departures.turn_away(eio_sid, space)
            raise
        finally:
            self._users.pop(arriving, None)
            self._registry.turn_away(space, eio_sid)

    def _accept_late(self, eio_sid: str, namespace: str) -> None:
        # Before python-socketio 5.18 it names a socket once only, before the connect handler.
        socket = self._registry.get_by_eio_sid(namespace, eio_sid)
        if socket is not None and not socket.accepted:
            self.connect(socket.sid, namespace)

    def _session_ended(self, eio_sid: str, reason: Any) -> None:
        self._departures.session_ended(eio_sid, reason)

    def _kick(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a socket, wherever it is, for python-socketio's server."""
        space = namespace or "/"
        socket = self._registry.get(space, sid)
        if socket is not None:
            self._departures.dismiss(socket, space)
        elif isinstance(sid, str) and is_sid(sid) and not ignore_queue:
            self._ask("disconnect", space, (sid,))

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Register a socket that is connecting; None when the client has one here already."""
        if (namespace, eio_sid) not in self._users:
            return None  # its user could not be loaded
        self._cluster.wait_until_heard()  # it may have just started over
        worker = self._cluster.name
        sid = new_sid(worker)
        user = self._users[namespace, eio_sid]
        joining = self._registry.add(namespace, sid, eio_sid, user)
        if joining is None:
            return None
        self._changes.welcome(joining, Origin("call", worker))
        if self._departures.is_over(eio_sid) or worker != self._cluster.name:
            self._registry.remove(namespace, sid)  # the client, or this life, has just ended
            return None
        return sid

    def connect(self, sid: str, namespace: str) -> str | None:
        """Register that the application has accepted the socket."""
        socket = self._registry.accept(namespace, sid)
        if socket is None and is_sid(sid):
            return None  # the client has left while the connect handler was running
        if socket is None:
            # python-socketio may also name the Engine.IO session here, all in one step.
            new = self.pre_connect(sid, namespace)
            if new is None or not self.server.always_connect:
                return new  # and _accept_late() does the rest
            return self.connect(new, namespace)
        if socket.ended:  # by a call, while the connect handler was running
            self._departures.dismiss_all([socket], namespace)
        return sid

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Whether the socket is here and not, or no longer, accepted."""
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

    def disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Forget a socket."""
        self.basic_disconnect(sid, namespace)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Forget a socket of this worker, and tell who waits for its acknowledgement."""
        self._registry.remove(namespace, sid, Origin("disconnect"))
        self._announcer.send()
        self.events.forget(sid)

    # -- what python-socketio wants to know -----------------------------------------------

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


def _once(callback: Callable[..., object]) -> Callable[..., object]:
    """Return *callback* for the first of the sockets that answer; the others' is let go."""
    unanswered = threading.Semaphore()

    def answered(*args: Any) -> None:
        if unanswered.acquire(blocking=False):
            callback(*args)

    return answered


def _sids(skip_sid: Any) -> tuple[str, ...]:
    if skip_sid is None:
        return ()
    return (skip_sid,) if isinstance(skip_sid, str) else tuple(filter(None, skip_sid))


def _log_failure(future: Any) -> None:
    error = future.exception()
    if error is not None:
        logger.warning("A room change for another worker's socket: %s", error)
