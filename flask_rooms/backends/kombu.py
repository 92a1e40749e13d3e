"""The backend for Redis, RabbitMQ and Kombu's other transports that can broadcast."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer

from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError, ConfigurationError

#: Seconds that one operation on a broker may take: a connect, a write, a reply.
TIMEOUT = 5.0

#: Seconds that closing a connection may take.
CLOSE_TIMEOUT = 1.0

#: Seconds between two checks of the closed flag while receive() waits. A connection cannot be
#: closed safely while another thread reads from it, so the reading thread has to check.
CLOSED_INTERVAL = 0.25

#: Transport options unless the user sets others; a transport ignores those it does not know.
DEFAULT_OPTIONS: Mapping[str, Any] = {
    # Redis: without these a dead connection blocks its caller forever.
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "socket_keepalive": True,
    # Redis: a retried PUBLISH may send a message twice, and doubles the timeout.
    "retry_on_timeout": False,
}

REDIS_SCHEMES = ("redis", "rediss", "sentinel")

#: Seconds between two polls, for transports that poll their queues; Kombu's default is 1.
POLLING_INTERVAL = 0.02


class KombuBackend(Backend):
    """
    Publishes to a fanout exchange named after the channel, and reads a queue of its own.

    Args:
        urls: Broker URLs, tried in turn on every connect.
        channel: Only backends of the same channel are connected.
        options: Kombu's transport options; they take precedence over `DEFAULT_OPTIONS`. `ssl` is
            passed to Kombu's Connection.

    Raises:
        ConfigurationError: Kombu does not know the URL or cannot broadcast over it, or a library
            for it is not installed.
    """

    def __init__(
        self, urls: Sequence[str], *, channel: str, options: Mapping[str, Any] | None = None
    ) -> None:
        self._channel = channel
        # Quoted, because *, ? and [ are patterns in Redis, and Kombu splits at a slash.
        self._exchange = quote(channel, safe="")
        if not 0 < len(self._exchange) <= 200:
            raise ConfigurationError("A channel is a name of 1 to 200 characters.")
        self._options = {**DEFAULT_OPTIONS, **(options or {})}
        self._where = " or ".join(_check(url, self._options) for url in urls)
        self._urls = urls
        self._process = 0
        self._publisher: _Publisher | None = None
        self._subscriber: _Subscriber | None = None

    def __repr__(self) -> str:
        return f"<KombuBackend {self._channel!r} on {self._where}>"

    def open(self) -> None:
        """
        Connect and subscribe: every payload published after the return is received.

        Raises:
            BackendError: The broker cannot be reached.
        """
        self.close()
        self._process = os.getpid()
        self._subscriber = _Subscriber(self._connect, self._where)
        self._publisher = _Publisher(self._connect, self._where)
        try:
            self._subscriber.connect()
            self._publisher.connect()
        except BaseException:
            self.close()
            raise

    def publish(self, payload: bytes) -> None:
        """
        Hand *payload* to the broker for every worker, in a bounded time.

        Raises:
            BackendError: The payload may not have reached the broker, or the backend is closed.
            TypeError: The payload is not bytes.
        """
        if not isinstance(payload, bytes):
            raise TypeError(f"A payload must be bytes, not {type(payload).__name__}.")
        publisher = self._publisher
        if publisher is None or self._process != os.getpid():
            raise BackendError("The backend is closed, or was opened before a fork: call open().")
        publisher.publish(payload)

    def receive(self, timeout: float) -> bytes | None:
        """
        Return the next payload, waiting at most *timeout* seconds.

        Returns:
            The payload, or None if none arrived in time or the backend is closed.

        Raises:
            BackendError: The connection was lost; calling again reconnects.
        """
        subscriber = self._subscriber
        if subscriber is None or self._process != os.getpid():
            return None
        return subscriber.receive(timeout)

    def close(self) -> None:
        """Disconnect, and wake a waiting receive(); closing twice has no effect."""
        publisher, self._publisher = self._publisher, None
        subscriber, self._subscriber = self._subscriber, None
        # Connections of a parent process are dropped: closing them would close the parent's.
        if self._process == os.getpid():
            for link in (subscriber, publisher):
                if link is not None:
                    link.close()

    def _connect(self) -> _Session:
        return _Session(self._urls, self._options, self._exchange)


class _Session:
    """A live connection with one Kombu channel; a broken one is replaced, not repaired."""

    def __init__(self, urls: Sequence[str], options: Mapping[str, Any], exchange: str) -> None:
        self._connection = _connection(";".join(urls), options)
        try:
            self._establish(attempts=len(urls))
            self.channel: Any = self._connection.channel()
            # Not auto-deleted on RabbitMQ: an exchange that goes with its last queue could go
            # between another worker's declaration of it and that worker's binding.
            self.exchange = Exchange(exchange, type="fanout", durable=False)(self.channel)
            self.exchange.declare()
        except BaseException:
            self.discard()
            raise

    def _establish(self, attempts: int) -> None:
        self._connection.ensure_connection(
            max_retries=attempts - 1, interval_start=0, interval_step=0, interval_max=0
        )
        # Kept, because Connection.connection reconnects implicitly, without the consumer.
        self._link = self._connection.connection
        self._transport = self._connection.transport
        self.driver: str = self._transport.driver_type
        if self.driver == "amqp":
            # Bounds each wait of py-amqp for a reply; its read_timeout does not apply to green
            # sockets.
            self._link.sock.settimeout(TIMEOUT)

    def drain(self, timeout: float) -> bool:
        """Handle the broker's next message; return False if none arrived in *timeout* seconds."""
        try:
            self._transport.drain_events(self._link, timeout=timeout)
        except TimeoutError:
            return False
        return True

    def shorten_timeouts(self) -> None:
        """Wait for the broker for at most CLOSE_TIMEOUT seconds from now on."""
        if self.driver == "amqp":
            self._link.sock.settimeout(CLOSE_TIMEOUT)
        elif self.driver == "redis":
            pool = self.channel.pool
            pool.connection_kwargs.update(
                socket_timeout=CLOSE_TIMEOUT, socket_connect_timeout=CLOSE_TIMEOUT
            )
            pool.disconnect(inuse_connections=False)
            pool.reset()  # its next connections have the new timeouts

    def close(self) -> None:
        """Close the connection."""
        self._connection.release()

    def discard(self) -> None:
        """Drop the connection without telling the broker, which may be unreachable."""
        with suppress(Exception):  # the connection is broken already, and that was reported
            self._connection.collect()


class _Link:
    """
    A connection that is made on first use, and used by one thread at a time.

    eventlet raises an error when two green threads read from one socket, and no driver supports
    two that write.
    """

    def __init__(self, connect: Callable[[], _Session], where: str) -> None:
        self._connect = connect
        self._where = where
        # Made here, not at import, so that a patched process has a green lock.
        self._owner = threading.Lock()
        self._session: _Session | None = None
        self.closed = False

    def connect(self) -> None:
        with self._use():
            pass

    def close(self) -> None:
        self.closed = True
        # A thread that uses the connection closes it afterwards; wait for that, with a bound.
        if self._owner.acquire(timeout=CLOSE_TIMEOUT):
            try:
                self._end()
            finally:
                self._owner.release()

    @contextmanager
    def _use(self) -> Iterator[_Session]:
        with self._owner:
            if self.closed:
                raise BackendError("The backend is closed.")
            try:
                if self._session is None:
                    self._session = self._prepare(self._connect())
                yield self._session
            except BaseException as error:
                # BaseException, because a killed greenlet may leave half a frame behind. Any
                # Exception, because drivers raise AttributeError and KeyError on a lost connection.
                self._discard()
                if isinstance(error, BackendError) or not isinstance(error, Exception):
                    raise
                reason = f"{type(error).__name__}: {error}"
                raise BackendError(f"No connection to {self._where}: {reason}") from error
            finally:
                if self.closed:
                    self._end()

    def _prepare(self, session: _Session) -> _Session:
        return session

    def _leave(self, session: _Session) -> None:
        pass

    def _discard(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.discard()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.shorten_timeouts()
                self._leave(session)
                session.close()
            except Exception:  # noqa: BLE001 - the broker is gone, so there is nothing to close
                session.discard()


class _Publisher(_Link):
    def publish(self, payload: bytes) -> None:
        with self._use() as session:
            message = session.channel.prepare_message(
                payload,
                content_type="application/octet-stream",
                content_encoding="binary",
                properties={"delivery_mode": 1},
            )
            session.channel.basic_publish(
                message, exchange=session.exchange.name, routing_key="", timeout=TIMEOUT
            )

    def _prepare(self, session: _Session) -> _Session:
        if session.driver == "redis":
            # Kombu builds a redis.Redis for each publish, which is half of its cost.
            client = session.channel._create_client()
            session.channel.conn_or_acquire = lambda other=None: nullcontext(other or client)
        return session


class _Subscriber(_Link):
    def __init__(self, connect: Callable[[], _Session], where: str) -> None:
        super().__init__(connect, where)
        self._arrived: deque[bytes] = deque()
        self._queue: Any = None

    def receive(self, timeout: float) -> bytes | None:
        deadline = time.monotonic() + timeout
        try:
            with self._use() as session:
                while not self._arrived and not self.closed:
                    left = deadline - time.monotonic()
                    if (
                        not session.drain(max(0.0, min(left, CLOSED_INTERVAL)))
                        and left <= CLOSED_INTERVAL
                    ):
                        break
        except BackendError:
            if not self.closed:
                raise
        return self._arrived.popleft() if self._arrived and not self.closed else None

    def _prepare(self, session: _Session) -> _Session:
        try:
            # No acknowledgements: the cluster retransmits by itself, and on Redis they would
            # cost two more commands per message.
            self._queue = _queue(session)
            Consumer(session.channel, [self._queue], on_message=self._take, no_ack=True).consume()
            if session.driver == "redis" and not session.drain(TIMEOUT):
                raise BackendError("Redis did not confirm the subscription.")
        except BaseException:
            session.discard()
            raise
        return session

    def _leave(self, session: _Session) -> None:
        if session.driver != "amqp":  # RabbitMQ deletes exclusive queues itself
            self._queue.delete()
            # Kombu's memory transport would recreate the queue with the next message.
            self._queue.unbind_from(session.exchange)

    def _take(self, message: Any) -> None:
        body = message.body or b""
        self._arrived.append(body.encode() if isinstance(body, str) else bytes(body))


def _queue(session: _Session) -> Any:
    """Return the queue of a new subscriber, not declared yet."""
    exchange = session.exchange
    if session.driver == "redis":
        # On Redis a queue is a label of the subscription, kept in a set: one label for all, so
        # that workers that crash do not fill the set.
        return Queue(exchange.name, exchange, durable=False)(session.channel)
    name = f"{exchange.name}.{uuid4().hex}"
    # Exclusive, because RabbitMQ 4.3 refuses transient queues that are not.
    exclusive = session.driver == "amqp"
    return Queue(name, exchange, durable=False, exclusive=exclusive)(session.channel)


def _connection(urls: str, options: Mapping[str, Any]) -> Any:
    """Return a Kombu connection that is not established yet."""
    options = dict(options)
    ssl = options.pop("ssl", _verified(urls))
    # amqp:// would select librabbitmq where it is installed, a C library that supports neither
    # timeouts nor green threads.
    urls = ";".join("py" + url if url.startswith("amqp://") else url for url in urls.split(";"))
    connection = Connection(
        urls,
        ssl=dict(ssl) if isinstance(ssl, Mapping) else ssl,  # Kombu modifies it
        transport_options=options,
        connect_timeout=TIMEOUT,
        # No AMQP heartbeats: an idle publisher has no thread to send them, and RabbitMQ would
        # close its connection. The cluster's own heartbeats use both connections, and py-amqp
        # sets TCP keepalive and user timeout.
        heartbeat=0,
    )
    if getattr(connection.get_transport_cls(), "polling_interval", None):
        options.setdefault("polling_interval", POLLING_INTERVAL)
    return connection


def _verified(urls: str) -> Any:
    """Return Kombu's `ssl` option that verifies the broker's certificate."""
    if urls.startswith("rediss://"):
        return {"ssl_cert_reqs": "required"}  # Kombu's default is no verification, and a warning
    if urls.startswith("amqps://") and ";" not in urls:
        # Verifies the host name, too. Not for several brokers, because Kombu would expect the
        # name of the first in every certificate.
        return {"server_hostname": None}
    return False


def _check(url: str, options: Mapping[str, Any]) -> str:
    """Return *url* without user and password, or raise ConfigurationError."""
    scheme, _, rest = url.partition("://")
    try:
        parts = urlsplit(url)
        where = f"{scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
        if "@" in rest[len(parts.netloc) :]:
            raise ValueError
        connection = _connection(url, options)
        # The first access imports the transport's library.
        broadcasts = connection.transport.implements.exchange_type
    except (ImportError, AttributeError, NameError) as error:
        # The latter two, because some of Kombu's modules do not check that their library is there.
        extra = "flask-rooms[redis]" if scheme in REDIS_SCHEMES else f"kombu[{scheme}]"
        raise ConfigurationError(f"{scheme}:// needs a library: pip install {extra}") from error
    except KeyError:
        raise ConfigurationError(
            f"Neither Flask-Rooms nor Kombu knows {scheme}://; use memory://, redis:// or amqp://."
        ) from None
    except ValueError:
        # Without the original error, which may quote a part of the password.
        raise ConfigurationError(
            f"The {scheme}:// URL is malformed. Percent-encode the special characters "
            "of user and password: / as %2F, # as %23, @ as %40."
        ) from None
    if "fanout" not in broadcasts:
        raise ConfigurationError(
            f"Kombu cannot broadcast over {scheme}://: use redis:// or amqp://."
        )
    if scheme == "sentinel" and "master_name" not in options:
        raise ConfigurationError(
            'sentinel:// needs the name of the group: ROOMS_BACKEND_OPTIONS = {"master_name": ...}.'
        )
    return where
