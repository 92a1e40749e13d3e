"""
Measure what the cluster itself costs as it grows, with the real protocol and the real codec.

    python -m benchmarks.scale                   2, 32, 128 and 512 workers, which takes minutes
    python -m benchmarks.scale 32                a cluster of this size
    python -m benchmarks.scale ended             what is kept of workers that have ended

Nodes exchange encoded frames in one process, in virtual time, without a broker. Printed for each
event: the frames published, and the bytes that a broker has to deliver, once for each receiver,
beside the goal.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable

from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.ids import new_sid, new_worker_name, owner_of
from flask_rooms.protocol.messages import About, Change, Done, Emit, Frame, Goodbye, Query, Reply
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.stream import Limits

HEARTBEAT, CONFIRM = 2.0, 5.0
LIMITS = Limits(outbox=2**24, log=2**24, frame=2**20)
HEARTBEATS = "one heartbeat interval"
MISSED, JOIN = "one worker has missed 1 MB", "one worker joins"
#: Event -> workers -> the most MB out of the broker that it may cost.
GOALS = {
    HEARTBEATS: {32: 0.1, 128: 1.0, 512: 16.0},
    MISSED: {32: 3.0, 128: 3.0, 512: 3.0},
    JOIN: {32: 0.1, 128: 1.0, 512: 8.0},
}
#: Seconds of virtual time between two looks at a node.
STEP = 0.005


class Scale:
    """
    A cluster without a broker.

    Args:
        workers: How many workers it has.
    """

    def __init__(self, workers: int) -> None:
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.deaf = ""
        self.frames = self.delivered = 0
        self._codec: Codec | None = None  # measures the frames; slow, and not needed at first
        for _ in range(workers):  # one after the other, as in a deployment: all at once takes long
            self.add()
            self._pump()
        self.run(4 * HEARTBEAT + 0.5)
        self._codec = Codec(["key"], "scale", 2**22)

    def add(self) -> str:
        """Start a worker."""
        name, about = new_worker_name(), About("host-0001", 12345, "1.0.0", HEARTBEAT)
        self.nodes[name] = Node(
            name, self.now, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=LIMITS, about=about
        )
        return name

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now + seconds
        while self.now < end:
            self._pump()
            self.now += STEP

    def _pump(self) -> None:
        for node in list(self.nodes.values()):
            if node.has_unsent or node.wakes_at <= self.now:
                node.tick(self.now)
                while (frame := node.take(self.now)) is not None:
                    self._publish(frame)

    def _publish(self, frame: Frame) -> None:
        receivers = [frame.to] if frame.to else list(self.nodes)
        if self._codec is not None:
            self.frames += 1
            self.delivered += len(self._codec.encode(frame)) * len(receivers)
        for name in receivers:
            if name in self.nodes and (name != self.deaf or name == frame.sender):
                self._deliver(self.nodes[name], frame)

    def _deliver(self, node: Node, frame: Frame) -> None:
        for event in node.receive(frame, self.now):
            if isinstance(event, Deliver):
                answer = _answer(node, event)
                if answer is not None:
                    node.submit(answer)

    def cost(self, what: Callable[[], object], seconds: float) -> tuple[int, float]:
        """Return the frames and the MB out of the broker of an event and what follows it."""
        self.frames = self.delivered = 0
        what()
        self.run(seconds)
        return self.frames, self.delivered / 1e6

    def let_end(self, workers: int) -> None:
        """Let so many workers start and end, in good order, a hundred in each interval."""
        for number in range(workers):
            if number % 100 == 0:
                self.run(HEARTBEAT)
            name = self.add()
            self._pump()
            self.nodes[name].submit(Goodbye())
            self._pump()
            del self.nodes[name]
            for node in self.nodes.values():
                node.take_met()  # as the driver does


def _answer(node: Node, event: Deliver) -> Done | Reply | None:
    operation = event.operation
    if isinstance(operation, Query):
        return Reply(event.sender, event.number, (), (3,), last=True)
    if isinstance(operation, Change):
        own = sum(owner_of(sid) == node.name for sid in operation.sids)
        return Done(event.sender, event.number, own, 0, ()) if own else None
    return None


def table(workers: int) -> None:
    """Print what each event costs in a cluster of this size."""
    scale = Scale(workers)
    caller, other = list(scale.nodes)[-2:]
    node = scale.nodes[caller]
    leave = Change("leave", "/", (new_sid(other),), ("room",))
    targets = {other: leave.sids}
    emit = Emit("/", ("x" * 1024,), ("room",), (), 0)

    def miss() -> None:
        scale.deaf = other
        for _ in range(1000):
            node.submit(emit)
        scale.run(STEP)
        scale.deaf, scale.frames, scale.delivered = "", 0, 0

    def ask() -> None:
        node.call(Query("count", "/", "room"), None, scale.now)

    events: dict[str, tuple[Callable[[], object], float]] = {
        HEARTBEATS: (lambda: None, HEARTBEAT),
        "one leave": (lambda: node.call(leave, targets, scale.now), 0.1),
        "one broadcast of 1 KiB": (lambda: node.submit(emit), 0.1),
        "one count": (ask, 0.1),
        MISSED: (miss, HEARTBEAT),
        JOIN: (scale.add, 0.5),
    }
    for name, (what, seconds) in events.items():
        frames, megabytes = scale.cost(what, seconds)
        goal = GOALS.get(name, {}).get(workers, "")
        print(f"| {workers} | {name} | {frames:,} | {megabytes:,.3f} | {goal} |", flush=True)


def table_of_ended() -> None:
    """Print what a worker keeps of others that have ended."""
    print("| workers that have ended | KB that another one keeps of them |\n|---|---|")
    scale = Scale(1)
    tracemalloc.start()
    before, ended = _traced(), 0
    for workers in (100, 1_000, 10_000):
        scale.let_end(workers - ended)
        ended = workers
        print(f"| {workers:,} | {(_traced() - before) / 1e3:,.1f} |", flush=True)


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main() -> None:
    """Print the table."""
    if sys.argv[1:] == ["ended"]:
        table_of_ended()
        return
    print("| workers | event | frames | MB out of the broker | goal |\n|---|---|---|---|---|")
    for workers in map(int, sys.argv[1:] or ["2", "32", "128", "512"]):
        table(workers)


if __name__ == "__main__":
    main()
