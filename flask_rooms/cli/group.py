"""What the commands of `flask rooms` share: options, the cluster, errors and exit statuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click
from flask.cli import AppGroup

from flask_rooms.api.check import (
    ONLY_ITSELF,
    STATUSES,
    Finding,
    of_broker,
    unanswered,
    unheard,
)
from flask_rooms.api.sockets import Sockets
from flask_rooms.backends import MemoryBackend
from flask_rooms.cli.completion import complete_room
from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import BackendUnavailable, RoomsError, Unconfirmed
from flask_rooms.globals import current_parts
from flask_rooms.membership.names import NOT_GIVEN, NotGiven
from flask_rooms.protocol.ids import is_sid
from flask_rooms.results import Answer

F = TypeVar("F", bound=Callable[..., Any])

#: Error -> the kind of finding whose exit status it has. Other errors have status 1.
_KINDS: tuple[tuple[type[RoomsError], str], ...] = (
    (Unconfirmed, "silent"),
    (BackendUnavailable, "broker"),
)


class Commands(AppGroup):
    """Commands that print an error of Flask-Rooms as one line, and exit with its status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except RoomsError as error:
            status = next((STATUSES[kind] for of, kind in _KINDS if isinstance(error, of)), 1)
            fail(str(error), status)


rooms = Commands("rooms", help="Show and change the members of rooms, on every worker.")


def fail(message: str, status: int) -> NoReturn:
    """Print a message, and end the command with a status."""
    click.echo(f"Error: {message}", err=True)
    raise click.exceptions.Exit(status)


# -- options ----------------------------------------------------------------------------------


def namespace_option(command: F) -> F:
    """Add the option of a namespace."""
    return click.option("-n", "--namespace", metavar="NAME", help="The default is /.")(command)


def json_option(command: F) -> F:
    """Add the option to print JSON."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def room_argument(command: F) -> F:
    """Add the argument of a room, which the shell completes."""
    return click.argument("room", shell_complete=complete_room)(command)


def sids_or_user(command: F) -> F:
    """Add socket IDs as arguments, and the option of a user in place of them."""
    option = click.option("--user", metavar="ID", help="All sockets of a user, in place of SIDs.")
    return click.argument("sids", nargs=-1, metavar="[SID]...")(option(command))


def given_sids(sids: tuple[str, ...], user: str | None) -> tuple[str, ...] | NotGiven:
    """Return the socket IDs that were given, or that a user was given in place of them."""
    if not sids and user is None:
        raise click.UsageError("Give a socket ID, or several, or --user.")
    if user is None:
        require_sids(*sids)
    return sids or NOT_GIVEN


def require_sids(*sids: str) -> None:
    """End the command unless all of these are socket IDs, with where to find them."""
    if not all(map(is_sid, sids)):
        it = "This is not a socket ID" if len(sids) == 1 else "One of these is not a socket ID"
        fail(f"{it}: `flask rooms members ROOM` prints those of a room, one in a line.", 1)


# -- the cluster ------------------------------------------------------------------------------


def connect() -> tuple[Cluster, Sockets]:
    """Join the cluster, and return it and the calls."""
    parts = current_parts()
    cluster = parts.cluster
    cluster.start()
    require_none(of_broker(cluster))
    if isinstance(cluster.backend, MemoryBackend):
        click.echo(ONLY_ITSELF, err=True)
    return cluster, parts.sockets


def require_complete(answer: Answer[Any]) -> None:
    """End the command unless every worker has answered."""
    require_none(unanswered(current_parts().cluster, answer))


def require_all_asked() -> None:
    """End the command if a worker is connected that was not asked."""
    require_none(unheard(current_parts().cluster))


def require_none(finding: Finding | None) -> None:
    """End the command with the status of what was found, if it was."""
    if finding is not None:
        fail(finding.message, finding.status)
