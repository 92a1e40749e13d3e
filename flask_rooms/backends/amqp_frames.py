"""Frames of AMQP between py-amqp's connection and ours: bytes in and out, and nothing else read."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Any

from amqp import spec
from amqp.method_framing import frame_handler
from amqp.serialization import dumps

#: The kinds of frames: a message is a method, a header with its size and properties, and a body.
_METHOD, _HEADER, _BODY = 1, 2, 3

#: Where the size of the body begins in a header.
_SIZE_AT = 4

#: Bytes that read_ahead() reads at once; more than most messages have, few enough to copy.
READ_AHEAD = 4096


class Inbound:
    """
    Handles the frames of a connection: it gives the bodies of messages to `takes`.

    py-amqp would decode the properties of each message first. A worker has no use for them, and
    RabbitMQ passes on some that py-amqp cannot decode, such as a date in the year 300,000. All
    other frames are py-amqp's.

    Args:
        connection: py-amqp's connection.
        callback: py-amqp's own handler of methods.

    Attributes:
        takes: By channel, what is called with the body of each message; others are dropped.
    """

    def __init__(self, connection: Any, callback: Callable[..., object]) -> None:
        self._handle = frame_handler(connection, callback)
        self._begun: dict[int, _Body] = {}  # by channel
        self.takes: dict[int, Callable[[bytes], object]] = {}

    def __call__(self, frame: tuple[int, int, bytes]) -> bool:
        """Handle a frame; return whether a message or a method is complete with it."""
        kind, channel, data = frame
        if kind == _METHOD and unpack_from(">HH", data) == spec.Basic.Deliver:
            self._begun[channel] = _Body()
            return False
        if kind not in (_HEADER, _BODY) or channel not in self._begun:
            return bool(self._handle(frame))
        body = self._begun[channel]
        if kind == _HEADER:
            (body.missing,) = unpack_from(">Q", data, _SIZE_AT)
        else:
            body.add(data)
        if body.missing > 0:
            return False
        del self._begun[channel]
        if take := self.takes.get(channel):
            take(b"".join(body.chunks))
        return True


class _Body:
    """A body that arrives in frames."""

    def __init__(self) -> None:
        self.missing = 0
        self.chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.missing -= len(chunk)


def publish_arguments(exchange: str, key: str) -> bytes:
    """Return the encoded arguments of Basic.Publish, which are the same for each message."""
    encoded: bytes = dumps("Bssbb", (0, exchange, key, False, False))
    return encoded


def read_ahead(transport: Any) -> None:
    """
    Have py-amqp's transport read what has arrived at once.

    A message is three frames, and it would read each in three parts of an exact size, with two
    system calls for each. It keeps what is more than it has asked for.
    """
    receive = transport._quick_recv
    transport._quick_recv = lambda size: receive(max(size, READ_AHEAD))
