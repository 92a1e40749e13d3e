"""
The process of an RQ job leaves with a goodbye, although RQ ends it with os._exit().

The workers have a heartbeat interval of a minute, and declare a worker dead after four.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job

from tests.support.brokers import Broker
from tests.support.documents import ROOT
from tests.support.networks import TwoWebWorkers
from tests.support.outside import SLOW, TIMEOUT, environment, peers
from tests.support.workers import ROOMS_APP, cluster

pytestmark = [
    pytest.mark.mode_independent,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="RQ forks"),
]


WORKER = [sys.executable, "-m", "rq.cli", "worker", "--burst"]


@pytest.fixture(name="network", scope="module")
def _network(redis_broker: Broker) -> Iterator[TwoWebWorkers]:
    with cluster(redis_broker.url, 2, ROOMS_APP, "", *SLOW) as workers:
        network = TwoWebWorkers(workers, ["red"])
        yield network
        network.close()


def run(network: TwoWebWorkers, name: str) -> Job:
    """Run a job in a worker of RQ, which ends after it."""
    web = network.here
    with Redis.from_url(web.backend) as connection:
        queue = Queue(web.channel, connection=connection)
        job = queue.enqueue(f"tests.support.rq_app.{name}", network.other.sid)
        subprocess.run(
            [*WORKER, "--url", web.backend, web.channel],
            cwd=ROOT,
            env=environment(web, ROOMS_TEST_MODE="threading"),
            check=True,
            capture_output=True,
            timeout=TIMEOUT,
        )
        job.refresh()  # type: ignore[no-untyped-call]
    return job


@pytest.mark.parametrize("name", ["leave", "fail", "exit_now"])
def test_the_process_of_a_job_says_goodbye(network: TwoWebWorkers, name: str) -> None:
    network.here.post("/join", sids=network.other.sid, rooms="red")
    before = peers(network.here, network.other)

    job = run(network, name)

    assert peers(network.here, network.other) == before
    if name == "leave":
        changed, worker, pid = job.return_value() or (0, "", 0)
        assert changed == 1
        assert worker not in before
        assert pid != os.getpid()
