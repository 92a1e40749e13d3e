"""An application whose rooms have a history, for clients that move between workers."""

from __future__ import annotations

from typing import Any

from flask import Flask

from flask_rooms import Rooms, request, sockets


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "of the tests", **config})
    rooms = Rooms(app, scripts_url="/js")
    rooms.history("talk:<id>", messages=1000)

    @app.put("/talks/<id>")
    def enter(id: str) -> dict[str, bool]:
        missed = sockets.catch_up(request, f"talk:{id}", request.get_json()["since"])
        return {"gone": missed.gone}

    @app.post("/talks/<id>")
    def say(id: str) -> dict[str, Any]:
        for text in request.get_json()["texts"]:
            sockets.broadcast(f"talk:{id}", "said", text)
        return {}

    return app
