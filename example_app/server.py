"""Serves the example with eventlet, which __main__.py has monkey-patched."""

from __future__ import annotations

import argparse
import io
import os
import signal
import socket
import sys

import eventlet
import eventlet.hubs
import eventlet.wsgi
from flask import Flask

from example_app import create_app

STDIN = 0
GRACE = 2.0  # seconds for the clients to be told


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = arguments()
    stopping = readable_at(signal.SIGTERM, signal.SIGINT)
    app = create_app(options.backend, options.database)
    listener = eventlet.listen((options.host, options.port), family(options.host))
    errors = {"wsgi.errors": Errors()}
    server = eventlet.spawn(eventlet.wsgi.server, listener, app, log_output=False, environ=errors)
    server.link(lambda _: os.kill(os.getpid(), signal.SIGTERM))  # it only ends by an error
    if options.until_eof:
        eventlet.spawn(stop_at_eof)
    print(f"Listening on http://{address(listener)}", flush=True)
    eventlet.hubs.trampoline(stopping, read=True)
    disconnect_all(app)


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m example_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5000, help="0 for any that is free")
    parser.add_argument("--backend", metavar="URL", default="memory://", help="what joins workers")
    parser.add_argument("--database", metavar="FILE", help="SQLite file that the workers share")
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end with the standard input, and so with the program at its other end",
    )
    return parser.parse_args()


def readable_at(*signals: signal.Signals) -> int:
    """
    Return a file descriptor that becomes readable with one of *signals*.

    A signal handler runs in whichever greenlet happens to be there, or in eventlet's hub:
    what it raises ends up there, and it cannot wake another greenlet by itself.
    """
    stopping, stop = os.pipe()
    os.set_blocking(stop, False)
    signal.set_wakeup_fd(stop)
    for signum in signals:
        signal.signal(signum, lambda *_: None)
    return stopping


def stop_at_eof() -> None:
    """Have this worker end when whoever started it is gone."""
    eventlet.hubs.trampoline(STDIN, read=True)
    os.kill(os.getpid(), signal.SIGTERM)


def disconnect_all(app: Flask) -> None:
    """Disconnect all clients, so that the database forgets their sockets."""
    with eventlet.Timeout(GRACE, False):
        app.extensions["rooms"].socketio.server.eio.disconnect()


class Errors(io.TextIOBase):
    """The standard error, without eventlet's remarks on connections that were closed before."""

    def write(self, text: str) -> int:
        """Write what is worth reading."""
        return len(text) if "socket shutdown error" in text else sys.stderr.write(text)


def family(host: str) -> socket.AddressFamily:
    """Return whether a host means IPv4 or IPv6."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address(listener: socket.socket) -> str:
    """Return the host and port that a browser wants to know."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
