"""
Measure what lists of who is present cost, with the real protocol, lists and codec.

    python -m benchmarks.presence                2, 32 and 128 workers, which takes minutes
    python -m benchmarks.presence 32             a cluster of this size

As in benchmarks.scale there is no broker. All users are in one room, an equal share of them on each
worker. Printed for each event: the frames published, and the frames and bytes that a broker has to
deliver, once for each receiver.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.scale import HEARTBEAT, LIMITS, Scale
from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.ids import new_sid
from flask_rooms.protocol.messages import Frame, ListPart, Wanted
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.presence import Replica

GRACE, MANY = 5.0, 100_000
#: What each of them is known by, as JSON.
DATA = '{"name":"Ann"}'
#: Seconds until the others notice a death, and a little more.
DEATH = 5 * HEARTBEAT
USERS = (100, 10_000)


class Presence(Scale):
    """
    A cluster whose workers list who is present.

    What a worker sends depends on its own list alone, so here none applies the changes of others.

    Args:
        workers: How many workers it has.
        users: How many users are in the room, over all.
    """

    def __init__(self, workers: int, users: int) -> None:
        self.replicas: dict[str, Replica] = {}
        self.received = 0
        super().__init__(workers)
        names = list(self.nodes)
        for number in range(users):
            self.enter(names[number % workers], f"user-{number}")
        self.run(1.0)

    def add(self) -> str:
        """Start a worker."""
        name = super().add()
        self.replicas[name] = Replica(GRACE, MANY)
        return name

    def end(self, name: str) -> None:
        """Kill a worker."""
        del self.nodes[name], self.replicas[name]

    def enter(self, name: str, user: str) -> None:
        """Let a user come into the room on a worker."""
        for operation in self.replicas[name].enter(("/", "room", new_sid(name)), user, DATA, 1.8e9):
            self.nodes[name].submit(operation)

    def _pump(self) -> None:
        for name, node in self.nodes.items():
            for met in node.take_met():
                for operation in self.replicas[name].meet(met):
                    node.submit(operation)
        super()._pump()

    def _deliver(self, node: Node, frame: Frame) -> None:
        for event in node.receive(frame, self.now):
            if not isinstance(event, Deliver):
                continue
            replica, operation = self.replicas[node.name], event.operation
            if isinstance(operation, Wanted):
                node.submit(replica.part_for(event.sender, operation, (), LIMITS.frame))
            elif isinstance(operation, ListPart):
                for request in replica.receive(event.sender, operation):
                    node.submit(request)

    def _publish(self, frame: Frame) -> None:
        self.received += 1 if frame.to else len(self.nodes)
        super()._publish(frame)


def table(workers: int, users: int) -> None:
    """Print what each event costs in a cluster of this size."""
    cluster = Presence(workers, users)
    first, *_, last = cluster.nodes
    events: dict[str, tuple[Callable[[], object], float]] = {
        "a user joins": (lambda: cluster.enter(first, "another"), 0.1),
        "a worker joins": (cluster.add, 0.5),
        "five heartbeat intervals": (lambda: None, DEATH),
        "the same, and a worker dies": (lambda: cluster.end(last), DEATH),
    }
    for name, (what, seconds) in events.items():
        cluster.received = 0
        frames, megabytes = cluster.cost(what, seconds)
        print(
            f"| {workers} | {users:,} | {name} | {frames:,} | {cluster.received:,} "
            f"| {megabytes:,.3f} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    print("| workers | users | event | frames | frames out of the broker | MB out of the broker |")
    print("|---|---|---|---|---|---|")
    for workers in map(int, sys.argv[1:] or ["2", "32", "128"]):
        for users in USERS:
            table(workers, users)


if __name__ == "__main__":
    main()
