"""
WebSockets over simple-websocket, for the modes in which python-engineio has none of its own.

They are simple-websocket's, and differ in what a client can make a worker keep or do: what has
been received and is not read yet is bounded, a message is sent as a whole, and when this side
ends the connection, nothing that was received before is handled any more.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import simple_websocket

#: How much a connection may have received before it is read, in bytes and in messages.
RECEIVED_BYTES = 256 * 1024
RECEIVED_MESSAGES = 1000
#: How much is received at once, in bytes.
CHUNK = 16 * 1024


def websocket_of(mode: str, own: Any) -> Any:
    """
    Return the class of WebSockets for a mode.

    Args:
        mode: The mode, as python-engineio names it.
        own: The class of its driver.
    """
    if mode == "threading" or own is None:
        return WebSocketWSGI
    if mode == "gevent":
        return partial(_OfServer, own)
    return partial(_make, own)


class WebSocketWSGI:
    """
    A WebSocket as python-engineio takes it from a driver of an asynchronous mode.

    Args:
        handler: Called with this object while the connection is open.
        server: The server of python-engineio.
    """

    def __init__(self, handler: Callable[[Any], Any], server: Any) -> None:
        self._handler = handler
        self._max_message_size = server.max_http_buffer_size
        self.ws: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.ws = _Server(environ, max_message_size=self._max_message_size, receive_bytes=CHUNK)
        try:
            result = self._handler(self)
        finally:
            self.ws.end()
        # What each server takes as a connection that needs no response any more.
        if self.ws.mode == "gunicorn":
            raise StopIteration
        if self.ws.mode == "werkzeug":
            raise ConnectionError
        return result

    def send(self, message: str | bytes) -> None:
        """Send a message; raise OSError if the connection is closed."""
        try:
            self.ws.send(message)
        except simple_websocket.ConnectionClosed:
            raise OSError from None

    def wait(self) -> str | bytes | None:
        """Return the next message; None if the connection is closed."""
        try:
            message: str | bytes = self.ws.receive()
        except simple_websocket.ConnectionClosed:
            return None
        return message

    def close(self) -> None:
        """Close the connection, unless it is closed."""
        if self.ws.connected:
            self.ws.close()


def _make(own: Any, handler: Callable[[Any], Any], server: Any) -> Any:
    return own(lambda websocket: handler(_Ending(websocket)), server)


class _Ending:
    """
    A WebSocket of another library, from which nothing comes after this side has closed it.

    Args:
        websocket: The WebSocket.
    """

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._websocket, name)

    def wait(self) -> Any:
        """Return the next message; None if the connection is closed."""
        return None if self._ended else self._websocket.wait()

    def close(self) -> None:
        """Close the connection from this side."""
        self._ended = True
        self._websocket.close()


class _OfServer:
    """
    A WebSocket of gevent-websocket, where the web server has accepted the client with that.

    Where that is merely installed, as with gunicorn's own worker for gevent, it would fail.

    Args:
        own: The class of WebSockets of python-engineio's driver for gevent.
        handler: As for WebSocketWSGI.
        server: As for WebSocketWSGI.
    """

    def __init__(self, own: Any, handler: Callable[[Any], Any], server: Any) -> None:
        self._own = own
        self._arguments = handler, server

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if "wsgi.websocket" in environ:
            return _make(self._own, *self._arguments)(environ, start_response)
        return WebSocketWSGI(*self._arguments)(environ, start_response)


class _Server(simple_websocket.Server):  # type: ignore[misc]  # it is not typed
    """A server's side of one connection; a thread of its own receives."""

    def __init__(self, environ: dict[str, Any], **options: Any) -> None:
        self._ended = False
        self._room = threading.Event()
        super().__init__(environ, **options)

    def handshake(self) -> None:
        """Accept the client, over a socket that this object paces."""
        self.sock: Any = _Paced(self.sock, self.wait_for_room)
        super().handshake()

    def receive(self, timeout: float | None = None) -> Any:
        """Return the next message, unless this side has closed the connection."""
        if self._ended:
            raise simple_websocket.ConnectionClosed(self.close_reason, self.close_message)
        message = super().receive(timeout)
        self._room.set()
        return message

    def close(self, reason: Any = None, message: Any = None) -> None:
        """Close the connection from this side."""
        self._ended = True
        self._room.set()
        with contextlib.suppress(OSError):  # the client has gone
            super().close(reason, message)
        self.connected = False

    def wait_for_room(self) -> None:
        """Wait until the application has read enough; raise OSError at the end."""
        while not self._ended and self._is_full():
            self._room.wait()
            self._room.clear()
        if self._ended:
            raise OSError

    def _is_full(self) -> bool:
        waiting = self.input_buffer
        return len(waiting) > RECEIVED_MESSAGES or sum(map(len, waiting)) > RECEIVED_BYTES

    def end(self) -> None:
        """
        Have the web server find the end of the connection, and not what was not read.

        It would take that for the next request, or reset the connection because of it.
        """
        self._ended = True
        self._room.set()
        self.sock.drain()


class _Paced:
    """
    A socket of which no more is received than there is room for.

    Args:
        tcp: The socket.
        wait_for_room: Returns when more may be received.
    """

    def __init__(self, tcp: Any, wait_for_room: Callable[[], None]) -> None:
        self._tcp = tcp
        self._wait_for_room = wait_for_room
        self._sending = threading.Lock()  # the thread that receives answers pings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tcp, name)

    def send(self, data: bytes) -> None:
        """Send all of it; a green socket would send what fits into its buffer."""
        with self._sending:
            self._tcp.sendall(data)

    def recv(self, size: int) -> bytes:
        """Receive, as soon as there is room."""
        self._wait_for_room()
        received: bytes = self._tcp.recv(size)
        return received

    def drain(self) -> None:
        """Shut the connection down, and drop what was received."""
        with contextlib.suppress(OSError):
            self._tcp.shutdown(socket.SHUT_RDWR)
            while self._tcp.recv(RECEIVED_BYTES):
                pass
