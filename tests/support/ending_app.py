"""
An application that writes down how its sockets end, for the tests of how a worker ends.

    python -m tests.support.ending_app PORT    serves with run(), in the mode of ROOMS_TEST_MODE
    gunicorn tests.support.ending_app:app      and others

The environment configures it, as Flask's `from_prefixed_env` reads it. `ROOMS_TEST_JOURNAL` is the
file to write to.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import get_context
from typing import Any

if __name__ == "__main__":
    from tests.run import patch

    patch(os.environ.get("ROOMS_TEST_MODE", "threading"))

from flask import Flask, request

from flask_rooms import Room, Rooms, signals, sockets


def note(*words: object) -> None:
    """Write down what has happened, in one line."""
    with open(os.environ["ROOMS_TEST_JOURNAL"], "a", encoding="utf-8") as journal:
        journal.write(" ".join(map(str, words)) + "\n")


if os.environ.get("ROOMS_TEST_OWN_HANDLER"):

    def own_handler(*_: object) -> None:
        note("own handler")
        sys.exit(7)

    signal.signal(signal.SIGTERM, own_handler)

app = Flask(__name__)
app.config.from_prefixed_env()
rooms = Rooms(app)


@rooms.guard("busy")
def may_join() -> bool:
    """Keep the processor for long, or until an interruption ends it."""
    note("guard")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        pass
    note("decided")
    return True


@app.put("/rooms/<room>")
def join(room: str) -> dict[str, str]:
    """Put the socket of this request into a room."""
    sockets.join(request, room).result()
    return {"sid": sockets.get_id(request)}


@app.post("/drain/<float:seconds>")
def drain(seconds: float) -> dict[str, bool]:
    """Move all clients away, and leave."""
    return {"done": rooms.drain(seconds)}


@app.post("/fork")
def fork() -> dict[str, int | None]:
    """Make a call in a forked child, and return how that has ended."""
    child = get_context("fork").Process(target=rooms.sockets.count, args=("hall",))
    child.start()
    while child.is_alive():  # join() would hold up all green threads of this worker
        time.sleep(0.01)
    return {"exit": child.exitcode}


@app.get("/slow/<sid>")
def slow(sid: str) -> str:
    """Answer after a second, with the outcome of a call for a socket of another worker."""
    note("slow")
    time.sleep(1)
    return str(sockets.leave(sid, "fence").result())


@app.get("/say/<word>")
def say(word: str) -> str:
    """Log a word, as an application that reports an error does."""
    app.logger.warning("in a request: %s", word)
    return word


@rooms.socketio.on("say")
def on_say(word: str) -> str:
    """Do the same in an event handler."""
    app.logger.warning("in an event: %s", word)
    return word


@app.get("/")
def index() -> str:
    """Answer."""
    return "here"


@signals.left.connect_via(app)
def on_left(app: Flask, sid: str, room: str, reason: str, **about: Any) -> None:
    """Write down the end of a membership."""
    if room != sid:
        note("left", room, reason)


@rooms.socketio.on("disconnect")
def on_disconnect(reason: str) -> None:
    """Write down the end of a socket, and hang if the test says so."""
    note("disconnect", reason)
    if os.environ.get("ROOMS_TEST_HANG"):
        rooms.socketio.sleep(3600)


@rooms.after_disconnect
def after_disconnect(reason: str, where: frozenset[Room]) -> None:
    """Write down that it is over."""
    note("after", *sorted(map(str, where)))


if __name__ == "__main__":
    options = {"allow_unsafe_werkzeug": True} if rooms.socketio.async_mode == "threading" else {}
    rooms.socketio.run(app, port=int(sys.argv[1]), **options)
