"""Rules over the names of rooms, as `app.route()` has them over paths."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from flask_rooms.errors import ConfigurationError
from flask_rooms.protocol.messages import Room

F = TypeVar("F")

#: The rule for the names that no other rule matches, whatever characters they have.
EVERYTHING_ELSE = "*"


class Rules(Generic[F]):
    """
    What the application has registered, such as functions, by rules over the names of rooms.

    Attributes:
        are_empty: Whether there is none.
    """

    def __init__(self) -> None:
        self._rules = Map(merge_slashes=False)
        self._matcher = self._rules.bind("")
        self._default: F | None = None
        self.are_empty = True

    def add(self, rule: str, function: F) -> None:
        """
        Register something for the rooms whose names *rule* matches.

        What comes later for everything else replaces the earlier one.

        Raises:
            ConfigurationError: *rule* is not one of werkzeug's routing rules.
        """
        try:
            if not isinstance(rule, str):
                raise TypeError("it is not a string")
            if rule == EVERYTHING_ELSE:
                self._default = function
            else:
                self._rules.add(Rule(_as_path(rule), endpoint=function))
            self.are_empty = False
        except (LookupError, SyntaxError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{rule!r} is not a rule for the names of rooms ({error}): write it as in "
                'app.route(), such as "team:<int:id>".'
            ) from error

    def match(self, room: Room) -> tuple[F, dict[str, Any]] | None:
        """Return what is registered for a room, with the arguments; None if no rule matches."""
        if self.are_empty:
            return None
        # Flask-SocketIO's join_room(1) is matched as "1": a rule does not know the difference.
        name = str(room)
        try:
            function, arguments = self._matcher.match(_as_path(name), method="GET")
        except HTTPException:  # not found, or a redirect to something else
            return None if self._default is None else (self._default, {"room": name})
        return function, dict(arguments)


def _as_path(name: str) -> str:
    # Paths begin with a slash, and werkzeug strips the slashes that a name begins with.
    return f"/={name}"
