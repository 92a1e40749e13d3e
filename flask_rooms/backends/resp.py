"""
What Redis sends, read from the socket of a connection: RESP, in either version.

redis-py reads the same, with hiredis or without it, and takes three times as long where a message
comes alone, as most of its code is not in the processor's cache then.
"""

from __future__ import annotations

from ssl import SSLWantReadError, SSLWantWriteError
from typing import Any, NamedTuple

#: How many bytes are read at once.
_CHUNK = 2**16
#: The longest line, in bytes: the head of a value, or an error.
_MAX_LINE = 2**16

# https://redis.io/docs/latest/develop/reference/protocol-spec/
_PUSH, _ERROR = b">", b"-"
#: The kinds of values that have others in them, and how many of these for each one counted.
_AGGREGATES = {b"*": 1, b">": 1, b"~": 1, b"%": 2}
#: The kinds of values that have their size in bytes before them.
_SIZED = (b"$", b"=", b"!")

#: What a socket raises where nothing has come in time; but for the first, if it may not wait.
_NOT_YET = (TimeoutError, BlockingIOError, SSLWantReadError, SSLWantWriteError)


class RedisError(Exception):
    """Redis has refused a command; the argument is what it says."""


class Reply(NamedTuple):
    """
    What Redis has sent at once.

    Args:
        is_push: Whether it answers no command, in version 3 of the protocol.
        values: The value, or all values in it where they are nested; None for null.
    """

    is_push: bool
    values: list[bytes | None]


class Replies:
    """
    The replies on one connection.

    Args:
        sock: Its socket, of which nothing else reads meanwhile.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._received = bytearray()
        self._timeout: float | None = None  # of the socket, where it was set here

    def next(self, timeout: float) -> Reply | None:
        """
        Return the next reply; None if *timeout* seconds have brought nothing more of it.

        Raises:
            OSError: The connection has ended.
            RedisError: The reply is an error.
            ValueError: This is not what Redis sends.
        """
        while (reply := self._take()) is None:
            if timeout != self._timeout:
                self._sock.settimeout(timeout)
                self._timeout = timeout
            try:
                data = self._sock.recv(_CHUNK)
            except _NOT_YET:
                return None
            if not data:
                raise ConnectionError("Connection closed by server.")
            self._received += data
        return reply

    def answer(self, timeout: float) -> list[bytes | None]:
        """Return the answer to a command, as next(); raise TimeoutError if there is none."""
        while (reply := self.next(timeout)) is not None:
            if not reply.is_push:
                return reply.values
        raise TimeoutError("Redis does not answer.")

    def _take(self) -> Reply | None:
        """Take a whole reply of what was received; return None if there is none yet."""
        values: list[bytes | None] = []
        at, missing = 0, 1
        while missing:
            end = self._received.find(b"\r\n", at)
            if end < 0:
                if len(self._received) - at > _MAX_LINE:
                    raise ValueError("This is not Redis: a line does not end.")
                return None
            kind, head = bytes(self._received[at : at + 1]), bytes(self._received[at + 1 : end])
            at = end + 2
            missing -= 1
            if kind in _AGGREGATES:
                missing += _AGGREGATES[kind] * max(0, int(head))
            elif kind not in _SIZED:
                values.append(head)
            elif (size := int(head)) < 0:
                values.append(None)
            else:
                if len(self._received) < at + size + 2:
                    return None
                values.append(bytes(self._received[at : at + size]))
                at += size + 2
        first = bytes(self._received[:1])
        del self._received[:at]
        if first == _ERROR:
            raise RedisError((values[0] or b"").decode(errors="replace"))
        return Reply(first == _PUSH, values)
