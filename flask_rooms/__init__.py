"""Rooms for Flask: any route moves sockets of any worker, and learns when that is done."""

from flask_rooms.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    InvalidArgument,
    InvalidRoom,
    InvalidSocket,
    NotASocketRequest,
    Refused,
    RoomsError,
    Unconfirmed,
)
from flask_rooms.extension import Rooms
from flask_rooms.globals import request, sockets
from flask_rooms.protocol.messages import Room
from flask_rooms.results import Answer, Outcome

__all__ = [
    "Answer",
    "BackendError",
    "BackendUnavailable",
    "ConfigurationError",
    "InvalidArgument",
    "InvalidRoom",
    "InvalidSocket",
    "NotASocketRequest",
    "Outcome",
    "Refused",
    "Room",
    "Rooms",
    "RoomsError",
    "Unconfirmed",
    "request",
    "sockets",
]

# The one place where the version is written: pyproject.toml reads it here.
__version__ = "0.1.0"
