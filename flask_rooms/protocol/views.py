"""
Compares whom the workers count as alive: by digests, and by names only where these differ.

A *view* is a digest of the workers that one counts as alive, itself included. In a cluster of N
workers each heartbeat goes to N, so that one with N names in it would cost N cubed in all.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from flask_rooms.protocol.messages import HIGHEST

#: How many views, and how many workers that have ended, are remembered.
_MAX_REMEMBERED = 256


def _mark(name: str) -> int:
    digest = blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & HIGHEST


class Views:
    """
    What this worker knows about the views of others.

    A view is the sum of the marks of those in it, by exclusive or. So two views that differ by one
    or two workers tell by which ones, if these are known.

    Args:
        me: This worker's name.

    Attributes:
        own: The view of this worker.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self.own = _mark(me)
        # Views with this worker in them, and no other one that it has not met; in order.
        self._met: dict[int, None] = {self.own: None}
        self._alive: set[int] = set()  # the marks of those in the own view
        self._ended: dict[int, None] = {}  # the marks of others that were in it, in order
        self._names: dict[int, frozenset[str]] = {}  # view -> those in it, apart from this worker

    def add(self, name: str) -> None:
        """Count a worker as alive."""
        self._alive.add(_mark(name))
        self._change(name)

    def remove(self, name: str) -> None:
        """Count a worker as alive no longer."""
        self._alive.remove(_mark(name))
        _remember(_mark(name), self._ended)
        self._change(name)

    def _change(self, name: str) -> None:
        self.own ^= _mark(name)
        _remember(self.own, self._met)

    def learn(self, view: int, names: Iterable[str], stated: Iterable[int]) -> None:
        """
        Take in the names of a view.

        Args:
            view: The view.
            names: The workers in it.
            stated: The views that peers have; the names in others are forgotten.
        """
        self._names = {one: self._names[one] for one in stated if one in self._names}
        self._names[view] = frozenset(names) - {self._me}

    def is_clear(self, view: int) -> bool:
        """Whether it is known who is in a view."""
        return view in self._names or self.is_met(view)

    def is_met(self, view: int) -> bool:
        """Whether this worker is in a view, and no other one that it has not met."""
        if view not in self._met and self._is_near(view ^ self.own):
            _remember(view, self._met)
        return view in self._met

    def _is_near(self, difference: int) -> bool:
        """Whether one or two workers that have been met make the difference between two views."""
        known = self._alive.union(self._ended)
        return difference in known or any(difference ^ mark in known for mark in known)

    def names_in(self, view: int) -> frozenset[str]:
        """Return those in a view that this worker may not have met."""
        return frozenset() if self.is_met(view) else self._names.get(view, frozenset())


def _remember(value: int, values: dict[int, None]) -> None:
    values.pop(value, None)
    values[value] = None
    if len(values) > _MAX_REMEMBERED:
        del values[next(iter(values))]
