"""ErrorStream, the `wsgi.errors` of sockets, which outlast the log that their handshake had."""

from __future__ import annotations

import io
import sys
from typing import Any
from weakref import WeakKeyDictionary

from flask import Flask


class ErrorStream(io.TextIOBase):
    """
    Writes where the latest HTTP request of an application would.

    The stream of a handshake may be closed while its socket is connected: gunicorn opens its error
    log anew when that is rotated.
    """

    def __init__(self) -> None:
        self._latest: Any = sys.stderr

    def follow(self, stream: Any) -> None:
        """Write to the `wsgi.errors` of a request that has come in, if it has one."""
        if stream is not None and not isinstance(stream, ErrorStream):
            self._latest = stream

    def write(self, text: str) -> int:
        """Write to the latest stream; to the standard error where that is closed."""
        try:
            self._latest.write(text)
        except ValueError:
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the latest stream, if it is open."""
        try:
            self._latest.flush()
        except ValueError:
            sys.stderr.flush()


_streams: WeakKeyDictionary[Flask, ErrorStream] = WeakKeyDictionary()


def error_stream(app: Flask) -> ErrorStream:
    """Return the stream of an application, which is always the same."""
    return _streams.get(app) or _streams.setdefault(app, ErrorStream())
