"""What operators do on the admin page: each act is validated, carried out, and logged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from werkzeug.exceptions import BadRequest

from flask_rooms.api.parts import Parts
from flask_rooms.api.sockets import Sockets
from flask_rooms.errors import RoomsError
from flask_rooms.results import Outcome

#: Characters of a name in the log.
_NAME = 200


class BadAct(BadRequest):
    """What was asked for is no act."""


def _of_socket(given: dict[str, str]) -> dict[str, Any]:
    return {"user": given["user"]} if "user" in given else {"socket": given["sid"]}


def _leave(sockets: Sockets, given: dict[str, str]) -> Future[Outcome]:
    return sockets.leave(room=given["room"], namespace=given["namespace"], **_of_socket(given))


def _empty(sockets: Sockets, given: dict[str, str]) -> Future[Outcome]:
    rooms = given["room"]
    return sockets.remove_room_members_from_rooms(rooms, rooms, namespace=given["namespace"])


def _disconnect(sockets: Sockets, given: dict[str, str]) -> Future[Outcome]:
    return sockets.disconnect(namespace=given["namespace"], **_of_socket(given))


_WHO = ({"sid"}, {"user"})
#: Act -> what does it, and which fields it may have.
_ACTS: dict[str, tuple[Callable[[Sockets, dict[str, str]], Future[Outcome]], list[set[str]]]] = {
    "leave": (_leave, [{"room"} | who for who in _WHO]),
    "empty": (_empty, [{"room"}]),
    "disconnect": (_disconnect, [*_WHO]),
}


def perform(parts: Parts, who: str, asked: Any) -> dict[str, Any]:
    """
    Carry out an act, and wait for its outcome.

    Args:
        parts: The parts of the application.
        who: The operator.
        asked: `act`, `namespace`, and the `room`, `sid` or `user` that it is about.

    Returns:
        The outcome.

    Raises:
        BadAct: *asked* is no act.
        RoomsError: It is not confirmed, or one of the values is not valid.
    """
    act, given = _validated(asked)
    target = ", ".join(f"{name} {value[:_NAME]!r}" for name, value in sorted(given.items()))
    try:
        outcome = _ACTS[act][0](parts.sockets, given).result()
    except RoomsError as error:
        parts.audit_log.add(who, act, target, type(error).__name__)
        raise
    told = f"{outcome.changed} changed, {len(outcome.unknown)} unknown"
    parts.audit_log.add(who, act, target, told)
    return asdict(outcome)


def _validated(asked: Any) -> tuple[str, dict[str, str]]:
    if not isinstance(asked, dict) or not all(isinstance(one, str) for one in asked.values()):
        raise BadAct("An act is an object of strings.")
    given = {"namespace": "/", **asked}
    act = given.pop("act", "")
    if act not in _ACTS:
        raise BadAct(f"`act` is one of {', '.join(_ACTS)}.")
    if given.keys() - {"namespace"} not in _ACTS[act][1]:
        wanted = " or ".join(" and ".join(sorted(fields)) for fields in _ACTS[act][1])
        raise BadAct(f"{act} takes {wanted}, and may have a namespace.")
    return act, given
