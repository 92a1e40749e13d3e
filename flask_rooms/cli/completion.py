"""Completes the names of rooms in a shell, by asking the workers."""

from __future__ import annotations

import logging
from contextlib import suppress

import click
from click.shell_completion import CompletionItem
from flask.cli import ScriptInfo

from flask_rooms.globals import parts_of

#: Seconds to wait for the workers: a person is waiting.
PATIENCE = 1.0
#: How many names are offered at most.
MOST = 100


def complete_room(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of the rooms that begin with *incomplete*; none where anything fails."""
    logging.getLogger("flask_rooms").setLevel(logging.CRITICAL + 1)  # it would write into the line
    with suppress(Exception):
        app = ctx.ensure_object(ScriptInfo).load_app()
        with app.app_context():
            namespace = ctx.params.get("namespace")
            sockets = parts_of(app).sockets
            found = sockets.rooms(incomplete, namespace=namespace, timeout=PATIENCE).value
        # A client may have chosen a name that means something to the shell's own protocol.
        names = [name for name in map(str, found) if name.isprintable()]
        return [CompletionItem(name) for name in sorted(names)[:MOST]]
    return []
