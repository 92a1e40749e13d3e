"""The frames that a worker sends and reads are those that wsproto would make, and would read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    TextMessage,
)

from flask_rooms.server.frames import FrameReader, frame_of

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

MASK = b"\x01\x80\x37\xff"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 2**16 - 1, 2**16, 2**17])
def test_each_length_has_its_form(size: int) -> None:
    peer = Connection(ConnectionType.SERVER)

    assert frame_of("x" * size) == peer.send(TextMessage("x" * size))
    assert frame_of(b"x" * size) == peer.send(BytesMessage(b"x" * size))


def test_a_text_is_measured_in_bytes() -> None:
    text = "\N{GREEK SMALL LETTER ALPHA}" * 100

    assert frame_of(text) == Connection(ConnectionType.SERVER).send(TextMessage(text))


# -- what clients send ------------------------------------------------------------------------


def client_frame(first: int, payload: bytes, form: int = 0, mask: bytes = MASK) -> bytes:
    """Return a frame; *form* is how many bytes its size takes, at least, besides the second."""
    size = len(payload)
    form = max(form, 0 if size < 126 else 2 if size < 2**16 else 8)
    code = {0: size, 2: 126, 8: 127}[form] | (0x80 if mask else 0)
    masked = bytes(one ^ mask[at % 4] for at, one in enumerate(payload)) if mask else payload
    extended = size.to_bytes(form, "big") if form else b""
    return bytes((first, code)) + extended + mask + masked


def chunks(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Yield the parts in which data are read."""
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


class Theirs:
    """What wsproto alone makes of what a client sends."""

    def __init__(self) -> None:
        self._frames = Connection(ConnectionType.SERVER)
        self.receive = self._frames.receive_data

    def next(self) -> Event | None:
        for event in self._frames.events():
            return event
        return None


def read(reader: Any, data: bytes, sizes: Iterable[int]) -> list[tuple[str, Any]]:
    """Return what a reader makes of data, up to the first thing that ends the connection."""
    found: list[tuple[str, Any]] = []
    pieces: list[Any] = []
    for chunk in chunks(data, sizes):
        if not chunk:
            continue  # to wsproto it is the end of the connection
        reader.receive(chunk)
        while (event := reader.next()) is not None:
            if isinstance(event, str | bytes):
                found.append(("message", event))
            elif isinstance(event, Message):
                pieces.append(event.data if isinstance(event.data, str) else bytes(event.data))
                if event.message_finished:
                    found.append(("message", type(pieces[0])().join(pieces)))
                    pieces = []
            elif isinstance(event, Ping | Pong):
                found.append((type(event).__name__, bytes(event.payload)))
            elif isinstance(event, CloseConnection):
                return [*found, ("close", int(event.code))]
    return [*found, ("open", pieces)]


def both(data: bytes, sizes: Iterable[int] = ()) -> tuple[list[Any], list[Any]]:
    """Return what this and wsproto make of data."""
    sizes = list(sizes)
    ours = FrameReader()
    return read(ours, data, sizes), read(Theirs(), data, sizes)


TEXT, BYTES, MORE, PING, PONG, CLOSE = 0x81, 0x82, 0x80, 0x89, 0x8A, 0x88
HELLO = client_frame(TEXT, b"hello")

SEQUENCES = {
    "one message": HELLO,
    "two at once": HELLO + client_frame(BYTES, b"\x00\xff"),
    "an empty message": client_frame(TEXT, b""),
    "the longest short one": client_frame(TEXT, b"x" * 125),
    "the shortest long one": client_frame(TEXT, b"x" * 126),
    "the longest long one": client_frame(BYTES, b"x" * (2**16 - 1)),
    "a longer one": client_frame(BYTES, b"x" * 2**16),
    "a text that is longer in bytes": client_frame(TEXT, ("\u00e9" * 70).encode()),
    "a message in pieces": client_frame(0x01, b"hel") + client_frame(MORE, b"lo") + HELLO,
    "a ping between pieces": client_frame(0x01, b"hel")
    + client_frame(PING, b"?")
    + client_frame(MORE, b"lo")
    + HELLO,
    "a message between pieces": client_frame(0x01, b"hel") + HELLO,
    "a piece of nothing": client_frame(MORE, b"lo") + HELLO,
    "a ping": client_frame(PING, b"?") + HELLO,
    "a pong": client_frame(PONG, b"!") + HELLO,
    "a close": client_frame(CLOSE, b"\x03\xe8") + HELLO,
    "no mask": client_frame(TEXT, b"hello", mask=b"") + HELLO,
    "a long one without a mask": client_frame(TEXT, b"x" * 300, mask=b"") + HELLO,
    "a reserved bit": client_frame(0xC1, b"hello") + HELLO,
    "an unknown kind": client_frame(0x83, b"hello") + HELLO,
    "a size that is not in the shortest form": client_frame(TEXT, b"hello", form=2) + HELLO,
    "a size in eight bytes": client_frame(TEXT, b"x" * 200, form=8) + HELLO,
    "a text that is none": client_frame(TEXT, b"\xff") + HELLO,
    "a text with half a character": client_frame(TEXT, b"\xc3") + HELLO,
    "a size beyond all bounds": bytes((TEXT, 0xFF)) + b"\xff" * 8 + MASK + HELLO,
    "nothing of a frame but its beginning": HELLO + bytes((TEXT,)),
    "a frame that is not whole": HELLO[:-1],
}


@pytest.mark.parametrize("data", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 2**20], ids="in parts of {}".format)
def test_what_a_client_sends_is_read_as_wsproto_reads_it(data: bytes, size: int) -> None:
    ours, theirs = both(data, [size] * (len(data) // size))

    assert ours == theirs


def test_what_is_compared_is_what_was_sent() -> None:
    """Else both might be wrong in the same way."""
    pieces = client_frame(0x01, b"hel") + client_frame(PING, b"?") + client_frame(MORE, b"lo")

    assert both(HELLO + pieces)[0] == [
        ("message", "hello"),
        ("Ping", b"?"),
        ("message", "hello"),
        ("open", []),
    ]
    assert both(client_frame(TEXT, b"\xff") + HELLO)[0] == [("close", 1007)]
    assert both(client_frame(TEXT, b"hello", mask=b""))[0] == [("close", 1002)]


any_frame = st.builds(
    client_frame,
    st.sampled_from([TEXT, BYTES, 0x01, 0x02, 0x00, MORE, PING, PONG, CLOSE, 0xC1, 0x83, 0x09]),
    st.binary(max_size=140) | st.text(max_size=60).map(str.encode),
    st.sampled_from([0, 0, 0, 2, 8]),
    st.just(b"") | st.binary(min_size=4, max_size=4),
)


@given(
    st.lists(any_frame | st.binary(max_size=20), max_size=6).map(b"".join),
    st.lists(st.integers(1, 200), max_size=20),
)
@example(client_frame(0x01, b"") + HELLO, [])
@settings(deadline=None, max_examples=300)
def test_anything_that_a_client_sends_is_read_as_wsproto_reads_it(
    data: bytes, sizes: list[int]
) -> None:
    # wsproto refuses a frame after two bytes, which is looked at here once its whole head has come.
    ours, theirs = both(data + bytes(16), sizes)

    assert ours == theirs


def test_what_has_not_arrived_is_not_kept_here() -> None:
    """A frame may be of any size: how much of it is kept the reader of the WebSocket decides."""
    incoming = FrameReader()
    incoming.receive(client_frame(BYTES, b"x" * 2**20)[: 2**14])

    event = incoming.next()

    assert isinstance(event, Message)
    assert not event.message_finished
    assert incoming.next() is None
    assert incoming._received == b""


def test_it_is_empty_when_all_that_has_arrived_was_returned() -> None:
    reader = FrameReader()
    one, other = client_frame(0x81, b"one"), client_frame(0x81, b"other")

    reader.receive(one + other[:3])
    assert reader.next() == "one"
    assert not reader.is_empty  # the beginning of another
    reader.receive(other[3:])
    assert reader.next() == "other"
    assert reader.is_empty
