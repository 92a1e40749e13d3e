"""Visitor, a Socket.IO client for the demonstration and the tests."""

from __future__ import annotations

import queue
import secrets
from types import TracebackType
from typing import Any, NamedTuple

import engineio
import requests
import socketio

TIMEOUT = 10.0  # seconds, for each wait


class _InOrder(engineio.Client):
    """
    An Engine.IO client that handles messages in order.

    python-engineio's own client starts a thread for each message, and these threads race.
    """

    def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        return super()._trigger_event(event, *args, **{**kwargs, "run_async": False})


class OrderedClient(socketio.Client):
    """A Socket.IO client that handles events in the order sent."""

    def _engineio_client_class(self) -> type[_InOrder]:
        return _InOrder


class Answer(NamedTuple):
    """The response to a socket request."""

    status: int
    body: Any


class Visitor:
    """
    A person who signs in over HTTP and then connects over a WebSocket, as a context manager.

    Args:
        name: The person's name.
        url: The worker to connect to.
        form: Further fields of the form, such as `moderator`.
    """

    def __init__(self, name: str, url: str, **form: str) -> None:
        self.name = name
        self.url = url
        self._form = {"name": name, **form}
        self._heard: queue.Queue[str] = queue.Queue()
        self._http = requests.Session()
        self._client = OrderedClient(
            handle_sigint=False, reconnection=False, http_session=self._http
        )
        self._client.on("message", lambda said: self._heard.put(said["text"]))

    def __enter__(self) -> Visitor:
        answer = self._http.post(f"{self.url}/sign-in", self._form, timeout=TIMEOUT)
        answer.raise_for_status()
        self._client.connect(self.url, transports=["websocket"], wait_timeout=TIMEOUT)
        self._websocket = self._client.eio.ws
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._websocket.shutdown()  # the client leaves it open where the server has gone first
        self._http.close()

    @property
    def socket_id(self) -> str:
        """The ID of this person's socket."""
        return str(self._client.get_sid())

    def request(self, verb: str, url: str, **data: Any) -> Answer:
        """Make a socket request, and return the response."""
        answer = self._client.call(verb, {"url": url, "data": data}, timeout=TIMEOUT)
        return Answer(answer["statusCode"], answer["body"])

    def says(self, room: str, text: str) -> Answer:
        """Send a message to a room."""
        key = secrets.token_hex(8)
        return self.request("post", f"/rooms/{room}/messages", text=text, key=key)

    def hears(self) -> str:
        """Return the next text that arrives; raise queue.Empty after TIMEOUT seconds."""
        return self._heard.get(timeout=TIMEOUT)
