"""An application whose workers tell each other things."""

from __future__ import annotations

from queue import Queue
from typing import Any

from flask import Flask, request

from flask_rooms import Rooms, Unconfirmed

TIMEOUT = 20.0  # seconds for what another worker has told


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "of the tests", "ROOMS_CONFIRM_TIMEOUT": 1.0, **config})
    rooms = Rooms(app)
    heard: Queue[Any] = Queue()
    rooms.on_tell("news")(heard.put)

    @app.post("/tell")
    def tell() -> dict[str, Any]:
        try:
            told = rooms.tell("news", request.get_json()["data"]).result()
        except Unconfirmed as error:
            return {"missing": [str(name) for name in error.workers]}
        return {"workers": [str(name) for name in told.workers]}

    @app.post("/heard")
    def get_heard() -> dict[str, Any]:
        return {"data": heard.get(timeout=TIMEOUT)}

    return app
