"""What clients could send: values, requests and packets, each nearly right or far from it."""

from __future__ import annotations

import json
import random
from typing import Any

VERBS = ("get", "post", "put", "patch", "delete", "options", "head")

#: Routes of the application, with and without what they take.
URLS = (
    *(
        "/me",
        "/echo",
        "/echo/a/b?x=1&x=2#f",
        "/join/fun",
        "/join/secret:x",
        "/leave/fun",
        "/say/fun",
        "/session",
    ),
    *("/large/100", "/large/70000", "/stream", "/away", "/login", "/upload", "/nowhere"),
)

#: Words with a meaning to somebody on the way, and those that none should have.
WORDS = (
    *("", "/", "//", "/%00", "/%2e%2e/", "/a\x00", "\ud800", "é/ü", "/é", "https://evil/", "\\"),
    *("/" + "a" * 70_000, "connect", "disconnect", "*", "message", "json", "error", "echo"),
    *("__disconnect_final", "_placeholder", "num", "url", "data", "headers", "method", "fail"),
    *("Cookie", "Host", "X-Forwarded-For", "Content-Length", "Transfer-Encoding", "x_csrf_token"),
    *("Range", "bytes=0-", "Content-Type", "multipart/form-data; boundary=b", "a\r\nb: c"),
    *("\u0661", "²", "\u2028", "a" * 5000, "hold"),
)
NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**63, 2**64, 10**100, -(10**300))
FLOATS = (0.0, -0.0, 0.1, 1e308, float("nan"), float("inf"))
NAMESPACES = ("", "", "", "", "/,", "/chat,", "/x,", "/admin,", f"/{'n' * 300},", "/é,", "/?a=b,")
IDS = ("", "0", "1", "99999999999", "9" * 99, "9" * 101, "²", "٣", "-1", "1.5")
ENGINE_PACKETS = (
    *("3", "3probe", "2", "2probe", "5", "6", "7", "9", "", "4", "4x", "b4AAAA", "1x", "0", "0{}"),
    *("42[" * 2000, "42" + "[" * 90_000, '42["get",' + '{"a":' * 3000, "40" + "[" * 5000),
    *("45300-" + '["echo",' + ",".join(['{"_placeholder":true,"num":0}'] * 300) + "]",),
)
GARBAGE = ("\x00", "\x1e", "\ufeff", "}", '"', "\\u", "[", "\ud800", "0" * 500)


class Noise:
    """
    Random input, the same for the same seed.

    Args:
        seed: Anything that has a fixed representation.
    """

    def __init__(self, seed: object) -> None:
        self.random = random.Random(repr(seed))
        self._choose = self.random.choice

    def happens(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.random.random() < probability

    def junk(self) -> bytes:
        """Return bytes of no meaning."""
        return self.random.randbytes(self._choose((0, 1, 9, 500, 5000)))

    def value(self, depth: int = 0) -> Any:
        """Return a value that JSON could carry, or nearly so."""
        kind = self.random.randrange(14 if depth < 5 else 9)
        if kind < 2:
            return self._choose((None, True, False))
        if kind < 4:
            return self._choose(NUMBERS)
        if kind == 4:
            return self._choose(FLOATS)
        if kind < 9:
            return self._choose(WORDS)
        if kind < 11:
            return [self.value(depth + 1) for _ in range(self._choose((0, 1, 2, 5, 40)))]
        if kind == 11:
            return {"_placeholder": True, "num": self._choose((0, 1, -1, 2, "0", None, 1.5, True))}
        return {self._choose(WORDS): self.value(depth + 1) for _ in range(self._choose((0, 1, 8)))}

    def request(self) -> list[Any]:
        """Return the event of a socket request, as a client would number and encode it."""
        payload: Any = {"url": self._choose(URLS if self.happens(0.7) else WORDS)}
        if self.happens(0.6):
            payload["data"] = self.value()
        if self.happens(0.4):
            payload["headers"] = self._headers()
        if self.happens(0.05):
            del payload["url"]
        if self.happens(0.05):
            payload = self.value()
        more = [self.value()] if self.happens(0.05) else []
        return [self._choose(VERBS), payload, *more]

    def _headers(self) -> Any:
        if self.happens(0.3):
            return self.value()
        return {self._choose(WORDS): self._choose(WORDS) for _ in range(self._choose((1, 3, 200)))}

    def event(self) -> list[Any]:
        """Return an event that is no socket request."""
        return [self._choose(WORDS), *[self.value() for _ in range(self.random.randrange(3))]]

    def packet(self) -> str | bytes:
        """Return a packet of Engine.IO, which is one of Socket.IO most of the time."""
        kind = self.random.random()
        if kind < 0.06:
            return self.junk()
        if kind < 0.12:
            return self._choose(ENGINE_PACKETS)
        if kind < 0.2:
            return self._broken(self._packet())
        return self._packet()

    def _packet(self) -> str:
        kind, target = self.random.random(), self._choose(NAMESPACES) + self._choose(IDS)
        if kind < 0.55:
            return f"42{target}{json.dumps(self.request())}"
        if kind < 0.7:
            return f"42{target}{json.dumps(self.event())}"
        if kind < 0.78:
            return f"43{target}{json.dumps(self.value())}"
        if kind < 0.86:
            count = self._choose(("0-", "1-", "2-", "3-", "1000-", "1001-", "99999999999-", "-"))
            return f"45{count}{target}{json.dumps(self.request())}"
        if kind < 0.9:
            return f"46{self._choose(('1-', '0-', ''))}{target}{json.dumps(self.value())}"
        body = self._choose(("", json.dumps(self.value())))
        return f"{self._choose(('40', '40', '41', '44'))}{self._choose(NAMESPACES)}{body}"

    def _broken(self, packet: str) -> str:
        at = self.random.randrange(len(packet) + 1)
        return packet[:at] + self._choose(GARBAGE) + packet[at + self.random.randrange(3) :]

    def text(self) -> bytes:
        """Return a packet as the bytes of a text frame, which need not be UTF-8."""
        packet = self.packet()
        text = packet if isinstance(packet, str) else packet.decode("latin-1")
        return text.encode("utf-8", "surrogatepass" if self.happens(0.02) else "replace")

    def body(self) -> bytes:
        """Return the body of a polling client's POST."""
        packets = [self.text() for _ in range(self._choose((0, 1, 3, 30)))]
        return b"\x1e".join(packets)

    def query(self) -> str:
        """Return the query string of a handshake, or nearly one."""
        parts = [
            self._choose(("EIO=4", "EIO=3", "EIO=", "EIO=²", "")),
            self._choose(("transport=polling", "transport=websocket", "transport=x", "")),
            self._choose(
                ("", "", "", "sid=", "sid=x", "sid=%00", "j=0", "j=x", "b64=1", "t=" * 50)
            ),
        ]
        return "&".join(part for part in parts if part)
