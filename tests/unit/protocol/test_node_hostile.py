"""Whatever a frame says that is signed and well-formed: a node takes it in, and goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rooms.errors import BackendUnavailable
from flask_rooms.protocol.codec import BadMessage, Codec, decode_operation
from flask_rooms.protocol.messages import Emit, Frame
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.stream import Limits
from tests.unit.protocol.test_messages import CODEC, MAX_SIZE, frames, numbers

pytestmark = pytest.mark.mode_independent

HEARTBEAT, CONFIRM = 2.0, 5.0
LIMITS = Limits(outbox=10_000, log=10_000, frame=MAX_SIZE)

names = st.sampled_from(["me", "other", "third", ""])
knows = st.dictionaries(names, numbers, max_size=4)


@st.composite
def hostile(draw: st.DrawFn) -> Frame:
    """Any frame, but of a worker that matters, and about workers that do."""
    frame: Frame = draw(frames)
    heartbeat = frame.heartbeat and replace(frame.heartbeat, stream_starts=draw(knows))
    first = draw(st.integers(1, 3) | numbers)
    return replace(frame, sender=draw(names), first=first, heartbeat=heartbeat, nacks=draw(knows))


@settings(deadline=None)
@given(st.lists(st.tuples(hostile(), st.floats(0, 10)), max_size=20))
def test_a_node_takes_in_anything_and_can_still_speak(heard: list[tuple[Frame, float]]) -> None:
    node = Node("me", 0.0, heartbeat=HEARTBEAT, confirm=CONFIRM, limits=LIMITS)
    now = 0.0
    for frame, later in heard:
        now += later
        node.receive(through(CODEC, frame), now)
        node.tick(now)
        said = node.take(now)
        assert said is None or through(CODEC, said) == said

    hello = Emit("/", ("hello",), ("room",), (), 0)
    try:
        number = node.submit(hello)
    except BackendUnavailable:
        return
    node.on_reconnect(now)
    while said := node.take(now):
        sent = dict(enumerate(said.operations, said.first))
        if number in sent:
            assert decode_operation(sent[number]) == hello
            return
    raise AssertionError("what is said is not sent")


def through(codec: Codec, frame: Frame) -> Frame:
    """Return what is heard of a frame; those that nobody can send are not interesting."""
    try:
        return codec.decode(codec.encode(frame))
    except BadMessage:
        return Frame("nobody", 1, (), None, {})
