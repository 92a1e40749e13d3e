"""The socket whose request or event is being handled."""

from __future__ import annotations

from flask import has_request_context, request


def calling_socket() -> str:
    """Return the ID of the socket whose request or event is being handled, or an empty string."""
    if has_request_context() and getattr(request, "is_socket", False):
        return str(request.sid)  # type: ignore[attr-defined]  # set on socket requests
    return ""
