"""`python -m tests.simulation --steps 1000000`: play schedules until so many steps are taken."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulation.schedule import Plan, Schedule


def main() -> int:
    """Run, and print the seed of the first schedule that breaks a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--sockets", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--calm", action="store_true", help="no faults")
    options = parser.parse_args()
    plan = Plan(options.workers, options.sockets, options.rounds, not options.calm)
    began, steps, seed = time.monotonic(), 0, options.seed
    while steps < options.steps:
        schedule = Schedule(seed, plan)
        try:
            steps += schedule.play()
        except AssertionError:
            traceback.print_exc()
            print(f"seed {seed} after {schedule.world.now:.1f} virtual seconds")
            print("\n".join(schedule.world.history[-20:]))
            return 1
        seed += 1
    print(f"{steps} steps in {seed - options.seed} schedules, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
