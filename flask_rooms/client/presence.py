"""The lists of those who are present in rooms, as the server tells them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flask_rooms.client.logs import log_failure

#: How many differences of a room wait for the list, or for a difference before them. What comes
#: over a connection comes whole, so that a gap is closed at once; but the list of a room that was
#: joined before it is followed never comes.
MAX_EARLY = 1000


@dataclass(frozen=True)
class PresenceDifference:
    """
    How a list of those who are present differs from the one before it.

    A person is a dictionary: `user`, the ID of the user, or None; `since`, in seconds since 1970;
    `data`, what is known of the person's sockets, the same only once; and without a user
    `socket`, the ID of the socket.

    Args:
        joined: The people who are new.
        changed: Those whose data have changed, as they are now.
        left: Those who are gone, as they were.
    """

    joined: list[dict[str, Any]]
    changed: list[dict[str, Any]]
    left: list[dict[str, Any]]


#: Takes the people who are present, and how that differs from the list before.
OnPresence: TypeAlias = "Callable[[list[dict[str, Any]], PresenceDifference], object]"


@dataclass
class _List:
    """
    The list of a room.

    Args:
        connection: The connection that it has come over.
        version: The number of the latest difference in it; -2 before the first list.
        people: Those who are present.
        early: The differences that wait, by connection and number.
    """

    connection: str | None = None
    version: int = -2
    people: dict[Any, dict[str, Any]] = field(default_factory=dict)
    early: dict[tuple[str | None, int], dict[str, Any]] = field(default_factory=dict)


class PresenceLists:
    """The lists of those who are present in rooms, as the server tells them."""

    def __init__(self) -> None:
        # A client of python-socketio handles each event in a thread of its own: they come in any
        # order, and at once.
        self._lock = threading.Lock()
        self._lists: dict[str, _List] = {}
        self._callbacks: dict[str, list[OnPresence]] = {}
        self._due: deque[tuple[str, list[dict[str, Any]], PresenceDifference]] = deque()
        self._is_calling = False  # in one of the threads

    def follow(self, room: str, callback: OnPresence) -> Callable[[], None]:
        """Call *callback* with the lists of a room; return a function that ends it."""
        callbacks = self._callbacks.setdefault(room, [])
        callbacks.append(callback)

        def end() -> None:
            with suppress(ValueError):  # it has been ended already
                callbacks.remove(callback)

        return end

    def replace(self, state: dict[str, Any], connection: str | None) -> None:
        """
        Take in a whole list, unless a later one is there.

        Args:
            state: What the server has sent.
            connection: The ID of the connection that it came over.
        """
        with self._lock:
            self._replace(state["room"], state, connection)
        self._call_back()

    def change(self, told: dict[str, Any], connection: str | None) -> None:
        """
        Take in a difference, once all before it have come; the arguments are those of replace().
        """
        with self._lock:
            self._change(told["room"], told, connection)
        self._call_back()

    def _replace(self, room: str, state: dict[str, Any], connection: str | None) -> None:
        before, version = self._lists.get(room, _List()), state["version"]
        if connection == before.connection and version < before.version:
            return
        people = {_name(person): person for person in state["people"]}
        early = {
            key: told
            for key, told in before.early.items()
            if key[0] == connection and key[1] > version
        }
        self._lists[room] = now = _List(connection, version, people, early)
        self._due.append((room, list(people.values()), _compare(before.people, people)))
        self._catch_up(room, now)

    def _change(self, room: str, told: dict[str, Any], connection: str | None) -> None:
        one = self._lists.setdefault(room, _List())
        if connection == one.connection and told["version"] <= one.version:
            return  # it is in the list
        one.early[connection, told["version"]] = told
        if len(one.early) > MAX_EARLY:
            del one.early[next(iter(one.early))]
        self._catch_up(room, one)

    def _catch_up(self, room: str, one: _List) -> None:
        """Take in the differences that have waited for what has come."""
        while told := one.early.pop((one.connection, one.version + 1), None):
            one.version += 1
            one.people.update(
                (_name(person), person) for person in told["joined"] + told["changed"]
            )
            for person in told["left"]:
                one.people.pop(_name(person), None)
            difference = PresenceDifference(told["joined"], told["changed"], told["left"])
            self._due.append((room, list(one.people.values()), difference))

    def _call_back(self) -> None:
        """Call back, one call at a time and in order; another thread may be at it, and goes on."""
        with self._lock:
            if self._is_calling:
                return
            self._is_calling = True
        try:
            while (due := self._next()) is not None:
                self._tell(*due)
        except BaseException:  # as when the thread is ended; the next event goes on
            self._is_calling = False
            raise

    def _next(self) -> tuple[str, list[dict[str, Any]], PresenceDifference] | None:
        with self._lock:
            # In the same moment, so that no other thread leaves what it adds to this one.
            self._is_calling = bool(self._due)
            return self._due.popleft() if self._due else None

    def _tell(
        self, room: str, people: list[dict[str, Any]], difference: PresenceDifference
    ) -> None:
        for callback in list(self._callbacks.get(room, ())):
            try:
                callback(list(people), difference)
            except Exception as error:  # noqa: BLE001 - logged
                log_failure("A callback of presence() has failed.", error)


def _compare(
    before: dict[Any, dict[str, Any]], now: dict[Any, dict[str, Any]]
) -> PresenceDifference:
    return PresenceDifference(
        [person for name, person in now.items() if name not in before],
        [person for name, person in now.items() if before.get(name, person) != person],
        [person for name, person in before.items() if name not in now],
    )


def _name(person: dict[str, Any]) -> tuple[str | None, str | None]:
    return person["user"], person.get("socket")
