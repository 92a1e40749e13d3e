"""The backend for Redis, RabbitMQ and Kombu's other transports that can broadcast."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from textwrap import shorten
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from flask_rooms.backends.base import Backend
from flask_rooms.backends.forks import reset_in_children
from flask_rooms.backends.sessions import CLOSE_TIMEOUT, TIMEOUT, Session, connect, prepare
from flask_rooms.backends.tls import check_options, check_together
from flask_rooms.errors import BackendError, ConfigurationError

T = TypeVar("T")

#: Seconds between two checks of the closed flag while receive() waits. A connection cannot be
#: closed safely while another thread reads from it, so the reading thread has to check.
CLOSED_INTERVAL = 0.25

#: Seconds for which a thread waits for a connection that another one uses, and still connects anew
#: where that one has lost it.
BEHIND = 0.5

#: How many characters of a driver's error are shown.
REASON = 300

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


class KombuBackend(Backend):
    """
    Publishes to a channel of Redis, or an exchange of RabbitMQ, and subscribes to it.

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
        self._name = quote(channel, safe="")
        if not 0 < len(self._name) <= 200:
            raise ConfigurationError("A channel is a name of 1 to 200 characters.")
        self._options = {**DEFAULT_OPTIONS, **(options or {})}
        self._where = " or ".join(check_url(url, self._options) for url in urls)
        check_together(urls)
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
        # Another thread may close this meanwhile.
        subscriber = self._subscriber = _Subscriber(self._connect, self._where, self.address)
        publisher = self._publisher = _Publisher(self._connect, self._where)
        try:
            subscriber.connect()
            publisher.connect()
        except BaseException:  # also a green Timeout: no half of the two connections stays
            self.close()
            raise

    def publish(self, payload: bytes) -> None:
        """
        Hand *payload* to the broker for every worker, in a bounded time.

        Raises:
            BackendError: The payload may not have reached the broker, or the backend is closed.
            TypeError: The payload is not bytes.
        """
        self._publish(payload, None)

    def publish_to(self, address: str, payload: bytes) -> None:
        """
        Hand *payload* to the broker for one worker, in a bounded time.

        Raises:
            BackendError: The payload may not have reached the broker, or the backend is closed.
            TypeError: The payload is not bytes.
        """
        self._publish(payload, address)

    def _publish(self, payload: bytes, address: str | None) -> None:
        if not isinstance(payload, bytes):
            raise TypeError(f"A payload must be bytes, not {type(payload).__name__}.")
        publisher = self._publisher
        if publisher is None or self._process != os.getpid():
            raise BackendError("The backend is closed, or was opened before a fork: call open().")
        publisher.publish(payload, address)

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

    def audience(self) -> int | None:
        """
        Return how many workers are subscribed, in a bounded time.

        Returns:
            Their number; None if the broker is away or cannot tell, or the backend is closed.
        """
        publisher = self._publisher
        if publisher is None or self._process != os.getpid():
            return None
        # Not over the subscription, for all that callers wait meanwhile: where nothing reaches the
        # broker any more, each message that arrives would put off the timeout of the question.
        return publisher.audience()

    def elsewhere(self) -> list[str]:
        """Return the other databases and channels of a Redis to which workers are connected."""
        publisher = self._publisher
        return [] if publisher is None else publisher.elsewhere()

    def unfit(self) -> str | None:
        """Return "replica" or "redis-cluster" for a Redis that is one, else None."""
        publisher = self._publisher
        return None if publisher is None else publisher.unfit()

    def close(self) -> None:
        """Disconnect, and wake a waiting receive(); closing twice has no effect."""
        publisher, self._publisher = self._publisher, None
        subscriber, self._subscriber = self._subscriber, None
        # Connections of a parent process are dropped: closing them would close the parent's.
        if self._process == os.getpid():
            for link in (subscriber, publisher):
                if link is not None:
                    link.close()

    def _connect(self) -> Session:
        return connect(self._urls, self._options, self._name)


class _Link:
    """
    A connection that is made on first use, and used by one thread at a time.

    eventlet raises an error when two green threads read from one socket, and no driver supports
    two that write.
    """

    def __init__(self, connect: Callable[[], Session], where: str) -> None:
        self._connect = connect
        self._where = where
        # Made here, not at import, so that a patched process has a green lock.
        self._owner = threading.Lock()
        self._used_by = 0  # the thread that uses the connection
        self._session: Session | None = None
        self.closed = False
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """
        Have nothing in a forked child read from the connection, which is the parent's.

        A green thread that waits for it is copied into the child. There it would take what is for
        the parent before it could notice where it runs.
        """
        sock = None if self._session is None else self._session.socket
        if sock is not None and sock.fileno() >= 0:
            with suppress(OSError):  # no file is left: what else is reset in the child matters more
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, sock.fileno(), inheritable=False)
                os.close(nothing)

    def connect(self) -> None:
        self._use(lambda session: None)

    def close(self) -> None:
        self.closed = True
        # A thread that uses the connection closes it afterwards; wait for that, with a bound.
        if self._owner.acquire(timeout=CLOSE_TIMEOUT):
            try:
                self._end()
            finally:
                self._owner.release()

    def _use(self, work: Callable[[Session], T]) -> T:
        if self._used_by == threading.get_ident():
            # The driver logs, and a handler of the application's logging publishes.
            raise BackendError("This thread is using the connection.")
        began = time.monotonic()
        with self._owner:
            if self.closed:
                raise BackendError("The backend is closed.")
            self._used_by = threading.get_ident()
            try:
                if self._session is None:
                    if time.monotonic() - began > BEHIND:
                        # The other thread has waited for the broker; to connect may take as long.
                        raise BackendError(f"No connection to {self._where}: it does not answer.")
                    self._session = self._prepare(self._connect())
                return work(self._session)
            except BaseException as error:
                # BaseException, because a killed greenlet may leave half a frame behind. Any
                # Exception, because drivers raise AttributeError and KeyError on a lost connection.
                self._discard()
                if isinstance(error, BackendError) or not isinstance(error, Exception):
                    raise
                # redis-py shows its objects in some of them, each of which takes a kilobyte.
                reason = shorten(f"{type(error).__name__}: {error}", REASON, placeholder=" ...")
                raise BackendError(f"No connection to {self._where}: {reason}") from error
            finally:
                self._used_by = 0
                if self.closed:
                    self._end()

    def _prepare(self, session: Session) -> Session:
        return session

    def _discard(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.discard()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except Exception:  # noqa: BLE001 - the broker is gone, so there is nothing to close
                session.discard()


class _Publisher(_Link):
    def publish(self, payload: bytes, address: str | None) -> None:
        self._use(lambda session: session.publish(payload, address))

    def audience(self) -> int | None:
        try:
            return self._use(lambda session: session.audience())
        except BackendError:
            return None

    def elsewhere(self) -> list[str]:
        try:
            return self._use(lambda session: session.elsewhere())
        except BackendError:
            return []

    def unfit(self) -> str | None:
        try:
            return self._use(lambda session: session.unfit())
        except BackendError:
            return None


class _Subscriber(_Link):
    def __init__(self, connect: Callable[[], Session], where: str, address: str) -> None:
        super().__init__(connect, where)
        self._address = address
        self._arrived: deque[bytes] = deque()

    def receive(self, timeout: float) -> bytes | None:
        deadline = time.monotonic() + timeout

        def wait(session: Session) -> None:
            while not self._arrived and not self.closed:
                left = deadline - time.monotonic()
                arrived = session.drain(max(0.0, min(left, CLOSED_INTERVAL)))
                if not arrived and left <= CLOSED_INTERVAL:
                    break

        try:
            self._use(wait)
        except BackendError:
            if not self.closed:
                raise
        return self._arrived.popleft() if self._arrived and not self.closed else None

    def _prepare(self, session: Session) -> Session:
        try:
            session.subscribe(self._address, self._arrived.append)
        except BaseException:  # also a green Timeout: nothing else would close it
            session.discard()
            raise
        return session


def check_url(url: str, options: Mapping[str, Any]) -> str:
    """Return *url* without user and password, or raise ConfigurationError."""
    where, scheme = _without_password(url), url.partition("://")[0]
    check_options(scheme, options.get("ssl"))
    if "fanout" not in _exchange_types(url, options):
        raise ConfigurationError(
            f"Kombu cannot broadcast over {scheme}://: use redis:// or amqp://."
        )
    if not isinstance(options.get("sentinel_kwargs", {}), Mapping):
        raise ConfigurationError('The option "sentinel_kwargs" is a dictionary.')
    if scheme == "sentinel" and "master_name" not in options:
        raise ConfigurationError(
            'sentinel:// needs the name of the group: ROOMS_BACKEND_OPTIONS = {"master_name": ...}.'
        )
    return where


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _malformed(scheme) from None
    if "@" in rest[len(parts.netloc) :]:  # else what looks like the port may be of the password
        raise _malformed(scheme)
    try:
        port = parts.port
    except ValueError:
        raise ConfigurationError(
            f"The port of the {scheme}:// URL is not a number from 0 to 65535."
        ) from None
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host  # of IPv6
    # The path is the database or virtual host.
    return f"{scheme}://{host}" + (f":{port}" if port else "") + parts.path


def _malformed(scheme: str) -> ConfigurationError:
    """Return the error, without the original one, which may quote a part of the password."""
    return ConfigurationError(
        f"The {scheme}:// URL is malformed. Percent-encode the special characters "
        "of user and password: / as %2F, # as %23, @ as %40."
    )


def _exchange_types(url: str, options: Mapping[str, Any]) -> Iterable[str]:
    """Return in which ways Kombu can send over a URL, or raise ConfigurationError."""
    scheme = url.partition("://")[0]
    try:
        # The first access imports the transport's library.
        types: Iterable[str] = prepare(url, options).transport.implements.exchange_type
    except (ImportError, AttributeError, NameError) as error:
        # The latter two, because some of Kombu's modules do not check that their library is there.
        extra = "flask-rooms[redis]" if scheme in REDIS_SCHEMES else f"kombu[{scheme}]"
        raise ConfigurationError(f"{scheme}:// needs a library: pip install {extra}") from error
    except KeyError:
        raise ConfigurationError(
            f"Neither Flask-Rooms nor Kombu knows {scheme}://; use memory://, redis:// or amqp://."
        ) from None
    except ValueError:
        raise _malformed(scheme) from None
    return types
