"""An application that sends what JSON knows and what it does not, in every way that there is."""

from __future__ import annotations

import json
import math
from datetime import date
from types import SimpleNamespace
from typing import Any

from flask import Flask, Response, jsonify, request
from flask_socketio import SocketIO, emit

from flask_rooms import Rooms

VALUES: dict[str, Any] = {
    "nan": math.nan,
    "infinity": [math.inf, -math.inf],
    "lone": "\ud800!",
    "date": date(1969, 7, 20),
    "ok": 1,
    "huge": 2**70,
}

#: What SocketIO is given, by the name in the configuration.
MODULES: dict[str, dict[str, Any]] = {
    "default": {},
    # As fast modules do, it writes characters as they are.
    "own": {
        "json": SimpleNamespace(
            dumps=lambda value, **_: json.dumps(value, ensure_ascii=False, default=str),
            loads=json.loads,
        )
    },
    "msgpack": {"serializer": "msgpack"},
}


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", **config)
    socketio = SocketIO(**MODULES[config.get("MODULE", "default")])
    Rooms(app, socketio)
    app.add_url_rule("/sid", view_func=lambda: {"sid": request.sid}, endpoint="sid")  # type: ignore[attr-defined]
    app.add_url_rule("/ok", view_func=lambda: {"ok": 1}, endpoint="ok")
    app.add_url_rule("/date", view_func=lambda: jsonify(VALUES["date"]), endpoint="date")
    for name, body in {
        "nan": '{"v": NaN}',
        "infinity": '{"v": [Infinity, -Infinity]}',
        "huge": '{"v": [1e999, -1e999]}',
        "lone": '"\\ud800"',
    }.items():
        app.add_url_rule(f"/{name}", view_func=_answer(body), endpoint=name)
    socketio.on("ask")(VALUES.get)
    socketio.on("say")(_say)
    return app


def _answer(body: str) -> Any:
    return lambda: Response(body, mimetype="application/json")


def _say(name: str) -> str:
    try:
        emit("said", VALUES.get(name))
    except ValueError:
        return "it cannot be sent"
    return "done"
