"""
The routes that join and leave rooms.

`leave_fun_room` is the example in the documentation of Sails' sails.sockets.leave().
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from flask_rooms import request, sockets

bp = Blueprint("fun_rooms", __name__)


@bp.put("/leave-fun-room")
def leave_fun_room() -> ResponseReturnValue:
    """Take the socket of the request out of a room."""
    room = param("roomName")
    if room is None:
        return {"message": "`roomName` is required."}, 400
    if not request.is_socket:
        return {"message": "This endpoints only supports socket requests."}, 400
    sockets.leave(request, room).result()
    return {"message": f"Left a fun room called {room}!"}


@bp.put("/join-fun-room")
def join_fun_room() -> ResponseReturnValue:
    """Put the socket of the request into a room."""
    room = param("roomName")
    if room is None:
        return {"message": "`roomName` is required."}, 400
    if not request.is_socket:
        return {"message": "This endpoints only supports socket requests."}, 400
    sockets.join(request, room).result()
    return {"message": f"Joined a fun room called {room}!"}


@bp.put("/leave-fun-room-by-id")
def leave_fun_room_by_id() -> ResponseReturnValue:
    """Take sockets out of a room by their IDs; also over HTTP."""
    room, socket_ids = param("roomName"), param("socketIds")
    if room is None:
        return {"message": "`roomName` is required."}, 400
    if socket_ids is None:
        return {"message": "`socketIds` is required."}, 400
    outcome = sockets.leave(socket_ids, room).result()
    return {"message": f"{outcome.changed} left a fun room called {room}!"}


def param(name: str) -> Any:
    """Return the parameter *name* of the JSON body or the query string, or None."""
    body = request.get_json(silent=True)
    value = body.get(name) if isinstance(body, dict) else None
    return request.values.get(name) if value is None else value
