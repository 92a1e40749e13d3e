"""The commands that look: workers, list, members, show, of."""

from __future__ import annotations

from typing import Any

import click

from flask_rooms.api.queries import By
from flask_rooms.cli.group import (
    connect,
    json_option,
    namespace_option,
    require_complete,
    require_sids,
    room_argument,
    rooms,
)
from flask_rooms.cli.output import answer_as_json, number, printable, show_json, show_table, span
from flask_rooms.protocol.ids import owner_of
from flask_rooms.results import Answer, WorkerInfo


@rooms.command()
@json_option
def workers(as_json: bool) -> None:
    """List the workers, including this command: name, process ID, host, version and age."""
    cluster, sockets = connect()
    answer = sockets.workers()
    found = sorted(answer.value)
    if as_json:
        value = {str(one): vars(one) for one in found}
        show_json(answer_as_json(answer, value) | {"this": cluster.name})
    else:
        rows = [_worker(one, cluster.name) for one in found]
        show_table(["WORKER", "PID", "HOST", "VERSION", "AGE", "NOTE"], rows)
    require_complete(answer)


def _worker(one: WorkerInfo, this: str) -> list[object]:
    note = "this command" if one == this else ""
    return [one, one.pid or "-", one.host or "-", one.version or "-", span(one.age), note]


@rooms.command("list")
@click.option("--prefix", default="", metavar="TEXT", help="Only rooms whose names start with it.")
@namespace_option
@json_option
def list_(prefix: str, namespace: str | None, as_json: bool) -> None:
    """List the rooms and the number of their members, the largest first."""
    answer = connect()[1].rooms(prefix, namespace=namespace)
    found = sorted(answer.value.items(), key=lambda item: (-item[1], str(item[0])))
    if as_json:
        show_json(answer_as_json(answer, {str(room): count for room, count in found}))
    else:
        show_table(["MEMBERS", "ROOM"], [(count, room) for room, count in found])
    require_complete(answer)


@rooms.command()
@room_argument
@click.option("--users", is_flag=True, help="User IDs in place of socket IDs.")
@namespace_option
@json_option
def members(room: str, users: bool, namespace: str | None, as_json: bool) -> None:
    """Print the socket IDs of the members of ROOM, one in a line."""
    by: By = "user" if users else "socket"
    _show_names(connect()[1].members(room, by=by, namespace=namespace), as_json)


@rooms.command()
@room_argument
@namespace_option
@json_option
def show(room: str, namespace: str | None, as_json: bool) -> None:
    """Show the sockets in ROOM, where each of them is, and the users."""
    cluster, sockets = connect()
    answer = sockets.members(room, namespace=namespace)
    users = sorted(sockets.members(room, by="user", namespace=namespace).value)
    owners = {sid: cluster.info(owner_of(sid)) for sid in sorted(answer.value)}
    if as_json:
        show_json(answer_as_json(answer, owners) | {"users": users})
    else:
        click.echo(f"{number(len(owners), 'socket')}, {number(len(users), 'user')}")
        rows = [(sid, one, one.pid or "-", one.host or "-") for sid, one in owners.items()]
        show_table(["SOCKET", "WORKER", "PID", "HOST"], rows)
        show_table(["USER"], [[user] for user in users])
    require_complete(answer)


@rooms.command()
@click.argument("sid")
@namespace_option
@json_option
def of(sid: str, namespace: str | None, as_json: bool) -> None:
    """Print the rooms of the socket SID, one in a line."""
    require_sids(sid)
    _show_names(connect()[1].rooms_of(sid, namespace=namespace), as_json)


def _show_names(answer: Answer[Any], as_json: bool) -> None:
    names = sorted(map(str, answer.value))
    if as_json:
        show_json(answer_as_json(answer, names))
    else:
        for name in names:
            click.echo(printable(name))
    require_complete(answer)
