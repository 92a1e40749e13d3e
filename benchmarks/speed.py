"""
How long a leave by socket ID takes when another worker holds the socket.

    python -m benchmarks.speed [--rounds 3] [--singles 500] [--burst 3000] [--only WORDS]

Leaves are made one at a time, and back to back. The clock stops when the other worker has carried
out the leave and, in a second measurement of Flask-Rooms, when the caller has its confirmation.
docs/performance.md explains the results.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from statistics import quantiles
from typing import Any

from benchmarks import table
from benchmarks.contenders import Contender, peer_of
from benchmarks.options import parse
from benchmarks.trial import Trial, trial
from benchmarks.versions import version_of, versions
from tests.support import brokers

#: Leaves before each measurement, which warm up connections and caches.
WARM_UP = 200

Record = dict[str, Any]


def main() -> None:
    """Print a line of JSON for each measurement, and a table of them."""
    options = parse("speed", rounds=3, singles=500, burst=3000)
    print(json.dumps({"versions": versions()}), flush=True)
    records: list[Record] = []
    # Round by round, so that a temporary load on the machine affects all contenders.
    for _ in range(options.rounds):
        measured: list[Record] = []
        for contender in options.contenders:
            measured += measure(contender, options.singles, options.burst)
        for record in measured:
            record |= ratios(record, measured)
            print(json.dumps(record), flush=True)
        records += measured
    print(table.speed(records))


def measure(contender: Contender, singles: int, burst: int) -> list[Record]:
    """
    Measure one contender, on a broker of its own.

    Args:
        contender: The contender.
        singles: The number of leaves made one at a time.
        burst: The number of leaves made back to back.

    Returns:
        A record for each event that stops the clock.
    """
    stops = {"done there": done_there}
    if contender.confirms:
        stops["confirmed here"] = confirmed_here
    with brokers.start(contender.broker) as broker, trial(contender, broker) as begun:
        about = {
            "benchmark": "speed",
            "contender": contender.name,
            "peer": peer_of(contender).name,
            "server": version_of(broker),
            "load": os.getloadavg()[0],
        }
        return [
            {**about, "stop": stop, **figures(begun, clock, singles, burst)}
            for stop, clock in stops.items()
        ]


def figures(
    begun: Trial, clock: Callable[[Trial, list[str]], int], singles: int, burst: int
) -> Record:
    """
    Return the microseconds of single leaves, and the leaves per second of a burst.

    Also the processor time of both workers for each leave of it, in microseconds.
    """
    name = clock.__name__
    rooms = {
        kind: [f"{name}-{kind}-{number}" for number in range(count)]
        for kind, count in (("warm", WARM_UP), ("single", singles), ("burst", burst))
    }
    for some in rooms.values():
        begun.join(some)
    for room in rooms["warm"]:
        clock(begun, [room])
    alone = quantiles([clock(begun, [room]) / 1e3 for room in rooms["single"]], n=100)
    before = begun.cpu()
    rate = burst / (clock(begun, rooms["burst"]) / 1e9)
    cpu = (begun.cpu() - before) / burst / 1e3
    return {
        "p50": round(alone[49]),
        "p99": round(alone[98]),
        "rate": round(rate),
        "cpu": round(cpu, 1),
    }


def done_there(begun: Trial, rooms: list[str]) -> int:
    """Return the nanoseconds from the first call until the other worker has made the last leave."""
    begun.there.ask("watch", room=rooms[-1])
    begun.call(rooms)
    left = begun.there.hear("left")["at"]
    return int(left - begun.here.hear("did", "leave")["began"])


def confirmed_here(begun: Trial, rooms: list[str]) -> int:
    """Return the nanoseconds from the first call until the caller has all confirmations."""
    begun.call(rooms)
    called = begun.here.hear("did", "leave")
    if called["errors"]:
        raise RuntimeError(f"Without a fault: {called['errors']}")
    return int(called["ended"] - called["began"])


def ratios(record: Record, measured: list[Record]) -> Record:
    """Return the ratios of a record to its peer's of the same round, if that was measured."""
    for one in measured:
        if one["contender"] == record["peer"]:
            return {
                "times_as_long": round(record["p50"] / one["p50"], 2),
                "times_as_many": round(record["rate"] / one["rate"], 2),
            }
    return {}


if __name__ == "__main__":
    main()
