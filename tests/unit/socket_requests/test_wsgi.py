"""What is made of the response of a WSGI application: all that PEP 3333 allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_rooms.socket_requests import wsgi
from flask_rooms.socket_requests.wsgi import Response, acknowledgement_of, call, values_of

pytestmark = pytest.mark.mode_independent

StartResponse = Callable[[str, list[tuple[str, str]]], Callable[[bytes], object]]


class Body:
    """The chunks of a body, of which it counts those that were taken, until it is closed."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = iter(chunks)
        self.taken = 0
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.taken += 1
            yield chunk

    def close(self) -> None:
        self.is_closed = True


def ignore(headers: list[tuple[str, str]]) -> None:
    """Do nothing where a response begins."""


def respond(body: Any, is_wanted: bool = True) -> Response:
    """Return the response of an application that returns this body."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return body

    return call(app, {}, lambda: is_wanted, ignore)


def test_a_body_may_be_a_list_and_may_be_written() -> None:
    """As an application does that is older than WSGI, in front of what it returns."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        write = start_response("201 Created", [("X-A", "1"), ("x-a", "2"), ("X-B", "3")])
        write(b"first, ")
        return [b"then ", b"this"]

    begun: list[Any] = []
    response = call(app, {}, lambda: True, begun.append)

    assert begun == [response.headers]
    assert response == Response(
        201, [("X-A", "1"), ("x-a", "2"), ("X-B", "3")], b"first, then this"
    )
    assert values_of("x-a", response.headers) == ["1", "2"]


def test_a_body_that_is_as_large_as_it_may_be_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "RESPONSE_BYTES", 6)
    fits, does_not = Body(b"one", b"two"), Body(b"one", b"two", b"3", b"4")

    assert respond(fits).body == b"onetwo"
    with pytest.raises(ValueError, match=r"^A response over a socket has 6 bytes at most\.$"):
        respond(does_not)

    assert (does_not.taken, fits.is_closed, does_not.is_closed) == (3, True, True)


def test_no_more_is_written_than_a_body_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "RESPONSE_BYTES", 6)
    written = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [])
        for chunk in (b"one", b"two", b"3", b"4"):
            written.append(chunk)
            write(chunk)
        return []

    with pytest.raises(ValueError, match=r"^A response over a socket has 6 bytes at most\.$"):
        call(app, {}, lambda: True, ignore)

    assert written == [b"one", b"two", b"3"]


def test_no_more_is_taken_of_a_body_that_nobody_waits_for() -> None:
    body = Body(b"one", b"two")

    respond(body, is_wanted=False)

    assert (body.taken, body.is_closed) == (1, True)


def test_a_body_that_is_compressed_is_bytes_whatever_its_media_type() -> None:
    headers = [("Content-Type", "text/plain; charset=iso-8859-1"), ("Content-Encoding", "gzip")]

    assert acknowledgement_of(Response(200, headers, b"\x1f\x8b"))["body"] == b"\x1f\x8b"


def test_a_representation_has_no_cookie() -> None:
    assert repr(Response(200, [("Set-Cookie", "session=the secret")], b"")) == "<Response 200>"


@pytest.mark.parametrize(
    ("media_type", "body", "expected"),
    [
        ("Application/JSON ; charset=utf-8", b"[1]", [1]),
        ("application/json", '"é"'.encode("utf-16"), "é"),
        ("application/json", b'"\xed\xa0\x80"', "\ud800"),
        ("application/json", b"[" * 10**5, b"[" * 10**5),
        ("application/json", b"", ""),
        ("application/x-json", b"[1]", b"[1]"),
        # Whatever the serializer: msgpack could send them.
        ("application/json", b"[NaN, -Infinity, 1e999, 1.5]", [None, None, None, 1.5]),
    ],
)
def test_json_is_read_as_json_loads_reads_it_where_it_is_json(
    media_type: str, body: bytes, expected: Any
) -> None:
    response = Response(200, [("Content-Type", media_type)], body)

    assert acknowledgement_of(response)["body"] == expected


@pytest.mark.parametrize(
    ("media_type", "body", "expected"),
    [
        ("text/plain", "é".encode(), "é"),
        ("text/plain; charset=iso-8859-1", "é".encode("latin-1"), "é"),
        ('Text/CSV; header=present; charset="UTF-16"', "é".encode("utf-16"), "é"),
        ("text/plain; charset=", "é".encode(), "é"),
        ("text/plain; charset=utf-8", b"\xff", b"\xff"),
        ("text/plain; charset=nothing", b"a", b"a"),
        ("text/plain; charset=hex", b"61", b"61"),  # of Python's, and of no text
        ("text/plain; charset=a\0b", b"a", b"a"),
    ],
)
def test_text_is_read_in_the_charset_that_it_is_said_to_have(
    media_type: str, body: bytes, expected: Any
) -> None:
    response = Response(200, [("Content-Type", media_type)], body)

    assert acknowledgement_of(response)["body"] == expected
