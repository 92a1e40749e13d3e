"""
Measure what a worker spends on messages that are for other workers.

    python -m benchmarks.skipped

One worker takes sockets of a second one out of a room. A third one, whom it does not concern,
receives these messages: from bytes to the events of its node, without a broker. Printed is the
least processor time of twenty rounds.
"""

from __future__ import annotations

import time

from benchmarks.scale import HEARTBEAT, Scale
from flask_rooms.protocol.codec import Codec
from flask_rooms.protocol.ids import new_sid
from flask_rooms.protocol.messages import Change

ROUNDS, CALLS = 20, 2000
CODEC = Codec(["key"], "skipped", 2**22)


def measure(together: int) -> float:
    """Return the microseconds that a message takes which carries so many leaves."""
    scale = Scale(3)
    caller, owner, other = scale.nodes.values()
    payloads = []
    for _ in range(CALLS // together):
        for _ in range(together):
            caller.submit(Change("leave", "/", (new_sid(owner.name),), ("a fun room",)))
        frame = caller.take(scale.now)
        assert frame is not None
        assert len(frame.operations) == together
        payloads.append(CODEC.encode(frame))
    began = time.thread_time()
    for payload in payloads:
        other.receive(CODEC.decode(payload), scale.now + HEARTBEAT)
    return (time.thread_time() - began) / len(payloads) * 1e6


def main() -> None:
    """Print the table."""
    print("| leaves in a message | us for a worker that they do not concern |")
    print("|---|---|")
    for together in (1, 10, 100):
        print(f"| {together} | {min(measure(together) for _ in range(ROUNDS)):.1f} |")


if __name__ == "__main__":
    main()
