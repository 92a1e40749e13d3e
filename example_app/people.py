"""The service behind the routes: who is connected, who may enter, and who is banned."""

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

# A room that nobody is ever in: leaving it changes nothing, but the outcome names the sockets
# that are unknown to the whole cluster, as are those of a worker that was killed.
NOWHERE = secrets.token_urlsafe()


class UnknownUser(LookupError):
    """There is no user of that ID."""


class Banned(Exception):
    """The person is banned from all rooms."""


def connected(name: str, socket_id: str) -> User:
    """Note that the person called *name*, who may be new, has one more socket."""
    db.session.execute(insert(User).values(name=name).on_conflict_do_nothing())
    user = db.session.scalars(select(User).filter_by(name=name)).one()
    db.session.add(Connection(socket_id=socket_id, user_id=user.id))
    db.session.commit()
    return user


def forget(socket_ids: Iterable[str]) -> None:
    """Note that these sockets are gone."""
    db.session.execute(delete(Connection).where(Connection.socket_id.in_(tuple(socket_ids))))
    db.session.commit()


def forget_lost(user_id: int) -> None:
    """
    Forget those sockets of a person that no worker holds any more.

    Those of a worker that was killed are, which could not tell the database.

    Args:
        user_id: The person's ID.
    """
    try:
        forget(sockets.leave(_socket_ids(user_id), NOWHERE).result().unknown)
    except RoomsError as error:  # A worker is mute: the next connection asks again.
        log.warning("Whether sockets were lost is not known yet: %s", error)


def of_socket(socket_id: str) -> User:
    """
    Return the person behind a socket, as the database has them now.

    Args:
        socket_id: The socket's ID.

    Raises:
        UnknownUser: The socket has disconnected.
    """
    found = select(User).join(Connection).where(Connection.socket_id == socket_id)
    user: User | None = db.session.scalar(found.execution_options(populate_existing=True))
    if user is None:
        raise UnknownUser(f"Nobody is connected with the socket {socket_id}.")
    return user


def allowed(socket_id: str) -> User:
    """
    Return the person behind a socket, who must not be banned.

    Args:
        socket_id: The socket's ID.

    Raises:
        Banned: This person is banned.
        UnknownUser: The socket has disconnected.
    """
    user = of_socket(socket_id)
    if user.banned:
        raise Banned(f"{user.name} is banned.")
    return user


def enter(request: Request, room: str) -> None:
    """
    Join a room, unless banned.

    Args:
        request: The socket request.
        room: The room's name.

    Raises:
        Banned: The person behind the socket is banned, and not in the room.
    """
    user = allowed(sockets.get_id(request))
    sockets.join(request, room).result()
    db.session.execute(insert(Visit).values(user_id=user.id, room=room).on_conflict_do_nothing())
    db.session.commit()
    try:
        # A ban that comes later finds the visit; one that came meanwhile is seen here.
        allowed(sockets.get_id(request))
    except Banned:
        sockets.leave(request, room).result()
        raise


def ban_user(user_id: int) -> int:
    """Ban one person; see ban_users()."""
    return ban_users([user_id])


def ban_users(user_ids: Collection[int]) -> int:
    """
    Ban people, whose sockets leave all rooms, whichever workers hold them.

    When this returns, all of it has happened. When it raises Unconfirmed, they are banned
    and may still be in a room: calling again is safe.

    Args:
        user_ids: Their IDs.

    Returns:
        How many live sockets they have: none is fine, the ban holds for later ones.

    Raises:
        UnknownUser: There is nobody of such an ID; nobody has been banned.
        Unconfirmed: A worker has not confirmed in time.
        BackendUnavailable: The other workers cannot be reached.
    """
    _set_banned(user_ids, True)
    socket_ids = {user_id: _socket_ids(user_id) for user_id in user_ids}
    leaving = [sockets.leave(socket_ids[user_id], _rooms(user_id)) for user_id in user_ids]
    wait(leaving)  # for all of them together; each ends in ROOMS_CONFIRM_TIMEOUT at the latest
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
    Lift a person's ban; nobody is put back into a room.

    Args:
        user_id: The person's ID.

    Raises:
        UnknownUser: There is nobody of that ID.
    """
    _set_banned([user_id], False)


def everybody() -> list[dict[str, Any]]:
    """Return all people, by name, as JSON has them."""
    return [
        {"id": user.id, "name": user.name, "banned": user.banned, "tabs": len(user.connections)}
        for user in db.session.scalars(select(User).order_by(User.name))
    ]


def announce() -> None:
    """Tell every page who is there."""
    try:
        sockets.blast("people", everybody())
    except RoomsError as error:  # A page that misses this one is right again with the next.
        log.warning("The pages of other workers do not know yet who is there: %s", error)


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
