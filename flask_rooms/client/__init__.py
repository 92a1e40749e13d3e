"""
Socket requests of Python programs, over python-socketio's clients.

`RoomsClient` is for `socketio.Client` and `socketio.SimpleClient`, `AsyncRoomsClient` for
`socketio.AsyncClient` and `socketio.AsyncSimpleClient`.
"""

from flask_rooms.client.asynchronous import AsyncRoomsClient
from flask_rooms.client.presence import PresenceDifference
from flask_rooms.client.responses import Response
from flask_rooms.client.standing import Repetition
from flask_rooms.client.threaded import RoomsClient
from flask_rooms.errors import Disconnected, RequestFailed, RequestTimeout

__all__ = [
    "AsyncRoomsClient",
    "Disconnected",
    "PresenceDifference",
    "Repetition",
    "RequestFailed",
    "RequestTimeout",
    "Response",
    "RoomsClient",
]
