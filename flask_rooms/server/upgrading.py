"""Upgrades a request to a WebSocket, on the servers of all modes."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from wsproto.utilities import generate_accept_token

# Where servers keep the connection of a request in its environment.
_SOCKETS = ("werkzeug.socket", "gunicorn.socket")
# No extension is accepted: nothing is compressed, so that nothing small inflates.
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


class NoWebSocket(Exception):
    """A request cannot be upgraded, because of itself or of its server."""


@dataclass(frozen=True)
class Upgraded:
    """
    A connection that carries a WebSocket from now on.

    Args:
        tcp: The connection.
        read: Returns at most so many bytes of it, and none at its end.
    """

    tcp: Any
    read: Callable[[int], bytes]


def can_upgrade(environ: dict[str, Any]) -> bool:
    """Whether the server of a request is one of those whose connections are known."""
    known = (*_SOCKETS, "eventlet.input", "wsgi.websocket")
    return any(key in environ for key in known) or _file_of_pywsgi(environ) is not None


def upgrade(environ: dict[str, Any]) -> Upgraded:
    """
    Upgrade a request.

    Raises:
        NoWebSocket: It is no request for one, or its server has none.
        OSError: The client has gone.
    """
    if "wsgi.websocket" in environ:
        return _take_over(environ["wsgi.websocket"])
    tcp, read = _connection(environ)
    response = _handshake(environ)
    _send_at_once(tcp)
    tcp.sendall(response)
    return Upgraded(tcp, read)


def _handshake(environ: dict[str, Any]) -> bytes:
    """
    Return the response to a handshake, as RFC 6455 (4.2.2) has it.

    wsproto's own would parse the request once more, which the server has done: that takes a tenth
    of all that is done for a client that connects.
    """
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY")
    if not is_upgrade(environ) or not key:
        raise NoWebSocket("This request is not the handshake of a WebSocket.")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        raise NoWebSocket("This request is for another version of WebSockets.")
    return _SWITCHING % generate_accept_token(key.encode("latin-1"))


def finish(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Tell the server of a request that its connection is not for it any more."""
    if "werkzeug.socket" in environ:
        # It fails to send that, which it expects, and has no error in its log. What is raised here
        # would be a page of its debugger, with status 500.
        with contextlib.suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        start_response("101 Switching Protocols", [])
        return ()  # for a list python-engineio would begin a second response
    if "gunicorn.socket" in environ:
        raise StopIteration
    if "eventlet.input" in environ:
        sys.modules["eventlet.wsgi"].WSGI_LOCAL.already_handled = True
    return []


def is_upgrade(environ: dict[str, Any]) -> bool:
    """Whether python-engineio takes a request for one that is to become a WebSocket."""
    connection = environ.get("HTTP_CONNECTION", "").lower().split(",")
    is_websocket = environ.get("HTTP_UPGRADE", "").lower() == "websocket"
    return is_websocket and "upgrade" in map(str.strip, connection)


def tcp_of(environ: dict[str, Any]) -> Any:
    """Return the connection that a request has come over; None if its server does not tell."""
    try:
        return _connection(environ)[0]
    except (KeyError, NoWebSocket):
        return None


def _connection(environ: dict[str, Any]) -> tuple[Any, Callable[[int], bytes]]:
    """Return the connection of a request, and what reads from it."""
    file = _file_of_pywsgi(environ)
    if file is not None:
        return file.raw._sock, file.read1  # which may have read ahead
    if not can_upgrade(environ):
        raise NoWebSocket("The server of this request does not give its connection away.")
    named = [environ[key] for key in _SOCKETS if key in environ]
    tcp = named[0] if named else environ["eventlet.input"].get_socket()
    return tcp, tcp.recv


def _file_of_pywsgi(environ: dict[str, Any]) -> Any:
    """Return the file over the connection that gevent's own server has; None on others."""
    file = environ["wsgi.input"]
    file = getattr(file, "rfile", file)
    is_gevent = environ.get("SERVER_SOFTWARE", "").startswith("gevent")
    return file if is_gevent and hasattr(file, "raw") else None


def _take_over(websocket: Any) -> Upgraded:
    """Take over a WebSocket of gevent-websocket, which has sent its handshake already."""
    handler = websocket.stream.handler
    websocket.closed = True  # it sends nothing more
    _send_at_once(handler.socket)
    return Upgraded(handler.socket, handler.rfile.read1)


def _send_at_once(tcp: Any) -> None:
    # Else the second frame waits until the client has acknowledged the first, which takes 40 ms.
    with contextlib.suppress(OSError):  # a Unix socket has no such option, and no such delay
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
