"""Messages of the application between workers: each handler gets all of a sender's, in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias

from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.tracing import call_span
from flask_rooms.membership.notifications import SignalQueue, WorkerMessage
from flask_rooms.protocol.messages import Tell
from flask_rooms.results import Told
from flask_rooms.server.packets import decode, encode_event
from flask_rooms.server.private import ServerInternals

#: Takes the data of a message.
TellHandler: TypeAlias = "Callable[[Any], object]"


class Tells:
    """
    Tells every worker something, this one included, and has the handlers called.

    Args:
        handlers: Event -> what the application has registered for it.
        signals: Calls the handlers, after the signals of what has happened before.
        internals: Encodes as clients get it, and starts threads.
    """

    def __init__(
        self,
        handlers: dict[str, list[TellHandler]],
        signals: SignalQueue,
        internals: ServerInternals,
    ) -> None:
        self._handlers = handlers
        self._signals = signals
        self._internals = internals

    def tell(self, cluster: Cluster, event: str, data: Any) -> Future[Told]:
        """
        Tell every worker something.

        Args:
            cluster: The connection to the others.
            event: What it is about.
            data: What JSON and bytes can express.

        Raises:
            InvalidArgument: *data* cannot be encoded, or is too large for a message.
            BackendUnavailable: The outbox is full; no worker has it.
        """
        packet = encode_event(self._internals.packet_class, event, (data,), "/")
        decode(self._internals.packet_class, packet)  # else no worker could call its handlers
        with call_span("rooms.tell") as span:
            tell = Tell(event, packet, span.context)
            future = span.follow(cluster.calls.tell(tell, lambda: self._receive(tell)))
        self._signals.flush()
        return future

    def on_told(self, tell: Tell) -> bool:
        """
        Take in the message of another worker, and wait for no handler.

        Returns:
            Whether there was a place for it.
        """
        is_received = self._receive(tell)
        self._internals.spawn(self._signals.flush)
        return is_received

    def _receive(self, tell: Tell) -> bool:
        handlers = tuple(self._handlers.get(tell.event, ()))
        return self._signals.add_message(
            WorkerMessage(tell.event, handlers, partial(self._data, tell))
        )

    def _data(self, tell: Tell) -> Any:
        _, data = decode(self._internals.packet_class, tell.packet).data
        return data
