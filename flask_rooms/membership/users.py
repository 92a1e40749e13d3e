"""Loads the user of a connecting socket, with the application's loader or Flask-Login."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_rooms.membership.contexts import request_context
from flask_rooms.membership.names import user_id
from flask_rooms.protocol.messages import User

#: Takes what the client has sent as `auth`, and returns the user's ID or None.
Loader = Callable[[Any], object]


class Users:
    """
    Loads the users of connecting sockets.

    Args:
        loader: The application's own; without one, Flask-Login is asked where it is set up.
    """

    def __init__(self, loader: Loader | None = None) -> None:
        self.loader = loader

    def load(self, app: Flask, environ: dict[str, Any], auth: Any) -> User | None:
        """
        Return the user of a connecting socket, or None.

        Args:
            app: The application.
            environ: The handshake; it is the current request while the loader runs.
            auth: What the client has sent with it.
        """
        loader = self.loader or _flask_login(app)
        if loader is None:
            return None
        with request_context(app, environ):
            found = app.ensure_sync(loader)(auth)
        return None if found is None else user_id(found)


def _flask_login(app: Flask) -> Loader | None:
    """Return a loader that asks Flask-Login, where the application has set it up."""
    if not hasattr(app, "login_manager"):
        return None
    from flask_login import current_user

    return lambda auth: current_user.get_id() if current_user.is_authenticated else None
