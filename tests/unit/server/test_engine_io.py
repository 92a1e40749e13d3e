"""What clients may send in Engine.IO."""

from __future__ import annotations

import io
from typing import Any

import pytest

from flask_rooms.server.engine_io import MAX_OTHER_PACKETS, check_post

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

LIMIT = 100


class Ended:
    """The body of a client that has gone, as gevent and uWSGI have it."""

    def read(self, size: int) -> bytes:
        raise OSError("unexpected end of file")


def check(length: int | str, body: Any) -> tuple[str | None, list[str]]:
    """Return why a body is refused, and the limits that were counted."""
    counted: list[str] = []
    environ = {"CONTENT_LENGTH": str(length), "wsgi.input": body}
    return check_post(environ, LIMIT, counted.append), counted


@pytest.mark.parametrize("body", [io.BytesIO(b'42["a"]'), Ended()], ids=["short", "an error"])
def test_a_body_whose_client_has_gone_is_refused_without_a_traceback(body: Any) -> None:
    assert check(8, body) == ("The body of this request has no end.", ["malformed_packets"])


@pytest.mark.parametrize("length", [LIMIT + 1, "-1", "+5", "\xb2", "x", "9" * 5000])
def test_a_length_that_is_none_or_too_large_is_refused(length: int | str) -> None:
    """Python raises an error for a number of that many digits, and werkzeug lets it through."""
    refused = (f"The body of a request has {LIMIT} bytes at most.", ["max_http_buffer_size"])
    assert check(length, io.BytesIO()) == refused


def test_a_whole_body_can_be_read_again() -> None:
    environ = {"CONTENT_LENGTH": "7", "wsgi.input": io.BytesIO(b'42["a"]')}
    assert check_post(environ, LIMIT, pytest.fail) is None
    assert environ["wsgi.input"].read() == b'42["a"]'  # type: ignore[attr-defined]


def test_few_packets_of_a_body_are_no_messages() -> None:
    """Those are not counted where messages are."""
    body = "\x1e".join(["3"] * MAX_OTHER_PACKETS + ["40"] * 10).encode()
    assert check(len(body), io.BytesIO(body)) == (None, [])

    body += b"\x1e3"
    assert check(len(body), io.BytesIO(body)) == ("This is not Engine.IO.", ["malformed_packets"])
