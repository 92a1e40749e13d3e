"""
Flask-Rooms by example: rooms that people join, speak in, leave, and are banned from.

Serve it with `python -m example_app`; be shown around with `python -m example_app.demo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(backend_url: str = "memory://", database: str | None = None, **config: Any) -> Flask:
    """
    Make the example application.

    Args:
        backend_url: What carries messages between the workers, as ROOMS_BACKEND_URL.
        database: Path of the SQLite file that all workers share; by default
            `people.sqlite` in the application's instance folder.
        config: Further Flask configuration; wins over what is set here.

    Returns:
        The application; `app.extensions["rooms"].socketio.run(app)` serves it.
    """
    # Imported here, because `python -m example_app` runs this file before __main__.py can
    # monkey-patch, and what is imported before that keeps the blocking standard library.
    from example_app.factory import make

    return make(backend_url, database, config)
