"""
An application whose functions say in whose context they run.

What each finds goes to the sockets in the room "watchers", as the event "saw": its name, the
socket that it is about, who is logged in, what the session says and what it finds in `g`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import flask_socketio
from cachelib.file import FileSystemCache
from flask import Blueprint, Flask, current_app, g, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, Integer, String

from flask_rooms import Refused, Rooms, signals, sockets

bp = Blueprint("contexts", __name__)
db = SQLAlchemy()


class Note(db.Model):  # type: ignore[name-defined]  # made by Flask-SQLAlchemy
    """A row of the caller."""

    id = Column(Integer, primary_key=True)
    text = Column(String)


class User(UserMixin):
    """Somebody who has logged in."""

    def __init__(self, id: str) -> None:
        self.id = id


def create_app(**config: Any) -> Flask:
    """
    Return the application.

    Args:
        config: Its configuration; with SESSIONS, a directory, the sessions are on the server.
    """
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", SQLALCHEMY_DATABASE_URI="sqlite://", **config)
    if "SESSIONS" in config:
        cache = FileSystemCache(config["SESSIONS"])
        app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=cache)
        Session(app)
    LoginManager(app).user_loader(User)
    db.init_app(app)
    with app.app_context():
        db.create_all()
    app.register_blueprint(bp)
    rooms = Rooms(app)
    rooms.guard("team")(guard)
    rooms.user_loader(load_user)
    rooms.before_connect(lambda auth: saw("before_connect"))
    rooms.after_disconnect(lambda reason, rooms: saw("after_disconnect"))
    rooms.socketio.on("disconnect")(lambda reason: saw("disconnect"))
    for signal in (signals.joined, signals.left):
        signal.connect(on_signal, app)
    return app


def saw(name: str, sid: str | None = None) -> None:
    """Say what a function finds, and leave something behind."""
    found = [None, None]
    if request:
        sid = sid or getattr(request, "sid", None)
        found = [current_user.get_id(), session.get("_user_id")]
    sockets.broadcast("watchers", "saw", [name, sid, *found, g.get("whose")])
    g.whose = name
    db.session.add(Note(text=name))


def guard() -> bool:
    """Let in who is logged in."""
    saw("guard")
    return bool(current_user.is_authenticated)


def load_user(auth: Any) -> str | None:
    """Say whose socket it is."""
    saw("user_loader")
    user: str | None = current_user.get_id()
    return user


def on_signal(app: Flask, sid: str, room: str, **about: Any) -> None:
    """Receive a signal."""
    if room == "team":
        saw("signal", sid)


@bp.post("/login/<name>")
def login(name: str) -> dict[str, Any]:
    """Log in."""
    login_user(User(name))
    return {}


@bp.post("/logout")
def logout() -> dict[str, Any]:
    """Log out."""
    logout_user()
    session.clear()
    return {}


@bp.post("/watch")
def watch() -> dict[str, Any]:
    """Be told what the functions see."""
    return asdict(sockets.join(request, "watchers").result())


@bp.post("/act/<deed>/<sid>")
def act(deed: str, sid: str) -> dict[str, Any]:
    """Do something to a socket in the middle of other work, and say what has become of that."""
    g.whose = "the caller's"
    note = Note(text="the caller's")
    db.session.add(note)
    before = current_user.get_id()
    try:
        outcome = _do(deed, sid)
    except Refused:
        outcome = "refused"
    kept = note in db.session
    db.session.flush()
    notes = [one.text for one in db.session.query(Note)]
    db.session.rollback()
    return {
        "outcome": outcome,
        "user": [before, current_user.get_id(), session.get("_user_id")],
        "g": g.whose,
        "kept": kept,
        "notes": notes,
    }


def _do(deed: str, sid: str) -> Any:
    rooms: Rooms = current_app.extensions["rooms"]
    if deed == "flask_socketio.disconnect":
        return flask_socketio.disconnect(sid, "/")
    if deed == "disconnect":
        return sockets.disconnect(sid).result().changed
    if deed == "recheck":
        return rooms.recheck("team").result().changed
    if deed == "whole room":
        sockets.join(sid, "lobby").result()
        return sockets.add_room_members_to_rooms("lobby", "team").result().changed
    change = sockets.leave if deed == "leave" else sockets.join
    return change(sid, "team").result().changed
