"""The command that finds out what is wrong: check."""

from __future__ import annotations

import click

from flask_rooms.api.check import check as run_check
from flask_rooms.api.check import described
from flask_rooms.cli.group import fail, json_option, rooms
from flask_rooms.cli.output import show_json
from flask_rooms.globals import current_parts


@rooms.command()
@json_option
def check(as_json: bool) -> None:
    """Check whether this command reaches the other workers; if not, print what to do."""
    parts = current_parts()
    cluster = parts.cluster
    cluster.start()
    found = run_check(cluster, parts.sockets, parts.history)
    others = sorted(found.workers - {cluster.name})
    if as_json:
        whole = {"kind": found.kind, "status": found.status, "message": found.message}
        backend = {"this": cluster.name, "backend": repr(cluster.backend)}
        workers = {str(one): vars(one) for one in sorted(found.workers)}
        show_json({**whole, **backend, "workers": workers})
    elif found.status == 0:
        click.echo(f"Other workers that have answered on {cluster.backend!r}: {described(others)}")
    elif found.kind == "memory":
        click.echo(found.message, err=True)
    else:
        fail(found.message, found.status)
    raise click.exceptions.Exit(found.status)
