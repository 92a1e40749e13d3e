"""`flask rooms`: looks at rooms and changes them, on every worker, from the command line."""

from __future__ import annotations

from flask import Flask

from flask_rooms.cli import changes, checking, queries, top  # noqa: F401 - they add the commands
from flask_rooms.cli.group import rooms

__all__ = ["add_commands", "rooms"]


def add_commands(app: Flask) -> None:
    """Add the commands to an application, unless it has commands of the same name."""
    if rooms.name not in app.cli.commands:
        app.cli.add_command(rooms)
