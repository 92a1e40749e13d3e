"""
Random noise at one edge of a worker, and what it leaves there.

    python -m tests.fuzz socket|request|bus --mode threading|eventlet|gevent --seconds N --seed N

`socket` sends raw packets, bodies and bytes of every shape; `request` sends socket requests, each
of which has to be answered; `bus` publishes on the channel of two workers, and gives a node what
only the holder of a key could publish. Meanwhile a witness asks, and has to be answered. The exit
status is 1 when an answer was late, wrong or missing, when the log has more than it may, or when
memory, threads, files or sockets do not return to where they were; and 3 when there is no Redis,
which `bus` needs.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
from dataclasses import fields

from tests.fuzz import MISSING
from tests.fuzz.bus import BusRun
from tests.fuzz.run import Plan, RequestRun, Run, SocketRun
from tests.fuzz.worker import Figures
from tests.support import brokers

RUNS = {"socket": SocketRun, "request": RequestRun, "bus": BusRun}


def main() -> int:
    """Run, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("edge", choices=RUNS)
    parser.add_argument("--mode", choices=("threading", "eventlet", "gevent"), default="threading")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["ROOMS_TEST_MODE"] = options.mode  # of the workers; nothing is patched here
    # The GNU C library keeps what was freed for each of up to 16 threads, and that is not ours.
    os.environ["MALLOC_ARENA_MAX"] = "1"
    # SIGTERM stops the workers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    plan = Plan(options.seconds, options.seed)
    run = RUNS[options.edge](plan)
    faulthandler.dump_traceback_later(plan.bound, exit=True)  # a run that hangs says where
    run.play()
    faulthandler.cancel_dump_traceback_later()
    print(f"{options.edge}, {options.mode}, {options.seconds:g} s, seed {options.seed}")
    print(as_text(run), flush=True)
    return 1 if run.complaints else 0


def as_text(run: Run) -> str:
    """Return all that was seen."""
    lines = [f"{'':14}{'before':>10}{'peak':>10}{'after':>10}"]
    for field in fields(Figures):
        values = [getattr(one, field.name) for one in (run.before, run.peak, run.after)]
        name = "memory (KiB)" if field.name == "memory" else field.name
        lines.append(f"{name:14}" + "".join(f"{value:>10}" for value in values))
    witness = run.witness
    lines.append(
        f"witness: {witness.asked} answers, the slowest after {witness.slowest:.2f} s, "
        f"{witness.costliest:.2f} s of the worker's processor"
    )
    lines += [f"{count:>10} {what}" for what, count in sorted(run.counts.items())]
    lines.append(f"log: {sum(run.lines.values())} lines")
    lines += [f"{count:>10} {line}" for line, count in run.lines.most_common(20)]
    lines += [f"WRONG: {one}" for one in run.complaints[:20]]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except brokers.BrokerMissing as missing:
        print(missing, file=sys.stderr)
        sys.exit(MISSING)
