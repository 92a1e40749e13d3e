"""Who may see the page, and what a browser may do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from flask import Request, Response, abort, g, request

from flask_rooms.errors import ConfigurationError
from flask_rooms.globals import current_parts

#: Returns the name of the operator who makes the current request, or None if it is none.
Check: TypeAlias = "Callable[[], str | Literal[False] | None]"

#: The header that acts need: a form cannot set it, and another origin only with permission.
HEADER = "X-Flask-Rooms-Admin"
#: Characters of an operator's name that are kept.
_NAME = 100

_HEADERS = {
    # No inline script or style, no other origin, in no frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def admit(check: Check) -> None:
    """
    Let the current request through if it is of an operator, who is then `g.rooms_operator`.

    Raises:
        ConfigurationError: *check* has returned neither a name nor None or False. A page that asks
            for a login is no name.
    """
    current_parts()  # or there is no is_socket
    if request.is_socket:  # type: ignore[attr-defined]
        abort(404)
    who = check()
    if who is None or who is False or who == "":
        abort(403)
    if not isinstance(who, str) or who.lstrip().startswith("<") or "\n" in who:
        raise ConfigurationError(
            "The check of the admin page returns the name of the operator, for the log of acts, "
            f"or None; it has returned {'a page' if isinstance(who, str) else type(who).__name__}."
        )
    if request.method not in ("GET", "HEAD", "OPTIONS") and not is_own(request):
        abort(403, "This request does not come from the admin page.")
    g.rooms_operator = who[:_NAME]


def is_own(asked: Request) -> bool:
    """Whether a request comes from a page of this origin, by its script."""
    if asked.headers.get(HEADER) != "1":
        return False
    site = asked.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    # Browsers leave that out without HTTPS. There is no attacker in the scheme alone.
    return urlsplit(asked.headers.get("Origin", "")).netloc == asked.host


def protect(response: Response) -> Response:
    """Tell the browser to be strict."""
    response.headers.update(_HEADERS)
    return response
