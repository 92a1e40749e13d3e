"""The stores of the history of rooms keep the contract, and say what a lost server has lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from queue import LifoQueue
from typing import Any
from uuid import uuid4

import pytest
import redis

from flask_rooms.errors import BackendError, ConfigurationError
from flask_rooms.history import Bounds, HistoryStore, MemoryHistory, from_url
from flask_rooms.testing import HistoryContract, MakeHistory
from tests.support.apps import PATIENCE
from tests.support.brokers import Broker, Redis

BOUNDS = Bounds(messages=100, seconds=300, size=100_000)


def kept(store: MemoryHistory) -> dict[str, int]:
    """Return how many messages a store has of each room that it remembers."""
    return {
        name: len(room.messages) for order in store._orders.values() for name, room in order.items()
    }


class TestMemory(HistoryContract):
    @pytest.fixture
    def make_store(self) -> MakeHistory:
        hub = uuid4().hex
        return lambda: from_url(f"memory://{hub}", channel="tests", options={})

    def test_without_a_name_a_store_is_of_one_worker(self) -> None:
        one, other = (from_url("memory://", channel="tests", options={}) for _ in range(2))
        one.append("room", b"news", BOUNDS)

        assert other.read("room", 0, BOUNDS).last == 0

    def test_what_has_expired_is_forgotten_with_the_use_of_other_rooms(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr("flask_rooms.history.memory.time.monotonic", lambda: now)
        store = MemoryHistory()
        for number in range(10):
            store.append(f"room {number}", b"news", BOUNDS)
        now += 301
        store.append("longer", b"news", BOUNDS._replace(seconds=3600))
        assert kept(store) == {**{f"room {number}": 0 for number in range(10)}, "longer": 1}
        now += 301
        store.append("another", b"news", BOUNDS)
        now += 301
        store.read("longer", 0, BOUNDS)
        assert kept(store)["another"] == 0  # though the one before it is kept for longer
        now += 86_400
        store.append("last", b"news", BOUNDS)
        assert kept(store) == {"longer": 0, "last": 1}

    def test_a_name_to_which_nothing_was_sent_is_forgotten_as_soon_as_a_message(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr("flask_rooms.history.memory.time.monotonic", lambda: now)
        store = MemoryHistory()
        for number in range(10):
            store.read(f"made up {number}", 0, BOUNDS)
        now += 301
        store.append("room", b"news", BOUNDS)

        assert kept(store) == {"room": 1}


@pytest.mark.oldest_dependencies
class TestRedis(HistoryContract):
    @pytest.fixture
    def make_store(self, redis_broker: Broker) -> MakeHistory:
        channel = f"tests*{uuid4().hex}"
        return lambda: from_url(redis_broker.url, channel=channel, options={})


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis that a test may kill."""
    redis = Redis()
    yield redis
    redis.stop()


def test_a_redis_that_comes_back_begins_another_epoch(own_redis: Redis) -> None:
    store = from_url(own_redis.url, channel="tests", options={})
    before = store.append("room", b"news", BOUNDS)
    own_redis.kill()
    for _ in range(2):  # a moment later at once
        with pytest.raises(BackendError, match=f"redis://127.0.0.1:{own_redis.port}/0"):
            store.append("room", b"news", BOUNDS)
    own_redis.restart()
    deadline = time.monotonic() + PATIENCE
    while not is_up(store):
        assert time.monotonic() < deadline

    after = store.append("room", b"news", BOUNDS)
    assert after[1] == 1
    assert after[0] != before[0]
    store.close()


def test_what_is_refused_for_one_room_is_no_failure_of_the_others(redis_broker: Broker) -> None:
    channel = uuid4().hex
    store = from_url(redis_broker.url, channel=channel, options={})
    with redis.Redis.from_url(redis_broker.url) as client:
        client.set(f"{channel}/history/numbers/room", "as by another program")

    with pytest.raises(BackendError, match="has refused: ResponseError: WRONGTYPE"):
        store.append("room", b"news", BOUNDS)
    assert store.append("another", b"news", BOUNDS)[1] == 1
    store.close()


def test_the_numbers_of_a_room_are_kept_for_longer_than_its_messages(redis_broker: Broker) -> None:
    channel, week = uuid4().hex, 7 * 86_400
    store = from_url(redis_broker.url, channel=channel, options={})
    store.append("room", b"news", BOUNDS._replace(seconds=week))
    with redis.Redis.from_url(redis_broker.url) as client:
        numbers, messages = (
            int(client.ttl(f"{channel}/history/{kind}/room")) for kind in ("numbers", "messages")
        )

    assert numbers > week >= messages
    store.close()


def test_a_name_to_which_nothing_was_sent_is_forgotten_as_soon_as_a_message(
    redis_broker: Broker,
) -> None:
    """A client may make up as many as it likes."""
    channel = uuid4().hex
    store = from_url(redis_broker.url, channel=channel, options={})
    store.read("made up", 0, BOUNDS)
    with redis.Redis.from_url(redis_broker.url) as client:
        assert 0 < int(client.ttl(f"{channel}/history/numbers/made up")) <= BOUNDS.seconds
    store.close()


def test_a_thread_that_waits_for_its_turn_fails_with_those_before_it(
    redis_broker: Broker,
) -> None:
    store: Any = from_url(redis_broker.url, channel=uuid4().hex, options={})

    class Busy(LifoQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            store._down_until = time.monotonic() + PATIENCE  # as another thread has found
            return None

    store._slots = Busy()
    with pytest.raises(BackendError, match="as a moment ago"):
        store.append("room", b"news", BOUNDS)


def test_a_run_of_redis_with_another_name_begins_another_epoch(redis_broker: Broker) -> None:
    store: Any = from_url(redis_broker.url, channel=uuid4().hex, options={})
    before = store.append("room", b"news", BOUNDS)
    idle = store._slots.get()
    idle.run = "as after a failover to a replica, which has the keys"
    store._slots.put(idle)

    epoch, last, messages = store.read("room", 0, BOUNDS)
    assert epoch != before[0]
    assert (last, messages) == (0, [])
    store.close()


def test_a_connection_that_was_cut_is_replaced(redis_broker: Broker) -> None:
    store = from_url(redis_broker.url, channel=uuid4().hex, options={})
    store.append("room", b"news", BOUNDS)
    redis_broker.cut()

    assert store.append("room", b"news", BOUNDS)[1] == 2
    store.close()


def test_a_forked_child_has_connections_of_its_own(redis_broker: Broker) -> None:
    store: Any = from_url(redis_broker.url, channel=uuid4().hex, options={})
    store.append("room", b"news", BOUNDS)
    store._process = os.getpid() + 1  # as after a fork

    assert store.append("room", b"news", BOUNDS)[1] == 2
    store.close()


@pytest.mark.mode_independent
@pytest.mark.parametrize("url", ["amqp://localhost", "memory://;redis://localhost", "x", "http://"])
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        from_url(url, channel="tests", options={})


def is_up(store: HistoryStore) -> bool:
    try:
        store.ping()
    except BackendError:
        return False
    return True
