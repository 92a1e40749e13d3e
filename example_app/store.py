"""What the workers share: rooms, guests of private rooms, bans and messages, in one SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from flask import Flask, current_app

# Who is in which room is not here: the workers that hold the sockets know it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS rooms (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS guests (room TEXT, user TEXT, PRIMARY KEY (room, user));
CREATE TABLE IF NOT EXISTS bans (room TEXT, user TEXT, PRIMARY KEY (room, user));
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, room TEXT, user TEXT, key TEXT, text TEXT, at REAL,
    UNIQUE (room, user, key)
);
INSERT OR IGNORE INTO rooms VALUES ('lobby'), ('garden'), ('library');
"""

TIMEOUT = 10.0  # seconds to wait for another worker that writes


def init_app(app: Flask) -> None:
    """Create the tables, unless another worker has."""
    Path(app.config["DATABASE"]).parent.mkdir(parents=True, exist_ok=True)
    with closing(_connect(app)) as database:
        database.executescript(SCHEMA)


def sql(statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Execute a statement, and return its rows."""
    with closing(_connect(current_app)) as database:
        return database.execute(statement, values).fetchall()


def _connect(app: Flask) -> sqlite3.Connection:
    # Without an isolation level each statement is committed at once.
    return sqlite3.connect(app.config["DATABASE"], timeout=TIMEOUT, isolation_level=None)
