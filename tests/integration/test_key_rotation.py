"""SECRET_KEY changes while the cluster runs, worker by worker, and every promise is kept."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.brokers import Broker
from tests.support.workers import Connect, Worker, outcome

OLD = {"SECRET_KEY": "old"}
BOTH = {"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ["old"]}
NEW = {"SECRET_KEY": "new"}

#: Which keys the two workers have, one deployed after the other.
STEPS = {"the new key comes": (OLD, BOTH), "the old key goes": (BOTH, NEW)}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_workers_before_and_after_a_deployment_reach_each_other(
    kind: str,
    step: tuple[dict[str, Any], dict[str, Any]],
    request: pytest.FixtureRequest,
    connect: Connect,
    room: str,
) -> None:
    """Calls of each are confirmed by the other, counted everywhere, and in order."""
    broker: Broker = request.getfixturevalue(f"{kind}_broker")
    with ExitStack() as stack:
        workers = [start(stack, broker, f"keys {room}", keys) for keys in step]
        clients = [connect(worker) for worker in workers]
        sids = [client.sid for client in clients]
        for worker in workers:
            assert worker.post("/join", sids=sids, rooms=room) == outcome(changed=2)
            worker.post("/broadcast", rooms=room, say=["said", worker.name])
            assert [client.receive() for client in clients] == [["said", worker.name]] * 2
            assert members(worker, room) == sorted(sids)
            assert worker.post("/leave", sids=sids, rooms=room) == outcome(changed=2)
            assert members(worker, room) == []


def start(stack: ExitStack, broker: Broker, channel: str, keys: dict[str, Any]) -> Worker:
    """Run a worker with these keys until the stack is closed."""
    config = ["--config", json.dumps(keys)]
    worker = Worker(broker.url, channel, "tests.support.rooms_app", *config)
    stack.callback(worker.stop)
    worker.wait_until_listening()
    return worker


def members(worker: Worker, room: str) -> list[str]:
    """Return the members of a room; every worker has to answer."""
    answer = worker.post("/members", room=room)
    assert answer["complete"]
    return sorted(answer["value"])
