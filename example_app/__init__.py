"""
The example application: people join, speak in, leave and are banned from rooms.

`python -m example_app` serves it; `python -m example_app.demo` demonstrates it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(backend_url: str = "memory://", database: str | None = None, **config: Any) -> Flask:
    """
    Create the example application.

    Args:
        backend_url: The value of ROOMS_BACKEND_URL.
        database: The path of the SQLite file that all workers share; by default
            `people.sqlite` in the application's instance folder.
        config: Further Flask configuration, which takes precedence.

    Returns:
        The application; `app.extensions["rooms"].socketio.run(app)` serves it.
    """
    # Imported here, because `python -m example_app` imports this file before __main__.py can
    # monkey-patch, and modules imported before that keep the blocking standard library.
    from example_app.factory import make

    return make(backend_url, database, config)
