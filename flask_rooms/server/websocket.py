"""The WebSocket of a client: read only when asked, bounded, and sent without a delay."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from wsproto.events import CloseConnection, Event, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from flask_rooms.membership.refusals import Limit
from flask_rooms.server.engine_io import is_message, is_packet
from flask_rooms.server.frames import FrameReader, frame_of

#: How many bytes are read at once.
CHUNK = 2**14
#: How many bytes the system takes without waiting where it has sent all before them.
AT_ONCE = 2**13


class Client(Protocol):
    """What is asked for each client that sends."""

    def pause(self) -> None:
        """Let other tasks run if it is time to."""

    def waiting(self, wait: Callable[[int], bytes], size: int) -> bytes:
        """Return what *wait* returns for *size*; it is not time to pause because of that."""

    def pace(self) -> None:
        """
        Count a frame that no handler of messages will count; wait until more may be read.

        Such are the answer to a ping, a ping of WebSocket's own, and a piece of a message.
        """

    def refuse(self, limit: Limit) -> None:
        """Count that the client has reached a limit."""

    def is_silent(self) -> None:
        """Note that the client has sent nothing for so long that its connection ends."""


class WebSocket:
    """
    A WebSocket as python-engineio uses it, in every mode and on every server.

    What the servers bring with them takes messages of any size, inflates what is compressed (all
    but gevent-websocket), unmasks byte by byte in Python (all but simple-websocket), or reads on
    while nothing is done with what was read (simple-websocket).

    Args:
        tcp: The connection.
        read: Returns at most so many bytes of it, and none at its end.
        limit: How large a message may be, in bytes; of a text, in characters.
        client: Says how fast the client may send.
        any_text: Whether a message need not be text of Socket.IO's own.

    Attributes:
        socket: The connection; python-engineio sets its timeout.
    """

    def __init__(
        self,
        tcp: Any,
        read: Callable[[int], bytes],
        limit: int,
        client: Client,
        any_text: bool = False,
    ) -> None:
        self.socket = tcp
        self._read = read
        self._frames = FrameReader()
        self._limit = limit
        self._client = client
        self._any_text = any_text
        self._closed = False
        self._sending = threading.Lock()  # answers to pings are sent by the thread that reads

    @property
    def has_handled_all(self) -> bool:
        """Whether wait() has returned all that was read of the connection."""
        return self._frames.is_empty

    def wait(self) -> str | bytes | None:
        """Return the next message; None once the connection has ended, on either side."""
        try:
            message = self._next_message()
        except (OSError, LocalProtocolError, ValueError):  # the last of a file that is closed
            return None
        if self._closed:  # what came before is not handled any more
            return None
        if message is None or is_packet(message, self._any_text):
            if message is not None and not is_message(message):
                self._client.pace()
            return message
        self._client.refuse("malformed_packets")
        self._close(CloseReason.POLICY_VIOLATION)
        return None

    def _next_message(self) -> str | bytes | None:
        message: Any = None
        size = 0
        while not self._closed:
            event = self._next_event()
            if isinstance(event, str | bytes):
                return None if self._is_too_large(len(event)) else event
            if isinstance(event, CloseConnection):
                self._send(event.response())
                return None
            if isinstance(event, Ping):
                self._client.pace()
                self._send(event.response())
            elif isinstance(event, Message):
                size += len(event.data)
                if self._is_too_large(size):
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
                self._client.pace()
            else:
                self._client.pace()  # a pong that nothing has asked for
        return None

    def _is_too_large(self, size: int) -> bool:
        """End the connection if a message is larger than it may be."""
        if size <= self._limit:
            return False
        self._client.refuse("max_http_buffer_size")
        self._close(CloseReason.MESSAGE_TOO_BIG)
        return True

    def _next_event(self) -> Event | str | bytes:
        while (event := self._frames.next()) is None:
            try:
                data = self._client.waiting(self._read, CHUNK)
            except TimeoutError as error:
                if error.errno is None:  # else TCP reports that the connection has ended
                    self._client.is_silent()
                raise
            if not data:
                raise ConnectionResetError("The client has gone.")
            self._client.pause()  # a client that sends without a pause holds up no other
            self._frames.receive(data)
        return event

    def send(self, message: str | bytes | list[str | bytes]) -> None:
        """Send a message, or several at once; raise OSError if the connection has ended."""
        messages = message if isinstance(message, list) else [message]
        frames = b"".join(map(frame_of, messages))
        with self._sending:
            if not self._frames.is_open:
                raise ConnectionResetError("The WebSocket is closed.")
            self.socket.sendall(frames)

    def send_now(self, messages: list[str | bytes]) -> bool:
        """
        Send messages if the system takes them without waiting for the client.

        Returns:
            False if they have to be sent by send().
        """
        if "send" in vars(self):  # python-socketio's admin counts what passes there
            return False
        frames = b"".join(map(frame_of, messages))
        if len(frames) > AT_ONCE or not self._sending.acquire(blocking=False):
            return False
        try:
            if not self._frames.is_open or not _is_all_sent(self.socket):
                return False
            self.socket.sendall(frames)
        except (OSError, ValueError):  # the last where the server has closed the connection
            self.shut_down()
        finally:
            self._sending.release()
        return True

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
            self.socket.sendall(self._frames.protocol.send(event))


def _is_all_sent(tcp: Any) -> bool:
    """Whether the client has got all that was sent to it, as far as the system can tell."""
    if sys.platform != "linux":
        return False
    import fcntl  # not on Windows
    import termios

    none = bytes(4)
    return fcntl.ioctl(tcp.fileno(), termios.TIOCOUTQ, none) == none  # tcp(7): SIOCOUTQ
