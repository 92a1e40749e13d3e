"""Guards: functions of the application that decide which sockets may join which rooms."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from flask import current_app
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from flask_rooms.errors import ConfigurationError
from flask_rooms.protocol.messages import Room

logger = logging.getLogger("flask_rooms.membership")

Guard: TypeAlias = "Callable[..., object]"

#: Calls a function in the context of a socket, given namespace and socket ID.
InContext: TypeAlias = "Callable[[Callable[[], object], str, str], object]"


#: The rule for the names that no other rule matches, whatever characters they have.
EVERYTHING_ELSE = "*"


class Guards:
    """The guards of one Rooms, by rules over the names of rooms."""

    def __init__(self) -> None:
        self._rules = Map(merge_slashes=False)
        self._matcher = self._rules.bind("")
        self._is_empty = True
        self._default: Guard | None = None

    def add(self, rule: str, guard: Guard) -> None:
        """
        Let *guard* decide about the rooms whose names *rule* matches.

        A later guard for everything else replaces the earlier one.

        Raises:
            ConfigurationError: *rule* is not one of werkzeug's routing rules.
        """
        try:
            if not isinstance(rule, str):
                raise TypeError("it is not a string")
            if rule == EVERYTHING_ELSE:
                self._default = guard
            else:
                self._rules.add(Rule(_as_path(rule), endpoint=guard))
            self._is_empty = False
        except (LookupError, SyntaxError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{rule!r} is not a rule for the names of rooms ({error}): write it as in "
                'app.route(), such as "team:<int:id>".'
            ) from error

    def guarded(self, rooms: Iterable[Room]) -> list[tuple[Guard, dict[str, Any]]]:
        """Return the guards of those rooms that have one, with the arguments of each."""
        if self._is_empty:
            return []
        # Flask-SocketIO's join_room(1) is asked about as "1": a rule does not know the difference.
        found = (self._match(str(room)) for room in rooms)
        return [match for match in found if match is not None]

    def _match(self, room: str) -> tuple[Guard, dict[str, Any]] | None:
        try:
            guard, arguments = self._matcher.match(_as_path(room), method="GET")
        except HTTPException:  # not found, or a redirect to something else
            return None if self._default is None else (self._default, {"room": room})
        return guard, dict(arguments)


def _as_path(name: str) -> str:
    # Paths begin with a slash, and werkzeug strips the slashes that a name begins with.
    return f"/={name}"


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
