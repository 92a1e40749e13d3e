"""
Frames of WebSockets, as RFC 6455 (5.2) has them: what nearly all are is read and written here.

wsproto reads and writes the same, and takes ten to fifty times as long. Whatever is not a whole
message in one frame is left to it: pieces of messages, pings and closes, and what breaks the rules.
"""

from __future__ import annotations

import struct

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import Event

#: The first byte of a whole message: the last frame of it, and what it is made of.
_TEXT, _BYTES = 0x81, 0x82
#: In the first byte: whether it is the last frame of a message; and what it is.
_FINAL, _OPCODE = 0x80, 0x0F
#: In the second byte: whether the payload is masked, as that of a client has to be; and its size.
_MASKED, _SIZE = 0x80, 0x7F
#: What stands for a size that is in the two or eight bytes that follow.
_IN_TWO, _IN_EIGHT = 126, 127
_MASK_BYTES = 4


def frame_of(message: str | bytes) -> bytes:
    """Return the frame of a whole message of a server, with no mask; a broadcast has many."""
    first, payload = (_TEXT, message.encode()) if isinstance(message, str) else (_BYTES, message)
    size = len(payload)
    if size < _IN_TWO:
        return bytes((first, size)) + payload
    if size < 2**16:
        return struct.pack("!BBH", first, _IN_TWO, size) + payload
    return struct.pack("!BBQ", first, _IN_EIGHT, size) + payload


class FrameReader:
    """What a client sends after the handshake, frame by frame."""

    def __init__(self) -> None:
        self._received = b""
        self._missing = 0  # bytes of the present frame that the protocol has not had
        self._in_pieces = False  # whether the present message is

    @property
    def protocol(self) -> Connection:
        """What reads and writes all other frames; few connections need it before they end."""
        made: Connection | None = vars(self).get("_protocol")
        # Of two threads, the first.
        return made or vars(self).setdefault("_protocol", Connection(ConnectionType.SERVER))

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed the WebSocket."""
        made: Connection | None = vars(self).get("_protocol")
        return made is None or made.state is ConnectionState.OPEN

    @property
    def is_empty(self) -> bool:
        """Whether next() has returned all that was taken in."""
        return not self._received

    def receive(self, data: bytes) -> None:
        """Take in what was read."""
        self._received += data

    def next(self) -> Event | str | bytes | None:
        """Return a whole message, or something else that has happened; None if that takes more."""
        while True:
            if "_protocol" in vars(self):
                for event in self.protocol.events():
                    return event  # the next call goes on from here
            if self._missing == 0:
                message = self._begin_frame()
                if message is not None:
                    return message
            if self._missing == 0 or not self._received:
                return None
            self._pass_on()

    def _begin_frame(self) -> str | bytes | None:
        """Return the next message if all of it is here, in one frame; else find its frame's end."""
        head = self._head()
        if head is None:
            return None
        first, start, size = head
        end = start + size
        is_whole = first in (_TEXT, _BYTES) and not self._in_pieces and end <= len(self._received)
        # Masked, and with its size in the shortest form: nothing else is allowed.
        if is_whole and (start == 6 or (start == 8 and size >= _IN_TWO)):
            message = _decoded(first, self._received[start - _MASK_BYTES : end])
            if message is not None:
                self._received = self._received[end:]
                return message
        if first & _OPCODE < 0x8:  # a frame that controls may come between two pieces
            self._in_pieces = not first & _FINAL
        self._missing = end
        return None

    def _head(self) -> tuple[int, int, int] | None:
        """Return the first byte of a frame, where its payload begins, and how long that is."""
        data = self._received
        if len(data) < 2:
            return None
        size, start = data[1] & _SIZE, 2
        if size >= _IN_TWO:
            start = 4 if size == _IN_TWO else 10
            size = int.from_bytes(data[2:start], "big")
        if data[1] & _MASKED:
            start += _MASK_BYTES
        return (data[0], start, size) if len(data) >= start else None

    def _pass_on(self) -> None:
        """Let the protocol have what is here of the present frame."""
        data, self._received = self._received[: self._missing], self._received[self._missing :]
        self._missing -= len(data)
        self.protocol.receive_data(data)


def _decoded(first: int, masked: bytes) -> str | bytes | None:
    """
    Return a message; None for a text that is none, for which the connection is to be closed.

    Args:
        first: The first byte of its frame.
        masked: The mask, and the payload that it is to be taken from.
    """
    mask, payload = masked[:_MASK_BYTES], masked[_MASK_BYTES:]
    size = len(payload)
    repeated = (mask * (size // _MASK_BYTES + 1))[:size]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    data = number.to_bytes(size, "little")
    if first == _BYTES:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
