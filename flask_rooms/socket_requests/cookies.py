"""The cookies of one socket: those of its handshake, and what the application has set since."""

from __future__ import annotations

from email.message import Message
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.request import Request

# As browsers have it, so that what an application sets does not pile up.
#: How many cookies are kept.
COOKIES = 50
#: How long name and value may be together, in bytes.
COOKIE_BYTES = 4096


class Cookies:
    """
    The cookies of one socket; nothing of them ever reaches its client.

    Args:
        handshake: The `Cookie` header that the client has connected with.
    """

    def __init__(self, handshake: str) -> None:
        self._given = [(_name(pair), pair.strip()) for pair in handshake.split(";")]
        self._jar: CookieJar | None = None

    @property
    def changed(self) -> bool:
        """Whether the application has set any since the handshake."""
        return self._jar is not None

    def header(self, path: str) -> str:
        """Return the `Cookie` header of a request for *path*, percent-encoded; may be empty."""
        given = [pair for _, pair in self._given if pair]
        if self._jar is None:
            return "; ".join(given)
        request = _request(path)
        self._jar.add_cookie_header(request)
        return "; ".join(filter(None, [request.get_header("Cookie"), *given]))

    def follow(self, headers: list[str], path: str) -> None:
        """Do what the `Set-Cookie` *headers* of the response to a request for *path* say."""
        if not headers:
            return
        set_now = {_name(header.partition(";")[0]) for header in headers}
        # The handshake does not tell paths, so a cookie of the same name is the same one: else
        # the old session would survive a logout.
        self._given = [(name, pair) for name, pair in self._given if name not in set_now]
        self._jar = self._jar or CookieJar(_OneHost())
        self._jar.extract_cookies(_Response(headers), _request(path))  # type: ignore[arg-type]
        for cookie in list(self._jar)[:-COOKIES]:
            self._jar.clear(cookie.domain, cookie.path, cookie.name)


class _OneHost(DefaultCookiePolicy):
    """All requests go to the application that has set the cookie: its domain says nothing."""

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        size = len(cookie.name) + len(cookie.value or "")
        return size <= COOKIE_BYTES and super().set_ok(cookie, request)

    def set_ok_domain(self, cookie: Cookie, request: Request) -> bool:
        return True

    def return_ok_domain(self, cookie: Cookie, request: Request) -> bool:
        return True

    def domain_return_ok(self, domain: str, request: Request) -> bool:
        return True


class _Response:
    """As much of a response as a CookieJar wants to know."""

    def __init__(self, headers: list[str]) -> None:
        self._message = Message()
        for header in headers:
            self._message["Set-Cookie"] = header

    def info(self) -> Any:
        return self._message


def _request(path: str) -> Request:
    # The host is made up; https, so that cookies for secure connections are sent: these never
    # leave the process.
    return Request("https://socket.invalid" + path)


def _name(pair: str) -> str:
    return pair.partition("=")[0].strip()
