"""
Killing workers, and stopping the broker, of the demonstration.

These routes exist only where `example_app.demo` has started the workers itself and listens for
this on a socket of this machine, whose address it has given them as CONTROLS.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Client
from typing import Any

from flask import Blueprint, abort, current_app
from flask.typing import ResponseReturnValue

from example_app.access import require_moderator
from flask_rooms import request

bp = Blueprint("controls", __name__, url_prefix="/controls")


@bp.before_request
def only_moderators() -> None:
    """Refuse others, and HTTP: pages of other sites can send requests, but open no socket."""
    require_moderator()
    if not request.is_socket:
        abort(400, "Only over the socket.")


@bp.get("/broker")
def broker() -> ResponseReturnValue:
    """Return whether the broker runs; None if the demonstration has not started it."""
    return {"running": tell("broker")}


@bp.put("/broker")
def start_broker() -> ResponseReturnValue:
    """Start the broker."""
    return {"running": tell("start")}


@bp.delete("/broker")
def stop_broker() -> ResponseReturnValue:
    """Kill the broker."""
    return {"running": tell("stop")}


@bp.delete("/workers/<int:pid>")
def kill_worker(pid: int) -> ResponseReturnValue:
    """Kill a worker of the demonstration, which starts it again after a while."""
    return {"killed": tell("kill", pid)}


def tell(*command: str | int) -> Any:
    """Send a command to the demonstration, and return its answer."""
    key = current_app.config["SECRET_KEY"].encode()
    with Client(current_app.config["CONTROLS"], authkey=key) as connection:
        connection.send_bytes(json.dumps(command).encode())
        return json.loads(connection.recv_bytes())
