"""The application factory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask.typing import ResponseReturnValue

from example_app import fun_rooms, models, page, presence, users
from example_app.people import Banned, UnknownUser
from flask_rooms import Rooms, RoomsError
from flask_rooms.errors import InvalidArgument


def make(backend_url: str, database: str | None, config: Mapping[str, Any]) -> Flask:
    """Create the application; `example_app.create_app` has the arguments."""
    app = Flask("example_app")
    app.config.update(
        # Signs the messages between workers, so all of them need the same key.
        SECRET_KEY=os.environ.get("SECRET_KEY", "known to all: good for an example only"),
        ROOMS_BACKEND_URL=backend_url,
        NODE_MODULES=os.environ.get("ROOMS_NODE_MODULES"),
    )
    app.config.update(config)
    models.init_app(app, database)
    Rooms(app)
    presence.init_app(app)
    for part in (page, fun_rooms, users):
        app.register_blueprint(part.bp)
    app.register_error_handler(InvalidArgument, lambda error: answer(error, 400))
    app.register_error_handler(Banned, lambda error: answer(error, 403))
    app.register_error_handler(UnknownUser, lambda error: answer(error, 404))
    app.register_error_handler(RoomsError, lambda error: failed(app, error))
    return app


def answer(error: Exception, status: int) -> ResponseReturnValue:
    """Return the message of an error that the client can correct."""
    return {"message": str(error)}, status


def failed(app: Flask, error: RoomsError) -> ResponseReturnValue:
    """Log an error that the client cannot correct, and return its message."""
    app.logger.error("A room could not be changed: %s", error)
    return answer(error, 500)
