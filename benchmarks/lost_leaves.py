"""
How many leaves are lost when the broker has a fault.

    python -m benchmarks.lost_leaves [--leaves 1500] [--rounds 1] [--quiet 5] [--only WORDS]

A client of one worker joins one room per leave. The other worker takes it out of each by its socket
ID, one every 2 ms, and the fault is injected halfway. When leaves work again and no membership has
changed for some seconds, the memberships that remain are counted. docs/benchmarks.md explains the
results.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from benchmarks import table
from benchmarks.contenders import Contender
from benchmarks.faults import FAULTS, Fault
from benchmarks.options import parse
from benchmarks.trial import Trial, trial
from benchmarks.versions import version_of, versions
from tests.support import brokers
from tests.support.brokers import Broker

#: Seconds between a call's return and the next call.
INTERVAL = 0.002


def main() -> None:
    """Print a line of JSON for each measurement, and a table of them."""
    options = parse("lost_leaves", leaves=1500, rounds=1, quiet=5)
    print(json.dumps({"versions": versions()}), flush=True)
    records = []
    for contender in options.contenders * options.rounds:
        for fault in FAULTS:
            records.append(measure(contender, fault, options.leaves, options.quiet))
            print(json.dumps(records[-1]), flush=True)
    print(table.lost_leaves(records))


def measure(contender: Contender, fault: Fault, leaves: int, quiet: float) -> dict[str, Any]:
    """
    Measure one contender with one fault, on a broker of its own.

    Args:
        contender: The contender.
        fault: The fault of the broker.
        leaves: The number of leaves.
        quiet: Seconds without a change after which the memberships are counted.
    """
    rooms = [f"room-{number}" for number in range(leaves)]
    with brokers.start(contender.broker) as broker:
        lead = fault.lead(broker)
        load = os.getloadavg()[0]
        server = version_of(broker)
        with trial(contender, broker) as begun:
            begun.join(rooms)
            found, errors = called_for(begun, rooms, fault, broker, lead)
            back = begun.until_a_leave_works("after")
            remaining = settled(begun, quiet)
    return {
        "benchmark": "lost_leaves",
        "contender": contender.name,
        "fault": fault.name,
        "server": server,
        "load": load,
        "leaves": leaves,
        **found,
        **compared(remaining & set(rooms), errors),
        "works_again_after": back,
        "connected": begun.sid in remaining,
    }


def called_for(
    begun: Trial, rooms: list[str], fault: Fault, broker: Broker, lead: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Make the leaves, with the fault halfway.

    Returns:
        The measurements, and the errors that the caller got: room -> error.
    """
    announce = max(0, int(len(rooms) / 2 - lead / INTERVAL))
    already = begun.here.ask("called")["count"]
    begun.call(rooms, INTERVAL, announce)
    begun.here.hear("reached")
    began = time.monotonic()
    fault.inject(broker)
    lasted = time.monotonic() - began
    during = begun.here.ask("called")["count"] - already
    called = begun.here.hear("did", "leave")
    if fault.delayed and during == len(rooms):
        raise RuntimeError("The fault came after the last leave: use more leaves.")
    found = {
        "fault_lasted": round(lasted, 2),
        "called_by_its_end": during,
        "longest": round(called["longest"] / 1e6, 1),
    }
    return found, called["errors"]


def settled(begun: Trial, quiet: float) -> set[str]:
    """Return the rooms that remain when none has changed for *quiet* seconds."""
    remaining, since = begun.rooms(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.1)
        now = begun.rooms()
        if now != remaining:
            remaining, since = now, time.monotonic()
    return remaining


def compared(lost: set[str], errors: dict[str, str]) -> dict[str, Any]:
    """Return the number of lost leaves, by whether the caller got an error."""
    return {
        "lost_silently": len(lost - errors.keys()),
        "lost_with_error": len(lost & errors.keys()),
        "done_with_error": len(errors.keys() - lost),
        "errors": sorted(set(errors.values())),
    }


if __name__ == "__main__":
    main()
