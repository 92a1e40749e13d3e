"""
Live connections to a broker: Kombu connects, and bytes go straight through its driver.

Kombu's own messages are not used on Redis and RabbitMQ, nor are the properties of messages read.
Kombu would decode and decompress what arrives as its sender says, before anyone has checked who
that is.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from amqp import AMQPError, Message, spec
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer

from flask_rooms.backends.amqp_frames import Inbound, publish_arguments, read_ahead
from flask_rooms.backends.resp import Replies
from flask_rooms.backends.rolls import Rolls
from flask_rooms.backends.tls import check_files, tls_options
from flask_rooms.errors import BackendError

#: Seconds that one operation on a broker may take: a connect, a write, a reply.
TIMEOUT = 5.0

#: Seconds that a Sentinel may take to connect, or to answer: there are others.
SENTINEL_TIMEOUT = 1.0

#: Seconds that closing a connection may take.
CLOSE_TIMEOUT = 1.0

#: Seconds between two polls, for transports that poll their queues; Kombu's default is 1.
POLLING_INTERVAL = 0.02

#: The most bytes that wait at RabbitMQ for one worker. The oldest are dropped then, so that a
#: worker that hangs does not fill the broker; the cluster repairs the gap.
QUEUE_BYTES = 64 * 2**20

#: The routing key of RabbitMQ with which all subscribers are bound.
_EVERYONE = ""

#: Called with each payload that arrives.
Take = Callable[[bytes], object]


class Session(ABC):
    """
    A connection that either publishes or receives; a broken one is replaced, not repaired.

    Args:
        connection: Kombu's connection, established.
        name: The channel's name at the broker.
    """

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._name = name
        # Kept, because Connection.connection reconnects implicitly, without the subscription.
        self._link = connection.connection
        self._transport = connection.transport

    @property
    def socket(self) -> Any:
        """The socket, or None where there is none that is known."""
        return None

    @abstractmethod
    def publish(self, payload: bytes, address: str | None) -> None:
        """Hand *payload* to the broker for every subscriber, or for those of an address."""

    @abstractmethod
    def subscribe(self, address: str, take: Take) -> None:
        """Subscribe: every payload published after the return is given to *take* by drain()."""

    def audience(self) -> int | None:
        """Return how many sessions are subscribed, or None where the broker does not say."""
        return None

    def elsewhere(self) -> list[str]:
        """Return where else on this broker sessions are subscribed, in words."""
        return []

    def unfit(self) -> str | None:
        """Return why this broker does not connect all workers, or None."""
        return None

    def drain(self, timeout: float) -> bool:
        """Handle the broker's next message; return False if none arrived in *timeout* seconds."""
        try:
            self._transport.drain_events(self._link, timeout=timeout)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Unsubscribe and close the connection, in at most about CLOSE_TIMEOUT seconds."""
        self._connection.release()

    def discard(self) -> None:
        """Drop the connection without telling the broker, which may be unreachable."""
        with suppress(Exception):  # the connection is broken already, and that was reported
            self._connection.collect()


class RedisSession(Session):
    """
    A connection of redis-py: PUBLISH and SUBSCRIBE, without Kombu's envelope.

    It is the bare connection: a client of redis-py would publish again, and perhaps twice, what
    was not answered, and its PubSub would connect again without a word.
    """

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        channel = connection.channel()
        # As Kombu names it: Redis has one set of channels for all its databases.
        prefix = channel.keyprefix_fanout.format(db=channel.pool.connection_kwargs["db"])
        self._topic = f"{channel.global_keyprefix}{prefix}{name}"
        self._redis = channel.pool.make_connection()
        self._redis.connect()
        self._replies = Replies(self._redis._sock)
        self._take: Take = lambda payload: None

    @property
    def socket(self) -> Any:
        return self._redis._sock

    def publish(self, payload: bytes, address: str | None) -> None:
        """Do what redis-py would, which takes longer for a command than Redis itself."""
        topic = self._topic if address is None else self._topic_of(address)
        # https://redis.io/docs/latest/develop/reference/protocol-spec/#arrays
        words = b"PUBLISH", topic.encode(), payload
        command = b"*3\r\n" + b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in words])
        self._redis.send_packed_command([command], check_health=False)
        self._replies.answer(self._redis.socket_timeout or TIMEOUT)

    def _topic_of(self, address: str) -> str:
        return f"{self._topic}/{address}"  # no name of a channel has a slash

    def audience(self) -> int | None:
        _, count = self.call("PUBSUB", "NUMSUB", self._topic)
        return int(count)

    def elsewhere(self) -> list[str]:
        channels = self.call("PUBSUB", "CHANNELS", "*")
        topics = [topic.decode(errors="replace") for topic in channels]
        found = [re.fullmatch(r"/(\d+)\.([^/]+)", one) for one in topics if one != self._topic]
        named = [(one[1], unquote(one[2])) for one in found if one]
        return [f"database {db}, channel {channel!r}" for db, channel in sorted(named)]

    def unfit(self) -> str | None:
        from redis.exceptions import NoPermissionError  # an extra

        # Both take every command that is used here. What a replica is told reaches no master, and
        # a node of a cluster that fails is replaced by another one, of another address.
        try:
            self.audience()
        except NoPermissionError:  # so this worker cannot know whether it has heard of all others
            return "permission"
        info = self.call("INFO")
        if b"cluster_enabled:1" in info:
            return "redis-cluster"
        return "replica" if b"role:slave" in info else None

    def call(self, *command: Any) -> Any:
        """Return what Redis answers to a command, on a session without subscriptions."""
        self._send(*command)
        return self._redis.read_response()

    @property
    def is_readable(self) -> bool:
        """Whether there is something to read, be it the end of the connection."""
        try:
            return bool(self._redis.can_read(0))
        except Exception:  # noqa: BLE001 - it has ended, however the driver says so
            return True

    def subscribe(self, address: str, take: Take) -> None:
        self._take = take
        topics = [self._topic, self._topic_of(address)]
        self._send("SUBSCRIBE", *topics)
        for _ in topics:  # Redis confirms each, and sends nothing else before the last
            if not self.drain(TIMEOUT):
                raise BackendError("Redis did not confirm the subscription.")

    def drain(self, timeout: float) -> bool:
        reply = self._replies.next(timeout)
        if reply is None:
            return False
        if len(reply.values) == 3 and reply.values[0] == b"message":
            self._take(reply.values[2] or b"")
        return True

    def _send(self, *command: Any) -> None:
        self._redis.send_command(*command, check_health=False)

    def close(self) -> None:
        self._redis.disconnect()
        super().close()

    def discard(self) -> None:
        with suppress(Exception):  # as below
            self._redis.disconnect()
        super().discard()


class RabbitMQSession(Session):
    """A connection of py-amqp: each subscriber has a queue of its own, and is on a roll."""

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._rolls = Rolls(self._link, name)
        # Bounds each wait of py-amqp for a reply; its read_timeout does not apply to green
        # sockets.
        self._link.sock.settimeout(TIMEOUT)
        # Kept, because py-amqp, too, connects implicitly where it has closed the connection.
        self._stream = self._link.transport
        read_ahead(self._stream)
        self._channel = self._link.channel()
        self._to_everyone = publish_arguments(name, _EVERYONE)
        # Not auto-deleted: an exchange that goes with its last queue could go between another
        # worker's declaration of it and that worker's binding.
        self._channel.exchange_declare(name, "direct", durable=False, auto_delete=False)

    @property
    def socket(self) -> Any:
        return self._link.sock

    def publish(self, payload: bytes, address: str | None) -> None:
        """Do what py-amqp's basic_publish() does, with arguments that are encoded once."""
        self.drain(0)  # RabbitMQ says here that it has closed the channel
        if address is None:
            arguments = self._to_everyone
        else:
            arguments = publish_arguments(self._name, _key_of(address))
        channel = self._channel.channel_id
        self._link.frame_writer(1, channel, spec.Basic.Publish, arguments, Message(payload))

    def drain(self, timeout: float) -> bool:
        stream = self._stream
        try:
            with stream.having_timeout(timeout):  # once for the three frames of a message
                while not self._link.on_inbound_frame(stream.read_frame()):
                    pass
        except TimeoutError:
            return False
        except OSError as error:
            # RabbitMQ has closed the connection, and said why. py-amqp closes the socket then,
            # which takes no timeout any more, and that error hides the reason.
            if isinstance(error.__context__, AMQPError):
                raise error.__context__ from None
            raise
        return True

    def audience(self) -> int | None:
        return self._rolls.count()

    def subscribe(self, address: str, take: Take) -> None:
        self._rolls.enrol()  # before the rest: what is subscribed is counted
        # Exclusive, because RabbitMQ 4.3 refuses transient queues that are not. No
        # acknowledgements, because the cluster retransmits by itself.
        queue = f"{self._name}.{uuid4().hex}"
        self._channel.queue_declare(
            queue,
            exclusive=True,
            arguments={"x-max-length-bytes": QUEUE_BYTES, "x-overflow": "drop-head"},
        )
        for key in (_EVERYONE, _key_of(address)):
            self._channel.queue_bind(queue, self._name, routing_key=key)
        self._link.on_inbound_frame.takes[self._channel.channel_id] = take
        self._channel.basic_consume(queue, no_ack=True)

    def close(self) -> None:
        # py-amqp would wait for the answer as long as messages arrive, and that may be for ever
        # where nothing reaches the broker. Without any wait a last message could be lost.
        deadline = time.monotonic() + CLOSE_TIMEOUT
        self._link.sock.settimeout(CLOSE_TIMEOUT)
        self._link.send_method(spec.Connection.Close, "BsBB", (0, "", 0, 0))
        with suppress(OSError):  # the answer closes the socket, and a green one says nothing then
            while self._stream.connected and (left := deadline - time.monotonic()) > 0:
                self.drain(left)
        self.discard()


def _key_of(address: str) -> str:
    """Return the routing key of a worker, which is never that of all."""
    return f"@{address}"


class VirtualSession(Session):
    """A connection of another transport of Kombu, which has no addresses: all get everything."""

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._channel = connection.channel()
        self._exchange = Exchange(name, type="fanout", durable=False)(self._channel)
        self._exchange.declare()
        self._queue: Any = None

    def publish(self, payload: bytes, address: str | None) -> None:
        message = self._channel.prepare_message(
            payload, content_type="application/octet-stream", content_encoding="binary"
        )
        self._channel.basic_publish(message, exchange=self._name, routing_key="", timeout=TIMEOUT)

    def subscribe(self, address: str, take: Take) -> None:
        def on_message(message: Any) -> None:
            body = message.body or b""
            take(body.encode() if isinstance(body, str) else bytes(body))

        queue = Queue(f"{self._name}.{uuid4().hex}", self._exchange, durable=False)
        self._queue = queue(self._channel)
        Consumer(self._channel, [self._queue], on_message=on_message, no_ack=True).consume()

    def close(self) -> None:
        if self._queue is not None:
            self._queue.delete()
            # Kombu's memory transport would recreate the queue with the next message.
            self._queue.unbind_from(self._exchange)
        super().close()


#: Kombu's name of a driver -> its session.
_SESSIONS: dict[str, type[Session]] = {"redis": RedisSession, "amqp": RabbitMQSession}


def connect(urls: Sequence[str], options: Mapping[str, Any], name: str) -> Session:
    """
    Return a session with the first broker of *urls* that answers.

    Args:
        urls: Broker URLs, tried in turn.
        options: Kombu's transport options, and `ssl`.
        name: The channel's name at the broker.
    """
    connection = prepare(";".join(urls), options)
    check_files(connection.ssl)
    fill_in = isinstance(connection.ssl, dict) and connection.ssl.get("server_hostname", "") is None
    hosts = iter([urlsplit(url).hostname for url in urls])

    def expect_next(*error: object) -> None:
        # Kombu would expect 127.0.0.1 in the certificate of localhost, and the name of this broker
        # in that of the next.
        if fill_in:
            connection.ssl["server_hostname"] = next(hosts, None)

    expect_next()
    try:
        connection.ensure_connection(
            errback=expect_next,
            max_retries=len(urls) - 1,
            interval_start=0,
            interval_step=0,
            interval_max=0,
        )
        return _SESSIONS.get(connection.transport.driver_type, VirtualSession)(connection, name)
    except BaseException:  # also a green Timeout: nothing else would close it
        with suppress(Exception):  # it is broken already
            connection.collect()
        raise


def prepare(urls: str, options: Mapping[str, Any]) -> Any:
    """Return a Kombu connection that is not established yet."""
    options = dict(options)
    scheme = urls.partition("://")[0]
    ssl = tls_options(scheme, options.pop("ssl", None))
    if scheme == "sentinel":
        options["sentinel_kwargs"] = _sentinel_options(options.get("sentinel_kwargs"))
    # amqp:// would select librabbitmq where it is installed, a C library that supports neither
    # timeouts nor green threads.
    urls = ";".join("py" + url if url.startswith("amqp://") else url for url in urls.split(";"))
    connection = Connection(
        urls,
        ssl=ssl,
        transport_options=options,
        connect_timeout=TIMEOUT,
        # No AMQP heartbeats: an idle publisher has no thread to send them, and RabbitMQ would
        # close its connection. The cluster's own heartbeats use both connections, and py-amqp
        # sets TCP keepalive and user timeout.
        heartbeat=0,
    )
    transport = connection.get_transport_cls()
    if transport.driver_type == "amqp":
        options["frame_handler"] = Inbound
    if getattr(transport, "polling_interval", None):
        options.setdefault("polling_interval", POLLING_INTERVAL)
    return connection


def _sentinel_options(chosen: Mapping[str, Any] | None) -> dict[str, Any]:
    """
    Return the options of the connections to Sentinels, which are not those to Redis.

    By itself redis-py tries each one several times, with pauses, before it asks the next.
    """
    from redis.backoff import NoBackoff  # an extra
    from redis.retry import Retry

    return {
        "socket_timeout": SENTINEL_TIMEOUT,
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        **(chosen or {}),
    }
