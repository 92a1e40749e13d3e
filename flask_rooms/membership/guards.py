"""Guards: functions of the application that decide which sockets may join which rooms."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from flask import Flask, current_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flask_rooms.backends.logs import safe_logging
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
            call(partial(_ask, partial(guard, **given)), namespace, sid) for guard, given in guards
        )
    except HTTPException:  # `abort(403)`, as views and decorators for views refuse
        return False
    except BaseException:  # of the application, such as SystemExit: what is not checked is refused
        with safe_logging():
            logger.exception("A guard has failed, and refused %s.", sid)
        return False


def _ask(guard: Guard) -> object:
    return ask(current_app, guard)


def ask(app: Flask, function: Callable[..., object], *args: Any) -> object:
    """
    Return what a function of the application decides.

    Raises:
        TypeError: What it returns is no decision, though it would count as a yes.
    """
    # An async function is run as Flask runs an async view: its coroutine itself would be a yes.
    answer = app.ensure_sync(function)(*args)
    # So would the response of a decorator for views, such as login_required, which refuses.
    if (
        inspect.isawaitable(answer)
        or inspect.isgenerator(answer)
        or isinstance(answer, (Response, HTTPException))
        or type(answer) is tuple  # a body and a status; the row of a database is a class of its own
    ):
        raise no_decision(answer)
    return answer


def no_decision(answer: object) -> TypeError:
    """Return the error of a guard or hook that has returned something else."""
    return TypeError(
        f"A guard or hook returns whether it allows something, not a {type(answer).__name__}."
    )
