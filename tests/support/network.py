"""Nodes that exchange frames by hand: what one sends all receive, unless they are left out."""

from __future__ import annotations

from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.events import Deliver, Event, Evicted, VerifyCount
from flask_rooms.protocol.messages import FENCE, Change, Done, Emit, Frame, Heartbeat, Query, Reply
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.stream import Limits

HEARTBEAT, CONFIRM = 2.0, 5.0
#: Seconds after which a node knows every other one without being told.
SETTLING = 4 * HEARTBEAT
SMALL = Limits(outbox=10_000, log=10_000, frame=1_000)
WIDE = Limits(outbox=10_000, log=100_000, frame=1_000)

#: What each frame has to pass through.
WIRE = Codec(["of the tests"], "tests", 1_000_000)


def make_node(
    name: str, now: float = 0.0, limits: Limits = WIDE, heartbeat: float = HEARTBEAT
) -> Node:
    """Return a node with the timeout of the tests."""
    return Node(name, now, heartbeat=heartbeat, confirm=CONFIRM, limits=limits)


class Network:
    """
    Some nodes, which share one clock.

    *deaf* nodes receive nothing, and *mute* ones are received by themselves only.

    Args:
        names: Nodes to add, one after the other has met all before.
    """

    def __init__(self, *names: str) -> None:
        self.now = 1000.0
        self.nodes: dict[str, Node] = {}
        self.events: dict[str, list[Event]] = {}
        self.frames: list[Frame] = []  # all that were sent
        self._beats: dict[str, Heartbeat] = {}
        for name in names:
            self.add(name)
            self.exchange()

    def add(self, name: str, limits: Limits = SMALL, heartbeat: float = HEARTBEAT) -> Node:
        """Add a node, which has sent nothing yet."""
        node = make_node(name, self.now, limits, heartbeat)
        self.nodes[name], self.events[name] = node, []
        return node

    def exchange(self, *, deaf: tuple[str, ...] = (), mute: tuple[str, ...] = ()) -> None:
        """Let all nodes send what they have to send, until all are quiet for a while."""
        quiet_since = self.now
        while self.now - quiet_since < 0.1:
            for name in self.nodes:
                if self.send(name, deaf=deaf, mute=mute):
                    quiet_since = self.now
            self.now += 0.01

    def send(self, name: str, *, deaf: tuple[str, ...] = (), mute: tuple[str, ...] = ()) -> bool:
        """Let a node send a frame; False when it has nothing to send."""
        frame = self.nodes[name].take(self.now)
        if frame is None:
            return False
        assert WIRE.decode(WIRE.encode(frame)) == frame
        self.frames.append(frame)
        if frame.heartbeat is not None:
            self._beats[name] = frame.heartbeat
        for other in self.nodes:
            if other not in deaf and (name not in mute or other == name):
                self.deliver(other, frame)
        return True

    def take(self, name: str) -> Frame:
        """Return the frame that a node has to send, without delivering it."""
        frame = self.nodes[name].take(self.now)
        assert frame is not None
        return frame

    def deliver(self, name: str, frame: Frame) -> list[Event]:
        """Let a node receive a frame, and answer the calls in it; time passes as in the driver."""
        node = self.nodes[name]
        events = node.receive(frame, self.now) + node.tick(self.now)
        self.events[name] += events
        for event in events:
            if isinstance(event, Deliver) and isinstance(event.operation, Change):
                own = [sid for sid in event.operation.sids if sid.startswith(f"{name}_")]
                done = len(own) if event.operation.source is None else 1
                node.submit(Done(event.sender, event.number, done, 0, ()))
            elif isinstance(event, Deliver) and isinstance(event.operation, Query):
                for page in (f"{name} 1", f"{name} 2"):
                    last = page.endswith("2")
                    node.submit(Reply(event.sender, event.number, (page,), (), last))
            elif isinstance(event, VerifyCount):
                node.call(FENCE, None, self.now)
        return events

    def advance(self, seconds: float, **left_out: tuple[str, ...]) -> None:
        """Let time pass, heartbeat by heartbeat."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + HEARTBEAT, end)
            for name, node in self.nodes.items():
                self.events[name] += node.tick(self.now)
            self.exchange(**left_out)

    def call(self, name: str, *owners: str) -> int:
        """Let a node call for one socket of each of the owners to leave a room."""
        sids = {owner: (f"{owner}_s",) for owner in owners}
        change = Change("leave", "/", tuple(f"{owner}_s" for owner in owners), ("room",))
        number, events = self.nodes[name].call(change, sids, self.now)
        self.events[name] += events
        return number

    def broadcast(self, name: str) -> int:
        """Let a node send an event to all sockets."""
        return self.nodes[name].submit(Emit("/", (), None, (), 0))

    def call_all(self, name: str) -> int:
        """Let a node call for all members to leave a room."""
        change = Change("leave_all", "/", (), (), source="room")
        number, events = self.nodes[name].call(change, None, self.now)
        self.events[name] += events
        return number

    def query(self, name: str) -> int:
        """Let a node query the members of a room."""
        number, events = self.nodes[name].call(Query("members", "/", "room"), None, self.now)
        self.events[name] += events
        return number

    def applied(self, name: str) -> list[tuple[str, int]]:
        """Return sender and number of each operation that a node has applied."""
        return [(e.sender, e.number) for e in self.events[name] if isinstance(e, Deliver)]

    def outcome(self, name: str) -> Completed | TimedOut:
        """Return the one outcome that a node has got."""
        outcomes = [e for e in self.events[name] if isinstance(e, Completed | TimedOut)]
        assert len(outcomes) == 1
        return outcomes[0]

    def has_completed(self, name: str) -> bool:
        """Whether a call of a node has completed."""
        return any(isinstance(event, Completed) for event in self.events[name])

    def oldest(self, name: str) -> int:
        """Return the first operation in a node's repair log, by its last heartbeat."""
        return self._beats[name].oldest

    def beat(self, name: str) -> int:
        """Return the number of a node's last heartbeat."""
        return self._beats[name].beat

    def evicted(self) -> set[str]:
        """Return the nodes that are evicted."""
        events = self.events.items()
        return {name for name, all_ in events if any(isinstance(one, Evicted) for one in all_)}
