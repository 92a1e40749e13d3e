"""Backends over TLS, and with Sentinel."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from flask_rooms.api.check import kind_of_error
from flask_rooms.backends import from_url
from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError
from flask_rooms.testing import Workers
from tests.support.brokers import Broker, BrokerMissing, free_port
from tests.support.sentinel import RedisWithSentinel
from tests.support.tls_brokers import TlsRabbitMQ, TlsRedis

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: Seconds within which a Sentinel has chosen another master and the workers have followed.
PATIENCE = 60.0


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """A function that starts a broker, which stops with the test."""
    started: list[Broker] = []

    def start(kind: Callable[..., Broker], *arguments: Any) -> Broker:
        try:
            started.append(broker := kind(*arguments))
        except BrokerMissing as missing:
            pytest.skip(str(missing))
        return broker

    yield start
    for broker in started:
        broker.stop()


def backend_of(broker: Broker, **options: Any) -> Backend:
    return from_url(broker.url, channel="x", options={**broker.options, **options})


@pytest.mark.parametrize(
    ("kind", "option"), [(TlsRedis, '"ssl_ca_certs"'), (TlsRabbitMQ, '"ca_certs"')]
)
def test_messages_pass_over_tls_to_a_broker_whose_authority_is_trusted(
    start: Callable[..., Broker], kind: type[Broker], option: str
) -> None:
    """One message longer than a record of TLS, and one shorter; then the same without trust."""
    broker = start(kind)
    with closing(backend_of(broker)) as backend:
        backend.open()
        for payload in (b"x" * 100_000, b"short"):
            backend.publish(payload)
            assert backend.receive(PATIENCE) == payload
        assert backend.audience() == 1

    expected = r"s://127.*certificate verify failed.*self-signed"
    with pytest.raises(BackendError, match=expected) as refused:
        backend_of(broker, ssl={}).open()
    found, advice = kind_of_error(str(refused.value))  # for `flask rooms check`
    assert found == "tls"
    assert option in advice


def test_a_certificate_for_another_host_is_refused(start: Callable[..., Broker]) -> None:
    with pytest.raises(BackendError, match=r"certificate verify failed.*127\.0\.0\.1"):
        backend_of(start(TlsRedis, "elsewhere.example")).open()


def test_the_certificate_of_rabbitmq_has_the_host_of_the_url(start: Callable[..., Broker]) -> None:
    """Kombu connects to 127.0.0.1 for it, and would expect that; also after another broker."""
    broker = start(TlsRabbitMQ, "localhost")
    for urls in ([broker.url], [f"amqps://127.0.0.1:{free_port()}//", broker.url]):
        with closing(from_url(urls, channel="x", options=broker.options)) as backend:
            backend.open()
            backend.publish(b"x")
            assert backend.receive(PATIENCE) == b"x"


@pytest.mark.parametrize(("scheme", "option"), [("rediss", "ssl_ca_certs"), ("amqps", "ca_certs")])
def test_a_missing_file_of_an_authority_is_named(scheme: str, option: str) -> None:
    """By Flask-Rooms, as Python's own error has no name; at a port that nobody listens to."""
    url = f"{scheme}://127.0.0.1:{free_port()}"
    options = {"ssl": {option: "/nowhere/authority.pem"}}

    with pytest.raises(BackendError, match=r"/nowhere/authority\.pem") as refused:
        from_url(url, channel="x", options=options).open()
    assert kind_of_error(str(refused.value))[0] == "tls"


def test_workers_follow_sentinel_to_another_master(start: Callable[..., RedisWithSentinel]) -> None:
    """Both hear each other again, on the replica that Sentinel has chosen."""
    broker = start(RedisWithSentinel)

    def make_backend(channel: str) -> Backend:
        return from_url(broker.url, channel=channel, options=broker.options)

    with Workers(make_backend, patience=PATIENCE) as workers:
        one, other = workers.open(2)
        one.publish(b"before")
        assert workers.next(other) == b"before"

        broker.fail_over(kill=True)

        deadline = time.monotonic() + PATIENCE
        while not (is_heard(one, other) and is_heard(other, one)):
            assert time.monotonic() < deadline


def test_a_sentinel_that_hangs_is_asked_once_and_passed_over(
    start: Callable[..., RedisWithSentinel],
) -> None:
    """redis-py would ask it several times for each connection, with pauses."""
    broker = start(RedisWithSentinel)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"sentinel://127.0.0.1:{mute.getsockname()[1]};{broker.url}"
        with closing(from_url(url, channel="x", options=broker.options)) as backend:
            backend.open()
            backend.publish(b"x")
            assert backend.receive(PATIENCE) == b"x"
        mute.setblocking(False)
        asked = 0
        with suppress(BlockingIOError):
            while True:
                mute.accept()[0].close()
                asked += 1
    assert asked == 4  # Kombu and the session, each for the publisher and for the subscriber


def is_heard(by: Backend, publisher: Backend) -> bool:
    """Publish, and return whether it has arrived; what comes late counts, too."""
    try:
        publisher.publish(b"after")
        return by.receive(1) is not None
    except BackendError:
        return False
