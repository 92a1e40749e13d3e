"""The eventlet server of the example; __main__.py has monkey-patched the process."""

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
GRACE = 2.0  # seconds for disconnecting the clients


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = arguments()
    stopping = readable_at(signal.SIGTERM, signal.SIGINT)
    app = create_app(options.backend, options.database)
    listener = eventlet.listen((options.host, options.port), family(options.host))
    errors = {"wsgi.errors": Errors()}
    server = eventlet.spawn(eventlet.wsgi.server, listener, app, log_output=False, environ=errors)
    server.link(lambda _: os.kill(os.getpid(), signal.SIGTERM))  # it ends only with an error
    if options.until_eof:
        eventlet.spawn(stop_at_eof)
    print(f"Listening on http://{address(listener)}", flush=True)
    eventlet.hubs.trampoline(stopping, read=True)
    disconnect_all(app)


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m example_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5000, help="port; 0 for a free one")
    parser.add_argument("--backend", metavar="URL", default="memory://", help="backend URL")
    parser.add_argument("--database", metavar="FILE", help="SQLite file that the workers share")
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="exit at the end of the standard input, as when the parent process exits",
    )
    return parser.parse_args()


def readable_at(*signals: signal.Signals) -> int:
    """
    Return a file descriptor that becomes readable when the process receives one of *signals*.

    A signal handler runs in an arbitrary greenlet or in eventlet's hub: an exception would be
    raised there, and the handler cannot wake another greenlet.
    """
    stopping, stop = os.pipe()
    os.set_blocking(stop, False)
    signal.set_wakeup_fd(stop)
    for signum in signals:
        signal.signal(signum, lambda *_: None)
    return stopping


def stop_at_eof() -> None:
    """Stop this worker at the end of the standard input."""
    eventlet.hubs.trampoline(STDIN, read=True)
    os.kill(os.getpid(), signal.SIGTERM)


def disconnect_all(app: Flask) -> None:
    """Disconnect all clients, so that their sockets are deleted from the database."""
    with eventlet.Timeout(GRACE, False):
        app.extensions["rooms"].socketio.server.eio.disconnect()


class Errors(io.TextIOBase):
    """Standard error without eventlet's messages about connections that clients have closed."""

    def write(self, text: str) -> int:
        """Write *text*, unless it is such a message."""
        return len(text) if "socket shutdown error" in text else sys.stderr.write(text)


def family(host: str) -> socket.AddressFamily:
    """Return the address family of a host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address(listener: socket.socket) -> str:
    """Return the host and port of a listening socket, for a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
