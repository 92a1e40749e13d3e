"""
Explore small worlds exhaustively: every order of what can happen, up to a depth.

    python -m tests.simulation.worlds --depth 8            each world, to that depth
    python -m tests.simulation.worlds --without MUTANT     until a world catches a broken rule

A choice is a worker that takes its next message or looks at the time, a guard that decides, an
operation of the application, or a fault; time passes when no worker has anything to do. Worlds in
the same state are explored once. From each state at the depth the rest happens in one order.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from flask_rooms.protocol.lanes import Lanes
from tests.simulation.demands import BrokenPromise
from tests.simulation.small import Act, Choice, Fault, Small
from tests.simulation.world import NodeFactory, make_node

LEAVE, SAY = Act("b", "leave", "a_s"), Act("b", "say")
JOIN = Act("b", "join", "a_s", guarded=True)
START, STALL = Fault("c", "start"), Fault("a", "stall", 3.3)


@dataclass(frozen=True)
class Plan:
    """
    What a small world begins with; see Small.

    Args:
        hosts: The workers.
        acts: What they do.
        faults: What goes wrong.
        sockets: Host -> whether its socket is in the room.
        counts: Whether the broker can count the workers.
        age: For how many seconds the workers have run.
        newer: The workers of another version.
    """

    hosts: str
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...] = ()
    sockets: tuple[tuple[str, bool], ...] = (("a", True),)
    counts: bool = False
    age: float = 11.0
    newer: str = ""

    def world(self, make: NodeFactory = make_node, lanes: type[Lanes] = Lanes) -> Small:
        """Return the world; a mutant makes broken nodes or lanes."""
        sockets, counts, age = dict(self.sockets), self.counts, self.age
        return Small(
            self.hosts,
            sockets,
            self.acts,
            self.faults,
            counts=counts,
            age=age,
            newer=self.newer,
            make=make,
            lanes=lanes,
        )


PLANS: dict[str, Plan] = {
    "a leave and a broadcast": Plan("ab", (LEAVE, SAY)),
    "a leave and a broadcast while the owner stalls": Plan("ab", (LEAVE, SAY), (STALL,)),
    "a leave and a broadcast while the owner is cut off": Plan(
        "ab", (LEAVE, SAY), (Fault("a", "cut", 2.6),)
    ),
    "a leave and a broadcast while the caller is cut off, and counts as dead": Plan(
        "ab", (LEAVE, SAY), (Fault("b", "cut", 9.72),)
    ),
    "a leave, and a broadcast of another worker, while the owner stalls": Plan(
        "abc", (LEAVE, Act("c", "say")), (STALL,)
    ),
    "a join with a guard, and a broadcast": Plan("ab", (JOIN, SAY), sockets=(("a", False),)),
    "a script has a socket leave while the owner stalls": Plan(
        "a", (Act("c", "leave", "a_s"),), (START, STALL)
    ),
    "a script has a socket leave whose owner has stalled": Plan(
        "a", (Act("c", "leave", "a_s"),), (STALL, START)
    ),
    "a script has a socket leave whose owner is stopped, and ends": Plan(
        "a",
        (Act("c", "leave", "a_s"), Act("c", "quit")),
        (Fault("a", "stall", 14.0), START),
    ),
    "a script asks while a worker stalls": Plan(
        "a", (Act("c", "count"),), (START, STALL), counts=True
    ),
    "a script has a room emptied while one of two workers stalls": Plan(
        "ab", (Act("c", "empty"),), (START, STALL), counts=True
    ),
    "a script asks while a worker stalls and another one starts": Plan(
        "a",
        (Act("c", "count"),),
        (START, STALL, Fault("d", "start")),
        counts=True,
    ),
    "a script and a worker are cut off while another one starts": Plan(
        "b",
        (Act("c", "count"),),
        (START, Fault("b", "cut", 1.0), Fault("c", "cut", 1.0), Fault("d", "start")),
        sockets=(("d", True),),
        counts=True,
        age=3.0,
    ),
    "a script has a socket leave whose owner stalls, and a newcomer crashes": Plan(
        "a",
        (Act("c", "leave", "a_s"),),
        (START, STALL, Fault("d", "start"), Fault("d", "crash")),
        counts=True,
    ),
    "a script and a worker are cut off after it has asked all": Plan(
        "b",
        (Act("c", "count"), Act("c", "leave", "d_s")),
        (START, Fault("b", "cut", 1.0), Fault("c", "cut", 1.0), Fault("d", "start")),
        sockets=(("d", True),),
        counts=True,
        age=3.0,
    ),
    "a hello is copied while its sender stalls": Plan(
        "a", (Act("c", "count"),), (START, STALL, Fault("a", "copy")), counts=True
    ),
    "the version changes, and one of the old workers asks": Plan(
        "ab",
        (Act("a", "count"), Act("a", "empty")),
        (START,),
        newer="c",
        sockets=(("a", True), ("c", True)),
    ),
    "a script sends a message and ends": Plan("a", (Act("c", "say"), Act("c", "quit")), (START,)),
    "the owner hears nothing any more": Plan("ab", (LEAVE,), (Fault("a", "deaf"),)),
    "the caller is cut off after the owner has stalled": Plan(
        "ab", (LEAVE,), (STALL, Fault("b", "cut", 0.6))
    ),
    "a worker crashes while another one asks": Plan(
        "abc", (Act("b", "empty"), SAY), (Fault("c", "crash"),)
    ),
}


Path: TypeAlias = tuple[Choice, ...]
#: What happens after the choices that were made in all ways.
IN_ONE_ORDER: Choice = ("go on", "in one order")


@dataclass
class Found:
    """
    What an exploration has found.

    Args:
        states: How many different states there are, up to the depth.
        path: The choices after which a promise is broken.
        error: The promise; None if none is broken.
    """

    states: int
    path: Path = ()
    error: BrokenPromise | None = None


def explore(
    start: Small, depth: int, *, until: float = float("inf"), shortest: bool = False
) -> Found:
    """
    Explore a world breadth first.

    Args:
        start: The world.
        depth: How many choices are made in all possible ways.
        until: The time at which to give up, by the monotonic clock.
        shortest: Whether to go on in one order from each state, and not only from those at the
            depth, so that a path to a broken promise is a shortest one. Takes twice as long.
    """
    seen = {start.key()}
    layer: list[tuple[Small, Path]] = [(start, ())]
    for each in range(depth + 1):
        if shortest or each == depth:
            for world, path in layer:
                rest = [("act", act) for act in world.acts]
                if error := _error_of(world.copy().finish):
                    return Found(len(seen), (*path, *rest, IN_ONE_ORDER), error)
                if time.monotonic() > until:
                    return Found(len(seen))
        following = []
        for world, path in layer if each < depth else ():
            for choice in world.choices():
                after = world.copy()
                if error := _error_of(partial(after.do, choice)):
                    return Found(len(seen), (*path, choice), error)
                if (key := after.key()) not in seen:
                    seen.add(key)
                    following.append((after, (*path, choice)))
        layer = following
    return Found(len(seen))


def _error_of(function: Callable[[], object]) -> BrokenPromise | None:
    try:
        function()
    except BrokenPromise as error:
        return error
    return None


def main() -> int:
    """Explore, and return the exit code."""
    from tests.simulation import mutations  # which needs this module

    options = arguments()
    named = (one for one in mutations.RULES if one.__name__ == options.without)
    if options.without and (mutant := next(named, None)) is None:
        sys.exit(f"There is no mutant {options.without!r}.")
    code = 0
    for name, plan in PLANS.items():
        if options.world not in name:
            continue
        began = time.monotonic()
        start = mutations.small_world_without(mutant if options.without else None, plan)
        until = began + options.seconds
        found = explore(start, options.depth, until=until, shortest=bool(options.without))
        report(name, found, time.monotonic() - began)
        code |= found.error is not None
    return code


def report(name: str, found: Found, seconds: float) -> None:
    """Print what was found in a world, and how a promise is broken there."""
    result = "all is well" if found.error is None else str(found.error)
    print(f"{name}: {found.states:,} states, {seconds:.0f} s: {result}", flush=True)
    for number, (what, which) in enumerate(found.path, 1):
        print(f"  {number:2}. {what} {which if isinstance(which, str) else shown(which)}")


def shown(what: Act | Fault) -> str:
    """Return an act or a fault in a few words."""
    about = what.socket if isinstance(what, Act) else f"for {what.seconds} s" * bool(what.seconds)
    return f"{what.worker}: {what.what} {about}".rstrip()


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=8, help="choices made in all ways")
    parser.add_argument("--world", default="", help="only the worlds with this in their names")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each world")
    parser.add_argument("--without", metavar="MUTANT", help="a class of mutations.py")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
