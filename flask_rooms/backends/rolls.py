"""Counts the subscribers on RabbitMQ, which tells how many consumers a queue has."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from amqp import Message, NotFound

from flask_rooms.errors import BackendError

#: How many queues there may be that count the workers: one, and one more each time that the node
#: of a cluster that holds it is down.
ROLLS = 3

#: Milliseconds that RabbitMQ keeps such a queue after its last worker.
EXPIRES = 10_000


class Rolls:
    """
    The queues that every subscriber of an exchange consumes, whatever it receives besides.

    A *roll* lives on one node of RabbitMQ. Where that is down the next one is used, and all of
    them are counted. Messages to a roll are dropped.

    Args:
        link: py-amqp's connection, of a subscriber or for the questions.
        exchange: The name of the exchange, which exists.
    """

    def __init__(self, link: Any, exchange: str) -> None:
        self._link = link
        self._exchange = exchange
        self._names = [f"{exchange}:roll-{number}" for number in range(ROLLS)]
        self._asking: Any = None
        self._returned: set[str] = set()  # the rolls to which no message could be delivered

    def enrol(self) -> None:
        """
        Have this connection counted until it ends.

        Raises:
            BackendError: The nodes of all rolls are down.
        """
        for name in self._names:
            channel = self._link.channel()
            with suppress(NotFound):  # it exists, and its node is down
                channel.queue_declare(
                    name, durable=True, auto_delete=False, arguments={"x-expires": EXPIRES}
                )
                channel.queue_bind(name, self._exchange, routing_key=name)
                # When the consumer is cancelled, as the node goes down, py-amqp raises an error,
                # and the worker subscribes anew.
                channel.basic_consume(name, no_ack=True)
                return
        raise BackendError("The nodes of RabbitMQ that count the workers are down.")

    def count(self) -> int | None:
        """
        Return how many are counted, most often after one round trip; None if there are none.

        RabbitMQ logs an error and closes the channel when it is asked for a queue that is not
        there, as most often the later rolls. It returns a mandatory message to it without either.
        """
        if self._asking is None:
            self._asking = self._link.channel()
            self._asking.events["basic_return"].add(self._on_return)
        first, *others = self._names
        self._returned.clear()
        for name in others:
            self._asking.basic_publish(Message(), self._exchange, name, mandatory=True)
        count = self._consumers(first)  # answered after what is returned
        count += sum(self._consumers(name) for name in others if name not in self._returned)
        return count or None  # for a moment after the roll was deleted

    def _on_return(self, error: object, exchange: str, key: str, message: object) -> None:
        self._returned.add(key)

    def _consumers(self, name: str) -> int:
        try:
            return int(self._asking.queue_declare(name, passive=True).consumer_count)
        except NotFound:  # or its node is down; py-amqp has opened the channel again
            return 0
