"""
Play random schedules until a number of steps is reached or a promise is broken.

    python -m tests.simulation --steps 5000000      a long run
    python -m tests.simulation --seed 17            one schedule
    python -m tests.simulation --large --seed 1     one with hundreds of workers

When a promise is broken, print the shortest schedule found that breaks the same promise, as
Python, one action a line.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

from tests.simulation.actions import Schedule, lines
from tests.simulation.generator import LARGE, SMALL, generate
from tests.simulation.mutations import RULES, Mutant, world_without
from tests.simulation.play import failure, promise_of
from tests.simulation.shrink import shrink


def main() -> int:
    """Play, and return the exit code."""
    options = arguments()
    mutant = next((one for one in RULES if one.__name__ == options.without), None)
    size = LARGE if options.large else SMALL
    seeds = itertools.count(options.first) if options.seed is None else [options.seed]
    began, steps, played = time.monotonic(), 0, 0
    for seed in seeds:
        world = world_without(mutant, seed)
        schedule = generate(seed, size)
        error = failure(schedule, world)
        steps, played = steps + world.steps, played + 1
        if error is not None:
            report(schedule, seed, error, mutant, options.shrink)
            return 1
        if steps >= options.steps:
            break
    print(f"{steps:,} steps in {played:,} schedules, {time.monotonic() - began:.0f} s: all is well")
    return 0


def report(
    schedule: Schedule, seed: int, error: Exception, mutant: Mutant | None, seconds: float
) -> None:
    """Print what went wrong, and the shortest schedule found that breaks the same promise."""
    print(f"Seed {seed} breaks a promise.\n{error}\n", flush=True)
    print("Looking for a shorter schedule ...", flush=True)
    broken = promise_of(error)

    def fails(shorter: Schedule) -> bool:
        return promise_of(failure(shorter, world_without(mutant, seed))) == broken

    shortest = shrink(schedule, fails, seconds)
    print(f"{len(shortest)} of {len(schedule)} actions do:\n\n{lines(shortest)}\n")
    print(failure(shortest, world_without(mutant, seed)))


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1_000_000, help="play at least so many")
    parser.add_argument("--seed", type=int, help="only the schedule of this seed")
    parser.add_argument("--first", type=int, default=0, help="the first seed of a run")
    parser.add_argument("--large", action="store_true", help="200 workers with 2,000 sockets")
    parser.add_argument(
        "--without",
        choices=[mutant.__name__ for mutant in RULES],
        metavar="MUTANT",
        help="play with a broken rule: a class in tests/simulation/mutations.py",
    )
    parser.add_argument("--shrink", type=float, default=60.0, help="seconds to search for less")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
