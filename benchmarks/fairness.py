"""
How long a leave by socket ID takes while its worker broadcasts as fast as it can.

    python -m benchmarks.fairness [--rounds 3] [--singles 500] [--only WORDS]

As in benchmarks/speed.py, the leaves are made one at a time, for a socket of another worker; of
Flask-Rooms until they are confirmed, of python-socketio until they are carried out there.
docs/performance.md explains the results.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from statistics import quantiles

from benchmarks.contenders import Contender, peer_of
from benchmarks.options import parse
from benchmarks.speed import WARM_UP, confirmed_here, done_there
from benchmarks.table import Record, markdown, spread
from benchmarks.trial import trial
from benchmarks.versions import versions
from tests.support import brokers


def main() -> None:
    """Print a line of JSON for each measurement, and a table of them."""
    options = parse("fairness", rounds=3, singles=500)
    # KombuManager is left out: two threads that emit at once break its connection, and leaves of
    # it are lost.
    in_python = [one for one in options.contenders if one.confirms or "RedisManager" in one.name]
    print(json.dumps({"versions": versions()}), flush=True)
    records: list[Record] = []
    for _ in range(options.rounds):
        measured = [measure(one, options.singles) for one in in_python]
        for one in measured:
            peers = [other for other in measured if other["contender"] == one["peer"]]
            one["ratio"] = round(one["p99"] / peers[0]["p99"], 2) if peers else None
            print(json.dumps(one), flush=True)
        records += measured
    print(table(records))


def measure(contender: Contender, singles: int) -> Record:
    """Return the microseconds of leaves, and how many events were broadcast in a second."""
    clock = confirmed_here if contender.confirms else done_there
    rooms = [f"room-{number}" for number in range(WARM_UP + singles)]
    with brokers.start(contender.broker) as broker, trial(contender, broker) as begun:
        begun.join(rooms)
        for room in rooms[:WARM_UP]:
            clock(begun, [room])
        begun.here.ask("babble", room="square")
        began = time.monotonic()
        took = quantiles([clock(begun, [room]) / 1e3 for room in rooms[WARM_UP:]], n=100)
        sent = begun.here.ask("hush")["sent"] / (time.monotonic() - began)
    return {
        "benchmark": "fairness",
        "contender": contender.name,
        "peer": peer_of(contender).name,
        "p50": round(took[49]),
        "p99": round(took[98]),
        "broadcasts": round(sent),
        "load": os.getloadavg()[0],
    }


def table(records: Iterable[Record]) -> str:
    """Return the table, with the ratio to the peer on the same broker."""
    head = ["", "one leave, p50", "p99", "times the peer's p99", "broadcasts meanwhile"]
    groups: dict[str, list[Record]] = {}
    for one in records:
        groups.setdefault(one["contender"], []).append(one)
    rows = [
        [
            name,
            f"{spread(one['p50'] for one in some)} us",
            f"{spread(one['p99'] for one in some)} us",
            spread(one["ratio"] for one in some if one["ratio"] is not None),
            f"{spread(one['broadcasts'] for one in some)} /s",
        ]
        for name, some in groups.items()
    ]
    return markdown(head, rows)


if __name__ == "__main__":
    main()
