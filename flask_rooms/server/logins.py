"""When the logins of sockets expire."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Any

from flask import has_request_context, request

from flask_rooms.errors import InvalidArgument, NotASocketRequest
from flask_rooms.membership.attempts import Attempt
from flask_rooms.membership.registry import Registry
from flask_rooms.server.context import HANDSHAKE, current_socket

# The key in the environment of a connecting client, for the hooks that decide about it.
_ATTEMPT = "flask_rooms.attempt"


class Logins:
    """
    Sets when the login of the current socket expires.

    Args:
        registry: The sockets of this worker.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def expire(self, when: float | datetime | None) -> None:
        """Set when the login of the connecting or calling socket expires."""
        at = _timestamp(when)
        attempt: Attempt | None = None
        if has_request_context():
            attempt = request.environ.get(_ATTEMPT)
        if attempt is not None:
            attempt.expires = at
        elif (current := current_socket()) is not None:
            sid, namespace = current
            socket = self._registry.get(namespace, sid)
            if socket is not None:
                self._registry.set_login_expiry(socket, at)
        else:
            raise NotASocketRequest(
                "login_expires() is about the socket that is connecting, or whose request or event "
                "is handled: check `request.is_socket` first."
            )


def of_attempt(handshake: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
    """Return the environment in which the hooks of a connecting client run."""
    return {**handshake, HANDSHAKE: False, _ATTEMPT: attempt}  # there is no socket yet


def has_expired(attempt: Attempt) -> bool:
    """Whether the login of a connecting client has expired already."""
    return attempt.expires is not None and attempt.expires <= time.time()


def _timestamp(when: Any) -> float | None:
    if isinstance(when, datetime) and when.tzinfo is not None:
        return when.timestamp()
    is_number = isinstance(when, int | float) and not isinstance(when, bool)
    if when is None or (is_number and abs(when) <= sys.float_info.max):
        return None if when is None else float(when)
    raise InvalidArgument(
        "A login expires at a number of seconds since 1970 (as `exp` in a JWT), at a datetime with "
        "a time zone, or never (None)."
    )
