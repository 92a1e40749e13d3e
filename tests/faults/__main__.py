"""
Load on three workers and a real broker, with faults of every kind, and the promises checked.

    python -m tests.faults --broker BROKER --mode threading|eventlet|gevent --minutes 60

BROKER is `redis` or `amqp`, with TLS `rediss` or `amqps`, `sentinel` (a master, a replica and three
Sentinels), or `cluster` (three nodes of RabbitMQ).

The last line of the output is JSON with all that was counted; the exit status is 1 when anything
that must be zero is not, and 3 when the broker is not installed. Without --minutes each kind of
fault happens once, and lasts no longer than it has to.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

from tests.faults import MISSING
from tests.faults.kinds import FAULTS, FAULTS_OF_GROUPS, name
from tests.faults.report import as_json, as_text
from tests.faults.run import Plan, Run
from tests.support import brokers
from tests.support.rabbitmq_cluster import RabbitMQCluster
from tests.support.sentinel import RedisWithSentinel
from tests.support.tls_brokers import TlsRabbitMQ, TlsRedis

BROKERS: Mapping[str, Callable[[], brokers.Broker]] = {
    "rediss": TlsRedis,
    "amqps": TlsRabbitMQ,
    "sentinel": RedisWithSentinel,
    "cluster": RabbitMQCluster,
}


def main() -> int:
    """Run, and print the result."""
    options = _arguments()
    os.environ["ROOMS_TEST_MODE"] = options.mode  # of the workers; nothing is patched here
    # SIGTERM stops the broker and the workers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    # Clients whose worker has ended log that, which is expected here.
    logging.getLogger("engineio.client").setLevel(logging.CRITICAL)
    possible = FAULTS_OF_GROUPS.get(options.broker, FAULTS)
    faults = [fault for fault in possible if name(fault) in options.only]
    plan = Plan(options.seed, 60 * options.minutes, options.heartbeat, faults)
    with _started(options.broker) as broker, Run(broker, plan) as run:
        run.play()
        print(as_text(run))
        print(json.dumps({**vars(options), **as_json(run)}), flush=True)
        return 0 if run.verdict.is_good else 1


@contextmanager
def _started(name: str) -> Iterator[brokers.Broker]:
    if name not in BROKERS:
        with brokers.start("redis" if name == "redis" else "amqp") as broker:
            yield broker
        return
    broker = BROKERS[name]()
    try:
        yield broker
    finally:
        broker.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--broker", choices=("redis", "amqp", *BROKERS), required=True)
    parser.add_argument("--mode", choices=("threading", "eventlet", "gevent"), default="threading")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--heartbeat", type=float, default=2.0, help="seconds; 2 is the default")
    parser.add_argument("--seed", type=int, default=0)
    names = list(map(name, [*FAULTS, *chain(*FAULTS_OF_GROUPS.values())]))
    parser.add_argument("--only", nargs="+", metavar="FAULT", choices=names, default=names)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except brokers.BrokerMissing as missing:
        print(missing, file=sys.stderr)
        sys.exit(MISSING)
