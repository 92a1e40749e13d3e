"""Resets in a forked child what a child must not take over from its parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object that is copied into a child, with locks that other threads may hold."""

    def reset_after_fork(self) -> None:
        """Start again in a child, which has one thread."""


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def reset_in_children(one: ForkAware) -> None:
    """Reset *one*, which is held weakly, in every child that is forked from now on."""
    _registered.add(one)


def _reset_all() -> None:
    for one in list(_registered):
        one.reset_after_fork()


if hasattr(os, "register_at_fork"):  # there is no forking on Windows
    os.register_at_fork(after_in_child=_reset_all)
