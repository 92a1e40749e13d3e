"""
Real workers, real brokers and what goes wrong between them.

The load with faults of every kind is a program, `tests/faults`, which also runs for an hour; here
each kind of fault happens once. The other tests look at one thing each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest
import redis

from tests.faults import MISSING
from tests.faults.kinds import FAULTS, Fault, name
from tests.support.brokers import Broker, RabbitMQ, Redis
from tests.support.clients import Client
from tests.support.proxy import DOWN, Proxy
from tests.support.serving import HEARTBEAT
from tests.support.workers import Worker, cluster

pytestmark = pytest.mark.program

ROOT = Path(__file__).parents[2]
APPLICATION = "tests.faults.app"

#: Seconds for the load with half of the faults, which takes 30 to 50 where nothing else runs.
LOAD = 280.0

#: Seconds for what must come about.
PATIENCE = 60.0


@pytest.fixture(params=["redis", "amqp"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """A broker that may be broken."""
    broker: Broker = request.getfixturevalue(f"{request.param}_broker")
    if not isinstance(broker, (Redis, RabbitMQ)):
        pytest.skip("The broker named by the environment is not ours to break.")
    return broker


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    """What is between the workers and the broker."""
    with Proxy(broker.url) as proxy:
        yield proxy


def eventually(condition: Callable[[], bool]) -> None:
    """Poll until *condition* holds; each poll calls another process and so takes its time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"


# -- everything at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [FAULTS[::2], FAULTS[1::2]], ids=["these", "those"])
@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_faults_of_every_kind_break_no_promise(kind: str, faults: Sequence[Fault]) -> None:
    """Under load: every call has an outcome, memberships are right, no broadcast is lost."""
    mode = os.environ.get("ROOMS_TEST_MODE", "threading")
    command = [sys.executable, "-m", "tests.faults", "--broker", kind, "--mode", mode]
    # A broker of its own, even where the environment names one; only the workers are patched.
    environment = {k: v for k, v in os.environ.items() if k != f"ROOMS_TEST_{kind.upper()}_URL"}
    done = subprocess.run(
        [*command, "--heartbeat", str(HEARTBEAT), "--only", *map(name, faults)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LOAD,
        check=False,
    )

    if done.returncode == MISSING:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["faults"] == len(faults)
    assert not any(report["must be zero"].values())
    assert report["counts"]["broadcasts received"] > 0
    assert report["counts"]["memberships checked"] > 0


# -- what stays behind ----------------------------------------------------------------------------


class Traces:
    """What a broker holds because of the workers of one channel."""

    def __init__(self, broker: Broker) -> None:
        self.channel = f"traces {uuid4().hex}"
        self._name = quote(self.channel, safe="")
        self._broker = broker
        self._connections_before = self._connections()

    def connections(self) -> set[str]:
        """Return the connections made since the beginning."""
        return self._connections() - self._connections_before

    def subscriptions(self) -> list[str]:
        """Return the sockets that have to receive the messages of the channel."""
        if isinstance(self._broker, RabbitMQ):
            queues = self._broker.names("queue")
            # Without the one that only counts them, which RabbitMQ deletes a while later.
            return [queue for queue in queues if queue.startswith(f"{self._name}.")]
        database = urlsplit(self._broker.url).path[1:]
        with redis.Redis.from_url(self._broker.url) as client:
            receivers: Any = client.publish(f"/{database}.{self._name}", b"")
        return ["a subscription"] * int(receivers)

    def names(self) -> set[str]:
        """Return what else is stored under the name of the channel."""
        if isinstance(self._broker, RabbitMQ):
            return {name for name in self._broker.names("exchange") if self._name in name}
        with redis.Redis.from_url(self._broker.url) as client:
            keys: Any = client.keys(f"*{self._name}*")
        return {key.decode().replace(self._name, "*") for key in keys}

    def _connections(self) -> set[str]:
        if isinstance(self._broker, RabbitMQ):
            return self._broker.connections()
        with redis.Redis.from_url(self._broker.url) as client:
            own = client.client_id()
            return {one["id"] for one in client.client_list() if one["id"] != str(own)}


def test_a_killed_worker_leaves_nothing_at_the_broker(broker: Broker) -> None:
    """Its connections and its subscription end with it, while the others stay."""
    traces = Traces(broker)
    with cluster(broker.url, 3, channel=traces.channel) as workers:
        every = len(traces.connections())
        assert len(traces.subscriptions()) == 3

        workers[0].kill()

        eventually(lambda: len(traces.subscriptions()) == 2)
        eventually(lambda: len(traces.connections()) == every * 2 / 3)
        for worker in workers[1:]:
            worker.kill()
        eventually(lambda: not traces.subscriptions())
        eventually(lambda: not traces.connections())
    assert traces.names() == (set() if broker.kind == "redis" else {quote(traces.channel)})


def test_a_cluster_that_has_ended_leaves_a_name_at_most(broker: Broker) -> None:
    """RabbitMQ keeps the exchange, which is empty; Redis nothing."""
    traces = Traces(broker)

    with cluster(broker.url, 3, channel=traces.channel):
        assert len(traces.subscriptions()) == 3

    eventually(lambda: not traces.subscriptions())
    eventually(lambda: not traces.connections())
    assert traces.names() == (set() if broker.kind == "redis" else {quote(traces.channel)})


# -- a broker that hangs, and one that is away ----------------------------------------------------


@pytest.fixture
def workers(proxy: Proxy) -> Iterator[list[Worker]]:
    """Three workers behind one proxy."""
    with cluster(proxy.url, 3, APPLICATION) as workers:
        yield workers


@pytest.fixture
def clients(workers: list[Worker]) -> Iterator[list[Client]]:
    """A client of each worker, in one room."""
    with ExitStack() as stack:
        clients = [Client(worker.url) for worker in workers]
        for client in clients:
            stack.callback(client.disconnect)
            eventually(lambda sid=client.sid: changes(workers[0], sid, "join", "room"))  # type: ignore[misc]
        yield clients


def changes(worker: Worker, sid: str, action: str, room: str) -> bool:
    """Join or leave; True when it has changed something."""
    answer = worker.post("/change", sid=sid, action=action, room=room)
    return (answer["fate"], answer.get("figures")) == ("confirmed", [1, 0, 0])


def say(worker: Worker, number: int) -> str:
    """Say a number to the room, and return what has become of it."""
    return str(worker.post("/say", room="room", event="said", args=[worker.name, number])["fate"])


def heard(client: Client, times: int) -> dict[str, list[int]]:
    """Return the numbers that the client receives next, by their sender."""
    numbers: dict[str, list[int]] = {}
    for _ in range(times):
        event, name, number = client.receive()
        assert event == "said"
        numbers.setdefault(name, []).append(number)
    return numbers


def test_a_subscription_that_is_half_open_is_opened_again(
    proxy: Proxy, workers: list[Worker], clients: list[Client]
) -> None:
    """Nothing arrives and no error is raised: the workers notice, and have missed nothing."""
    connections = proxy.accepted()
    proxy.silence(DOWN, newcomers=False)

    for number in range(30):
        assert [say(worker, number) for worker in workers] == ["sent"] * 3

    for client in clients:
        assert heard(client, 90) == {worker.name: list(range(30)) for worker in workers}
    assert proxy.accepted() - connections >= len(workers)
    for client in clients:
        eventually(lambda sid=client.sid: changes(workers[0], sid, "leave", "room"))  # type: ignore[misc]


def test_no_caller_waits_for_a_broker_that_hangs(
    broker: Broker, workers: list[Worker], clients: list[Client]
) -> None:
    """While it is stopped every call returns, and what was sent arrives when it continues."""
    broker.pause()
    try:
        with ThreadPoolExecutor(30) as threads:
            calls = [(worker, number) for number in range(10) for worker in workers]
            assert list(threads.map(lambda call: say(*call), calls)) == ["sent"] * 30
    finally:
        broker.resume()

    for client in clients:
        numbers = heard(client, 30)
        assert {name: sorted(some) for name, some in numbers.items()} == {
            worker.name: list(range(10)) for worker in workers
        }


#: Seconds for which the broker is away, at least.
AWAY = 4.0


def test_workers_come_back_without_storming_the_broker(
    broker: Broker, proxy: Proxy, workers: list[Worker], clients: list[Client]
) -> None:
    """They try for as long as it takes, ever more rarely, however much waits to be sent."""
    connections = proxy.accepted()
    broker.kill()
    began, number = time.monotonic(), 0
    while time.monotonic() - began < AWAY:
        assert [say(worker, number) for worker in workers] == ["sent"] * 3
        number += 1
    assert proxy.accepted() - connections >= len(workers)
    broker.restart()

    for client in clients:
        assert heard(client, 3 * number) == {w.name: list(range(number)) for w in workers}
    # The pauses double from a twentieth of a second to half a heartbeat, and half of each is
    # random: so many tries there can be. Callers try at first only, and twice.
    tries = 4 + (time.monotonic() - began) / (HEARTBEAT / 4) + 2
    used_by_one = connections / len(workers)
    assert proxy.accepted() - connections <= len(workers) * (tries + used_by_one)
