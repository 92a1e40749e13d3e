"""What clients may send in Engine.IO: the rest is refused before python-engineio reads it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any
from urllib.parse import parse_qs

from flask_rooms.membership.refusals import Limit

#: Packets that one POST of a polling client may have. Clients send all that has queued up while
#: they connected, and python-engineio refuses more than 16.
MAX_POLLED_PACKETS = 5000
#: Those among them that are no messages: a client has one ping to answer.
MAX_OTHER_PACKETS = 16

#: How many brackets may be open at once in the text of an application's own serializer.
MAX_DEPTH = 500

#: What is between the packets of one request or response.
SEPARATOR = "\x1e"
# The types of https://github.com/socketio/engine.io-protocol; messages are packets of Socket.IO,
# which begin with a digit. Else python-engineio would take them for JSON of its own.
_PACKET = re.compile(r"1|2(probe)?|3(probe)?|5|6|4([0-9].*)?", re.DOTALL | re.ASCII)
# The same where the application has a serializer of its own, whose text may begin with anything.
_PACKET_OF_ANY_TEXT = re.compile(r"1|2(probe)?|3(probe)?|5|6|4.*", re.DOTALL)
# Python makes no number of thousands of digits.
_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_BRACKETS = re.compile(r"[^][{}]+")
_BASE64 = re.compile(r"b([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def is_packet(message: str | bytes, any_text: bool) -> bool:
    """
    Whether a message over a WebSocket is a packet of Engine.IO; binary ones always are.

    Args:
        message: The message.
        any_text: Whether it need not be text of Socket.IO's own.
    """
    if isinstance(message, bytes):
        return True
    if not any_text:
        return _PACKET.fullmatch(message) is not None
    return _PACKET_OF_ANY_TEXT.fullmatch(message) is not None and not _is_deep(message)


def _is_deep(text: str) -> bool:
    """Whether python-engineio could not read this as JSON: too many brackets are open at once."""
    brackets = _NO_BRACKETS.sub("", text)
    if len(brackets) <= MAX_DEPTH:
        return False
    return max(accumulate(1 if one in "[{" else -1 for one in brackets)) > MAX_DEPTH


def is_message(packet: str | bytes) -> bool:
    """Whether a packet of Engine.IO has a packet of Socket.IO in it, or an attachment."""
    return isinstance(packet, bytes) or packet.startswith(("4", "b"))


def session_of(environ: Mapping[str, Any]) -> str:
    """Return the session that a request names; empty if it names none."""
    return str(parse_qs(environ.get("QUERY_STRING", "")).get("sid", [""])[0])


def check_post(
    environ: dict[str, Any], limit: int, refuse: Callable[[Limit], object], any_text: bool = False
) -> str | None:
    """
    Read the body of a polling client's POST, and return why it is refused, or None.

    Args:
        environ: The WSGI environment; the body can be read from it again.
        limit: How large the body may be, in bytes.
        refuse: Called with the name of the limit if one is reached.
        any_text: As is_packet() has it.
    """
    length = environ.get("CONTENT_LENGTH") or "0"
    if not _LENGTH.fullmatch(length) or int(length) > limit:
        refuse("max_http_buffer_size")
        return f"The body of a request has {limit} bytes at most."
    try:
        body = environ["wsgi.input"].read(int(length))
    except OSError:  # of gevent and uWSGI, where the client has left in the middle of it
        body = b""
    environ["wsgi.input"] = io.BytesIO(body)
    if len(body) < int(length):
        refuse("malformed_packets")
        return "The body of this request has no end."
    if body.count(SEPARATOR.encode()) < MAX_POLLED_PACKETS and _is_payload(body, any_text):
        return None
    refuse("malformed_packets")
    return "This is not Engine.IO."


def _is_payload(body: bytes, any_text: bool) -> bool:
    try:
        packets = body.decode().split(SEPARATOR)
    except UnicodeDecodeError:
        return False
    if sum(not is_message(one) for one in packets) > MAX_OTHER_PACKETS:
        return False
    return all(is_packet(one, any_text) or _BASE64.fullmatch(one) for one in packets)
