"""The WSGI environment of a socket request: that of the handshake, updated from the payload."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Mapping
from io import TextIOBase
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask

from flask_rooms.socket_requests.payload import Payload, encode_path

#: Has the Arrival of a request, in its environment.
ARRIVAL = "flask_rooms.arrival"
# Has the socket ID and the namespace of a socket request.
_SOCKET = "flask_rooms.socket"

# An allow list, because a proxy may authenticate users in a header of any name. The proxy sees
# the handshake only, so a client could forge such a header in a socket request.
#
# Set by each request:
_PER_REQUEST = frozenset(
    [
        *["accept", "accept-language", "cache-control", "idempotency-key", "prefer", "range"],
        *["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"],
        *["x-csrf-token", "x-csrftoken", "x-requested-with", "x-xsrf-token", "x-xsrftoken"],
    ]
)
# Set by a request only if the handshake has not: a proxy may have checked that one.
_UNLESS_IN_HANDSHAKE = frozenset(["authorization"])

# The verbs of which clients say a length also without a body.
# https://www.rfc-editor.org/rfc/rfc9110#name-content-length
_WITH_LENGTH = frozenset({"post", "put"})
# How servers name the URL of a request, as it came, and its path.
_URIS = ("REQUEST_URI", "RAW_URI", "RAW_PATH_INFO")
# How servers and proxies name the scheme. Some say that of a WebSocket, for which no route is.
_SCHEMES = ("wsgi.url_scheme", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_SCHEME", "HTTP_X_SCHEME")
_OF_A_WEBSOCKET = re.compile(r"\bws(s?)\b", re.IGNORECASE)
# The names of one request or one trace, and when it began, for logs and agents; and what browsers
# send with each handshake, so that no cache answers it.
_OF_ONE_REQUEST = re.compile(
    r"HTTP_((.*_)?(REQUEST|CORRELATION|TRACE|TRANSACTION|UNIQUE)_ID|CF_RAY|X_(REQUEST|QUEUE)_START|"
    r"SENTRY_TRACE|BAGGAGE|(.*_)?TRACEPARENT|TRACESTATE|B3|X_B3_.*|X_DATADOG_.*|X_INSTANA_.*|"
    r"X_DYNATRACE(_.*)?|(X_)?NEWRELIC(_.*)?|X_CLOUD_TRACE_CONTEXT|X_AMZ_CF_ID|X_AZURE_REF|"
    r"IDEMPOTENCY_KEY|CACHE_CONTROL|PRAGMA)|(REQUEST|UNIQUE)_ID"
)
# What servers and libraries keep with one request, such as its connection or the headers as sent.
_OF_THE_SERVER = re.compile(
    r"(wsgi|x-wsgiorg|werkzeug|gunicorn|eventlet|gevent|uwsgi|flask|flask_rooms|"
    r"opentelemetry-\w+)\..*|headers_raw|saved_session"
)
# In which proxies say the URL and the method of a request.
_OF_A_PROXY = re.compile(
    r"HTTP_X_((ORIGINAL|REWRITE|FORWARDED)_(URI|URL|PATH|METHOD)|ENVOY_ORIGINAL_(PATH|METHOD))"
)
# What describes the handshake itself, and no socket request.
_HANDSHAKE_ONLY = re.compile(
    r"HTTP_(CONNECTION|UPGRADE|KEEP_ALIVE|TE|TRAILER|TRANSFER_ENCODING|EXPECT|ACCEPT|"
    r"ACCEPT_ENCODING|COOKIE|CONTENT_.*|SEC_WEBSOCKET_.*|IF_.*|RANGE)|"
    rf"CONTENT_TYPE|CONTENT_LENGTH|{'|'.join(_URIS)}|{_OF_ONE_REQUEST.pattern}|"
    rf"{_OF_A_PROXY.pattern}|{_OF_THE_SERVER.pattern}"
)


class Arrival:
    """
    Where a request has come to an application, before any middleware inside it.

    No tuple and no dataclass: what reports errors walks through these, and would send the cookies.

    Args:
        app: The application.
        entry: What the server has called: the application, or its `wsgi_app` of that time.
        environ: The environment as it came.
    """

    __slots__ = ("app", "entry", "environ")

    def __init__(self, app: Flask, entry: Callable[..., Any], environ: Mapping[str, Any]) -> None:
        self.app = app
        self.entry = entry
        self.environ = environ

    def __repr__(self) -> str:
        return f"<Arrival at {self.app}>"


class _Body(io.BytesIO):
    """The body of a socket request, which carries its socket through any middleware."""

    socket: tuple[str, str]


def mark_socket(environ: dict[str, Any], sid: str, namespace: str, body: bytes = b"") -> None:
    """
    Make an environment that of a socket, with a body.

    Both carry the mark: middleware may drop keys that it does not know, or wrap the body.
    """
    marked = environ["wsgi.input"] = _Body(body)
    marked.socket = environ[_SOCKET] = sid, namespace


def socket_of(environ: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the socket ID and the namespace of a socket request; None over HTTP."""
    marked: tuple[str, str] | None = environ.get(_SOCKET)
    body = environ.get("wsgi.input")
    return body.socket if marked is None and isinstance(body, _Body) else marked


def use_http_scheme(environ: dict[str, Any]) -> None:
    """Replace the scheme of a WebSocket in an environment by that of HTTP."""
    for key in _SCHEMES:
        if key in environ:
            environ[key] = _OF_A_WEBSOCKET.sub(r"http\1", environ[key])


def path_of(environ: Mapping[str, Any]) -> str:
    """Return the path of a request as a browser sees it, percent-encoded."""
    return _encoded(_script_name(environ) + str(environ.get("PATH_INFO", "")))


class Template:
    """
    What all socket requests of a connection have in common, made with the first of them.

    Args:
        handshake: The environment of the handshake.
        errors: Their `wsgi.errors`.

    Attributes:
        entry: What the server has called with the handshake; None if no server has.
    """

    __slots__ = ("_common", "_handshake", "_mount", "_original", "_prefixes", "_uris", "entry")

    def __init__(self, handshake: Mapping[str, Any], errors: TextIOBase) -> None:
        arrival: Arrival | None = handshake.get(ARRIVAL)
        self.entry = arrival.entry if arrival else None
        self._handshake = handshake
        # As it was before any middleware inside the application.
        self._original = original = arrival.environ if arrival else handshake
        self._common = socket_environ(original, errors)
        self._uris = [name for name in _URIS if name in original]
        # What middleware inside the application has taken off the path of the handshake.
        before, after = str(original.get("PATH_INFO", "")), str(handshake.get("PATH_INFO", ""))
        self._mount = before.removesuffix(after) if after and before.endswith(after) else ""
        # What the path of the application begins with: as it says, and as it was mounted.
        mounted = _script_name(original) + self._mount
        self._prefixes = _encoded(_script_name(handshake)), _encoded(mounted)

    def environ(self, verb: str, payload: Payload, allowed: Collection[str]) -> dict[str, Any]:
        """
        Return the environment of a socket request.

        Args:
            verb: The method, in lower case.
            payload: The request that the client has sent.
            allowed: Headers that clients may set besides the usual ones, in lower case.
        """
        # With the mount that middleware takes off the path: it sees what it does over HTTP.
        below = self._below_prefix(payload)
        path = self._mount + unquote_to_bytes(below).decode("latin-1")
        environ = self._common | {
            "REQUEST_METHOD": verb.upper(),
            "PATH_INFO": path,  # as in PEP 3333
            "QUERY_STRING": payload.query,
            "HTTP_ACCEPT": "application/json",
        }
        for name in self._uris:
            query = f"?{payload.query}" if payload.query and name != "RAW_PATH_INFO" else ""
            environ[name] = self._prefixes[1] + below + query
        if payload.body:
            environ["CONTENT_LENGTH"] = str(len(payload.body[0]))
            environ["CONTENT_TYPE"] = payload.body[1]
        elif verb in _WITH_LENGTH:
            environ["CONTENT_LENGTH"] = "0"
        for name, value in payload.headers.items():
            lower, key = name.lower(), "HTTP_" + name.upper().replace("-", "_")
            if lower == "content-type":
                if payload.body and lower in allowed:
                    environ["CONTENT_TYPE"] = value
                continue
            may_add = lower in _UNLESS_IN_HANDSHAKE or lower in allowed
            if lower in _PER_REQUEST or (may_add and not self._in_handshake(key)):
                environ[key] = value
        return environ

    def full_path(self, payload: Payload) -> str:
        """Return the path as a browser sees it, with the prefix under which the application is."""
        return self._prefixes[0] + self._below_prefix(payload)

    def _in_handshake(self, key: str) -> bool:
        there = key in self._handshake or key in self._original
        return there and not _OF_ONE_REQUEST.fullmatch(key)

    def _below_prefix(self, payload: Payload) -> str:
        """Return the path below the application, whether or not the client has given the prefix."""
        parts = payload.path.split("/")  # no part has an encoded slash in it
        for prefix in filter(None, self._prefixes):
            length = prefix.count("/") + 1
            if unquote_to_bytes("/".join(parts[:length])) == unquote_to_bytes(prefix):
                return "/" + "/".join(parts[length:])
        return payload.path


def socket_environ(handshake: Mapping[str, Any], errors: TextIOBase) -> dict[str, Any]:
    """Return the environment that all requests of a connection have in common, without cookies."""
    environ: dict[str, Any] = {
        key: value for key, value in handshake.items() if not _HANDSHAKE_ONLY.fullmatch(key)
    }
    origin = environ.get("HTTP_ORIGIN", "null")
    if origin != "null":
        # Browsers send no Referer with a WebSocket, and CSRF protection requires one over https.
        environ.setdefault("HTTP_REFERER", f"{origin}/")
    environ |= {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": handshake.get("wsgi.url_scheme", "http"),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": errors,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    use_http_scheme(environ)
    return environ


def _script_name(environ: Mapping[str, Any]) -> str:
    return str(environ.get("SCRIPT_NAME", "")).rstrip("/")


def _encoded(path: str) -> str:
    """Return a path of the environment as it is in a URL."""
    return encode_path(path.encode("latin-1"))  # as in PEP 3333
