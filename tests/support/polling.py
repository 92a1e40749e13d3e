"""A Socket.IO client that polls a WSGI application in this process, without a network."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.test import Client, TestResponse

#: Where Socket.IO is below an application.
ENDPOINT = "/socket.io/"

_SEPARATOR = "\x1e"


class NoSession(Exception):
    """The server gives no session; the argument is its response."""


class PollingClient:
    """
    A client of Engine.IO's transport "polling": each packet passes through the whole application.

    Args:
        application: What a server would be given.
        path: Below which the application is.
        browser: Whose cookies and defaults to use, in place of a new client of werkzeug's.
        query: What to add to the query string of each request.
        options: Of each request, as werkzeug's test client takes them: `headers`, `base_url`.

    Raises:
        NoSession: The server does not want this client.

    Attributes:
        url: Of all its requests.
    """

    def __init__(
        self,
        application: Any,
        path: str = "",
        *,
        browser: Client | None = None,
        query: str = "",
        **options: Any,
    ) -> None:
        self.browser = browser or Client(application)
        self.url = f"{path}{ENDPOINT}?EIO=4&transport=polling{query}"
        self._options = options
        self._waiting: list[str] = []
        self._last_id = 0
        response = self.browser.get(self.url, **options)
        if response.status_code != 200 or not response.text.startswith("0{"):
            raise NoSession(response)
        self.eio_sid: str = json.loads(response.text[1:])["sid"]
        self.url += f"&sid={self.eio_sid}"
        self.sid = ""

    def connect(self, auth: Any = None) -> PollingClient:
        """Connect to the default namespace, and return this client."""
        self.send("40" if auth is None else f"40{json.dumps(auth)}")
        answer = self.receive()
        assert answer.startswith("40"), answer
        self.sid = json.loads(answer[2:])["sid"]
        return self

    def send(self, packet: str) -> TestResponse:
        """Send a packet, and return the response."""
        return self.browser.post(self.url, data=packet.encode(), **self._options)

    def receive(self) -> str:
        """Return the next packet that is no ping."""
        while True:
            while not self._waiting:
                # Read and closed at once, as a server does with a response that it has sent.
                polled = self.browser.get(self.url, buffered=True, **self._options)
                assert polled.status_code == 200, polled.text
                self._waiting = polled.text.split(_SEPARATOR)
            packet = self._waiting.pop(0)
            if packet != "2":
                return packet
            self.send("3")

    def emit(self, *event: Any) -> Any:
        """Send an event, and return what it is acknowledged with."""
        self._last_id += 1
        self.send(f"42{self._last_id}{json.dumps(event)}")
        while not (packet := self.receive()).startswith(f"43{self._last_id}["):
            pass
        return json.loads(packet[packet.index("[") :])

    def request(self, verb: str, url: str, **payload: Any) -> Any:
        """Make a socket request, and return its acknowledgement."""
        [answer] = self.emit(verb, {"url": url, **payload})
        return answer
