"""
What calls cost inside one worker, each beside what python-socketio takes for the same.

    python -m benchmarks.inside [--rounds 5] [--clients 10000]

Both are measured in turn, in processor time of this process, which other processes change little.
docs/performance.md explains the results.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median

from flask import request
from flask_socketio import join_room, leave_room
from werkzeug.test import EnvironBuilder

from benchmarks.local import LocalApp
from benchmarks.table import markdown, short, spread
from benchmarks.versions import versions
from flask_rooms import sockets

#: How many calls are timed at once.
CALLS = 2000
#: In how many rooms each socket is.
ROOMS = 10

Measure = Callable[[LocalApp], float]


@dataclass(frozen=True)
class Comparison:
    """
    One thing, done by Flask-Rooms and by its peer.

    Args:
        what: What is done.
        unit: Of both figures; less is better.
        ours: Measures Flask-Rooms.
        peer: Measures Flask-SocketIO alone, or python-socketio.
        peer_does: What the peer does, where that is something else.
        rounds: How often it is measured at most, where one round takes long.
    """

    what: str
    unit: str
    ours: Measure
    peer: Measure
    peer_does: str = "the same"
    rounds: int = 100


def main() -> None:
    """Print a line of JSON for each comparison, and a table of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inside")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=10_000)
    options = parser.parse_args()
    print(json.dumps({"versions": versions()}), flush=True)
    ours, peer = LocalApp(True, options.clients), LocalApp(False, options.clients)
    records = []
    for one in comparisons(options.clients):
        measured = []
        for _ in range(min(one.rounds, options.rounds)):
            measured.append((_quietly(one.ours, ours), _quietly(one.peer, peer)))
        records.append(record(one, measured))
        print(json.dumps(records[-1]), flush=True)
    print(table(records))


def comparisons(clients: int) -> list[Comparison]:
    """Return what is compared, with so many clients."""
    return [
        Comparison(
            "`sockets.leave(request, room)` in a request",
            "us",
            partial(_in_handler, lambda room: sockets.leave(request, room)),
            partial(_in_handler, leave_room),
            "`leave_room(room)`",
        ),
        Comparison(
            "`leave_room(room)` in an event handler",
            "us",
            partial(_in_handler, leave_room),
            partial(_in_handler, leave_room),
        ),
        Comparison(
            "socket request to a route with JSON",
            "us",
            partial(_messages, '["put",{"url":"/echo","data":{"n":1},"headers":{}}]'),
            lambda app: dispatch(app) + _messages('["echo",{"n":1}]', app),
            "Flask's dispatch of it over HTTP, and an event handler",
        ),
        Comparison(f"an event to {clients:,} clients in a room", "ms", _emit, _emit),
        *[
            Comparison(
                f"disconnect of a socket in {ROOMS} of {rooms:,} rooms",
                "us",
                partial(_disconnect, rooms),
                partial(_disconnect, rooms),
                rounds=1,
            )
            for rooms in (1000, 10_000, 100_000)
        ],
        *[
            Comparison(
                f"a membership, where {clients:,} sockets are in {rooms:,} rooms",
                "bytes",
                partial(_memory, rooms),
                partial(_memory, rooms),
                rounds=1,
            )
            for rooms in (1000, 100_000)
        ],
    ]


def _quietly(measure: Measure, app: LocalApp) -> float:
    gc.collect()
    return measure(app)


def _cpu(function: Callable[[], object], calls: int = 1) -> float:
    """Return the processor time of this thread for one call, in microseconds."""
    began = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - began) / calls / 1e3


# -- what is measured -------------------------------------------------------------------------


def _in_handler(leave: Callable[[str], object], app: LocalApp) -> float:
    rooms = [f"room-{number}" for number in range(CALLS)]
    took = []

    def handle() -> None:
        for room in rooms:
            join_room(room)
        took.append(_cpu(lambda: [leave(room) for room in rooms], CALLS))

    app.run_in_handler(handle)
    return took[0]


def _messages(packet: str, app: LocalApp) -> float:
    client = app.clients[0]

    def send_all() -> None:
        for number in range(CALLS):
            app.send(client, f"2{number}{packet}")
        app.take_all()

    return _cpu(send_all, CALLS)


def dispatch(app: LocalApp) -> float:
    """Return the microseconds that Flask takes for a request to a route with JSON over HTTP."""
    body = b'{"n":1}'
    environ = EnvironBuilder("/echo", method="PUT", data=body, content_type="application/json")
    given = environ.get_environ()

    def serve_all() -> None:
        for _ in range(CALLS):
            copy = {**given, "wsgi.input": io.BytesIO(body)}
            b"".join(app.app(copy, lambda *started: lambda chunk: None))

    return _cpu(serve_all, CALLS)


def _emit(app: LocalApp) -> float:
    for sid in app.sids:
        app.manager.basic_enter_room(sid, "/", "everybody")
    took = _cpu(lambda: app.socketio.emit("news", {"text": "x" * 100}, to="everybody"))
    if app.take_all() != len(app.sids):
        raise RuntimeError("Not every client has got the event.")
    return took / 1e3


def _fill(app: LocalApp, rooms: int) -> int:
    """Put all sockets into rooms; return how many memberships there are."""
    joined: Iterable[tuple[int, str]] = enumerate(app.sids)
    for number, sid in joined:
        for step in range(ROOMS):
            room = f"{rooms}-{(number * ROOMS + step) % rooms}"
            app.manager.basic_enter_room(sid, "/", room)
    return len(app.sids) * ROOMS


def _memory(rooms: int, app: LocalApp) -> float:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        memberships = _fill(app, rooms)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    for room in range(rooms):
        app.manager.basic_close_room(f"{rooms}-{room}", "/")
    return taken / memberships


def _disconnect(rooms: int, app: LocalApp) -> float:
    _fill(app, rooms)
    count = min(100, len(app.sids) // 10)
    gone, app.sids = app.sids[:count], app.sids[count:]
    took = _cpu(lambda: [app.manager.basic_disconnect(sid, "/") for sid in gone], len(gone))
    for room in range(rooms):
        app.manager.basic_close_room(f"{rooms}-{room}", "/")
    return took


# -- what is printed --------------------------------------------------------------------------


def record(one: Comparison, measured: list[tuple[float, float]]) -> dict[str, object]:
    """Return the figures of a comparison, and their ratios round by round."""
    return {
        "benchmark": "inside",
        "what": one.what,
        "unit": one.unit,
        "peer_does": one.peer_does,
        "ours": [round(ours, 2) for ours, _ in measured],
        "peer": [round(peer, 2) for _, peer in measured],
        "ratio": [round(ours / peer, 3) for ours, peer in measured],
        "load": os.getloadavg()[0],
    }


def table(records: Iterable[dict[str, object]]) -> str:
    """Return the table of comparisons: medians, and the spread of the ratios."""
    rows = []
    for one in records:
        ours, peer, ratios = one["ours"], one["peer"], one["ratio"]
        assert isinstance(ours, list)
        assert isinstance(peer, list)
        assert isinstance(ratios, list)
        row = [str(one["what"]), f"{short(median(ours))} {one['unit']}", str(one["peer_does"])]
        row += [f"{short(median(peer))} {one['unit']}", f"{median(ratios):.2g}", spread(ratios)]
        rows.append(row)
    head = ["", "Flask-Rooms", "beside", "python-socketio", "ratio", "spread of the ratio"]
    return markdown(head, rows)


if __name__ == "__main__":
    main()
