"""A worker that hangs misses what the broker no longer keeps for it, and gets it all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from tests.support.brokers import Broker, RabbitMQ, Redis
from tests.support.web_servers import eventually
from tests.support.workers import ROOMS_APP, Connect, cluster

#: Bytes of each message.
SIZE = 100_000

#: Bytes that RabbitMQ keeps for each worker here, and bytes of each message: small ones, as up to
#: 200 are on the way besides.
QUEUE = 500_000
SMALL = 10_000

#: Several broadcasts would share one message, and all of them reach the client at once.
ONE_BY_ONE = {"ROOMS_MESSAGE_BYTES": SMALL + 1000, "ROOMS_UNREAD_BYTES": 64 * 2**20}


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
    with cluster(redis_broker.url, 2, ROOMS_APP, "", "--heartbeat", "5") as workers:
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


@pytest.fixture
def tight(amqp_broker: Broker) -> Iterator[RabbitMQ]:
    """A RabbitMQ whose operator has set a lower bound for all queues."""
    if not isinstance(amqp_broker, RabbitMQ):
        pytest.skip("The broker named by the environment is not ours to configure.")
    amqp_broker.control("set_policy", "tight", ".*", f'{{"max-length-bytes": {QUEUE}}}')
    yield amqp_broker
    amqp_broker.control("clear_policy", "tight")


def test_what_rabbitmq_dropped_is_repaired(tight: RabbitMQ, connect: Connect) -> None:
    """Its queue for a worker that hangs has a bound; the sockets then get everything, in order."""
    options = ("--heartbeat", "60", "--config", json.dumps(ONE_BY_ONE))
    with cluster(tight.url, 2, ROOMS_APP, "", *options) as workers:
        speaker, hanging = workers
        client = connect(hanging)
        sent = 0

        def say(times: int) -> None:
            nonlocal sent
            speaker.post("/count", rooms=client.sid, start=sent, times=times, bytes=SMALL)
            sent += times

        def waiting() -> int:
            queues = tight.waiting().items()
            sizes = [size for name, size in queues if name.startswith(f"{hanging.channel}.")]
            assert len(sizes) == 2, "RabbitMQ has hung up on it, as it does after half a minute"
            assert max(sizes) <= QUEUE
            return max(sizes)

        hanging.pause()
        say(1000)  # more than is on the way, in the buffers of the connection, and in the queue
        eventually(lambda: waiting() > QUEUE // 2)
        hanging.resume()
        say(1)
        assert [client.receive()[1] for _ in range(sent)] == list(range(sent))


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_a_worker_that_was_stopped_starts_over_after_a_script_that_called_its_socket_unknown(
    request: pytest.FixtureRequest, broker: str, connect: Connect
) -> None:
    """The script has ended when the worker goes on, so nothing else tells it."""
    url = request.getfixturevalue(broker).url
    with cluster(url, 1) as (owner,):
        client = connect(owner)
        client.request("post", "/join", rooms="red")
        owner.pause()
        with cluster(url, 1, channel=owner.channel) as (script,):
            outcome = script.post("/leave", sids=[client.sid], rooms="red")
        owner.resume()

        assert outcome["unknown"] == [client.sid]
        eventually(lambda: not owner.post("/ask", room="red", sid=client.sid)["members"])
