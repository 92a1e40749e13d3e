"""No signed and well-formed frame, whatever it states, stops a node."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flask_rooms.errors import BackendUnavailable
from flask_rooms.protocol.codec import BadMessage, Codec, decode_operation
from flask_rooms.protocol.messages import Emit, Frame
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.stream import Limits
from flask_rooms.protocol.views import Views
from tests.unit.protocol.test_codec import CODEC, MAX_SIZE, frames, numbers

pytestmark = pytest.mark.mode_independent

HEARTBEAT, CONFIRM = 2.0, 5.0
LIMITS = Limits(outbox=10_000, log=10_000, frame=MAX_SIZE)

names = st.sampled_from(["me", "other", "third", ""])
#: Digests of nobody, and of workers that the node may know.
views = st.sampled_from([0, Views("me").own, Views("other").own]) | numbers


@st.composite
def hostile(draw: st.DrawFn) -> Frame:
    """Any frame, but from and about workers that the node may know."""
    frame: Frame = draw(frames)
    dead = draw(st.lists(names, max_size=2).map(tuple))
    heartbeat = frame.heartbeat and replace(frame.heartbeat, dead=dead, view=draw(views))
    listed = draw(st.none() | st.lists(names, max_size=4).map(tuple))
    direct = frame.direct and replace(frame.direct, view=draw(views), names=listed)
    first = draw(st.integers(1, 3) | numbers)
    to = draw(st.sampled_from(["", "me", "other"]))
    return replace(
        frame, sender=draw(names), first=first, heartbeat=heartbeat, to=to, direct=direct
    )


@settings(deadline=None)
@given(st.lists(st.tuples(hostile(), st.floats(0, 10)), max_size=20))
def test_a_node_receives_anything_and_can_still_send(received: list[tuple[Frame, float]]) -> None:
    node = Node("me", 0.0, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=LIMITS)
    now = 0.0
    for frame, later in received:
        now += later
        node.receive(through(CODEC, frame), now)
        node.tick(now)
        sent = node.take(now)
        assert sent is None or through(CODEC, sent) == sent

    hello = Emit("/", ("hello",), ("room",), (), 0)
    try:
        number = node.submit(hello)
    except BackendUnavailable:
        return
    node.on_reconnect(now)
    while sent := node.take(now):
        operations = dict(enumerate(sent.operations, sent.first))
        if number in operations:
            assert decode_operation(operations[number]) == hello
            return
    raise AssertionError("what was submitted is not sent")


def through(codec: Codec, frame: Frame) -> Frame:
    """Return a frame as it is received, or an empty one if it cannot be sent."""
    try:
        return codec.decode(codec.encode(frame))
    except BadMessage:
        return Frame("unmet", 1)
