"""What the example keeps in its database: people, and which sockets are theirs."""

from __future__ import annotations

import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable


class Base(DeclarativeBase):
    """The declarative base that Flask-SQLAlchemy builds `db.Model` on."""


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[name-defined]
    """A person, known by name; whoever brings no name is the person called guest."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    banned: Mapped[bool] = mapped_column(default=False)
    connections: Mapped[list[Connection]] = relationship()
    visits: Mapped[list[Visit]] = relationship()


class Connection(db.Model):  # type: ignore[name-defined]
    """A socket that a person is connected with, on whichever worker; one for each tab."""

    socket_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))


class Visit(db.Model):  # type: ignore[name-defined]
    """
    A room that a person has been in, since it may be needed to take them out.

    Not who is in which room: only the workers that hold the sockets know that. A room
    too many does no harm, for leaving a room that one is not in changes nothing.
    """

    user_id: Mapped[int] = mapped_column(ForeignKey(User.id), primary_key=True)
    room: Mapped[str] = mapped_column(primary_key=True)


def init_app(app: Flask, path: str | None) -> None:
    """
    Use the SQLite file *path*, and create in it the tables that are missing.

    Args:
        app: The application.
        path: The file; by default `people.sqlite` in the application's instance folder.
    """
    url = URL.create("sqlite", database=os.path.abspath(path) if path else "people.sqlite")
    app.config.setdefault("SQLALCHEMY_DATABASE_URI", url)
    # No pool: a request that waits for another worker must not keep a connection from others.
    app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", {"poolclass": NullPool})
    db.init_app(app)
    with app.app_context(), db.engine.begin() as connection:
        for table in db.metadata.sorted_tables:
            # Not db.create_all(): it looks first, and another worker may be faster.
            connection.execute(CreateTable(table, if_not_exists=True))
