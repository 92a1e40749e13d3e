"""
The example application: a chat with rooms, people and moderators.

`flask --app example_app run` serves it; `python -m example_app.demo` shows it, also on several
workers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask import Flask

from example_app import (
    access,
    chat,
    controls,
    errors,
    fun_rooms,
    moderation,
    pages,
    store,
    underneath,
)
from flask_rooms import admin


def create_app(**config: Any) -> Flask:
    """
    Create the example application.

    Args:
        config: Flask's configuration. It takes precedence over the variables `FLASK_...` of the
            environment, such as FLASK_ROOMS_BACKEND_URL. `DATABASE` is the path of the SQLite
            file that all workers share.
    """
    app = Flask(__name__)
    app.config.update(
        # Signs the sessions, and the messages between workers, so all of them need the same key.
        SECRET_KEY="known to all: good for an example only",
        SESSION_COOKIE_SAMESITE="Lax",
        DATABASE=str(Path(app.instance_path, "chat.sqlite")),
        NODE_MODULES=os.environ.get("ROOMS_NODE_MODULES", pages.OF_DEV),
    )
    app.config.from_prefixed_env()
    app.config.update(config)
    store.init_app(app)
    access.rooms.init_app(app)
    moderation.init_app(app)
    underneath.init_app(app)
    errors.init_app(app)
    for part in (pages, fun_rooms, chat, moderation, underneath):
        app.register_blueprint(part.bp)
    app.register_blueprint(admin.blueprint(access.moderator), url_prefix="/admin")
    if "CONTROLS" in app.config:
        app.register_blueprint(controls.bp)
    return app
