"""The same application on plain Flask-SocketIO with `message_queue=`, for comparison."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from tests.support.socketio_app import add_handlers, make


def create_app(**config: Any) -> Flask:
    """Return the application; the backend's URL and the channel are those of its queue."""
    app = make(config)
    url, channel = config["ROOMS_BACKEND_URL"], config["ROOMS_CHANNEL"]
    add_handlers(SocketIO(app, message_queue=url, channel=channel, async_mode=mode()))
    return app


def mode() -> str:
    """Return the mode that the process is patched for; plain Flask-SocketIO would guess."""
    return os.environ.get("ROOMS_TEST_MODE", "threading")
