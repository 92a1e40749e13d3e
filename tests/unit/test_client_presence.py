"""Lists of a Python client, with events in an order that a real server makes seldom."""

from __future__ import annotations

from typing import Any

import pytest

from flask_rooms.client.presence import MAX_EARLY, PresenceLists

pytestmark = pytest.mark.mode_independent

ROOM = "team:1"


class Lists:
    """The lists of one room, as lists of users."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self._lists = PresenceLists()
        self._lists.follow(
            ROOM, lambda people, difference: self.seen.append([one["user"] for one in people])
        )

    def replace(self, connection: str, version: int, *users: str) -> None:
        """Take in a list."""
        people = [person(user) for user in users]
        self._lists.replace({"room": ROOM, "version": version, "people": people}, connection)

    def join(self, connection: str, version: int, user: str) -> None:
        """Take in a difference."""
        told = {"room": ROOM, "version": version, "joined": [person(user)]}
        self._lists.change({**told, "changed": [], "left": []}, connection)


def person(user: str) -> dict[str, Any]:
    return {"user": user, "since": 1.0, "data": []}


def test_differences_of_two_connections_are_not_mixed() -> None:
    lists = Lists()
    lists.replace("first", 5, "ann")
    lists.join("first", 8, "not of the next list")
    lists.join(
        "second", 6, "bob"
    )  # of the next list, which has happened to come at the same number
    assert lists.seen == [["ann"]]

    lists.replace("second", 5, "eve")
    lists.join("second", 7, "tom")

    assert lists.seen[1:] == [["eve"], ["eve", "bob"], ["eve", "bob", "tom"]]


def test_differences_without_a_list_are_kept_within_a_bound() -> None:
    lists = Lists()
    for version in range(1, MAX_EARLY + 2):
        lists.join("first", version, f"user{version}")

    lists.replace("first", 1)

    assert len(lists.seen) == MAX_EARLY + 1
    assert lists.seen[1] == ["user2"]

    lists = Lists()
    for version in range(1, MAX_EARLY + 2):
        lists.join("first", version, f"user{version}")
    lists.replace("first", 0)

    assert lists.seen == [[]]  # the first one is no longer there
