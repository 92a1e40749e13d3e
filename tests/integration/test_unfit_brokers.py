"""What `flask rooms check` says of real brokers that refuse, or are not what they have to be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import redis

from flask_rooms.api.check import STATUSES, kind_of_error
from flask_rooms.backends import from_url
from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError
from tests.support.brokers import Broker, Redis, free_port
from tests.support.outside import run_flask
from tests.support.workers import ROOMS_APP, cluster

pytestmark = pytest.mark.mode_independent


class ClusterRedis(Redis):
    """A node of Redis Cluster."""

    def _command(self) -> list[str]:
        # The port of the cluster's bus would be ours and 10,000, which may be in use.
        bus = ["--cluster-port", str(free_port())]
        return [*super()._command(), "--cluster-enabled", "yes", *bus]


@contextmanager
def started(kind: Callable[[], Broker]) -> Iterator[Broker]:
    """Run a broker for as long as the context lasts."""
    broker = kind()
    try:
        yield broker
    finally:
        broker.stop()


def kind_of_refusal(url: str, **options: Any) -> str:
    """Return what the check calls the error of a broker that does not let us in."""
    with (
        closing(from_url(url, channel="x", options=options)) as backend,
        pytest.raises(BackendError) as refused,
    ):
        _use(backend)
    return kind_of_error(str(refused.value))[0]


def _use(backend: Backend) -> None:
    backend.open()
    backend.publish(b"x")


@pytest.mark.parametrize(
    "rules",
    [
        {"categories": ["+@all"], "commands": ["-publish"], "channels": ["*"]},
        {"categories": ["+@all"], "reset_channels": True},
        {"categories": ["+@all"], "commands": ["-select"], "channels": ["*"]},
    ],
    ids=["command", "channel", "database"],
)
def test_a_user_of_redis_without_the_permission(
    redis_broker: Broker, rules: dict[str, Any]
) -> None:
    with closing(redis.Redis.from_url(redis_broker.url)) as client:
        client.acl_setuser("clerk", enabled=True, passwords=["+pw"], keys=["*"], **rules)
        url = redis_broker.url.replace("//", "//clerk:pw@").removesuffix("0") + "1"
        assert kind_of_refusal(url) == "permission"
        client.acl_deluser("clerk")


def test_what_accepts_connections_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}"
        assert kind_of_refusal(url, socket_timeout=0.2) == "timeout"


def test_what_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(1024)

        thread = threading.Thread(target=answer)
        thread.start()
        assert kind_of_refusal(f"redis://127.0.0.1:{server.getsockname()[1]}") == "broker"
        thread.join()


def test_a_redis_with_a_password_and_no_users() -> None:
    with started(Redis) as broker, closing(redis.Redis.from_url(broker.url)) as client:
        url = broker.url.replace("//", "//:{}@")
        client.config_set("requirepass", "right")
        assert kind_of_refusal(broker.url) == kind_of_refusal(url.format("wrong")) == "password"
        with closing(from_url(url.format("right"), channel="x", options={})) as backend:
            _use(backend)
            assert backend.unfit() is None


def test_a_user_of_redis_who_may_not_count_the_workers(redis_broker: Broker) -> None:
    """The check would not hear of the others in time, and take itself to be alone."""
    with (
        closing(redis.Redis.from_url(redis_broker.url)) as client,
        cluster(redis_broker.url, 1, ROOMS_APP) as (web,),
    ):
        client.acl_setuser(
            "clerk",
            enabled=True,
            passwords=["+pw"],
            channels=["*"],
            categories=["+@all"],
            commands=["-pubsub"],
        )
        where = {"FLASK_ROOMS_BACKEND_URL": redis_broker.url.replace("//", "//clerk:pw@")}
        status = STATUSES["permission"]
        assert "PUBSUB" in run_flask(web, "rooms", "check", returns=status, errors=True, **where)
        client.acl_deluser("clerk")


def test_a_node_of_redis_cluster() -> None:
    """Also where a database is asked for that it does not have."""
    with started(ClusterRedis) as broker:
        with closing(from_url(broker.url, channel="x", options={})) as backend:
            backend.open()
            assert backend.unfit() == "redis-cluster"
        assert kind_of_refusal(broker.url.removesuffix("0") + "1") == "redis-cluster"


def test_a_replica_of_redis(redis_broker: Broker) -> None:
    """It takes every command, and what it is told reaches nobody at its master."""
    with (
        started(Redis) as replica,
        closing(redis.Redis.from_url(replica.url)) as client,
        cluster(replica.url, 1, ROOMS_APP) as (web,),
    ):
        assert "alone" not in run_flask(web, "rooms", "check")
        client.replicaof("127.0.0.1", redis_broker.url.rpartition(":")[2].partition("/")[0])
        status = STATUSES["replica"]
        assert "read-only replica" in run_flask(web, "rooms", "check", returns=status, errors=True)
