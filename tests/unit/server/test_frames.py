"""The frames of messages that a worker sends are those that wsproto would make."""

from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from flask_rooms.server.websocket import frame_of

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 2**16 - 1, 2**16, 2**17])
def test_each_length_has_its_form(size: int) -> None:
    peer = Connection(ConnectionType.SERVER)

    assert frame_of("x" * size) == peer.send(TextMessage("x" * size))
    assert frame_of(b"x" * size) == peer.send(BytesMessage(b"x" * size))


def test_a_text_is_measured_in_bytes() -> None:
    text = "\N{GREEK SMALL LETTER ALPHA}" * 100

    assert frame_of(text) == Connection(ConnectionType.SERVER).send(TextMessage(text))
