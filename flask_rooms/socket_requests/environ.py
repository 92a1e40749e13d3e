"""The WSGI environment of a socket request: its connection's, with what the client asks for."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from flask_rooms.socket_requests.payload import Payload

#: Where an environment says whose request it is: (socket ID, namespace).
SOCKET = "flask_rooms.socket"

# A list of what is allowed and not of what is forbidden: proxies tell applications who somebody
# is in headers of any name, they see the handshake and none of the requests in it, and so a
# header that nobody here has heard of might make a client an administrator.
#
# Said anew by each request:
_EACH_TIME = frozenset(
    [
        *["accept", "accept-language", "cache-control", "idempotency-key", "prefer", "range"],
        *["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"],
        *["x-csrf-token", "x-csrftoken", "x-requested-with", "x-xsrf-token", "x-xsrftoken"],
    ]
)
# Said by a request where the handshake has said nothing: a proxy may have checked its word.
_OTHERWISE = frozenset(["authorization"])

# Headers of the handshake that were about the handshake.
_OF_THE_HANDSHAKE = re.compile(
    r"HTTP_(CONNECTION|UPGRADE|KEEP_ALIVE|TE|TRAILER|TRANSFER_ENCODING|EXPECT|ACCEPT|"
    r"ACCEPT_ENCODING|COOKIE|CONTENT_.*|SEC_WEBSOCKET_.*|IF_.*|RANGE)|"
    r"CONTENT_TYPE|REQUEST_URI|RAW_URI"
)


def of_request(
    verb: str, payload: Payload, handshake: Mapping[str, Any], allowed: Collection[str]
) -> dict[str, Any]:
    """
    Return the environment of a socket request.

    Args:
        verb: The method, in lower case.
        payload: What the client asks for.
        handshake: The environment in which the client has connected.
        allowed: Headers that clients may set besides the usual ones, in lower case.
    """
    body, media_type = payload.body or (b"", "")
    prefix = _prefix(handshake)
    # Before any middleware sees the path, so that none can be got around with the prefix.
    path = payload.path[len(prefix) :] if _is_below(payload.path, prefix) else payload.path
    environ = of_socket(handshake) | {
        "REQUEST_METHOD": verb.upper(),
        "PATH_INFO": unquote_to_bytes(path or "/").decode("latin-1"),  # as PEP 3333 wants it
        "QUERY_STRING": payload.query,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_ACCEPT": "application/json",
        "wsgi.input": io.BytesIO(body),
    }
    if media_type:
        environ["CONTENT_TYPE"] = media_type
    for name, value in payload.headers.items():
        lower, key = name.lower(), "HTTP_" + name.upper().replace("-", "_")
        may_fill = lower in _OTHERWISE or lower in allowed
        if lower in _EACH_TIME or (may_fill and key not in handshake):
            environ[key] = value
    return environ


def of_socket(handshake: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands for everything that happens on a connection, without its cookies."""
    environ: dict[str, Any] = {
        key: value
        for key, value in handshake.items()
        if isinstance(value, str) and not _OF_THE_HANDSHAKE.fullmatch(key)
    }
    origin = environ.get("HTTP_ORIGIN", "null")
    if origin != "null":
        # Browsers send no Referer with a WebSocket, and CSRF protection over https asks for one.
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
    """Return the path as a browser sees it, with the prefix below which the application is."""
    prefix = _prefix(handshake)
    return payload.path if _is_below(payload.path, prefix) else prefix + payload.path


def _prefix(handshake: Mapping[str, Any]) -> str:
    return str(handshake.get("SCRIPT_NAME", "")).rstrip("/")


def _is_below(path: str, prefix: str) -> bool:
    return bool(prefix) and (path == prefix or path.startswith(prefix + "/"))
