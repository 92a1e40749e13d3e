"""What each client is given: its handlers; also those that a simple client makes later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from flask_rooms.client.connecting import notice_early_end

#: Takes the data of an event, and the ID of the connection that it came over: None if that is lost.
Handler: TypeAlias = "Callable[[dict[str, Any], str | None], object]"


class Handlers:
    """
    The events that are handled.

    Args:
        sio: A client, or a simple client, which makes a client each time that it connects.
        namespace: The namespace of the events, or None for that of a simple client.
    """

    def __init__(self, sio: Any, namespace: str | None) -> None:
        self._sio = sio
        self._namespace = namespace
        self._all: dict[str, Handler] = {}
        self._client = sio
        if hasattr(sio, "client_class"):
            # Before a client connects is the only time at which no event can be missed.
            self._client, self._make_client = sio.client, sio.client_class
            sio.client_class = self._make
        if self._client is not None:
            notice_early_end(self._client)

    def add(self, event: str, handler: Handler) -> None:
        """Handle an event from now on, unless that has been asked for before."""
        if event in self._all:
            return
        self._all[event] = handler
        if self._client is not None:
            self._register(event, self._client)

    def _make(self, *args: Any, **options: Any) -> Any:
        self._client = self._make_client(*args, **options)
        notice_early_end(self._client)
        for event in list(self._all):
            self._register(event, self._client)
        return self._client

    def _register(self, event: str, client: Any) -> None:
        handler = self._all[event]
        namespace = self._namespace or getattr(self._sio, "namespace", "/")
        client.on(event, lambda told: handler(told, client.eio.sid), namespace=namespace)
