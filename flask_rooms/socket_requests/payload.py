"""Parse the payload of a socket request, and reject a malformed one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

#: How long a URL may be, in bytes, including the data that goes into its query string.
URL_BYTES = 2**16
#: How long all headers may be together, in bytes.
HEADER_BYTES = 2**14
#: The memory that a header takes besides its characters, in bytes: thousands may be tiny.
HEADER_OVERHEAD = 150
#: How many levels deep arrays and objects may be nested in data.
DEPTH = 100
# The verbs whose data goes into the query string.
_WITHOUT_BODY = frozenset({"get", "head", "delete"})

# https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_HEADER_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_A_URL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\\]")
# Forbidden in a decoded path, because servers and browsers interpret these differently.
_ENCODED_SLASH = re.compile(r"%2f|%5c", re.IGNORECASE)
_NOT_IN_A_PATH = re.compile(rb"[\x00-\x1f\x7f]|(?:^|/)\.\.?(?:/|$)")

_encode = json.JSONEncoder(allow_nan=False).encode
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# How much deeper each bracket goes, by its byte.
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class Malformed(Exception):
    """
    A client has sent something that is not a valid socket request.

    Args:
        message: The error, for the client.
        status: The status of the response, as in HTTP.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Payload:
    """
    A parsed socket request.

    Args:
        path: Percent-encoded, starting with "/".
        query: The query string, without "?".
        headers: Names and values as the client has sent them; well-formed, but not trusted.
        body: Bytes and their media type, or None.
    """

    path: str
    query: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[bytes, str] | None = None

    def __repr__(self) -> str:
        return f"<Payload {self.path!r}>"  # tokens and data stay out of it

    @property
    def size(self) -> int:
        """The approximate memory that it takes, in bytes."""
        texts = self.path, self.query, *self.headers, *self.headers.values()
        body = len(self.body[0]) if self.body else 0
        return body + sum(map(len, texts)) + HEADER_OVERHEAD * len(self.headers)


def parse(verb: str, args: tuple[Any, ...]) -> Payload:
    """
    Return the request that the arguments of an event describe.

    The form is that of sails.io.js: `{"url": ..., "data": ..., "headers": ...}`.

    Args:
        verb: The name of the event, in lower case.
        args: Its arguments.

    Raises:
        Malformed: They are not a valid socket request.
    """
    if len(args) != 1 or not isinstance(args[0], dict):
        raise Malformed("A socket request has one argument, an object with `url`.")
    asked = args[0]
    path, query = _url(asked.get("url"))
    headers = _headers(asked.get("headers"))
    try:
        if verb not in _WITHOUT_BODY:
            body = _body(asked["data"]) if "data" in asked else None
            return Payload(path, query, headers, body)
        query = "&".join(part for part in (query, _query(asked.get("data"))) if part)
    except (TypeError, ValueError, RecursionError):
        raise Malformed("`data` has to be something that JSON can express.") from None
    _refuse_long(path, query)
    return Payload(path, query, headers)


def encode_path(path: str | bytes) -> str:
    """Return a path with its non-ASCII characters percent-encoded, as browsers do."""
    return quote(path, safe="!$%&'()*+,/:;=@~")


def _url(url: Any) -> tuple[str, str]:
    if not isinstance(url, str):
        raise Malformed("`url` is required and has to be a string.")
    path, _, query = url.partition("#")[0].partition("?")
    _refuse_long(path, query)  # at once: encoding makes it longer
    if not url.startswith("/") or url.startswith("//") or _NOT_IN_A_URL.search(url):
        raise Malformed('`url` has to be a path that starts with one "/".')
    if _ENCODED_SLASH.search(path) or _NOT_IN_A_PATH.search(unquote_to_bytes(path)):
        raise Malformed("The path of `url` may not have `.`, `..` or encoded slashes in it.")
    path, query = encode_path(path), quote(query, safe="!$%&'()*+,/:;=?@~[]")
    _refuse_long(path, query)
    return path, query


def _refuse_long(path: str, query: str) -> None:
    _refuse_over(len(path) + len(query))


def _refuse_over(size: int) -> None:
    if size > URL_BYTES:
        raise Malformed(f"A URL has {URL_BYTES} bytes at most, its query string included.", 414)


def _headers(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Malformed("`headers` has to be an object.")
    headers: dict[str, str] = {}
    size = 0
    for name, value in given.items():
        named = isinstance(name, str) and _HEADER_NAME.fullmatch(name)
        if not named or not isinstance(value, str | int | float):
            raise Malformed("`headers` has to be an object of names and strings.")
        text = str(value)
        if _CONTROL.search(text) or not text.isascii():
            raise Malformed("A header has to be a single line of ASCII.")
        size += len(name) + len(text)
        if size > HEADER_BYTES:
            raise Malformed(f"The headers have {HEADER_BYTES} bytes at most, all together.", 431)
        if "_" not in name:  # WSGI cannot tell it from "-", so servers leave such headers out
            headers[name] = text
    return headers


def _body(data: Any) -> tuple[bytes, str]:
    if isinstance(data, bytes):
        return data, "application/octet-stream"
    return _json(data).encode(), "application/json"


def _query(data: Any) -> str:
    if data is None:
        return ""
    if not isinstance(data, dict):
        raise Malformed("`data` of this verb goes to the query string and has to be an object.")
    pairs, size = [], 0
    for name, value in data.items():
        for one in value if isinstance(value, list) else [value]:
            text = one if isinstance(one, str) else _text(one)
            pairs.append((name, text))
            # Counted as it grows, as it may be many times longer than the data.
            size += len(str(name)) + len(text) + len("=&")
            _refuse_over(size - len("&"))
    return urlencode(pairs)


def _text(value: Any) -> str:
    return "" if value is None else _json(value)


def _json(data: Any) -> str:
    """Return *data* as JSON, or refuse it if its depth could exhaust a parser."""
    text = _encode(data)
    if text.count("[") + text.count("{") > DEPTH:  # else it cannot be deeper
        brackets = _STRING.sub("", text).encode().translate(None, _NO_BRACKETS)
        if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > DEPTH:
            raise Malformed(f"`data` may be nested {DEPTH} levels deep at most.", 413)
    return text
