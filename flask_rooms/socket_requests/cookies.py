"""The cookie jar of one socket: the cookies of its handshake, updated by the application."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable
from email.message import Message
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import unquote
from urllib.request import Request

# The limits are those of browsers.
#: How many cookies a socket keeps.
COOKIES = 180
#: How long the name and value of a cookie may be together, in bytes.
COOKIE_BYTES = 4096

# What browsers ignore, and for which a CookieJar would ignore the cookie: a float, for instance.
_NO_MAX_AGE = re.compile(r";\s*max-age\s*(?=[=;]|$)(?!=\s*-?\d+\s*(;|$))[^;]*", re.IGNORECASE)

_NO_PATH = re.compile(r";\s*path\s*=\s*(?![/\s])[^;]*", re.IGNORECASE)

_PATH = re.compile(r";\s*path\s*=\s*(/[^;]*)", re.IGNORECASE)

# Never fetched; https, so that the jar returns Secure cookies, too.
_HOST = "https://socket.invalid"


class Cookies:
    """
    The cookies of one socket; what the application sets never reaches the client.

    Args:
        handshake: The `Cookie` header of the handshake.
        paths: Those that it may have been for, percent-encoded: a cookie whose path matches none
            of them was not in it.
    """

    def __init__(self, handshake: str, paths: Collection[str]) -> None:
        self._paths = paths
        # One string: a client may send thousands of them, and each socket has a jar. Both are
        # replaced in one step, as a guard may look at them in the middle of an update.
        self._kept: tuple[str, CookieJar | None] = _without(handshake, ()), None

    def header(self, path: str | None) -> str:
        """
        Return the `Cookie` header of a request, or "".

        Args:
            path: The path of the request, percent-encoded; None for the cookies of all paths.
        """
        given, jar = self._kept
        if jar is None:
            return given
        request = _Anywhere(_HOST) if path is None else _request(path)
        jar.add_cookie_header(request)
        return "; ".join(filter(None, [request.get_header("Cookie"), given]))

    def update(self, headers: list[str], path: str) -> None:
        """
        Apply the `Set-Cookie` headers of a response.

        Args:
            headers: Their values.
            path: The path of the request, percent-encoded.
        """
        headers = [_NO_PATH.sub("", _NO_MAX_AGE.sub("", one)) for one in headers if _fits(one)]
        if not headers:
            return
        given, jar = self._kept
        given, jar = _without(given, self._given_names(headers, path)), _copy(jar or ())
        request = _request(path)
        # One by one: of several headers at once a CookieJar carries out the deletions first.
        for header in headers:
            jar.extract_cookies(_Response(header), request)  # type: ignore[arg-type]
        names = {_name(header.partition(";")[0]) for header in headers}
        for cookie in sorted(jar, key=lambda one: one.name in names)[:-COOKIES]:
            jar.clear(cookie.domain, cookie.path, cookie.name)
        self._kept = given, jar

    def _given_names(self, headers: list[str], path: str) -> set[str]:
        """Return the names of the cookies that are set, as far as the handshake may have them."""
        # It does not tell the paths of its cookies, so the name identifies them: otherwise the old
        # session cookie would survive a logout.
        return {
            _name(header.partition(";")[0])
            for header in headers
            if any(_matches(one, _path(header, path)) for one in self._paths)
        }


class _Anywhere(Request):
    """Stands for requests for any path."""


class _OneHost(DefaultCookiePolicy):
    """Ignores the domain of a cookie: all requests go to the application that has set it."""

    def path_return_ok(self, path: str, request: Request) -> bool:
        return isinstance(request, _Anywhere) or _matches(request.selector, path)

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        return True

    def return_ok_domain(self, cookie: Cookie, request: Request) -> bool:
        return True

    def domain_return_ok(self, domain: str, request: Request) -> bool:
        return True


class _Response:
    """The part of urllib's response that a CookieJar reads."""

    def __init__(self, header: str) -> None:
        self._message = Message()
        self._message["Set-Cookie"] = header

    def info(self) -> Any:
        return self._message


def _copy(cookies: Iterable[Cookie]) -> CookieJar:
    jar = CookieJar(_OneHost())
    for cookie in cookies:
        jar.set_cookie(cookie)
    return jar


def _fits(header: str) -> bool:
    name, _, value = header.partition(";")[0].partition("=")
    return len(name.strip()) + len(value.strip()) <= COOKIE_BYTES


def _path(header: str, path: str) -> str:
    """Return the path of a cookie that a response to a request for *path* sets."""
    match = _PATH.search(header)
    return match[1].strip() if match else path[: path.rfind("/")] or "/"


def _matches(path: str, cookie_path: str) -> bool:
    # https://www.rfc-editor.org/rfc/rfc6265#section-5.1.4
    path, cookie_path = unquote(path), unquote(cookie_path)  # each may be encoded differently
    return path == cookie_path or path.startswith(cookie_path.removesuffix("/") + "/")


def _request(path: str) -> Request:
    return Request(_HOST + path)


def _without(cookies: str, names: Container[str]) -> str:
    """Return a `Cookie` header without the cookies of some names, and without empty ones."""
    pairs = map(str.strip, cookies.split(";"))
    return "; ".join(pair for pair in pairs if pair and _name(pair) not in names)


def _name(pair: str) -> str:
    return pair.partition("=")[0].strip()
