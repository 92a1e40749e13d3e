"""
The application that the tests drive: each call of `sockets` as a route.

Every route can be reached over HTTP, where `sids` say whose rooms to change, and as a socket
request, where that is the request itself unless there are `sids`.
"""

from __future__ import annotations

from dataclasses import asdict
from queue import Queue
from typing import Any

import flask_socketio
from flask import Blueprint, Flask, current_app, request

from flask_rooms import Answer, Rooms, sockets

TIMEOUT = 20.0  # seconds for a callback, which comes in milliseconds

#: Seconds until a ping is overdue: tests stop workers for as long as a slow machine needs, and a
#: client would otherwise leave a worker that does not ping it.
PING_TIMEOUT = 600

bp = Blueprint("rooms", __name__)


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "of the tests", **config})
    app.register_blueprint(bp)
    rooms = Rooms(app, flask_socketio.SocketIO(ping_timeout=PING_TIMEOUT))
    # A namespace is there only when it has a handler.
    rooms.socketio.on("connect", namespace="/chat")(lambda: None)
    rooms.socketio.on("disconnect")(tell_watchers)
    return app


def tell_watchers(reason: str) -> None:
    """Send the watchers of its rooms the ID of a disconnected socket, its rooms, and the reason."""
    where = sorted(flask_socketio.rooms())
    watchers = [f"watchers of {room}" for room in where]
    sockets.broadcast(watchers, "gone", (sockets.get_id(request), where, reason))


@bp.get("/id")
def get_id() -> dict[str, Any]:
    """Say whose request it is."""
    return {"sid": sockets.get_id(request), "is_socket": request.is_socket}  # type: ignore[attr-defined]


@bp.post("/peers")
def peers() -> list[str]:
    """Name the other workers that count as alive at this moment."""
    return sorted(current_app.extensions["rooms_parts"].cluster.peers)


@bp.post("/join")
def join() -> dict[str, Any]:
    """Put sockets into rooms, and wait for the outcome."""
    data = request.get_json()
    future = sockets.join(data.get("sids", request), data["rooms"], namespace=data.get("namespace"))
    return asdict(future.result())


@bp.post("/leave")
def leave() -> dict[str, Any]:
    """Take sockets out of rooms, and wait for the outcome."""
    data = request.get_json()
    future = sockets.leave(
        data.get("sids", request), data["rooms"], namespace=data.get("namespace")
    )
    return asdict(future.result())


@bp.post("/leave-all")
def leave_all() -> dict[str, Any]:
    """Take sockets, or the members of a room, out of all rooms."""
    data = request.get_json()
    room = data.get("sids", data.get("rooms", request))
    return asdict(sockets.leave_all(room, namespace=data.get("namespace")).result())


@bp.post("/add-members")
def add_members() -> dict[str, Any]:
    """Put the members of a room into others."""
    data = request.get_json()
    return asdict(sockets.add_room_members_to_rooms(data["source"], data["rooms"]).result())


@bp.post("/remove-members")
def remove_members() -> dict[str, Any]:
    """Take the members of a room out of others."""
    data = request.get_json()
    return asdict(sockets.remove_room_members_from_rooms(data["source"], data["rooms"]).result())


@bp.post("/disconnect")
def disconnect() -> dict[str, Any]:
    """End sockets."""
    data = request.get_json()
    future = sockets.disconnect(data.get("sids", request), namespace=data.get("namespace"))
    return asdict(future.result())


@bp.post("/ask")
def ask() -> dict[str, Any]:
    """Make every query, about a room and a socket."""
    data = request.get_json()
    room, timeout = data["room"], data.get("timeout")
    answers: dict[str, Answer[Any]] = {
        "members": sockets.members(room, timeout=timeout),
        "count": sockets.count(room, timeout=timeout),
        "rooms": sockets.rooms(prefix=room, timeout=timeout),
        "rooms_of": sockets.rooms_of(data.get("sid", request), timeout=timeout),
    }
    lists = {name: sorted(answers[name].value) for name in ("members", "rooms_of")}
    numbers = {name: answers[name].value for name in ("count", "rooms")}
    missing = {name for answer in answers.values() for name in answer.missing}
    complete = all(answer.complete for answer in answers.values())
    return {**lists, **numbers, "complete": complete, "missing": sorted(missing)}


@bp.post("/leave-one-by-one")
def leave_one_by_one() -> list[dict[str, Any]]:
    """Take each socket out with a call of its own, and wait for all of them together."""
    data = request.get_json()
    futures = [sockets.leave(sid, data["rooms"]) for sid in data["sids"]]
    return [asdict(future.result()) for future in futures]


@bp.post("/leave-with-callbacks")
def leave_with_callbacks() -> dict[str, Any]:
    """Leave so many `times`, each with a callback; return what they got, and how often again."""
    data = request.get_json()
    called: list[Queue[BaseException | None]] = [Queue() for _ in range(data["times"])]
    for one in called:
        sockets.leave(data.get("sids", request), data["rooms"], one.put)
    errors = [one.get(timeout=TIMEOUT) for one in called]
    fence: Queue[BaseException | None] = Queue()
    sockets.leave(data.get("sids", request), data["rooms"], fence.put)
    fence.get(timeout=TIMEOUT)
    return {"errors": [error and repr(error) for error in errors], "again": _sizes(called)}


@bp.post("/members")
def members() -> dict[str, Any]:
    """Ask every worker for the members of a room."""
    data = request.get_json()
    answer = sockets.members(data["room"], namespace=data.get("namespace"))
    return {**asdict(answer), "value": sorted(answer.value)}


@bp.post("/broadcast")
def broadcast() -> dict[str, Any]:
    """Say something to rooms."""
    data = request.get_json()
    namespace = data.get("namespace")
    sockets.broadcast(data["rooms"], *data["say"], omit=data.get("omit"), namespace=namespace)
    return {}


@bp.post("/blast")
def blast() -> dict[str, Any]:
    """Send an event to every socket."""
    data = request.get_json()
    sockets.blast(*data["say"], omit=data.get("omit"), namespace=data.get("namespace"))
    return {}


@bp.post("/count")
def count() -> dict[str, Any]:
    """Count `times` from `start` on, aloud, in a room; with so many bytes besides."""
    data = request.get_json()
    start, filling = data.get("start", 0), "x" * data.get("bytes", 0)
    for number in range(start, start + data["times"]):
        sockets.broadcast(data["rooms"], "count", (number, filling) if filling else number)
    return {}


@bp.post("/leave-all-then-broadcast")
def leave_all_then_broadcast() -> dict[str, Any]:
    """
    The same as below, by the calls for whole rooms: the members of `source` join and leave.

    Each time they leave `source` as well, and are put into it again at last.
    """
    data = request.get_json()
    source, sids, room = data["source"], data["sids"], data["rooms"]
    for number in range(data["times"]):
        sockets.join(sids, source)
        sockets.add_room_members_to_rooms(source, room)
        sockets.broadcast(room, "in", number)
        sockets.leave_all(source)
        sockets.broadcast([room, source], "late", number)
        sockets.broadcast(sids, "fence", number)
    return {}


@bp.post("/leave-then-broadcast")
def leave_then_broadcast() -> dict[str, Any]:
    """
    So many `times`: let a socket join, and take it out and speak to the room without waiting.

    What is said "in" the room is for the socket, what comes "late" is not, and the "fence"
    goes to the socket itself.
    """
    data = request.get_json()
    sid, room = data.get("sids", request), data["rooms"]
    own_room = data["sids"] if "sids" in data else sockets.get_id(request)
    for number in range(data["times"]):
        sockets.join(sid, room).result()
        sockets.broadcast(room, "in", number)
        sockets.leave(sid, room)
        sockets.broadcast(room, "late", number)
        sockets.broadcast(own_room, "fence", number)
    return {}


def _sizes(queues: list[Queue[BaseException | None]]) -> int:
    return sum(one.qsize() for one in queues)


@bp.post("/ask-clients")
def ask_clients() -> dict[str, Any]:
    """Ask the members of a room, and return what each has answered or why there is no answer."""
    data = request.get_json()
    responses = sockets.ask(data["room"], "asked", data["say"], timeout=data["timeout"]).result()
    groups = {name: sorted(getattr(responses, name)) for name in ("silent", "left", "failed")}
    return {"answers": responses.answers, **groups, "complete": responses.complete}
