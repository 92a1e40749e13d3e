"""Calls a WSGI application, and makes of its response what a client gets acknowledged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

#: What a response may have at most: it is acknowledged in one piece. Bytes.
RESPONSE_BYTES = 16 * 2**20

# Meant for the browser, for the server in front, or for one connection, and not for scripts.
_NOT_FOR_THE_CLIENT = frozenset(
    [
        *["set-cookie", "x-sendfile", "x-accel-redirect", "connection", "keep-alive", "trailer"],
        *["transfer-encoding", "upgrade"],
    ]
)


class Response(NamedTuple):
    """
    What an application has answered.

    Args:
        status: The code.
        headers: As the application gave them.
        body: All of it.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a header, whose *name* is in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


class _Call:
    """One call, which hears start_response()."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        # Nothing is on its way yet, so that who has an error to tell may replace what was said.
        self.status, self.headers = status, headers
        return self.body.extend


def call(app: Any, environ: dict[str, Any], goes_on: Callable[[], bool]) -> Response:
    """
    Return the whole response of *app*.

    Args:
        app: A WSGI application.
        environ: The request.
        goes_on: Whether somebody still wants the response; asked after each part of it.

    Raises:
        ValueError: The response is too large.
    """
    heard = _Call()
    chunks: Iterable[bytes] = app(environ, heard.start_response)
    try:
        for chunk in chunks:
            heard.body += chunk
            if len(heard.body) > RESPONSE_BYTES:
                raise ValueError(f"A response over a socket has {RESPONSE_BYTES} bytes at most.")
            if not goes_on():
                break
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    return Response(int(heard.status.partition(" ")[0]), heard.headers, bytes(heard.body))


def acknowledgement(response: Response) -> dict[str, Any]:
    """Return what the client gets."""
    kept: dict[str, str] = {}
    for name, value in response.headers:
        key = name.lower()
        if key not in _NOT_FOR_THE_CLIENT:
            kept[key] = f"{kept[key]}, {value}" if key in kept else value
    return answer(response.status, _decoded(response.body, kept.get("content-type")), kept)


def answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return an acknowledgement in the form that sails.io.js knows."""
    return {"body": body, "headers": dict(headers or {}), "statusCode": status}


def _decoded(body: bytes, content_type: str | None) -> Any:
    """Return a response's body as what its media type says it is."""
    media_type = (content_type or "text/plain").partition(";")[0].strip().lower()
    try:
        if media_type == "application/json" or media_type.endswith("+json"):
            # NaN is not JSON, and a client in a browser would drop the connection over it.
            return json.loads(body, parse_constant=int) if body else ""
        if media_type.startswith("text/"):
            return body.decode()
    except (ValueError, RecursionError):
        pass  # not what it says it is, or more than can be sent as such: then it is bytes
    return body
