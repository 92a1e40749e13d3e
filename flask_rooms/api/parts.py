"""The parts of one application."""

from __future__ import annotations

from dataclasses import dataclass

from flask_socketio import SocketIO

from flask_rooms.api.sockets import Sockets
from flask_rooms.cluster.driver import Cluster
from flask_rooms.history.keeper import Keeper
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.refusals import Refusals
from flask_rooms.membership.registry import Registry
from flask_rooms.server.acknowledgements import Acknowledgements
from flask_rooms.server.audit_log import AuditLog
from flask_rooms.server.disconnects import Disconnects
from flask_rooms.server.logins import Logins
from flask_rooms.server.serving import Serving
from flask_rooms.server.tells import Tells


@dataclass(frozen=True)
class Parts:
    """The objects of one application."""

    socketio: SocketIO
    cluster: Cluster
    sockets: Sockets
    registry: Registry
    disconnects: Disconnects
    acknowledgements: Acknowledgements
    refusals: Refusals
    serving: Serving
    logins: Logins
    signals: SignalQueue
    audit_log: AuditLog
    tells: Tells
    history: Keeper
