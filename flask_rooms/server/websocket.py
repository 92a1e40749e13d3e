"""The WebSocket of a client: read only when asked, bounded, and sent without a delay."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from wsproto.connection import Connection, ConnectionState
from wsproto.events import CloseConnection, Event, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from flask_rooms.server.engine_io import is_message, is_packet

#: How many bytes are read at once.
CHUNK = 2**14


def frame_of(message: str | bytes) -> bytes:
    """
    Return the frame of a whole message, as RFC 6455 (5.2) has it for servers: with no mask.

    wsproto makes the same one, and takes fifty times as long: every message of a broadcast is one.
    """
    first, payload = (0x81, message.encode()) if isinstance(message, str) else (0x82, message)
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 2**16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


class WebSocket:
    """
    A WebSocket as python-engineio uses it, in every mode and on every server.

    What the servers bring with them takes messages of any size, inflates what is compressed (all
    but gevent-websocket), unmasks byte by byte in Python (all but simple-websocket), or reads on
    while nothing is done with what was read (simple-websocket).

    Args:
        tcp: The connection.
        read: Returns at most so many bytes of it, and none at its end.
        frames: The protocol, whose handshake is done.
        limit: How large a message may be, in bytes; of a text, in characters.
        pause: Lets other tasks run if it is time to.
        refuse: Called with the name of the limit when a client has reached one.
        pace: Called for each frame that no handler of messages will count: the answer to a ping,
            a ping of WebSocket's own, or a piece of a message. It waits until more may be read.

    Attributes:
        socket: The connection; python-engineio sets its timeout.
    """

    def __init__(
        self,
        tcp: Any,
        read: Callable[[int], bytes],
        frames: Connection,
        limit: int,
        pause: Callable[[], object],
        refuse: Callable[[str], object],
        pace: Callable[[], object],
    ) -> None:
        self.socket = tcp
        self._read = read
        self._frames = frames
        self._limit = limit
        self._pause = pause
        self._refuse = refuse
        self._pace = pace
        self._closed = False
        self._sending = threading.Lock()  # answers to pings are sent by the thread that reads

    def wait(self) -> str | bytes | None:
        """Return the next message; None once the connection has ended, on either side."""
        try:
            message = self._next_message()
        except (OSError, LocalProtocolError, ValueError):  # the last of a file that is closed
            return None
        if self._closed:  # what came before is not handled any more
            return None
        if message is None or is_packet(message):
            if message is not None and not is_message(message):
                self._pace()
            return message
        self._refuse("malformed_packets")
        self._close(CloseReason.POLICY_VIOLATION)
        return None

    def _next_message(self) -> str | bytes | None:
        message: Any = None
        size = 0
        while not self._closed:
            event = self._next_event()
            if isinstance(event, CloseConnection):
                self._send(event.response())
                return None
            if isinstance(event, Ping):
                self._pace()
                self._send(event.response())
            elif isinstance(event, Message):
                size += len(event.data)
                if size > self._limit:
                    self._refuse("max_http_buffer_size")
                    self._close(CloseReason.MESSAGE_TOO_BIG)
                    return None
                if message is None:
                    if event.message_finished:
                        # Before wsproto 1.3 bytes are a bytearray.
                        return event.data if isinstance(event.data, str) else bytes(event.data)
                    message = io.StringIO() if isinstance(event.data, str) else io.BytesIO()
                message.write(event.data)
                if event.message_finished:
                    whole: str | bytes = message.getvalue()
                    return whole
                self._pace()
            else:
                self._pace()  # a pong that nothing has asked for
        return None

    def _next_event(self) -> Event:
        while True:
            for event in self._frames.events():
                return event  # the next call goes on from here
            data = self._read(CHUNK)
            if not data:
                raise ConnectionResetError("The client has gone.")
            self._pause()  # a client that sends without a pause holds up no other
            self._frames.receive_data(data)

    def send(self, message: str | bytes | list[str | bytes]) -> None:
        """Send a message, or several at once; raise OSError if the connection has ended."""
        messages = message if isinstance(message, list) else [message]
        frames = b"".join(map(frame_of, messages))
        with self._sending:
            if self._frames.state is not ConnectionState.OPEN:
                raise ConnectionResetError("The WebSocket is closed.")
            self.socket.sendall(frames)

    def close(self) -> None:
        """Close the WebSocket: the client answers by closing the connection."""
        self._close(CloseReason.NORMAL_CLOSURE)

    def _close(self, reason: CloseReason) -> None:
        self._closed = True
        with contextlib.suppress(OSError, LocalProtocolError):  # it is closed already
            self._send(CloseConnection(code=reason))
            self.socket.shutdown(socket.SHUT_WR)

    def shut_down(self) -> None:
        """End the connection, whether the client reads and answers or not."""
        self._closed = True
        with contextlib.suppress(OSError):  # it has ended already
            self.socket.shutdown(socket.SHUT_RDWR)

    def drain(self) -> None:
        """End the connection, and drop what was received: servers take it for a request."""
        self.shut_down()
        with contextlib.suppress(OSError, ValueError):
            while self._read(CHUNK):
                pass

    def _send(self, event: Event) -> None:
        with self._sending:
            self.socket.sendall(self._frames.send(event))
