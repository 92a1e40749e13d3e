"""Rooms for Flask: any route moves any socket, on whichever worker, and hears that it happened."""

from flask_rooms.answers import Answer
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
from flask_rooms.extension import Rooms, sockets
from flask_rooms.outcome import Outcome

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
    "Rooms",
    "RoomsError",
    "Unconfirmed",
    "sockets",
]
