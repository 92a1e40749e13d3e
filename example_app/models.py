"""The database models: users, their sockets, and the rooms that they have been in."""

from __future__ import annotations

import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable


class Base(DeclarativeBase):
    """The declarative base of `db.Model`."""


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[name-defined]
    """A person, identified by name; a client without a name is the user "guest"."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    banned: Mapped[bool] = mapped_column(default=False)
    connections: Mapped[list[Connection]] = relationship()
    visits: Mapped[list[Visit]] = relationship()


class Connection(db.Model):  # type: ignore[name-defined]
    """A connected socket of a user, on any worker; one for each tab."""

    socket_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))


class Visit(db.Model):  # type: ignore[name-defined]
    """
    A room that a user has been in, and that a ban has to leave.

    Not a membership: only the workers that hold the sockets know those. An outdated visit does
    no harm, because leaving a room without being a member changes nothing.
    """

    user_id: Mapped[int] = mapped_column(ForeignKey(User.id), primary_key=True)
    room: Mapped[str] = mapped_column(primary_key=True)


def init_app(app: Flask, path: str | None) -> None:
    """
    Set up the database, and create its tables.

    Args:
        app: The application.
        path: The SQLite file; by default `people.sqlite` in the application's instance folder.
    """
    url = URL.create("sqlite", database=os.path.abspath(path) if path else "people.sqlite")
    app.config.setdefault("SQLALCHEMY_DATABASE_URI", url)
    # No pool: requests that wait for another worker would exhaust it.
    app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", {"poolclass": NullPool})
    db.init_app(app)
    with app.app_context(), db.engine.begin() as connection:
        for table in db.metadata.sorted_tables:
            # Not db.create_all(): it checks first, and races with other workers.
            connection.execute(CreateTable(table, if_not_exists=True))
