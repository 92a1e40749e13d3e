"""What Redis sends is read as it was sent, in whatever pieces it arrives."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rooms.backends.resp import RedisError, Replies, Reply

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

MESSAGE = b">3\r\n$7\r\nmessage\r\n$5\r\ntopic\r\n$8\r\n\x00a\r\nb\r\n\xff\r\n"
PAYLOAD = b"\x00a\r\nb\r\n\xff"


class Redis:
    """The other end of a connection."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._theirs = theirs
        self.replies = Replies(theirs)

    def send(self, data: bytes) -> None:
        self._ours.sendall(data)

    def hang_up(self) -> None:
        self._ours.close()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def received(self) -> list[Reply]:
        """Return what has arrived."""
        found = []
        while (reply := self.replies.next(0)) is not None:
            found.append(reply)
        return found


@pytest.fixture
def redis() -> Iterator[Redis]:
    redis = Redis()
    yield redis
    redis.close()


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (MESSAGE, Reply(True, [b"message", b"topic", PAYLOAD])),
        (MESSAGE.replace(b">", b"*", 1), Reply(False, [b"message", b"topic", PAYLOAD])),
        (b">3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n", Reply(True, [b"subscribe", b"t", b"1"])),
        (b":12\r\n", Reply(False, [b"12"])),
        (b"+OK\r\n", Reply(False, [b"OK"])),
        (b"$-1\r\n", Reply(False, [None])),
        (b"_\r\n", Reply(False, [b""])),
        (b"$0\r\n\r\n", Reply(False, [b""])),
        (b"*0\r\n", Reply(False, [])),
        (b"*-1\r\n", Reply(False, [])),
        (b"=7\r\ntxt:abc\r\n", Reply(False, [b"txt:abc"])),
        (b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n#t\r\n,1.5\r\n", Reply(False, [*b"a 1 b t 1.5".split()])),
        (b"*2\r\n*1\r\n~1\r\n:1\r\n(99\r\n", Reply(False, [b"1", b"99"])),
        (b"*2\r\n-ERR in a list\r\n:1\r\n", Reply(False, [b"ERR in a list", b"1"])),
    ],
)
def test_values_are_read(redis: Redis, sent: bytes, reply: Reply) -> None:
    redis.send(sent)

    assert redis.received() == [reply]


def encoded(value: Any) -> bytes:
    """Return a value as Redis sends it."""
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))
    if isinstance(value, dict):
        pairs = [encoded(key) + encoded(one) for key, one in value.items()]
        return b"%%%d\r\n" % len(pairs) + b"".join(pairs)
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def flat(value: Any) -> list[bytes | None]:
    """Return the values in a value."""
    if isinstance(value, list):
        return [inner for one in value for inner in flat(one)]
    if isinstance(value, dict):
        return [inner for pair in value.items() for one in pair for inner in flat(one)]
    return [b"%d" % value if isinstance(value, int) else value]


VALUES = st.recursive(
    st.none() | st.integers() | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(VALUES, max_size=5), st.lists(st.integers(1, 30)))
def test_replies_arrive_in_any_pieces(values: list[Any], sizes: list[int]) -> None:
    """Nothing of a reply is taken before all of it is there, and nothing is lost."""
    found, waits = [], b"".join(map(encoded, values))
    with closing(Redis()) as redis:
        for size in (*sizes, len(waits)):
            redis.send(waits[:size])
            waits = waits[size:]
            found += redis.received()

    assert found == [Reply(False, flat(value)) for value in values]


def test_a_large_message_is_read(redis: Redis) -> None:
    large = bytes(range(256)) * 2**10
    head = b">3\r\n$7\r\nmessage\r\n$5\r\ntopic\r\n$%d\r\n" % len(large)
    found = []
    for at in range(0, len(large), 2**15):
        redis.send((head if at == 0 else b"") + large[at : at + 2**15])
        found += redis.received()
    assert found == []
    redis.send(b"\r\n" + MESSAGE)

    assert [reply.values[2] for reply in redis.received()] == [large, PAYLOAD]


def test_an_error_is_raised_and_the_next_reply_is_read(redis: Redis) -> None:
    redis.send(b"-NOPERM \xff not\r\n:1\r\n")

    with pytest.raises(RedisError, match="NOPERM \N{REPLACEMENT CHARACTER} not"):
        redis.replies.next(0)
    assert redis.received() == [Reply(False, [b"1"])]


def test_what_is_pushed_is_no_answer(redis: Redis) -> None:
    redis.send(b">2\r\n+MOVING\r\n:30\r\n" + b":3\r\n")

    assert redis.replies.answer(0) == [b"3"]


def test_a_command_that_is_not_answered_fails(redis: Redis) -> None:
    redis.send(b":3\r")

    with pytest.raises(TimeoutError):
        redis.replies.answer(0)


def test_the_end_of_the_connection_is_an_error(redis: Redis) -> None:
    redis.send(MESSAGE + b":1")
    redis.hang_up()

    assert redis.replies.next(1) is not None
    with pytest.raises(ConnectionError, match="closed"):
        redis.replies.next(1)


@pytest.mark.parametrize("sent", [b"$x\r\n", b"*1.5\r\n", b"x" * (2**16 + 1)])
def test_what_is_not_redis_is_refused(redis: Redis, sent: bytes) -> None:
    redis.send(sent)

    with pytest.raises(ValueError, match=r"not Redis|invalid literal"):
        redis.replies.next(0)
