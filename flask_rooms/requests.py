"""Socket requests: a Socket.IO event goes through the Flask application and is acknowledged."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

from flask import Flask, Request
from flask_socketio import SocketIO
from werkzeug.test import run_wsgi_app

logger = logging.getLogger("flask_rooms")

#: The events that are socket requests, as in Sails.
VERBS = ("get", "post", "put", "patch", "delete", "options", "head")
#: What a response may have at most: it is acknowledged in one piece.
RESPONSE_BYTES = 16 * 2**20
# Their data belongs into the query string: they have no body.
_WITHOUT_BODY = frozenset({"get", "head", "delete"})

_SOCKET = "flask_rooms.socket"

# Said by the connection or by proxies in front of it, never by a single request: a client that
# could say these could pretend to be somebody else, or smuggle a second request.
_NOT_THE_CLIENTS = re.compile(
    r"cookie|host|origin|forwarded|x-forwarded.*|.*-ip|remote-.*|via|"
    r"x-(remote|auth|auth-request|authenticated|webauth|client|consumer|credential|ssl|amzn|goog"
    r"|ms-client)-.*|cf-.*|ssl-.*|tailscale-.*|"
    r"connection|keep-alive|proxy|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|"
    r"content-length|content-type|sec-websocket-.*|accept-encoding",
    re.IGNORECASE,
)
# Said by each request anew; for the rest the handshake's word stands.
_EACH_TIME = re.compile(r"accept.*|authorization|prefer|x-requested-with|x-[cx]srf-?token", re.I)
# https://www.rfc-editor.org/rfc/rfc9110#name-tokens, less what WSGI cannot tell from a dash
_HEADER_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_A_URL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# Headers of the handshake that were about the handshake.
_OF_THE_HANDSHAKE = re.compile(
    r"HTTP_(CONNECTION|UPGRADE|KEEP_ALIVE|TE|TRAILER|TRANSFER_ENCODING|EXPECT|ACCEPT|"
    r"ACCEPT_ENCODING|CONTENT_.*|SEC_WEBSOCKET_.*|IF_.*|RANGE)"
)


class SocketRequest(Request):
    """
    The application's request class: knows whether the request came over a socket.

    `sid` and `namespace` are set in socket requests here, and in Socket.IO event handlers by
    Flask-SocketIO.
    """

    # Over HTTP there are none, not even None: Flask-SocketIO's emit() would take that for
    # "no addressee" and send to everybody.
    sid: str
    namespace: str

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        if _SOCKET in environ:
            self.sid, self.namespace = environ[_SOCKET]

    @property
    def is_socket(self) -> bool:
        """True in a socket request and in a Socket.IO event handler, False over HTTP."""
        return "sid" in self.__dict__


class Malformed(Exception):
    """A client sent something that is not a socket request; the text is the answer to it."""


@dataclass(frozen=True)
class Payload:
    """
    What a client asks for.

    Args:
        path: Percent-decoded, with "/" first.
        query: As in a URL, without "?".
        headers: Those that a client may set.
        body: Bytes, with their media type; None when there is none.
    """

    path: bytes
    query: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[bytes, str] | None = None


def parse(verb: str, args: tuple[Any, ...]) -> Payload:
    """
    Return what the arguments of a client's *verb* event ask for.

    The form is that of sails.io.js: `{"url": ..., "data": ..., "headers": ...}`.

    Raises:
        Malformed: They ask for nothing that can be served.
    """
    if len(args) != 1 or not isinstance(args[0], dict):
        raise Malformed("A socket request has one argument, an object with `url`.")
    url = args[0].get("url")
    if not isinstance(url, str):
        raise Malformed("`url` is required and has to be a string.")
    if not url.startswith("/") or url.startswith("//") or _NOT_IN_A_URL.search(url):
        raise Malformed('`url` has to be a path that starts with one "/".')
    path, _, query = url.partition("#")[0].partition("?")
    query = quote(query, safe="!$%&'()*+,/:;=?@~[]")  # what is beyond ASCII, as browsers do
    headers = _headers(args[0].get("headers"))
    data = args[0].get("data")
    try:
        if verb not in _WITHOUT_BODY:
            body = _body(data) if "data" in args[0] else None
            return Payload(unquote_to_bytes(path), query, headers, body)
        query = "&".join(part for part in (query, _query(data)) if part)
        return Payload(unquote_to_bytes(path), query, headers)
    except (TypeError, ValueError, RecursionError):
        raise Malformed("`data` has to be something that JSON can express.") from None


def _headers(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Malformed("`headers` has to be an object.")
    headers = {}
    for name, value in given.items():
        named = isinstance(name, str) and _HEADER_NAME.fullmatch(name)
        if not named or not isinstance(value, str | int | float):
            raise Malformed("`headers` has to be an object of names and strings.")
        text = str(value)
        if _CONTROL.search(text) or not text.isascii():
            raise Malformed("A header has to be a single line of ASCII.")
        if not _NOT_THE_CLIENTS.fullmatch(name):
            headers[name] = text
    return headers


def _body(data: Any) -> tuple[bytes, str]:
    if isinstance(data, bytes):
        return data, "application/octet-stream"
    return json.dumps(data, allow_nan=False).encode(), "application/json"


def _query(data: Any) -> str:
    if data is None:
        return ""
    if not isinstance(data, dict):
        raise Malformed("`data` of this verb goes to the query string and has to be an object.")
    pairs = []
    for name, value in data.items():
        many = value if isinstance(value, list) else [value]
        pairs += [(name, one if isinstance(one, str) else _text(one)) for one in many]
    return urlencode(pairs)


def _text(value: Any) -> str:
    return "" if value is None else json.dumps(value, allow_nan=False)


class SocketRequests:
    """
    Serves the routes of an application to the clients of its Socket.IO server.

    An event handler that the application has for one of the verbs comes first, and so does its
    catch-all handler in the namespace for which it is.

    Args:
        app: The application.
        socketio: Its Flask-SocketIO, initialised.
    """

    def __init__(self, app: Flask, socketio: SocketIO) -> None:
        self._app = app
        self._server = socketio.server
        self._engine_path = socketio.sockio_mw.engineio_path.encode()
        for verb in VERBS:
            # For every namespace, after whatever handler of this name the application has.
            if verb not in self._server.handlers.get("*", {}):
                self._server.on(verb, partial(self._serve, verb), namespace="*")

    def _serve(self, verb: str, namespace: str, sid: str, *args: Any) -> Any:
        """Handle the event; what is returned is the acknowledgement."""
        handler = self._server.namespace_handlers.get(namespace)
        if handler is not None and hasattr(handler, f"on_{verb}"):
            return handler.trigger_event(verb, sid, *args)
        handshake = self._server.get_environ(sid, namespace=namespace)
        if not handshake:
            return _answer(410, {"message": "This socket has disconnected."})
        try:
            payload = parse(verb, args)
            if payload.path.startswith(self._engine_path):
                raise Malformed("Socket.IO itself is not served over a socket.")
        except Malformed as error:
            return _answer(400, {"message": str(error)})
        environ = _environ(verb, payload, handshake)
        environ[_SOCKET] = (sid, namespace)
        return self._run(environ)

    def _read(self, chunks: Iterable[bytes], sid: str, namespace: str) -> bytes:
        """Return the whole response; one without an end is given up with its socket."""
        body = bytearray()
        try:
            for chunk in chunks:
                body += chunk
                if len(body) > RESPONSE_BYTES:
                    raise ValueError(
                        f"A response over a socket has {RESPONSE_BYTES} bytes at most."
                    )
                if not self._server.manager.is_connected(sid, namespace):
                    break
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return bytes(body)

    def _run(self, environ: dict[str, Any]) -> Any:
        try:
            # From the outside, so that middleware put around the application sees it too.
            chunks, status, headers = run_wsgi_app(self._app.wsgi_app, environ)
            body = self._read(chunks, *environ[_SOCKET])
        except Exception:  # the application's own, which is in debug or testing mode
            logger.exception("A socket request for %s failed.", environ["PATH_INFO"])
            return _answer(500, {"message": "Internal Server Error"})
        kept: dict[str, str] = {}
        for name, value in headers:
            # Cookies are the browser's to keep, and not for scripts to see.
            if name.lower() != "set-cookie":
                key = name.lower()
                kept[key] = f"{kept[key]}, {value}" if key in kept else value
        return _answer(
            int(status.split(" ", 1)[0]), _decode(body, headers.get("content-type")), kept
        )


def _environ(verb: str, payload: Payload, handshake: Mapping[str, Any]) -> dict[str, Any]:
    """Return a WSGI environment: the connection's, with the request of the payload."""
    environ: dict[str, Any] = {
        key: value
        for key, value in handshake.items()
        if isinstance(value, str) and not _OF_THE_HANDSHAKE.fullmatch(key)
    }
    body, media_type = payload.body or (b"", "")
    environ |= {
        "REQUEST_METHOD": verb.upper(),
        "PATH_INFO": payload.path.decode("latin-1"),  # as PEP 3333 wants it
        "QUERY_STRING": payload.query,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_ACCEPT": "application/json",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": handshake.get("wsgi.url_scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": handshake.get("wsgi.errors", sys.stderr),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name in ("CONTENT_TYPE", "REQUEST_URI", "RAW_URI"):
        environ.pop(name, None)
    if media_type:
        environ["CONTENT_TYPE"] = media_type
    for name, value in payload.headers.items():
        key = "HTTP_" + name.upper().replace("-", "_")
        if key not in handshake or _EACH_TIME.fullmatch(name):
            environ[key] = value
    return environ


def _decode(body: bytes, content_type: str | None) -> Any:
    """Return a response's body as what its media type says it is."""
    media_type = (content_type or "text/plain").partition(";")[0].strip().lower()
    try:
        if media_type == "application/json" or media_type.endswith("+json"):
            # NaN is not JSON, and a client in a browser would drop the connection over it.
            return json.loads(body, parse_constant=int) if body else ""
        if media_type.startswith("text/"):
            return body.decode()
    except ValueError:
        pass  # not what it says it is: then it is bytes
    return body


def _answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"body": body, "headers": dict(headers or {}), "statusCode": status}
