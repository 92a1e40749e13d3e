"""Connections that end while a client connects: python-socketio takes them for ones that last."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from socketio.exceptions import ConnectionError as NotConnected


def notice_early_end(client: Any) -> None:
    """
    Have connect() of a client notice that its connection has ended meanwhile.

    python-socketio (up to 5.18) waits until the sockets are connected, and then calls the client
    connected, without a look at what has become of the connection. Requests would never be
    answered, and the client would not connect again. It happens where a server ends just as a
    client connects.

    Args:
        client: A `socketio.Client` or `socketio.AsyncClient`.
    """
    connect = client.connect

    def connect_and_look(*args: Any, **options: Any) -> None:
        again = client._reconnect_task is not None
        connect(*args, **options)
        _look(client, again)

    async def connect_and_look_async(*args: Any, **options: Any) -> None:
        again = client._reconnect_task is not None
        await connect(*args, **options)
        _look(client, again)

    is_async = iscoroutinefunction(connect)
    client.connect = connect_and_look_async if is_async else connect_and_look


def _look(client: Any, again: bool) -> None:
    if client.sid is not None:
        return
    client.connected, client.namespaces = False, {}
    # A client that connects again tries once more after an error. At first it is connecting again
    # already, in the background.
    if again or not client.reconnection:
        raise NotConnected("The connection has ended while the client connected.")
