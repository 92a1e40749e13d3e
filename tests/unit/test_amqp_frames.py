"""Messages are put together from frames, and what has arrived is read at once."""

from __future__ import annotations

import socket
from struct import pack
from typing import Any

import pytest
from amqp import spec
from amqp.exceptions import UnexpectedFrame
from amqp.transport import TCPTransport

from flask_rooms.backends.amqp_frames import Inbound, read_ahead

pytestmark = pytest.mark.mode_independent

DELIVER = pack(">HH", *spec.Basic.Deliver) + b"what nobody reads"


class Connection:
    """As much of py-amqp's connection as its handler of frames needs."""

    bytes_recv = 0


@pytest.fixture
def taken() -> list[bytes]:
    return []


@pytest.fixture
def methods() -> list[Any]:
    return []


@pytest.fixture
def inbound(taken: list[bytes], methods: list[Any]) -> Inbound:
    inbound = Inbound(Connection(), lambda *method: methods.append(method))
    inbound.takes = {1: taken.append, 2: taken.append}
    return inbound


def header(size: int) -> bytes:
    """Return the header of a message whose properties nobody can decode."""
    return pack(">HHQ", 60, 0, size) + b"\xff\xff\xff\xff"


def test_a_message_is_complete_with_its_last_frame(inbound: Inbound, taken: list[bytes]) -> None:
    """Its body may come in several, and with those of another channel between them."""
    frames = [
        (1, 1, DELIVER),
        (2, 1, header(6)),
        (1, 2, DELIVER),
        (3, 1, b"abc"),
        (2, 2, header(1)),
        (3, 2, b"x"),
        (8, 0, b""),
        (3, 1, b"def"),
    ]
    complete = [inbound(frame) for frame in frames]

    assert taken == [b"x", b"abcdef"]
    assert [number for number, is_complete in enumerate(complete) if is_complete] == [5, 7]


def test_an_empty_message_has_no_body(inbound: Inbound, taken: list[bytes]) -> None:
    assert [inbound((1, 1, DELIVER)), inbound((2, 1, header(0)))] == [False, True]
    assert taken == [b""]


def test_a_message_that_is_taken_on_no_channel_is_dropped(
    inbound: Inbound, taken: list[bytes]
) -> None:
    for frame in ((1, 3, DELIVER), (2, 3, header(1)), (3, 3, b"x")):
        inbound(frame)
    assert taken == []


def test_all_other_frames_are_left_to_py_amqp(inbound: Inbound, methods: list[Any]) -> None:
    cancel = pack(">HH", *spec.Basic.Cancel) + b"..."
    assert inbound((1, 1, cancel))
    assert methods == [(1, spec.Basic.Cancel, cancel, None)]
    with pytest.raises(UnexpectedFrame):
        inbound((3, 1, b"a body of nothing"))


def test_what_has_arrived_is_read_at_once() -> None:
    """In one system call, not in nine, for the three frames of a message."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = TCPTransport("localhost")
        transport.sock = ours
        transport._setup_transport()
        read_ahead(transport)
        bodies = [b"one", b"two", b"x" * 10_000]
        theirs.sendall(b"".join(pack(">BHI", 3, 1, len(one)) + one + b"\xce" for one in bodies))

        assert transport.read_frame() == (3, 1, b"one")
        assert b"two" not in ours.recv(2**16, socket.MSG_PEEK)  # but kept
        assert [transport.read_frame() for _ in bodies[1:]] == [(3, 1, one) for one in bodies[1:]]
