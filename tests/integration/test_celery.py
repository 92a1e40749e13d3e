"""
Celery tasks have the same outcomes as web workers, and their processes leave with a goodbye.

The workers have a heartbeat interval of a minute, and declare a worker dead after four: a worker
that has left at once has said goodbye.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from celery import Celery

from flask_rooms.server.async_mode import patched_for
from tests.support.brokers import Broker
from tests.support.documents import ROOT
from tests.support.networks import TwoWebWorkers
from tests.support.outside import SLOW, environment, peers
from tests.support.serving import HEARTBEAT
from tests.support.workers import ROOMS_APP, Worker, cluster

pytestmark = pytest.mark.mode_independent

#: Seconds for a task, and for a Celery worker to start or to end.
TIMEOUT = 60.0
#: Seconds for a goodbye to arrive; without one a worker counts as dead after four minutes.
PATIENCE = 20.0

MODE = patched_for()
#: In eventlet's and gevent's rows the pool of that name; the web workers are of that mode there.
POOLS = [MODE] if MODE else ["prefork", "threads", "solo", "eventlet", "gevent"]


class Tasks:
    """A Celery worker beside a web worker; it takes a task at a time."""

    def __init__(self, web: Worker, heartbeat: float, *options: str) -> None:
        self._queue = web.channel
        self._sender = Celery(broker=web.backend, backend=web.backend)
        command = [sys.executable, "-m", "celery", "-A", "tests.support.celery_app:celery"]
        command += ["worker", "-c", "1", "-l", "WARNING", "--without-mingle", "--without-gossip"]
        self._process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            # Celery patches for its own pool.
            env=environment(web, heartbeat, ROOMS_TEST_MODE="threading"),
            stdout=subprocess.DEVNULL,
        )

    def run(self, name: str, *arguments: Any) -> Any:
        """Run a task, and return what it returns."""
        result = self._sender.send_task(name, arguments, queue=self._queue)
        return result.get(timeout=TIMEOUT)

    def begin(self, name: str) -> str:
        """Have a task run that returns nothing, and return its ID."""
        task = self._sender.send_task(name, queue=self._queue, ignore_result=True)
        return str(task.id)

    def end_task(self, task: str) -> None:
        """Revoke a task that is running."""
        self._sender.control.revoke(task, terminate=True)

    def shut_down(self) -> None:
        """End as a supervisor would, which lets running tasks finish; return when it has ended."""
        self._process.terminate()
        assert self._process.wait(TIMEOUT) == 0

    def close(self) -> None:
        self._sender.close()
        if self._process.poll() is None:
            self._process.kill()  # its children die with it
            self._process.wait()


class WithCelery(TwoWebWorkers):
    """Two web workers, beside which Celery's join the cluster."""

    def others(self) -> set[str]:
        """Return the names of the other workers, as one of the two knows them."""
        return {*peers(self.here, self.other)} - {self.there.name}

    def wait_until_others(self, *, there: bool) -> None:
        """Return when there are other workers, or none."""
        deadline = time.monotonic() + PATIENCE
        while bool(self.others()) != there:
            assert time.monotonic() < deadline, self.others()
            threading.Event().wait(0.05)


@contextmanager
def network_with(workers: list[Worker], heartbeat: float, *options: str) -> Iterator[Any]:
    network, tasks = WithCelery(workers, ["red"]), Tasks(workers[0], heartbeat, *options)
    try:
        yield network, tasks
    finally:
        tasks.close()
        network.close()


@pytest.fixture(name="workers", scope="module")
def _workers(redis_broker: Broker) -> Iterator[list[Worker]]:
    with cluster(redis_broker.url, 2, ROOMS_APP, "", *SLOW) as workers:
        yield workers


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_has_the_outcomes_of_a_web_worker_and_the_pool_says_goodbye(
    workers: list[Worker], pool: str
) -> None:
    if pool in ("eventlet", "gevent") and not find_spec(pool):
        pytest.skip(f"{pool} is not installed")
    with network_with(workers, 60, "--pool", pool) as (network, tasks):
        sid = network.other.sid
        assert tasks.run("leave", sid, "red") == {"changed": 1, "unchanged": 0, "unknown": []}
        assert tasks.run("leave", sid, "red") == {"changed": 0, "unchanged": 1, "unknown": []}
        tasks.run("broadcast", "red", "from a task")
        assert network.mine.receive() == ["message", "from a task"]
        assert network.others() == {tasks.run("name")}

        tasks.shut_down()

        assert network.others() == set()


@pytest.mark.skipif(MODE is not None, reason="has nothing to do with the web workers' mode")
def test_a_child_that_is_recycled_says_goodbye(workers: list[Worker]) -> None:
    with network_with(workers, 60, "--max-tasks-per-child", "1") as (network, tasks):
        tasks.run("broadcast", "red", "my only task")

        assert network.other.receive() == ["message", "my only task"]
        network.wait_until_others(there=False)
        tasks.shut_down()


@pytest.mark.skipif(MODE is not None, reason="has nothing to do with the web workers' mode")
def test_a_child_whose_task_is_revoked_says_goodbye(workers: list[Worker]) -> None:
    with network_with(workers, 60) as (network, tasks):
        task = tasks.begin("hang")
        network.wait_until_others(there=True)

        tasks.end_task(task)

        network.wait_until_others(there=False)
        tasks.shut_down()


def test_a_task_can_ask_and_change_whole_rooms(redis_broker: Broker) -> None:
    with (
        cluster(redis_broker.url, 2) as workers,
        network_with(workers, HEARTBEAT) as (network, tasks),
    ):
        assert tasks.run("members", "red") == network.sids
        assert tasks.run("leave_all", "red") == {"changed": 2, "unchanged": 0, "unknown": []}
        assert tasks.run("members", "red") == []
        tasks.shut_down()
