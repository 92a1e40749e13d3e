"""
The contract of `HistoryStore`, as a pytest suite for the authors of stores.

The whole test file of a store:

    class TestMyHistory(HistoryContract):
        @pytest.fixture
        def make_store(self):
            return lambda: MyHistory("my-database.example")
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TypeAlias
from uuid import uuid4

import pytest

from flask_rooms.history import Bounds, HistoryStore, Kept

__all__ = ["HistoryContract", "MakeHistory"]

#: Returns another object for the same store each time that it is called in a test.
MakeHistory: TypeAlias = "Callable[[], HistoryStore]"

_WIDE = Bounds(messages=1000, seconds=600, size=10_000_000)
#: Seconds that messages may take to expire that are kept for a moment.
_PATIENCE = 10.0


class HistoryContract:
    """The tests of a store; a subclass has a fixture `make_store`, a MakeHistory."""

    @pytest.fixture
    def stores(self, make_store: MakeHistory) -> Iterator[list[HistoryStore]]:
        """Two workers' objects for the same store."""
        with ExitStack() as stack:
            yield [stack.enter_context(closing(make_store())) for _ in range(2)]

    @pytest.fixture
    def room(self) -> str:
        """A room that no other test uses, with a name that needs care."""
        return f'/,room {uuid4().hex} "\N{SNOWMAN}" *:\n%7d'

    def test_all_workers_number_the_messages_of_a_room_together(
        self, stores: list[HistoryStore], room: str
    ) -> None:
        """The numbers are 1, 2, 3 for whichever worker; every worker reads all messages."""
        here, there = stores
        numbers = [one.append(room, b"%d" % i, _WIDE) for i, one in enumerate([here, there, here])]

        assert [number for _, number in numbers] == [1, 2, 3]
        (epoch,) = {epoch for epoch, _ in numbers}
        for store in stores:
            assert store.read(room, 0, _WIDE) == Kept(epoch, 3, [(1, b"0"), (2, b"1"), (3, b"2")])
            assert store.read(room, 2, _WIDE) == Kept(epoch, 3, [(3, b"2")])
            assert store.read(room, 3, _WIDE) == Kept(epoch, 3, [])
            assert store.read(room, 2**53, _WIDE) == Kept(epoch, 3, [])

    def test_the_epoch_of_a_room_that_was_only_read_stands(
        self, stores: list[HistoryStore], room: str
    ) -> None:
        """Who has read a room without messages has not missed anything until one comes."""
        here, there = stores
        epoch, last, messages = here.read(room, 0, _WIDE)

        assert (last, messages) == (0, [])
        assert there.read(room, 0, _WIDE).epoch == epoch
        assert there.append(room, b"first", _WIDE) == (epoch, 1)

    def test_rooms_have_their_own_numbers(self, stores: list[HistoryStore], room: str) -> None:
        """Neither numbers nor messages of one room appear in another."""
        here, there = stores
        here.append(room, b"here", _WIDE)

        for other in (room + "2", room + "/messages", room + "/numbers"):
            assert there.append(other, b"there", _WIDE)[1] == 1
            assert there.read(room, 0, _WIDE).messages == [(1, b"here")]
            assert here.read(other, 0, _WIDE).epoch != here.read(room, 0, _WIDE).epoch

    @pytest.mark.parametrize("message", [b"", bytes(range(256)), b"\xff" * 2**20])
    def test_a_message_is_any_bytes(
        self, stores: list[HistoryStore], room: str, message: bytes
    ) -> None:
        """A message is read as it was appended."""
        stores[0].append(room, message, _WIDE)

        assert stores[1].read(room, 0, _WIDE).messages == [(1, message)]

    def test_the_number_of_messages_is_bounded(self, stores: list[HistoryStore], room: str) -> None:
        """The oldest are forgotten, and the numbers go on."""
        bounds = _WIDE._replace(messages=3)
        for number in range(10):
            stores[number % 2].append(room, b"%d" % number, bounds)

        _, last, messages = stores[0].read(room, 0, bounds)
        assert (last, messages) == (10, [(8, b"7"), (9, b"8"), (10, b"9")])

    def test_their_size_is_bounded(self, stores: list[HistoryStore], room: str) -> None:
        """The oldest are forgotten, and a message that is larger is not kept at all."""
        bounds = _WIDE._replace(size=1000)
        here, there = stores
        for letter in (b"a", b"b", b"c"):
            here.append(room, 400 * letter, bounds)
        assert there.read(room, 0, bounds).messages == [(2, 400 * b"b"), (3, 400 * b"c")]

        there.append(room, 1001 * b"d", bounds)
        assert here.read(room, 0, bounds)[1:] == (4, [])
        here.append(room, 1000 * b"e", bounds)
        assert there.read(room, 0, bounds)[1:] == (5, [(5, 1000 * b"e")])

    def test_their_age_is_bounded_and_the_numbers_stay(
        self, stores: list[HistoryStore], room: str
    ) -> None:
        """A message that has expired is not read, and what comes later has the next number."""
        short = _WIDE._replace(seconds=0.1)
        epoch, _ = stores[0].append(room, b"old", short)
        deadline = time.monotonic() + _PATIENCE
        while stores[1].read(room, 0, short).messages:
            assert time.monotonic() < deadline, "the message does not expire"

        assert stores[1].append(room, b"new", _WIDE) == (epoch, 2)
        assert stores[0].read(room, 0, _WIDE) == Kept(epoch, 2, [(2, b"new")])

    def test_threads_of_all_workers_may_append_at_once(
        self, stores: list[HistoryStore], room: str
    ) -> None:
        """Each message has a number of its own, and the order of the numbers is that of reading."""
        numbers: dict[int, bytes] = {}

        def append(name: int) -> None:
            for i in range(10):
                message = b"%d %d" % (name, i)
                numbers[stores[name % 2].append(room, message, _WIDE)[1]] = message

        threads = [threading.Thread(target=append, args=[name]) for name in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert stores[0].read(room, 0, _WIDE).messages == sorted(numbers.items())
        assert sorted(numbers) == list(range(1, 121))

    def test_a_store_that_was_closed_connects_again(
        self, stores: list[HistoryStore], room: str
    ) -> None:
        """After close() the numbers go on, also if it was closed twice."""
        here, there = stores
        epoch, _ = here.append(room, b"before", _WIDE)
        here.close()
        here.close()
        here.ping()

        assert here.append(room, b"after", _WIDE) == (epoch, 2)
        assert there.read(room, 0, _WIDE).messages == [(1, b"before"), (2, b"after")]
