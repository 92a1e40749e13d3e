"""
What a worker takes of the processor while nothing happens, with many sockets and many peers.

    python -m benchmarks.idle [--rounds 3] [--clients 10000] [--peers 100] [--seconds 10]

The worker is this process. Its peers are whole workers, all in one other process, and all meet on
a Redis. Its clients have no network: Engine.IO's pings, of which python-engineio sends each one in
25 seconds, are not in the figures. docs/performance.md explains the results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from benchmarks.contenders import ROOT
from benchmarks.local import LocalApp
from benchmarks.table import Record, markdown, spread
from benchmarks.versions import versions
from flask_rooms.globals import parts_of
from tests.support import brokers

#: What a worker may take of one core, in percent.
GOAL = 1.0
#: Seconds within which the peers have to be known.
PATIENCE = 120.0


def main() -> None:
    """Print a line of JSON for each measurement, and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print(json.dumps({"versions": versions()}), flush=True)
    records: list[Record] = []
    with brokers.start("redis") as broker:
        app = LocalApp(True, options.clients, backend_url=broker.url)
        parts_of(app.app).cluster.start()
        for count in (0, options.peers):
            with peers(broker.url, count):
                _wait_for_peers(app, count)
                for _ in range(options.rounds):
                    records.append(_measured(app, count, options.seconds))
                    print(json.dumps(records[-1]), flush=True)
    print(table(records))


@contextmanager
def peers(url: str, count: int) -> Iterator[None]:
    """Have so many other workers in the cluster."""
    command = [sys.executable, "-m", "benchmarks.workers.peers", url, str(count)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("The peers have not joined.")
        yield
        process.communicate()  # whose input ends


def _wait_for_peers(app: LocalApp, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while parts_of(app.app).cluster.traffic.peers != count:
        if time.monotonic() > deadline:
            raise RuntimeError("The peers are not known.")
        time.sleep(0.1)


def _measured(app: LocalApp, count: int, seconds: float) -> Record:
    """Return what this process takes of one core while it is left alone, in percent."""
    began, before = time.monotonic(), time.process_time()
    time.sleep(seconds)
    spent, passed = time.process_time() - before, time.monotonic() - began
    return {
        "benchmark": "idle",
        "clients": len(app.clients),
        "peers": count,
        "percent": round(100 * spent / passed, 3),
        "load": os.getloadavg()[0],
    }


def table(records: Iterable[Record]) -> str:
    """Return the table of idle workers."""
    groups: dict[tuple[int, int], list[float]] = {}
    for one in records:
        groups.setdefault((one["clients"], one["peers"]), []).append(one["percent"])
    rows = [
        [f"{clients:,}", f"{count:,}", f"{spread(some)} %", f"{GOAL:g} %"]
        for (clients, count), some in groups.items()
    ]
    return markdown(["sockets", "other workers", "of one core", "goal"], rows)


if __name__ == "__main__":
    main()
