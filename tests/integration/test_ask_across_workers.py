"""Real clients of two worker processes are asked, and one of the processes is killed meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.support.brokers import Broker
from tests.support.clients import TIMEOUT, connection
from tests.support.raw import RawClient
from tests.support.workers import ROOMS_APP, cluster


def test_clients_answer_and_those_of_a_killed_worker_have_left(redis_broker: Broker) -> None:
    options = ("--heartbeat", "0.2")
    with (
        cluster(redis_broker.url, 2, ROOMS_APP, "", *options) as (here, there),
        connection(here.url, answer=lambda event, data: [event, data]) as one,
        connection(there.url, answer=lambda event, data: data) as other,
        RawClient(there.url) as silent,
        ThreadPoolExecutor(1) as pool,
    ):
        sids = [one.sid, other.sid, silent.sid]
        here.post("/join", sids=sids, rooms="red")

        def ask(timeout: float) -> Any:
            return here.post("/ask-clients", room="red", say="Tea?", timeout=timeout)

        answers = {one.sid: ["asked", "Tea?"], other.sid: "Tea?"}
        assert ask(1.0) == {
            "answers": answers,
            "silent": [silent.sid],
            "left": [],
            "failed": [],
            "complete": True,
        }

        asking = pool.submit(ask, TIMEOUT)
        for _ in range(2):  # the first question, and the second one
            while '["asked","Tea?"]' not in silent.receive():
                pass
        here.post("/leave", sids=other.sid, rooms="none")  # it has also said whom it has asked
        there.kill()

        result = asking.result(TIMEOUT)
        assert silent.sid in result["left"]
        # The answer of the other one may have been under way with the worker.
        assert sorted([*result["answers"], *result["left"]]) == sorted(sids)
