"""Calls a WSGI application and converts its response to the acknowledgement of a socket request."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from werkzeug.http import parse_options_header

from flask_rooms.backends.logs import safe_logging

logger = logging.getLogger("flask_rooms.socket_requests")

#: How large a response may be, in bytes: it is acknowledged in one piece.
RESPONSE_BYTES = 16 * 2**20

# By which an application has a proxy send the body.
_LEFT_TO_A_PROXY = ("x-sendfile", "x-accel-redirect")
# Headers for browsers, proxies or a single connection, which scripts must not see or cannot use.
_NOT_FOR_THE_CLIENT = frozenset(
    [
        *["set-cookie", "connection", "keep-alive", "trailer", "transfer-encoding", "upgrade"],
        *_LEFT_TO_A_PROXY,
    ]
)


class Response(NamedTuple):
    """
    The response of an application.

    Args:
        status: The status code.
        headers: Names and values as the application has given them.
        body: The whole body.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __repr__(self) -> str:
        return f"<Response {self.status}>"  # cookies stay out of it


def values_of(name: str, headers: list[tuple[str, str]]) -> list[str]:
    """Return all values of the header *name*, which is in lower case."""
    return [value for key, value in headers if key.lower() == name]


class _Call:
    """One call of a WSGI application: provides start_response() and collects its arguments."""

    def __init__(self, begin: Callable[[list[tuple[str, str]]], object]) -> None:
        self._begin: Callable[[list[tuple[str, str]]], object] | None = begin
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        # Nothing is sent yet, so an error handler's second call may replace the first.
        self.status, self.headers = status, headers
        return self.write

    def begin(self) -> None:
        """Do once what a server does when it sends the headers: with the first bytes."""
        begin, self._begin = self._begin, None
        if begin is not None:
            begin(self.headers)

    def write(self, chunk: bytes) -> None:
        if chunk:
            self.begin()
        self.body += chunk
        if len(self.body) > RESPONSE_BYTES:
            raise ValueError(f"A response over a socket has {RESPONSE_BYTES} bytes at most.")


def call(
    app: Any,
    environ: dict[str, Any],
    is_wanted: Callable[[], bool],
    begin: Callable[[list[tuple[str, str]]], object],
) -> Response:
    """
    Call a WSGI application, and return its whole response.

    Args:
        app: The application.
        environ: The WSGI environment of the request.
        is_wanted: Whether the client still waits; called after each chunk of the body, and False
            ends the response there.
        begin: Called once with the headers when they would be sent, also if the rest then fails.

    Raises:
        ValueError: The response is larger than `RESPONSE_BYTES`, or a proxy is to send its body.
    """
    result = _Call(begin)
    chunks: Iterable[bytes] = app(environ, result.start_response)
    try:
        for chunk in chunks:
            result.write(chunk)
            if not is_wanted():
                break
        result.begin()
    finally:
        _close(chunks)
    response = Response(int(result.status.partition(" ")[0]), result.headers, bytes(result.body))
    if not response.body and environ.get("REQUEST_METHOD") != "HEAD":
        _check_has_body(response)
    return response


def _close(chunks: Iterable[bytes]) -> None:
    close = getattr(chunks, "close", None)
    try:
        if close is not None:
            close()
    except Exception:  # of the application; over HTTP the response has been sent by then
        with safe_logging():
            logger.exception("What was to run after a socket request has failed.")


def _check_has_body(response: Response) -> None:
    for name in _LEFT_TO_A_PROXY:
        if values_of(name, response.headers):
            raise ValueError(f"The body is left to a proxy by {name}, and no proxy sees this.")


def acknowledgement_of(response: Response) -> dict[str, Any]:
    """Return the acknowledgement that a client gets for *response*."""
    kept: dict[str, str] = {}
    for name, value in response.headers:
        key = name.lower()
        if key not in _NOT_FOR_THE_CLIENT:
            kept[key] = f"{kept[key]}, {value}" if key in kept else value
    is_plain = kept.get("content-encoding", "identity").strip().lower() == "identity"
    body = _decoded(response.body, kept.get("content-type")) if is_plain else response.body
    return acknowledgement(response.status, body, kept)


def acknowledgement(
    status: int, body: Any, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return an acknowledgement in the form of Sails."""
    return {"body": body, "headers": dict(headers or {}), "statusCode": status}


def _decoded(body: bytes, content_type: str | None) -> Any:
    """Return a body decoded as its media type says: a JSON value, a string, or the bytes."""
    named = content_type or "text/plain"
    media_type = named.partition(";")[0].strip().lower()
    try:
        if media_type == "application/json" or media_type.endswith("+json"):
            # As json.loads() does, which would make a decoder each time.
            text = body.decode(json.detect_encoding(body), "surrogatepass")
            return _JSON.decode(text) if body else ""
        if media_type.startswith("text/"):
            return body.decode(parse_options_header(named)[1].get("charset") or "utf-8")
    except (ValueError, LookupError, RecursionError):
        pass  # the body is not of its media type, or too deep: send it as bytes
    return body


def _null(constant: str) -> None:
    return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


# NaN and Infinity are not JSON. A browser's client would close the connection over them, so they
# become null, as in JSON.stringify().
_JSON = json.JSONDecoder(parse_constant=_null, parse_float=_finite)
