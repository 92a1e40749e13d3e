"""An application that tracks who is present in its rooms; a client's `auth` is its user."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from flask_rooms import Rooms, sockets
from flask_rooms.signals import user_joined, user_left


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "of the tests", "ROOMS_PRESENCE_GRACE": 0.5, **config})
    rooms = Rooms(app, scripts_url="/js")
    rooms.user_loader(lambda auth: (auth or {}).get("user"))
    rooms.presence("team:<id>")(lambda id: {"team": id})

    @app.put("/rooms/<room>")
    def join(room: str) -> dict[str, Any]:
        sockets.join(request, room).result()
        return {}

    @app.patch("/rooms/<room>")
    def change(room: str) -> dict[str, Any]:
        return {"changed": sockets.presence.update(request, room, request.get_json())}

    @app.post("/people")
    def people() -> dict[str, Any]:
        answer = sockets.presence(request.get_json()["room"])
        return {
            "people": [person.user for person in answer.value],
            "complete": answer.complete,
        }

    told: list[tuple[str, str, int]] = []

    def on_joined(app: Flask, user: str, number: int, **about: Any) -> None:
        told.append(("joined", user, number))

    def on_left(app: Flask, user: str, number: int, **about: Any) -> None:
        told.append(("left", user, number))

    user_joined.connect(on_joined, app, weak=False)
    user_left.connect(on_left, app, weak=False)
    app.post("/told")(lambda: {"told": told})

    return app
