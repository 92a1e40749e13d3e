"""The commands that change memberships, and those that send."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import click

from flask_rooms.api.events import DEFAULT_EVENT
from flask_rooms.api.sockets import Sockets
from flask_rooms.cli.completion import complete_room
from flask_rooms.cli.group import (
    connect,
    given_sids,
    json_option,
    namespace_option,
    require_all_asked,
    require_complete,
    room_argument,
    rooms,
    sids_or_user,
)
from flask_rooms.cli.output import number, show_json, show_outcome
from flask_rooms.membership.names import NOT_GIVEN
from flask_rooms.protocol.ids import is_sid
from flask_rooms.results import Outcome

F = TypeVar("F", bound=Callable[..., Any])


@rooms.command()
@room_argument
@sids_or_user
@namespace_option
@json_option
def join(room: str, sids: Any, user: str | None, namespace: str | None, as_json: bool) -> None:
    """Put sockets into ROOM."""
    socket = given_sids(sids, user)
    _conclude(connect()[1].join(socket, room, user=user, namespace=namespace), as_json, sids)


@rooms.command()
@room_argument
@sids_or_user
@namespace_option
@json_option
def leave(room: str, sids: Any, user: str | None, namespace: str | None, as_json: bool) -> None:
    """Take sockets out of ROOM."""
    socket = given_sids(sids, user)
    _conclude(connect()[1].leave(socket, room, user=user, namespace=namespace), as_json, sids)


@rooms.command("leave-all")
@click.argument("room", required=False, shell_complete=complete_room)
@click.option("--user", metavar="ID", help="The sockets of a user, in place of ROOM.")
@namespace_option
@json_option
def leave_all(room: str | None, user: str | None, namespace: str | None, as_json: bool) -> None:
    """Take the members of ROOM, or the socket of that ID, out of all rooms."""
    if room is None and user is None:
        raise click.UsageError("Give a room, a socket ID, or --user.")
    whose = NOT_GIVEN if room is None else room
    named = () if room is None else (room,)
    _conclude(connect()[1].leave_all(whose, user=user, namespace=namespace), as_json, named)


@rooms.command()
@sids_or_user
@namespace_option
@json_option
def disconnect(sids: Any, user: str | None, namespace: str | None, as_json: bool) -> None:
    """Disconnect sockets; their clients do not reconnect automatically."""
    socket = given_sids(sids, user)
    _conclude(connect()[1].disconnect(socket, user=user, namespace=namespace), as_json, sids)


@rooms.command()
@room_argument
@namespace_option
@json_option
def recheck(room: str, namespace: str | None, as_json: bool) -> None:
    """Ask the guard of ROOM about all its members, and remove those refused."""
    _conclude(connect()[1]._recheck(room, None, namespace), as_json)


def _conclude(future: Future[Outcome], as_json: bool, named: Sequence[str] = ()) -> None:
    """Show the outcome; the workers of sockets that are named, and found, are enough for it."""
    outcome = show_outcome(future, as_json)
    if outcome.unknown or not (named and all(map(is_sid, named))):
        require_all_asked()


def _event_options(command: F) -> F:
    event = click.option(
        "--event", default=DEFAULT_EVENT, show_default=True, help="The name of the event."
    )
    parse = click.option("--parse", is_flag=True, help="DATA is JSON, not text.")
    return event(parse(namespace_option(json_option(command))))


@rooms.command()
@room_argument
@click.argument("data")
@_event_options
def broadcast(
    room: str, data: str, event: str, parse: bool, namespace: str | None, as_json: bool
) -> None:
    """Send DATA to the members of ROOM, and wait until every worker has received it."""
    value = _parsed(data) if parse else data
    sockets = connect()[1]
    sockets.broadcast(room, event, value, namespace=namespace)
    _wait_until_received(sockets, as_json)


@rooms.command()
@click.argument("data")
@_event_options
def blast(data: str, event: str, parse: bool, namespace: str | None, as_json: bool) -> None:
    """Send DATA to every socket, and wait until every worker has received it."""
    value = _parsed(data) if parse else data
    sockets = connect()[1]
    sockets.blast(event, value, namespace=namespace)
    _wait_until_received(sockets, as_json)


def _wait_until_received(sockets: Sockets, as_json: bool) -> None:
    answer = sockets.workers()
    others = len(answer.value) - 1
    if as_json:
        show_json({"workers": others, "complete": answer.complete, "missing": answer.missing})
    require_complete(answer)
    if not as_json:
        click.echo(f"{number(others, 'other worker')} {'has' if others == 1 else 'have'} it.")


def _parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise click.BadParameter(f"DATA is not JSON: {error}") from None
