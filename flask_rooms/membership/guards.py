"""Guards: functions of the application that decide which sockets may join which rooms."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from flask import current_app

from flask_rooms.membership.rules import Rules
from flask_rooms.protocol.messages import Room

logger = logging.getLogger("flask_rooms.membership")

Guard: TypeAlias = "Callable[..., object]"

#: Calls a function in the context of a socket, given namespace and socket ID.
InContext: TypeAlias = "Callable[[Callable[[], object], str, str], object]"


class Guards(Rules[Guard]):
    """The guards of one Rooms, by rules over the names of rooms."""

    def guarded(self, rooms: Iterable[Room]) -> list[tuple[Guard, dict[str, Any]]]:
        """Return the guards of those rooms that have one, with the arguments of each."""
        if self.are_empty:
            return []
        found = (self.match(room) for room in rooms)
        return [match for match in found if match is not None]


def may_join(
    guards: list[tuple[Guard, dict[str, Any]]], namespace: str, sid: str, call: InContext
) -> bool:
    """Return whether all *guards* let a socket in; one that raises does not."""
    try:
        return all(
            call(lambda guard=guard, given=given: _ask(guard, given), namespace, sid)  # type: ignore[misc]
            for guard, given in guards
        )
    except BaseException:  # of the application, such as SystemExit: what is not checked is refused
        logger.exception("A guard has failed, and refused %s.", sid)
        return False


def _ask(guard: Guard, given: dict[str, Any]) -> object:
    # An async guard is run as Flask runs an async view: its coroutine itself would be a yes.
    answer = current_app.ensure_sync(guard)(**given)
    if inspect.isawaitable(answer) or inspect.isgenerator(answer):
        raise TypeError(
            f"A guard returns whether a socket may join, not a {type(answer).__name__}."
        )
    return answer
