"""
The routes of users, for socket requests and HTTP.

Any user may ban any other: the example has neither passwords nor administrators.
"""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from example_app import people
from example_app.fun_rooms import param
from flask_rooms import request, sockets

bp = Blueprint("users", __name__)


@bp.get("/users")
def users() -> ResponseReturnValue:
    """Return all users."""
    return people.all_users()


@bp.get("/me")
def me() -> ResponseReturnValue:
    """Return the name, the socket ID and the worker of the request's socket."""
    if not request.is_socket:
        return {"message": "This endpoints only supports socket requests."}, 400
    socket_id = sockets.get_id(request)
    return {
        "name": people.user_of(socket_id).name,
        "socketId": socket_id,
        "worker": socket_id.partition("_")[0],  # a socket's ID names the worker that holds it
    }


@bp.put("/users/<int:user_id>/ban")
def ban(user_id: int) -> ResponseReturnValue:
    """Ban a user; the response is sent when all of the user's sockets have left all rooms."""
    return banned([user_id])


@bp.put("/users/ban")
def ban_many() -> ResponseReturnValue:
    """Ban several users at once."""
    user_ids = param("userIds")
    if not isinstance(user_ids, list) or not all(type(user_id) is int for user_id in user_ids):
        return {"message": "`userIds` is required, a list of numbers."}, 400
    return banned(user_ids)


def banned(user_ids: list[int]) -> ResponseReturnValue:
    """Ban users, and return in how many tabs they were."""
    try:
        tabs = people.ban_users(user_ids)
    finally:
        people.announce()  # They are banned even if a worker has not confirmed.
    where = "1 tab" if tabs == 1 else f"{tabs} tabs"
    return {"message": f"Banned, and taken out of all rooms in {where}."}


@bp.delete("/users/<int:user_id>/ban")
def forgive(user_id: int) -> ResponseReturnValue:
    """Lift a ban."""
    people.forgive_user(user_id)
    people.announce()
    return {"message": "No longer banned."}
