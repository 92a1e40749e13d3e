"""The application of `benchmarks.rolling` and `benchmarks.capacity`, as gunicorn starts it."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from flask_socketio import SocketIO
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_rooms import Refused, Rooms, Unconfirmed, monitoring, request, sockets

app = Flask(__name__)
app.config.from_prefixed_env()
# Clients that only wait may be asked less often whether they are there. Seconds.
rooms = Rooms(app, SocketIO(ping_interval=float(os.environ.get("PING_INTERVAL", "25"))))
app.register_blueprint(monitoring.blueprint(metrics=False), url_prefix="/internal")
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)  # type: ignore[method-assign]


@app.put("/rooms/<room>")
def join(room: str) -> dict[str, Any]:
    """Put the socket of the request into a room."""
    sockets.join(request, room).result()
    return {"sid": request.sid}


@app.post("/said/<int:number>")
def say(number: int) -> dict[str, int]:
    """Broadcast a number; return which worker did."""
    sockets.broadcast("hall", "said", number)
    return {"worker": os.getpid()}


@app.post("/moved/<sid>")
def move(sid: str) -> dict[str, str]:
    """Put a socket into a room and take it out again; say what became of it."""
    try:
        for change in (sockets.join, sockets.leave):
            if change(sid, "annex").result().unknown:
                return {"outcome": "unknown"}
    except (Refused, Unconfirmed) as error:
        return {"outcome": type(error).__name__}
    return {"outcome": "confirmed"}


@app.get("/members")
def members() -> dict[str, Any]:
    """Count the members of the hall."""
    answer = sockets.count("hall")
    return {"count": answer.value, "complete": answer.complete}
