"""An application with the admin page, for those who have signed in as operators."""

from __future__ import annotations

from typing import Any

from flask import Flask, redirect, session
from werkzeug.wrappers import Response

from flask_rooms import Rooms, admin
from tests.support import rooms_app


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "of the tests", **config})
    rooms = Rooms(app)
    rooms.user_loader(lambda auth: (auth or {}).get("user"))
    app.register_blueprint(admin.blueprint(operator), url_prefix="/admin")
    app.register_blueprint(rooms_app.bp)
    app.add_url_rule("/sign-in/<name>", view_func=sign_in)
    return app


def operator() -> str | None:
    """Return who is signed in."""
    return session.get("operator")


def sign_in(name: str) -> Response:
    """Sign in as an operator, and go to the page."""
    session["operator"] = name
    return redirect("/admin/")
