"""A worker that hangs misses what the broker no longer keeps for it, and gets it all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.support.brokers import Broker, Redis
from tests.support.workers import Connect, cluster

#: Bytes of each message.
SIZE = 100_000


@pytest.fixture
def impatient(redis_broker: Broker) -> Iterator[redis.Redis]:
    """A client of a Redis that hangs up on subscribers that are four megabytes behind."""
    if not isinstance(redis_broker, Redis):
        pytest.skip("The broker named by the environment is not ours to configure.")
    name = "client-output-buffer-limit"
    with redis.Redis.from_url(redis_broker.url) as client:
        client.config_set(name, "pubsub 4mb 4mb 60")
        yield client
        client.config_set(name, "pubsub 32mb 8mb 60")


def test_what_redis_dropped_is_repaired(
    redis_broker: Broker, impatient: redis.Redis, connect: Connect
) -> None:
    """Redis hangs up on a worker that hangs; its sockets then get everything, once and in order."""
    with cluster(redis_broker.url, 2, "tests.support.rooms_app", "", "--heartbeat", "5") as workers:
        speaker, hanging = workers
        client = connect(hanging)
        (topic,) = impatient.pubsub_channels(f"*.{hanging.channel}")

        def subscribers() -> int:
            return int(impatient.pubsub_numsub(topic)[0][1])

        assert subscribers() == 2
        hanging.pause()
        sent = 0
        while subscribers() == 2:
            speaker.post("/broadcast", rooms=client.sid, say=["said", [sent, "x" * SIZE]])
            sent += 1
        hanging.resume()
        speaker.post("/broadcast", rooms=client.sid, say=["said", [sent, ""]])
        assert [client.receive()[1][0] for _ in range(sent + 1)] == list(range(sent + 1))
