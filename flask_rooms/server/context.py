"""The socket whose request or event is being handled."""

from __future__ import annotations

from typing import Any

from flask import has_request_context, request


def calling_socket() -> str:
    """Return the ID of the socket whose request or event is being handled, or an empty string."""
    if not has_request_context():
        return ""
    # The request itself: its proxy looks it up for each attribute.
    current: Any = request._get_current_object()  # type: ignore[attr-defined]  # of the proxy
    sid: str = current.__dict__.get("sid", "")  # it has none over HTTP
    return sid
