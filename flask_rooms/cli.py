"""`flask rooms`, the calls of `sockets` on the command line; each command joins as a worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import asdict
from datetime import timedelta
from typing import Any, TypeVar

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from flask_rooms.api.arguments import NOT_GIVEN, NotGiven
from flask_rooms.api.check import ONLY_ITSELF, described, of_broker, unanswered
from flask_rooms.api.check import check as run_check
from flask_rooms.api.queries import By
from flask_rooms.api.sockets import DEFAULT_EVENT, Sockets
from flask_rooms.backends import MemoryBackend
from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import RoomsError
from flask_rooms.globals import parts_of
from flask_rooms.results import Answer, Outcome, WorkerInfo

F = TypeVar("F", bound=Callable[..., Any])


class _Commands(AppGroup):
    """Commands that print an error of Flask-Rooms as one line, and exit with status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RoomsError as error:
            raise click.ClickException(str(error)) from None


rooms = _Commands("rooms", help="Show and change the members of rooms, on every worker.")


def add_commands(app: Flask) -> None:
    """Add the commands to an application, unless it has commands of the same name."""
    if rooms.name not in app.cli.commands:
        app.cli.add_command(rooms)


def _namespace(command: F) -> F:
    return click.option("-n", "--namespace", metavar="NAME", help="The default is /.")(command)


def _json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _sids_or_user(command: F) -> F:
    option = click.option("--user", metavar="ID", help="All sockets of a user, in place of SIDs.")
    return click.argument("sids", nargs=-1, metavar="[SID]...")(option(command))


# -- queries ----------------------------------------------------------------------------------


@rooms.command()
@_json
def workers(as_json: bool) -> None:
    """List the workers, including this command: name, process ID, host, version and age."""
    cluster, sockets = _connect()
    answer = sockets.workers()
    found = sorted(answer.value)
    value = {str(one): vars(one) for one in found} if as_json else {}
    _show(answer, value, [_row(one, cluster.name) for one in found], as_json, this=cluster.name)


@rooms.command("list")
@click.option("--prefix", default="", metavar="TEXT", help="Only rooms whose names start with it.")
@_namespace
@_json
def list_(prefix: str, namespace: str | None, as_json: bool) -> None:
    """List the rooms and the number of their members."""
    answer = _sockets().rooms(prefix, namespace=namespace)
    value = {str(room): answer.value[room] for room in sorted(answer.value, key=str)}
    lines = [f"{count}\t{_printable(room)}" for room, count in value.items()]
    _show(answer, value, lines, as_json)


@rooms.command()
@click.argument("room")
@click.option("--users", is_flag=True, help="User IDs in place of socket IDs.")
@_namespace
@_json
def members(room: str, users: bool, namespace: str | None, as_json: bool) -> None:
    """Print the socket IDs of the members of ROOM."""
    by: By = "user" if users else "socket"
    _show_names(_sockets().members(room, by=by, namespace=namespace), as_json)


@rooms.command()
@click.argument("sid")
@_namespace
@_json
def of(sid: str, namespace: str | None, as_json: bool) -> None:
    """Print the rooms of the socket SID."""
    _show_names(_sockets().rooms_of(sid, namespace=namespace), as_json)


# -- changes ----------------------------------------------------------------------------------


@rooms.command()
@click.argument("room")
@_sids_or_user
@_namespace
@_json
def join(room: str, sids: Any, user: str | None, namespace: str | None, as_json: bool) -> None:
    """Put sockets into ROOM."""
    socket = _given(sids, user)
    future = _sockets().join(socket, room, user=user, namespace=namespace)
    _show_outcome(future, as_json)


@rooms.command()
@click.argument("room")
@_sids_or_user
@_namespace
@_json
def leave(room: str, sids: Any, user: str | None, namespace: str | None, as_json: bool) -> None:
    """Take sockets out of ROOM."""
    socket = _given(sids, user)
    future = _sockets().leave(socket, room, user=user, namespace=namespace)
    _show_outcome(future, as_json)


@rooms.command()
@_sids_or_user
@_namespace
@_json
def disconnect(sids: Any, user: str | None, namespace: str | None, as_json: bool) -> None:
    """Disconnect sockets; their clients do not reconnect automatically."""
    socket = _given(sids, user)
    future = _sockets().disconnect(socket, user=user, namespace=namespace)
    _show_outcome(future, as_json)


@rooms.command()
@click.argument("room")
@click.argument("data")
@click.option("--event", default=DEFAULT_EVENT, show_default=True, help="The name of the event.")
@click.option("--json", "as_json", is_flag=True, help="DATA is JSON, not text.")
@_namespace
def broadcast(room: str, data: str, event: str, as_json: bool, namespace: str | None) -> None:
    """Send DATA to the members of ROOM, and wait until every worker has received it."""
    sockets = _sockets()
    sockets.broadcast(room, event, _parsed(data) if as_json else data, namespace=namespace)
    answer = sockets.workers()
    _require_complete(answer)
    click.echo(f"{len(answer.value) - 1} other workers have it.")


@rooms.command()
@_json
def check(as_json: bool) -> None:
    """Check whether this command reaches the other workers; if not, print what to do."""
    cluster = _cluster()
    cluster.start()
    found = run_check(cluster, current_app.extensions["rooms"].sockets)
    others = sorted(found.workers - {cluster.name})
    if as_json:
        whole = {"kind": found.kind, "status": found.status, "message": found.message}
        backend = {"this": cluster.name, "backend": repr(cluster.backend)}
        workers = {str(one): vars(one) for one in sorted(found.workers)}
        click.echo(json.dumps({**whole, **backend, "workers": workers}))
    elif found.status == 0:
        click.echo(f"Other workers that have answered on {cluster.backend!r}: {described(others)}")
    elif found.kind == "memory":
        click.echo(found.message, err=True)
    else:
        click.echo(f"Error: {found.message}", err=True)
    raise click.exceptions.Exit(found.status)


# -- helpers ----------------------------------------------------------------------------------


def _connect() -> tuple[Cluster, Sockets]:
    """Join the cluster, and return it and this worker's sockets."""
    cluster = _cluster()
    cluster.start()
    finding = of_broker(cluster)
    if finding is not None:
        raise click.ClickException(finding.message)
    if isinstance(cluster.backend, MemoryBackend):
        click.echo(ONLY_ITSELF, err=True)
    sockets: Sockets = current_app.extensions["rooms"].sockets
    return cluster, sockets


def _cluster() -> Cluster:
    return parts_of(current_app).cluster


def _sockets() -> Sockets:
    return _connect()[1]


def _given(sids: tuple[str, ...], user: str | None) -> tuple[str, ...] | NotGiven:
    if not sids and user is None:
        raise click.UsageError("Give a socket ID, or several, or --user.")
    return sids or NOT_GIVEN


def _parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise click.BadParameter(f"DATA is not JSON: {error}") from None


def _show_names(answer: Answer[Any], as_json: bool) -> None:
    names = sorted(map(str, answer.value))
    _show(answer, names, map(_printable, names), as_json)


def _show(
    answer: Answer[Any], value: Any, lines: Iterable[str], as_json: bool, **more: str
) -> None:
    if as_json:
        whole = {"value": value, "complete": answer.complete, "missing": answer.missing}
        click.echo(json.dumps({**whole, **more}))
    else:
        for line in lines:
            click.echo(line)
    _require_complete(answer)


def _require_complete(answer: Answer[Any]) -> None:
    """Exit with status 1 unless every worker has answered."""
    finding = unanswered(_cluster(), answer)
    if finding is not None:
        raise click.ClickException(finding.message)


def _show_outcome(future: Future[Outcome], as_json: bool) -> None:
    outcome = future.result()
    if as_json:
        click.echo(json.dumps(asdict(outcome)))
        return
    click.echo(f"changed: {outcome.changed}, unchanged: {outcome.unchanged}")
    for sid in outcome.unknown:
        click.echo(f"unknown: {sid}")


def _row(worker: WorkerInfo, this: str) -> str:
    """Return a worker as a line with columns: name, process, host, version, age."""
    place = f"{worker.pid or '-'}\t{_printable(worker.host or '-')}"
    what = f"{_printable(worker.version or '-')}\t{_span(worker.age)}"
    return f"{worker}\t{place}\t{what}" + ("\tthis command" if worker == this else "")


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else str(timedelta(seconds=int(seconds)))


def _printable(name: str) -> str:
    # Clients may choose names; escape control characters, which would reach the terminal.
    return name if name.isprintable() else repr(name)
