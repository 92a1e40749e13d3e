"""Serves one application in the mode that worker.py has patched the process for."""

from __future__ import annotations

import argparse
import json
import logging
import select
import sys
from collections.abc import Callable
from importlib import import_module

from flask import Flask

HOST = "127.0.0.1"

#: Small, so that tests need not wait long for what heartbeats decide, but long enough for a
#: worker that a busy machine holds up not to be taken for dead. Seconds.
HEARTBEAT = 0.5

#: A port, and the function that serves there for ever.
Server = tuple[int, Callable[[], object]]


def main() -> None:
    """Serve until the standard input ends."""
    options = arguments()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app: Flask = import_module(options.application).create_app(
        ROOMS_BACKEND_URL=options.backend,
        ROOMS_CHANNEL=options.channel,
        ROOMS_HEARTBEAT_INTERVAL=options.heartbeat,
        **options.config,
    )
    socketio = app.extensions["socketio"]
    # Joining the cluster comes first: with the name is known that this worker hears the others.
    parts = app.extensions.get("rooms_parts")  # none in plain Flask-SocketIO, for comparison
    name = parts.cluster.name if parts else ""
    port, serve = SERVERS[socketio.async_mode](app)
    socketio.start_background_task(serve)
    print(json.dumps({"port": port, "name": name}), flush=True)
    # The one way of waiting that is green where it has to be.
    select.select([sys.stdin], [], [])


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.worker")
    parser.add_argument("--backend", metavar="URL", required=True)
    parser.add_argument("--channel", metavar="NAME", required=True)
    parser.add_argument("--heartbeat", metavar="SECONDS", type=float, default=HEARTBEAT)
    parser.add_argument("--application", metavar="MODULE", default="tests.support.rooms_app")
    parser.add_argument("--config", metavar="JSON", type=json.loads, default={})
    return parser.parse_args()


# Each of these is listening already when it returns: a client may connect at once.


def with_werkzeug(app: Flask) -> Server:
    """Listen with the server of Flask's own `run`."""
    from werkzeug.serving import make_server

    server = make_server(HOST, 0, app, threaded=True)
    return server.server_port, server.serve_forever


def with_eventlet(app: Flask) -> Server:
    """Listen with eventlet's server."""
    import eventlet
    import eventlet.wsgi

    listener = eventlet.listen((HOST, 0))
    port: int = listener.getsockname()[1]
    # More connections at once than the 1,024 that it serves by itself.
    return port, lambda: eventlet.wsgi.server(listener, app, log_output=False, max_size=10_000)


def with_gevent(app: Flask) -> Server:
    """Listen with gevent's server."""
    from gevent import pywsgi

    server = pywsgi.WSGIServer((HOST, 0), app, log=None)
    server.start()
    return server.server_port, server.serve_forever


SERVERS: dict[str, Callable[[Flask], Server]] = {
    "threading": with_werkzeug,
    "eventlet": with_eventlet,
    "gevent": with_gevent,
}
