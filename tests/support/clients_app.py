"""
The application for JavaScript clients: that of rooms_app.py, what tells them what has arrived,
and the pages and packages that a browser needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from threading import Event
from typing import Any

from flask import Blueprint, Flask, Response, request, send_from_directory, session
from flask_socketio import SocketIO, disconnect

from flask_rooms import Rooms, sockets
from tests.support import rooms_app
from tests.support.clients import find_node_modules
from tests.support.documents import blocks

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
TIMEOUT = 20.0  # seconds until a request that is not released ends

DOCUMENTATION = "docs/clients.md"

#: Where npm has put the scripts that a page loads.
SCRIPTS = {
    "socket.io.min.js": "socket.io-client/dist/socket.io.min.js",
    "sails.io.js": "sails.io.js/sails.io.js",
}
PAGE = """
<!doctype html>
<title>A client</title>
<link rel="icon" href="data:,">
<script src="/socket.io.min.js"></script>
<script src="/js/sails-adapter.js"></script>
<script src="/sails.io.js" environment="production"></script>
"""

bp = Blueprint("clients", __name__)

#: The first socket that has made a request, by its URL.
first: dict[str, str] = {}
#: What a client has sent when it connected, by socket ID.
handshakes: dict[str, Mapping[str, str]] = {}
#: The events that release waiting requests, by the name in the request.
released: defaultdict[str, Event] = defaultdict(Event)
begun: defaultdict[str, Event] = defaultdict(Event)
#: What each socket has requested, by its ID.
requested: defaultdict[str, list[str]] = defaultdict(list)


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", **config)
    app.register_blueprint(rooms_app.bp)
    app.register_blueprint(bp)
    socketio = SocketIO(cors_allowed_origins="*")
    for namespace in ("/", "/chat"):
        socketio.on_event("connect", remember, namespace)
    rooms = Rooms(
        app,
        socketio,
        scripts_url="/js",
        cookie_url="/__getcookie",
        request_headers=["X-One", "X-Two", "X-Three", "X-Four"],
    )
    rooms.history("talk:<id>")
    rooms.presence("team:<id>")(lambda id: {})
    return app


def remember(*_: Any) -> None:
    """Keep what a client sends while it connects, and refuse it if it asks for that."""
    if "refuse" in request.args:
        raise ConnectionRefusedError("as you wish")
    handshakes[request.sid] = request.args.to_dict()  # type: ignore[attr-defined]


@bp.route("/echo", methods=METHODS)
def echo() -> dict[str, Any]:
    """Say what has arrived."""
    return {
        "method": request.method,
        "query": request.args.to_dict(),
        "json": request.get_json(silent=True),
        "headers": {name.lower(): value for name, value in request.headers.items()},
    }


@bp.route("/bytes", methods=["POST"])
def reverse() -> Response:
    """Send the bytes of the body back, the last one first."""
    return Response(request.get_data()[::-1], content_type="application/octet-stream")


@bp.route("/status/<int:code>", methods=METHODS)
def status(code: int) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Answer with a status; with `then` to all sockets but the first one that has asked."""
    if "then" in request.args:
        sid = request.sid  # type: ignore[attr-defined]
        code = (
            code if first.setdefault(request.full_path, sid) == sid else int(request.args["then"])
        )
    return {"message": f"This is {code}."}, code, {"X-Said": str(code)}


@bp.put("/talks/<id>")
def enter(id: str) -> dict[str, Any]:
    """Send what was missed of a room with a history."""
    missed = sockets.catch_up(request, f"talk:{id}", request.get_json()["since"])
    return {"sent": missed.sent, "gone": missed.gone}


@bp.post("/talks/<id>")
def say(id: str) -> dict[str, Any]:
    """Say something in a room with a history."""
    sockets.broadcast(f"talk:{id}", "said", request.get_json()["text"])
    return {}


@bp.get("/handshake")
def handshake() -> Mapping[str, str]:
    """Return what the client sent when it connected."""
    return handshakes[request.sid]  # type: ignore[attr-defined]


@bp.get("/session")
def read_session() -> dict[str, Any]:
    """Say what is in the session."""
    return dict(session)


@bp.before_app_request
def begin_session() -> None:
    """Begin a session for a client that fetches a cookie, as an application may do."""
    if request.path == "/__getcookie":
        session["begun"] = "by /__getcookie"


@bp.get("/wait/<name>")
def wait(name: str) -> dict[str, Any]:
    """Respond when the test releases it."""
    begun[name].set()
    released[name].wait(TIMEOUT)
    return {}


@bp.post("/release/<name>")
def release(name: str) -> dict[str, Any]:
    """Let the waiting requests be answered."""
    released[name].set()
    return {}


@bp.post("/hold/<name>")
def hold(name: str) -> dict[str, Any]:
    """Let requests wait again."""
    begun[name].clear()
    released[name].clear()
    return {}


@bp.post("/begun/<name>")
def wait_until_begun(name: str) -> dict[str, Any]:
    """Respond when a request waits."""
    return {"begun": begun[name].wait(TIMEOUT)}


@bp.before_app_request
def note() -> None:
    """Keep what a socket requests."""
    if request.is_socket:  # type: ignore[attr-defined]
        requested[request.sid].append(request.full_path.rstrip("?"))  # type: ignore[attr-defined]


@bp.get("/requested")
def get_requested() -> list[str]:
    """Return what the socket has requested."""
    return requested[request.sid]  # type: ignore[attr-defined]


@bp.post("/hang-up")
def hang_up() -> dict[str, Any]:
    """Disconnect the client, which thus never receives the answer."""
    disconnect()
    return {}


@bp.put("/rooms/<room>")
def join(room: str) -> dict[str, Any]:
    """Join, as in the README."""
    sockets.join(request, room)
    return {"you": sockets.get_id(request)}


@bp.delete("/rooms/<room>")
def leave(room: str) -> dict[str, Any]:
    """Leave."""
    sockets.leave(request, room).result()
    return {}


@bp.patch("/rooms/<room>")
def change(room: str) -> dict[str, Any]:
    """Change what others know of the socket, and say whether it is present."""
    return {"present": sockets.presence.update(request, room, request.get_json())}


@bp.get("/page")
def page() -> str:
    """Show a page on which tests can do what they like."""
    return PAGE


@bp.get("/documented/<int:number>")
def documented(number: int) -> str:
    """Show a page of the documentation, the first one being 0."""
    return blocks(DOCUMENTATION, "html")[number]


@bp.get("/<any('socket.io.min.js', 'sails.io.js'):name>")
def npm(name: str) -> Response:
    """Send a script that npm has installed."""
    return send_from_directory(find_node_modules() or "", SCRIPTS[name])
