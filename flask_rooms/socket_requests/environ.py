"""The WSGI environment of a socket request: that of the handshake, updated from the payload."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from flask_rooms.socket_requests.payload import Payload

#: The key of an environment under which the socket of a request is: (socket ID, namespace).
SOCKET = "flask_rooms.socket"

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

# What describes the handshake itself, and no socket request.
_HANDSHAKE_ONLY = re.compile(
    r"HTTP_(CONNECTION|UPGRADE|KEEP_ALIVE|TE|TRAILER|TRANSFER_ENCODING|EXPECT|ACCEPT|"
    r"ACCEPT_ENCODING|COOKIE|CONTENT_.*|SEC_WEBSOCKET_.*|IF_.*|RANGE)|"
    r"CONTENT_TYPE|REQUEST_URI|RAW_URI"
)


def request_environ(
    verb: str, payload: Payload, handshake: Mapping[str, Any], allowed: Collection[str]
) -> dict[str, Any]:
    """
    Return the environment of a socket request.

    Args:
        verb: The method, in lower case.
        payload: The request that the client has sent.
        handshake: The environment of the handshake.
        allowed: Headers that clients may set besides the usual ones, in lower case.
    """
    body, media_type = payload.body or (b"", "")
    prefix = _prefix(handshake)
    # Removed before middleware sees the path, so that the prefix cannot bypass a check there.
    path = payload.path[len(prefix) :] if _is_below(payload.path, prefix) else payload.path
    environ = socket_environ(handshake) | {
        "REQUEST_METHOD": verb.upper(),
        "PATH_INFO": unquote_to_bytes(path or "/").decode("latin-1"),  # as in PEP 3333
        "QUERY_STRING": payload.query,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_ACCEPT": "application/json",
        "wsgi.input": io.BytesIO(body),
    }
    if media_type:
        environ["CONTENT_TYPE"] = media_type
    for name, value in payload.headers.items():
        lower, key = name.lower(), "HTTP_" + name.upper().replace("-", "_")
        may_add = lower in _UNLESS_IN_HANDSHAKE or lower in allowed
        if lower in _PER_REQUEST or (may_add and key not in handshake):
            environ[key] = value
    return environ


def socket_environ(handshake: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environment that all requests of a connection have in common, without cookies."""
    environ: dict[str, Any] = {
        key: value
        for key, value in handshake.items()
        if isinstance(value, str) and not _HANDSHAKE_ONLY.fullmatch(key)
    }
    origin = environ.get("HTTP_ORIGIN", "null")
    if origin != "null":
        # Browsers send no Referer with a WebSocket, and CSRF protection requires one over https.
        environ.setdefault("HTTP_REFERER", f"{origin}/")
    return environ | {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": handshake.get("wsgi.url_scheme", "http"),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": handshake.get("wsgi.errors", sys.stderr),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def full_path(payload: Payload, handshake: Mapping[str, Any]) -> str:
    """Return the path as a browser sees it, with the prefix under which the application is."""
    prefix = _prefix(handshake)
    return payload.path if _is_below(payload.path, prefix) else prefix + payload.path


def _prefix(handshake: Mapping[str, Any]) -> str:
    return str(handshake.get("SCRIPT_NAME", "")).rstrip("/")


def _is_below(path: str, prefix: str) -> bool:
    return bool(prefix) and (path == prefix or path.startswith(prefix + "/"))
