"""Rules over the names of rooms, as `app.route()` has them over paths."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from flask_rooms.errors import ConfigurationError
from flask_rooms.protocol.messages import Room

F = TypeVar("F")
R = TypeVar("R", bound="Rules[Any]")

#: The rule for the names that no other rule matches, whatever characters they have.
EVERYTHING_ELSE = "*"

#: The name of a variable in a rule, and what stands before it.
_VARIABLE = re.compile(r"(<(?:[^<>]*:)?)[^<>:]*>")


class Rules(Generic[F]):
    """
    What the application has registered, such as functions, by rules over the names of rooms.

    Attributes:
        are_empty: Whether there is none.
    """

    def __init__(self) -> None:
        self._rules = Map(merge_slashes=False)
        self._matcher = self._rules.bind("")
        self._registered: dict[str, F] = {}  # by rule, without the names of variables
        self._rule_of: dict[str, str] = {}
        self.are_empty = True

    def add(self, rule: str, function: F) -> None:
        """
        Register something for the rooms whose names *rule* matches.

        What a factory registers again, each time that it is called, replaces the earlier one.

        Raises:
            ConfigurationError: *rule* is not one of werkzeug's routing rules, or something else is
                registered for it.
        """
        require_rule(rule)
        key = _VARIABLE.sub(r"\1>", rule)
        if key in self._registered:
            if not _is_same(self._registered[key], function):
                raise ConfigurationError(
                    f"{rule!r} is registered already, and what is registered for it now would "
                    "never be asked: decide in one function, or write another rule."
                )
        elif rule != EVERYTHING_ELSE:
            try:
                self._rules.add(Rule(_as_path(rule), endpoint=key))
            except (LookupError, SyntaxError, TypeError, ValueError) as error:
                raise _not_a_rule(rule, error) from error
        self._registered[key] = function
        self._rule_of.setdefault(key, rule)
        self.are_empty = False

    def copy(self: R) -> R:
        """Return the same for another application."""
        other = type(self)()
        for key, function in self._registered.items():
            other.add(self._rule_of[key], function)
        return other

    def match(self, room: Room) -> tuple[F, dict[str, Any]] | None:
        """Return what is registered for a room, with the arguments; None if no rule matches."""
        if self.are_empty:
            return None
        # Flask-SocketIO's join_room(1) is matched as "1": a rule does not know the difference.
        name = str(room)
        try:
            key, arguments = self._matcher.match(_as_path(name), method="GET")
        except HTTPException:  # not found, or a redirect to something else
            if EVERYTHING_ELSE not in self._registered:
                return None
            return self._registered[EVERYTHING_ELSE], {"room": name}
        return self._registered[key], dict(arguments)


def require_rule(rule: object) -> None:
    """Raise ConfigurationError unless *rule* may be one: a decorator may lack its argument."""
    if not isinstance(rule, str):
        raise _not_a_rule(rule, "it is not a string")


def _not_a_rule(rule: object, why: object) -> ConfigurationError:
    return ConfigurationError(
        f"{rule!r} is not a rule for the names of rooms ({why}): write it as in app.route(), such "
        'as "team:<int:id>".'
    )


def _is_same(one: object, other: object) -> bool:
    """Whether two are equal, or functions that the same lines have made."""
    code = getattr(one, "__code__", None)
    return one == other or (code is not None and code == getattr(other, "__code__", None))


def _as_path(name: str) -> str:
    # Paths begin with a slash, and werkzeug strips the slashes that a name begins with.
    return f"/={name}"
