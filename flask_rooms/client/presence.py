"""The lists of those who are present in rooms, as the server tells them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias


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


class PresenceLists:
    """The lists of those who are present in rooms, as the server tells them."""

    def __init__(self) -> None:
        self._lists: dict[str, tuple[int, dict[Any, dict[str, Any]]]] = {}
        self._callbacks: dict[str, list[OnPresence]] = {}

    def follow(self, room: str, callback: OnPresence) -> Callable[[], None]:
        """Call *callback* with the lists of a room; return a function that ends it."""
        callbacks = self._callbacks.setdefault(room, [])
        callbacks.append(callback)

        def end() -> None:
            with suppress(ValueError):  # it has been ended already
                callbacks.remove(callback)

        return end

    def replace(self, state: dict[str, Any]) -> None:
        """Take in a whole list."""
        _, before = self._lists.get(state["room"], (0, {}))
        now = {_name(person): person for person in state["people"]}
        self._lists[state["room"]] = state["version"], now
        difference = PresenceDifference(
            [person for name, person in now.items() if name not in before],
            [person for name, person in now.items() if before.get(name, person) != person],
            [person for name, person in before.items() if name not in now],
        )
        self._tell(state["room"], now, difference)

    def change(self, told: dict[str, Any]) -> None:
        """Take in a difference, unless its list is still on its way."""
        version, people = self._lists.get(told["room"], (-2, {}))
        if told["version"] != version + 1:
            return
        difference = PresenceDifference(told["joined"], told["changed"], told["left"])
        people.update((_name(person), person) for person in told["joined"] + told["changed"])
        for person in told["left"]:
            people.pop(_name(person), None)
        self._lists[told["room"]] = told["version"], people
        self._tell(told["room"], people, difference)

    def _tell(
        self, room: str, people: dict[Any, dict[str, Any]], difference: PresenceDifference
    ) -> None:
        for callback in list(self._callbacks.get(room, ())):
            callback(list(people.values()), difference)


def _name(person: dict[str, Any]) -> tuple[str | None, str | None]:
    return person["user"], person.get("socket")
