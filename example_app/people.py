"""The service behind the routes: connections, entry to rooms, and bans."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable
from concurrent.futures import wait
from typing import Any

from flask import Request
from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from example_app.models import Connection, User, Visit, db
from flask_rooms import RoomsError, sockets

log = logging.getLogger(__name__)

# A room without members. Leaving it changes nothing, but the outcome lists the sockets that no
# worker holds, such as those of a worker that was killed.
NOWHERE = secrets.token_urlsafe()


class UnknownUser(LookupError):
    """There is no user of that ID."""


class Banned(Exception):
    """The user is banned from all rooms."""


def add_connection(name: str, socket_id: str) -> User:
    """Add a socket to the user called *name*, who is created if necessary."""
    db.session.execute(insert(User).values(name=name).on_conflict_do_nothing())
    user = db.session.scalars(select(User).filter_by(name=name)).one()
    db.session.add(Connection(socket_id=socket_id, user_id=user.id))
    db.session.commit()
    return user


def forget(socket_ids: Iterable[str]) -> None:
    """Delete sockets that have disconnected."""
    db.session.execute(delete(Connection).where(Connection.socket_id.in_(tuple(socket_ids))))
    db.session.commit()


def forget_lost(user_id: int) -> None:
    """
    Delete the sockets of a user that no worker holds any more.

    A worker that was killed could not delete its sockets from the database.

    Args:
        user_id: The user's ID.
    """
    try:
        forget(sockets.leave(_socket_ids(user_id), NOWHERE).result().unknown)
    except RoomsError as error:  # Tried again with the user's next connection.
        log.warning("Cannot tell which sockets were lost: %s", error)


def user_of(socket_id: str) -> User:
    """
    Return the user of a socket, read from the database.

    Args:
        socket_id: The socket's ID.

    Raises:
        UnknownUser: The socket has disconnected.
    """
    found = select(User).join(Connection).where(Connection.socket_id == socket_id)
    user: User | None = db.session.scalar(found.execution_options(populate_existing=True))
    if user is None:
        raise UnknownUser(f"No user is connected with the socket {socket_id}.")
    return user


def allowed_user(socket_id: str) -> User:
    """
    Return the user of a socket, unless banned.

    Args:
        socket_id: The socket's ID.

    Raises:
        Banned: The user is banned.
        UnknownUser: The socket has disconnected.
    """
    user = user_of(socket_id)
    if user.banned:
        raise Banned(f"{user.name} is banned.")
    return user


def enter(request: Request, room: str) -> None:
    """
    Put the socket of a request into a room, unless its user is banned.

    Args:
        request: The socket request.
        room: The room's name.

    Raises:
        Banned: The user is banned, and the socket is not in the room.
    """
    user = allowed_user(sockets.get_id(request))
    sockets.join(request, room).result()
    db.session.execute(insert(Visit).values(user_id=user.id, room=room).on_conflict_do_nothing())
    db.session.commit()
    try:
        # A later ban finds the visit; one made since the first check is found here.
        allowed_user(sockets.get_id(request))
    except Banned:
        sockets.leave(request, room).result()
        raise


def ban_user(user_id: int) -> int:
    """Ban a user; see ban_users()."""
    return ban_users([user_id])


def ban_users(user_ids: Collection[int]) -> int:
    """
    Ban users, and take their sockets out of all rooms, on every worker.

    On return all sockets have left. After Unconfirmed the users are banned, but a socket may
    still be in a room; calling again is safe.

    Args:
        user_ids: The IDs of the users.

    Returns:
        The number of their connected sockets.

    Raises:
        UnknownUser: A user does not exist; no user has been banned.
        Unconfirmed: A worker has not confirmed in time.
        BackendUnavailable: The other workers cannot be reached.
    """
    _set_banned(user_ids, True)
    socket_ids = {user_id: _socket_ids(user_id) for user_id in user_ids}
    leaving = [sockets.leave(socket_ids[user_id], _rooms(user_id)) for user_id in user_ids]
    wait(leaving)  # at most ROOMS_CONFIRM_TIMEOUT, because the calls run concurrently
    gone = {socket_id for future in leaving for socket_id in future.result().unknown}
    forget(gone)
    db.session.execute(delete(Visit).where(Visit.user_id.in_(user_ids)))
    db.session.commit()
    live = {socket_id for ids in socket_ids.values() for socket_id in ids} - gone
    if live:
        sockets.broadcast(live, "banned", {"text": "You are banned, and in no room any more."})
    return len(live)


def forgive_user(user_id: int) -> None:
    """
    Lift a user's ban, without putting sockets back into rooms.

    Args:
        user_id: The user's ID.

    Raises:
        UnknownUser: The user does not exist.
    """
    _set_banned([user_id], False)


def all_users() -> list[dict[str, Any]]:
    """Return all users, ordered by name, for JSON."""
    return [
        {"id": user.id, "name": user.name, "banned": user.banned, "tabs": len(user.connections)}
        for user in db.session.scalars(select(User).order_by(User.name))
    ]


def announce() -> None:
    """Send the list of users to every page."""
    try:
        sockets.blast("people", all_users())
    except RoomsError as error:  # The next announcement corrects the pages that miss this one.
        log.warning("The pages of other workers have an old list of users: %s", error)


def _set_banned(user_ids: Collection[int], banned: bool) -> None:
    found = db.session.scalars(select(User).where(User.id.in_(user_ids))).all()
    for user_id in set(user_ids) - {user.id for user in found}:
        raise UnknownUser(f"There is no user with the ID {user_id}.")
    for user in found:
        user.banned = banned
    db.session.commit()


def _socket_ids(user_id: int) -> list[str]:
    return list(db.session.scalars(select(Connection.socket_id).filter_by(user_id=user_id)))


def _rooms(user_id: int) -> list[str]:
    return [NOWHERE, *db.session.scalars(select(Visit.room).filter_by(user_id=user_id))]
