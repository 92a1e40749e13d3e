"""What is registered with a Rooms, for each of the applications that it serves."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flask import Flask

from flask_rooms.history import Bounds
from flask_rooms.membership.guards import Guards
from flask_rooms.membership.rules import Rules
from flask_rooms.membership.users import Users
from flask_rooms.presence.tracker import Describe
from flask_rooms.server.hooks import Hooks
from flask_rooms.server.tells import TellHandler


@dataclass
class Registered:
    """What one application has registered."""

    guards: Guards = field(default_factory=Guards)
    presence: Rules[Describe] = field(default_factory=Rules)
    history: Rules[Bounds] = field(default_factory=Rules)
    users: Users = field(default_factory=Users)
    hooks: Hooks = field(default_factory=Hooks)
    handlers: dict[str, list[TellHandler]] = field(default_factory=dict)

    def copy(self) -> Registered:
        """Return the same for another application."""
        return Registered(
            self.guards.copy(),
            self.presence.copy(),
            self.history.copy(),
            Users(self.users.loader),
            Hooks([*self.hooks.before_connect], [*self.hooks.after_disconnect]),
            {event: [*handlers] for event, handlers in self.handlers.items()},
        )


class Registrations:
    """
    What is registered, for the applications that there are and for those to come.

    A factory registers its functions anew each time that it is called. They have what belongs to
    the application that it makes, so the former applications keep theirs. Whether it registers
    before or after init_app() tells its first call: then there is no application, or there is one.
    """

    def __init__(self) -> None:
        self._of_next = Registered()
        self._of_apps: weakref.WeakKeyDictionary[Flask, Registered] = weakref.WeakKeyDictionary()
        self._latest: weakref.ref[Flask] | None = None
        self._made = 0  # applications
        self._registered_at: dict[Hashable, tuple[int, int]] = {}  # the first and the last time
        self._undo: list[Callable[[], object]] = []  # if another application is made

    def for_app(self, app: Flask) -> Registered:
        """Return what is registered for a new application."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        registered = self._of_apps[app] = self._of_next.copy()
        self._latest = weakref.ref(app)
        self._made += 1
        return registered

    def add(self, key: Hashable, value: object, register: Callable[[Registered], None]) -> None:
        """
        Register something of which each application has one for each *key*.

        Args:
            key: What it is registered for.
            value: What is registered, a function for example.
            register: Puts it where it belongs, in place of what the same lines have made before.
        """
        first, _ = self._note((key, code_of(value)))
        register(self._of_next)
        for registered in self._present(first):
            register(registered)

    def append(
        self,
        key: Hashable,
        function: Callable[..., object],
        functions: Callable[[Registered], list[Any]],
    ) -> None:
        """
        Register a function of which an application may have several.

        Args:
            key: What it is registered for.
            function: The function.
            functions: Returns those that there are.
        """
        first, last = self._note((key, code_of(function)))
        for registered in (self._of_next, *self._present(first)):
            there = functions(registered)
            if last < self._made:  # those of a former call of the factory
                there[:] = [one for one in there if code_of(one) != code_of(function)]
            there.append(function)
        if first == 0 < self._made and (latest := self._latest_registered) is not None:
            # It is of the application that a factory is about to make, or, if none follows, of
            # this one.
            functions(latest).append(function)
            self._undo.append(partial(functions(latest).remove, function))

    def _note(self, key: Hashable) -> tuple[int, int]:
        """Return after how many applications this was registered first, and before."""
        first, last = self._registered_at.get(key, (self._made, self._made))
        self._registered_at[key] = first, self._made
        return first, last

    def _present(self, first: int) -> list[Registered]:
        """Return what the applications have that get something registered first after so many."""
        if first == self._made:  # for the first time
            return [*self._of_apps.values()]
        latest = self._latest_registered
        return [] if first == 0 or latest is None else [latest]

    @property
    def _latest_registered(self) -> Registered | None:
        app = self._latest() if self._latest is not None else None
        return None if app is None else self._of_apps[app]


def code_of(function: Any) -> Hashable:
    """Return what the functions have in common that the same lines make; else the object's ID."""
    return getattr(function, "__code__", None) or id(function)
