"""An application whose rooms a worker can refuse, for clients that come back to another one."""

from __future__ import annotations

from typing import Any

from flask import Flask, abort, request

from flask_rooms import Rooms, sockets


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "of the tests", **config})
    Rooms(app, scripts_url="/js")
    refused: dict[str, int] = {}

    @app.put("/rooms/<room>")
    def join(room: str) -> dict[str, Any]:
        if room in refused:
            abort(refused[room])
        sockets.join(request, room).result()
        return {}

    @app.get("/rooms")
    def rooms() -> list[str]:
        return sorted(map(str, sockets.rooms_of(request).value))

    @app.post("/refuse")
    def refuse() -> dict[str, Any]:
        refused.update(request.get_json())
        return {}

    @app.post("/say")
    def say() -> dict[str, Any]:
        sockets.broadcast("one", "said", "hello")
        return {}

    return app
